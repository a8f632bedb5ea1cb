"""What a functional mock-up unit runs; imported inside the unit."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from pythonfmu import Boolean, Fmi2Causality, Fmi2Slave, Fmi2Variability, Real
from pythonfmu.enums import Fmi2Status

from sciml import FieldSpec, load
from sciml_couplings.sample import Sample


class SurrogateSlave(Fmi2Slave):
    """One sample of the surrogate in the unit's resources, recomputed when an input has changed."""

    sizes: ClassVar[Mapping[str, int]] = {}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sample = Sample(load(Path(self.resources) / "surrogate"), self.sizes)
        spec = self.sample.surrogate.spec
        self.description = f"surrogate {self.sample.surrogate.network.registered}"
        self.values = {name: np.array(array, dtype=float) for name, array in self.sample.middle().items()}
        self.answer: dict[str, np.ndarray] | None = None
        self.is_outside = self.allow_outside = False
        shapes = self.sample.output_shapes()
        for field in spec.inputs:
            self._add(field, self.values[field.name].shape, Fmi2Causality.input)
        for field in spec.outputs:
            self._add(field, shapes[field.name], Fmi2Causality.output)
        parameter, output, tunable = Fmi2Causality.parameter, Fmi2Causality.output, Fmi2Variability.tunable
        allowed = {"getter": lambda: self.allow_outside, "setter": self._allow}
        self.register_variable(Boolean("allow_outside", causality=parameter, variability=tunable, **allowed))
        told = {"variability": Fmi2Variability.discrete, "getter": self._outside}
        self.register_variable(Boolean("outside_training_domain", causality=output, **told))

    def to_xml(self, *options: Any) -> Element:
        """Return the description by pythonfmu's `options`, with the initial unknowns that the standard asks for."""
        root: Element = super().to_xml(*options)
        structure = root.find("ModelStructure")
        outputs = structure.find("Outputs") if structure is not None else None
        if structure is not None and outputs is not None:
            unknowns = SubElement(structure, "InitialUnknowns")
            for output in outputs:
                SubElement(unknowns, "Unknown", dict(output.attrib))
        return root

    def do_step(self, current_time: float, step_size: float) -> bool:
        """Answer for the present inputs; the map has no memory, `current_time` and `step_size` do not matter."""
        try:
            self._outputs()
        except ValueError:  # told in the log
            return False
        return True

    def _add(self, field: FieldSpec, shape: tuple[int, ...], causality: Fmi2Causality) -> None:
        batch = self.sample.surrogate.spec.batch_dim
        text = f"{field.description or field.name} [{field.unit}]"
        for index in np.ndindex(*shape):
            shown = [str(i + 1) for i, dim in zip(index, field.dims, strict=True) if dim != batch]
            options: dict[str, Any] = {"getter": functools.partial(self._get, field.name, index)}
            if causality is Fmi2Causality.input:
                options = {
                    "getter": functools.partial(self.values[field.name].item, *index),
                    "setter": functools.partial(self._set, field.name, index),
                }
            name = f"{field.name}[{','.join(shown)}]" if shown else field.name
            self.register_variable(Real(name, causality=causality, description=text, **options), nested=False)

    def _set(self, name: str, index: tuple[int, ...], value: float) -> None:
        self.values[name][index] = value
        self.answer = None

    def _get(self, name: str, index: tuple[int, ...]) -> float:
        return float(self._outputs()[name][index])

    def _allow(self, value: bool) -> None:
        self.allow_outside, self.answer = bool(value), None

    def _outside(self) -> bool:
        self._outputs()
        return self.is_outside

    def _outputs(self) -> dict[str, np.ndarray]:
        if self.answer is None:
            policy: Any = "allow" if self.allow_outside else "raise"
            try:
                found = self.sample.surrogate.predict(self.sample.dataset(self.values), outside=policy)
            except ValueError as error:
                self.log(str(error), Fmi2Status.error)
                raise
            self.is_outside = bool(found.attrs["outside_training_domain"])
            self.answer = {str(name): array.values for name, array in found.data_vars.items()}
        return self.answer
