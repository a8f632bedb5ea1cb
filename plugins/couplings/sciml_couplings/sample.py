"""One sample of a surrogate, for callers that know lists of numbers and no dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr

from sciml import FieldSpec, Region, Surrogate


class Sample:
    """Shapes of the inputs and outputs of one sample, in the units of the spec.

    Parameters
    ----------
    surrogate : whose sample.
    sizes : lengths of the dimensions that neither the spec nor the domain fixes, such as ``{"sensor": 64}``.

    Raises
    ------
    ValueError
        A size is of no free dimension, is not positive, or is missing.

    *Contract*: `shapes` and `dataset` fit `surrogate.predict`, the batch dimension having length 1.
    """

    def __init__(self, surrogate: Surrogate, sizes: Mapping[str, int] | None = None) -> None:
        self.surrogate = surrogate
        spec, given = surrogate.spec, dict(sizes or {})
        fixed = _fixed(surrogate)
        free = free_dims(surrogate)
        whole = all(type(n) is int and n >= 1 for n in given.values())
        if set(given) != free or not whole:
            wanted = ", ".join(sorted(free)) or "no dimension"
            raise ValueError(f"sizes: expected a length >= 1 of {wanted}, got {given}; correct them")
        self.shapes = {field.name: tuple({**fixed, **given}[dim] for dim in field.dims) for field in spec.inputs}

    def input_sizes(self) -> list[int]:
        """Return how many numbers each input holds."""
        return [math.prod(shape) for shape in self.shapes.values()]

    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each output, found by trying the middle of the domain."""
        with torch.no_grad():
            outputs = self.forward({name: torch.as_tensor(array) for name, array in self.middle().items()})
        return {field.name: tuple(outputs[field.name].shape) for field in self.surrogate.spec.outputs}

    def middle(self) -> dict[str, np.ndarray]:
        """Return inputs in the middle of the domain, else of the bounds, else zero."""
        return {
            field.name: np.full(self.shapes[field.name], _middle(_regions(self.surrogate, field)))
            for field in self.surrogate.spec.inputs
        }

    def arrays(self, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return one array for each input, in its shape, from numbers in C order, or say what is wrong with them."""
        names = list(self.shapes)
        if sorted(values) != sorted(names):
            raise ValueError(f"input: expected {', '.join(names)}, got {', '.join(values) or 'none'}; give each once")
        return {
            name: vector(name, values[name], math.prod(self.shapes[name])).reshape(self.shapes[name]) for name in names
        }

    def dataset(self, values: Mapping[str, Any]) -> xr.Dataset:
        """Return the inputs as `predict` takes them."""
        arrays = self.arrays(values)
        return xr.Dataset({f.name: (f.dims, arrays[f.name], {"units": f.unit}) for f in self.surrogate.spec.inputs})

    def forward(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the outputs of the network in its own precision and on its device, differentiable."""
        like = reference(self.surrogate)
        return self.surrogate.network(**{name: tensor.to(like) for name, tensor in tensors.items()})


def free_dims(surrogate: Surrogate) -> set[str]:
    """Return the dimensions of the inputs whose length neither the spec nor the domain of the surrogate fixes."""
    return {dim for field in surrogate.spec.inputs for dim in field.dims} - set(_fixed(surrogate))


def _fixed(surrogate: Surrogate) -> dict[str, int]:
    spec = surrogate.spec
    fixed = {spec.batch_dim: 1, **{name: len(values) for name, (_, values) in spec.coords.items()}}
    for field in spec.inputs:
        n_component = max((region.n_dims for region in _regions(surrogate, field)), default=1)
        fixed.update({field.dims[-1]: n_component} if n_component > 1 else {})
    return fixed


def _regions(surrogate: Surrogate, field: FieldSpec) -> list[Region]:
    return [region for region in (field.bounds, surrogate.domain.get(field.name)) if region is not None]


def reference(surrogate: Surrogate) -> torch.Tensor:
    """Return a tensor of the precision and on the device in which the surrogate computes."""
    weights = surrogate.network.state_dict().values()
    return next((tensor for tensor in weights if tensor.is_floating_point()), torch.zeros(1))


def vector(name: str, values: Any, length: int) -> np.ndarray:
    """Return `length` finite numbers as a vector, or say what is wrong with the values called `name`."""
    try:
        array = np.asarray(values).ravel()
    except (TypeError, ValueError):  # ragged
        array = np.array([None])
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name}: expected a flat list of {length} numbers, got something else; correct it")
    array = array.astype(np.float64)
    if array.shape != (length,):
        raise ValueError(f"{name}: expected {length} numbers, got {array.size}; see the input sizes")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity; correct them")
    return array


def _middle(regions: list[Region]) -> Any:
    if not regions:
        return 0.0
    low, high = (np.array(corner) for corner in regions[-1].boxes[0])
    ends = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, 0.0))
    middle = np.where(np.isfinite(low) & np.isfinite(high), low + (high - low) / 2, ends)
    return middle if len(middle) > 1 else middle[0]
