"""What a functional mock-up unit of FMI 3 runs; imported inside the unit."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from xml.etree.ElementTree import Element

import numpy as np
from pythonfmu3 import (
    Boolean,
    Dimension,
    Float64,
    Fmi3Causality,
    Fmi3Slave,
    Fmi3Status,
    Fmi3StepResult,
    Fmi3Variability,
    Unit,
)

from sciml import FieldSpec
from sciml_couplings.held_sample import HeldSample


class ArraySlave(Fmi3Slave):
    """One sample of the surrogate in the unit's resources, every field an array, recomputed when one has changed."""

    sizes: ClassVar[Mapping[str, int]] = {}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.time = 0.0  # the standard wants the independent variable named, whether or not anything depends on it
        self.held = held = HeldSample(Path(self.resources) / "surrogate", self.sizes)
        self.description = f"surrogate {held.sample.surrogate.network.registered}"
        self.register_units([Unit(unit) for unit in sorted({f.unit for f in (*held.spec.inputs, *held.spec.outputs)})])
        self.register_variable(
            Float64("time", causality=Fmi3Causality.independent, variability=Fmi3Variability.continuous)
        )
        for field in held.spec.inputs:
            read = functools.partial(self._read, held.values[field.name])
            write = functools.partial(held.set, field.name, slice(None))
            self._add(field, causality=Fmi3Causality.input, getter=read, setter=write)
        for field in held.spec.outputs:
            self._add(field, causality=Fmi3Causality.output, getter=functools.partial(self._answer, field.name))
        allowed = {"variability": Fmi3Variability.tunable, "getter": lambda: held.allows_outside}
        parameter, output = Fmi3Causality.parameter, Fmi3Causality.output
        self.register_variable(Boolean("allow_outside", causality=parameter, setter=held.allow_outside, **allowed))
        told = {"variability": Fmi3Variability.discrete, "getter": held.is_outside}
        self.register_variable(Boolean("outside_training_domain", causality=output, **told))

    def to_xml(self, *options: Any) -> Element:
        """Return the description by pythonfmu3's `options`, with the start values of long arrays and no base units.

        The library cuts start values of more than 1,000 characters, and calls every unit dimensionless.
        """
        root: Element = super().to_xml(*options)
        for variable in root.iter("Float64"):
            if variable.get("causality") == "input":
                variable.set("start", " ".join(map(repr, self.held.values[variable.attrib["name"]].ravel().tolist())))
        for unit in root.iter("Unit"):
            for base in unit.findall("BaseUnit"):
                unit.remove(base)
        return root

    def do_step(self, current_time: float, step_size: float) -> Fmi3StepResult:
        """Answer for the present inputs; the map has no memory, `current_time` and `step_size` do not matter."""
        try:
            self.held.outputs()
        except ValueError as error:
            self.log(str(error), Fmi3Status.error)
            return Fmi3StepResult(status=Fmi3Status.error)
        return Fmi3StepResult(status=Fmi3Status.ok)

    def _add(self, field: FieldSpec, **options: Any) -> None:
        shape = self.held.shapes[field.name]
        dimensions = [Dimension(start=str(shape[i])) for i in self.held.own_dims(field)]
        options["description"] = field.description or field.name
        variable = Float64(field.name, dimensions=dimensions, unit=field.unit, **options)
        self.register_variable(variable, nested=False)

    def _answer(self, name: str) -> Any:
        return self._read(self.held.outputs()[name])

    @staticmethod
    def _read(array: np.ndarray) -> Any:
        return array.ravel().tolist() if array.size > 1 else array.item()
