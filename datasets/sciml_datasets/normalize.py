"""Mean and standard deviation of the training split, gathered block by block, applied and inverted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import xarray as xr

from sciml.artifact import read_json, write_json
from sciml.fields import convert_units
from sciml_datasets.store import blocks

Data = TypeVar("Data", xr.Dataset, Mapping[str, torch.Tensor])
ROUND_OFF = 8 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Moments:
    """Mean and scale of one variable: arrays of its shape, with length 1 along the reduced dimensions."""

    dims: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    unit: str


@dataclass(frozen=True)
class Normalization:
    """y = (x - mean) / scale for each named variable, with the statistics of the data it was fitted to.

    The scale is the population standard deviation; where that is zero up to round-off (8 eps |mean|) it is 1: a
    constant is centred and not scaled, so that it comes back exactly.

    Contract: ``invert(apply(x))`` is x up to rounding; a fit is independent of how the data are cut into blocks, up to
    rounding; ``load(save)`` is equal to the bit.

    Source: T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample variance", Am. Stat. 37 (1983).
    """

    moments: Mapping[str, Moments]

    @classmethod
    def fit(cls, data: xr.Dataset | Iterable[xr.Dataset], names: Sequence[str], dims: Sequence[str]) -> Normalization:
        """Gather the statistics of `names` over `dims` in float64, never holding a whole variable.

        Parameters
        ----------
        data : the training split (``dataset.isel(source=splits["train"])``), lazy or not, or an iterable of parts.
        dims : dimensions to average over; a variable is averaged over those of them that it has.

        >>> data = xr.Dataset({"p": (("batch", "node"), [[1.0, 5.0], [3.0, 5.0]], {"units": "Pa"})})
        >>> Normalization.fit(data, ["p"], ["batch"]).apply(data)["p"].values.tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
        """
        sums: dict[str, _Sums] = {}
        for part in [data] if isinstance(data, xr.Dataset) else data:
            for name in names:
                if name not in part.variables:
                    raise ValueError(f"fit: expected the variable {name!r}, got {sorted(map(str, part.variables))}")
                if name not in sums:
                    sums[name] = _Sums(part[name].variable, dims, name)
                sums[name].add(part[name].variable)
        if set(sums) != set(names) or not names:
            raise ValueError(f"fit: expected at least one sample of {list(names)}, got none; give the training split")
        return cls({name: total.moments() for name, total in sums.items()})

    def apply(self, data: Data) -> Data:
        """Return (x - mean) / scale for every fitted variable in `data`, a dataset or a dict of tensors.

        Datasets are converted to the fitted unit first and come back without units ("1"). Tensors have the axes of the
        fitted variable. Precision stays, but for halves and integers, which become single and double.
        """
        return self._map(data, inverse=False)

    def invert(self, data: Data) -> Data:
        """Return y scale + mean for every fitted variable in `data`, in the fitted unit."""
        return self._map(data, inverse=True)

    def _map(self, data: Data, inverse: bool) -> Data:
        common = [name for name in self.moments if name in data]
        if not common:
            raise ValueError(f"normalization: expected some of {sorted(self.moments)}, got {sorted(map(str, data))}")
        if isinstance(data, xr.Dataset):
            return data.assign({name: _map_array(data[name], self.moments[name], inverse) for name in common})
        return {**data, **{name: _map_tensor(data[name], self.moments[name], inverse, name) for name in common}}

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and numbers that :meth:`from_json` reads back."""
        return {
            name: {**asdict(m), "dims": list(m.dims), "mean": m.mean.tolist(), "scale": m.scale.tolist()}
            for name, m in self.moments.items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Normalization:
        """Rebuild a normalization from :meth:`to_json`."""
        return cls(
            {
                name: Moments(tuple(m["dims"]), np.array(m["mean"], float), np.array(m["scale"], float), m["unit"])
                for name, m in data.items()
            }
        )

    def save(self, path: str | Path) -> None:
        """Write the statistics as JSON."""
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Normalization:
        """Read what :meth:`save` wrote; anything else is a ValueError that names the file."""
        try:
            return cls.from_json(read_json(path))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path}: expected statistics written by save, got {error!r}; fit and save again"
            ) from None


