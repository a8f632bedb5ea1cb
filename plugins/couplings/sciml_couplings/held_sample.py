"""The sample that a mock-up unit holds between the calls of its simulator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from sciml import FieldSpec, load
from sciml_couplings.sample import Sample


class HeldSample:
    """Inputs that are set a few at a time, and outputs computed when they are first asked for after a change.

    Parameters
    ----------
    folder : of the saved surrogate.
    sizes : lengths of its free dimensions.

    *Contract*: the outputs are those that `predict` gives for the inputs held; the map has no memory.
    """

    def __init__(self, folder: Path, sizes: Mapping[str, int]) -> None:
        self.sample = Sample(load(folder), sizes)
        self.spec = self.sample.surrogate.spec
        self.values = {name: np.array(array, dtype=float) for name, array in self.sample.middle().items()}
        self.shapes = {**self.sample.shapes, **self.sample.output_shapes()}
        self._answer: dict[str, np.ndarray] | None = None
        self._is_outside = self._allows_outside = False

    @property
    def allows_outside(self) -> bool:
        """Whether inputs may leave the training domain."""
        return self._allows_outside

    def allow_outside(self, allowed: bool) -> None:
        """Let inputs leave the training domain, or not."""
        self._allows_outside, self._answer = bool(allowed), None

    def is_outside(self) -> bool:
        """Return whether the inputs are outside the training domain, where that is allowed."""
        self.outputs()
        return self._is_outside

    def set(self, name: str, index: tuple[int, ...] | slice, values: object) -> None:
        """Set the numbers of the input `name` at an index, or all of them, in C order, at ``slice(None)``."""
        target = self.values[name]
        target[index] = np.reshape(np.asarray(values, dtype=float), target[index].shape)
        self._answer = None

    def outputs(self) -> dict[str, np.ndarray]:
        """Return the outputs; inputs that `predict` refuses are its ValueError."""
        if self._answer is None:
            outside: Literal["allow", "raise"] = "allow" if self._allows_outside else "raise"
            found = self.sample.surrogate.predict(self.sample.dataset(self.values), outside=outside)
            self._is_outside = bool(found.attrs["outside_training_domain"])
            self._answer = {str(name): array.values for name, array in found.data_vars.items()}
        return self._answer

    def own_dims(self, field: FieldSpec) -> tuple[int, ...]:
        """Return the positions of the dimensions of a field that are not the batch, whose length is one here."""
        return tuple(i for i, dim in enumerate(field.dims) if dim != self.spec.batch_dim)
