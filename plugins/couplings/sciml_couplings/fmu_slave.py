"""What a functional mock-up unit of FMI 2 runs; imported inside the unit."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from pythonfmu import Boolean, Fmi2Causality, Fmi2Slave, Fmi2Variability, Real
from pythonfmu.enums import Fmi2Status

from sciml import FieldSpec
from sciml_couplings.held_sample import HeldSample


class SurrogateSlave(Fmi2Slave):
    """One sample of the surrogate in the unit's resources, recomputed when an input has changed."""

    sizes: ClassVar[Mapping[str, int]] = {}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.held = held = HeldSample(Path(self.resources) / "surrogate", self.sizes)
        self.description = f"surrogate {held.sample.surrogate.network.registered}"
        for field in held.spec.inputs:
            self._add(field, Fmi2Causality.input)
        for field in held.spec.outputs:
            self._add(field, Fmi2Causality.output)
        parameter, output, tunable = Fmi2Causality.parameter, Fmi2Causality.output, Fmi2Variability.tunable
        allowed = {"getter": lambda: held.allows_outside, "setter": held.allow_outside}
        self.register_variable(Boolean("allow_outside", causality=parameter, variability=tunable, **allowed))
        told = {"variability": Fmi2Variability.discrete, "getter": held.is_outside}
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
            self.held.outputs()
        except ValueError as error:
            self.log(str(error), Fmi2Status.error)
            return False
        return True

    def _add(self, field: FieldSpec, causality: Fmi2Causality) -> None:
        held, text = self.held, f"{field.description or field.name} [{field.unit}]"
        for index in np.ndindex(*held.shapes[field.name]):
            shown = [str(index[i] + 1) for i in held.own_dims(field)]
            options: dict[str, Any] = {"getter": functools.partial(self._get, field.name, index)}
            if causality is Fmi2Causality.input:
                options = {
                    "getter": functools.partial(held.values[field.name].item, *index),
                    "setter": functools.partial(held.set, field.name, index),
                }
            name = f"{field.name}[{','.join(shown)}]" if shown else field.name
            self.register_variable(Real(name, causality=causality, description=text, **options), nested=False)

    def _get(self, name: str, index: tuple[int, ...]) -> float:
        return float(self.held.outputs()[name][index])