class _Sums:
    """Count, mean and sum of squared deviations of one variable, merged block by block."""

    def __init__(self, variable: xr.Variable, dims: Sequence[str], name: str) -> None:
        self.name, self.dims, self.unit = name, tuple(map(str, variable.dims)), str(variable.attrs.get("units", "1"))
        self.axes = tuple(i for i, dim in enumerate(self.dims) if dim in dims)
        if not self.axes:
            raise ValueError(f"fit {name!r}: expected one of the dims {tuple(dims)}, got {self.dims}; name one of them")
        self.shape = tuple(1 if i in self.axes else size for i, size in enumerate(variable.shape))
        self.count, self.mean, self.squares = (np.zeros(self.shape) for _ in range(3))

    def add(self, variable: xr.Variable) -> None:
        shape = tuple(1 if i in self.axes else size for i, size in enumerate(variable.shape))
        got = (tuple(variable.dims), shape, str(variable.attrs.get("units", "1")))
        if got != (self.dims, self.shape, self.unit):
            raise ValueError(f"fit {self.name!r}: expected parts with {(self.dims, self.shape, self.unit)}, got {got}")
        for block in blocks(variable):
            values = np.asarray(variable[block].values, dtype=np.float64)
            if not values.size:
                continue
            if not np.isfinite(values).all():
                raise ValueError(
                    f"fit {self.name!r}: expected finite numbers, got NaN or infinity; remove such samples"
                )
            kept = tuple(slice(None) if i in self.axes else part for i, part in enumerate(block))
            mean = values.mean(self.axes, keepdims=True)
            squares = np.square(values - mean).sum(self.axes, keepdims=True)
            self._merge(kept, float(np.prod([values.shape[i] for i in self.axes])), mean, squares)

    def _merge(self, kept: tuple[slice, ...], count: float, mean: np.ndarray, squares: np.ndarray) -> None:
        before = self.count[kept]
        total = before + count
        delta = mean - self.mean[kept]
        self.squares[kept] += squares + delta**2 * before * count / total
        self.mean[kept] += delta * count / total
        self.count[kept] = total

    def moments(self) -> Moments:
        if not self.count.all():
            raise ValueError(f"fit {self.name!r}: expected at least one sample, got none; give the training split")
        deviation = np.sqrt(self.squares / self.count)
        scale = np.where(deviation <= ROUND_OFF * np.abs(self.mean), 1.0, deviation)
        return Moments(self.dims, self.mean, scale, self.unit)


def _map_array(array: xr.DataArray, moments: Moments, inverse: bool) -> xr.DataArray:
    kept = [dim for dim, size in zip(moments.dims, moments.mean.shape, strict=True) if dim in array.dims or size > 1]
    values, unit = array.values, str(array.attrs.get("units", "1"))
    if not inverse:
        values = convert_units(values, unit, moments.unit, f"normalization {str(array.name)!r}")
    if set(array.dims) != set(kept) or len(kept) != array.ndim:
        raise ValueError(
            f"normalization {str(array.name)!r}: expected dims {moments.dims}, got {array.dims}; transpose it"
        )
    dtype = np.float32 if values.dtype.itemsize <= 2 else values.dtype if values.dtype.kind == "f" else np.float64
    mean, scale = (
        xr.Variable(moments.dims, m.astype(dtype)).transpose(*array.dims).values for m in (moments.mean, moments.scale)
    )
    values = values.astype(dtype)
    result = values * scale + mean if inverse else (values - mean) / scale
    return array.copy(data=result).assign_attrs(units=moments.unit if inverse else "1")


def _map_tensor(tensor: torch.Tensor, moments: Moments, inverse: bool, name: str) -> torch.Tensor:
    fits = tensor.ndim == len(moments.dims) and all(
        m in (1, n) for m, n in zip(moments.mean.shape, tensor.shape, strict=True)
    )
    if not fits:
        expected = dict(zip(moments.dims, moments.mean.shape, strict=True))
        raise ValueError(
            f"normalization {name!r}: expected axes {expected} (1: any size), got shape {tuple(tensor.shape)}"
        )
    small = tensor.dtype in (torch.float16, torch.bfloat16)
    dtype = torch.float32 if small else tensor.dtype if tensor.is_floating_point() else torch.float64
    mean, scale = (torch.as_tensor(m, dtype=dtype, device=tensor.device) for m in (moments.mean, moments.scale))
    values = tensor.to(dtype)
    return values * scale + mean if inverse else (values - mean) / scale
