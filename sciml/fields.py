"""Fields with dimensions, units and bounds, and the check of a dataset against them."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import xarray as xr

Box = tuple[tuple[float, ...], tuple[float, ...]]


@functools.cache
def _units() -> Any:
    import pint

    # CF writes powers as "m s-1"; pint writes "m s**-1".
    return pint.UnitRegistry(preprocessors=[lambda text: re.sub(r"(?<=[A-Za-z])(?=-?\d)", "**", text)])


def convert_units(values: np.ndarray, unit: str, to: str, where: str) -> np.ndarray:
    """Return `values` given in `unit`, expressed in the unit `to`; a wrong dimension is a ValueError naming `where`."""
    if unit == to:
        return values
    import pint

    try:
        return np.asarray(_units().Quantity(values, unit).to(to).magnitude)
    except (pint.PintError, AssertionError, AttributeError, TypeError, ValueError) as error:
        text = f"{where}: expected a unit of the kind {to!r}, got {unit!r} ({error}); set attrs['units']"
        raise ValueError(text) from None


@dataclass(frozen=True)
class Region:
    """A union of closed axis-aligned boxes in d dimensions: the values that a field may take.

    Parameters
    ----------
    boxes : pairs (low, high) of d numbers each, in the unit of the field; None, as JSON has no infinity, is no limit.
    """

    boxes: tuple[Box, ...]

    def __post_init__(self) -> None:
        def corner(numbers: Any, limit: float) -> tuple[float, ...]:
            return tuple(limit if number is None else float(number) for number in numbers)

        boxes = tuple((corner(low, -np.inf), corner(high, np.inf)) for low, high in self.boxes)
        sizes = {len(corner) for box in boxes for corner in box}
        if len(sizes) != 1 or any(not a <= b for low, high in boxes for a, b in zip(low, high, strict=True)):
            raise ValueError(f"Region: expected boxes (low, high) of equal length with low <= high, got {self.boxes}")
        object.__setattr__(self, "boxes", boxes)

    @classmethod
    def interval(cls, low: float, high: float) -> Region:
        """Return the values of a scalar field between `low` and `high`."""
        return cls((((low,), (high,)),))

    @classmethod
    def around(cls, values: np.ndarray) -> Region:
        """Return the smallest single box around `values` of shape (..., d)."""
        points = np.asarray(values, dtype=float).reshape(-1, np.shape(values)[-1])
        if not len(points):
            raise ValueError("Region: expected at least one point to put a box around, got none; give data")
        return cls(((tuple(points.min(0)), tuple(points.max(0))),))

    @property
    def n_dims(self) -> int:
        """Number d of components that a point of the region has."""
        return len(self.boxes[0][0])

    @property
    def bounding_box(self) -> Box:
        """Lowest and highest corner."""
        corners = np.array(self.boxes)
        return tuple(corners[:, 0].min(0).tolist()), tuple(corners[:, 1].max(0).tolist())

    def contains(self, points: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
        """Return which `points` (..., d) lie inside, up to `tolerance` of the size and rounding: a mask (...)."""
        low, high = (np.array([box[i] for box in self.boxes]) for i in (0, 1))  # (box, d)
        slack = tolerance * np.where(np.isfinite(high - low), high - low, 1.0).max()
        corners = np.abs([low, high])
        slack = max(slack, 2e-15 * corners[np.isfinite(corners)].max(initial=0.0))  # as of a unit conversion
        x = np.asarray(points)[..., None, :]
        return ((x >= low - slack) & (x <= high + slack)).all(-1).any(-1)

    def __str__(self) -> str:
        if len(self.boxes) > 9:
            return f"a union of {len(self.boxes)} boxes within {Region((self.bounding_box,))}"
        text = (" x ".join(f"[{a:g}, {b:g}]" for a, b in zip(low, high, strict=True)) for low, high in self.boxes)
        return " or ".join(text)


@dataclass(frozen=True)
class FieldSpec:
    """Name, dimensions, unit, admissible values and description of one variable.

    `bounds` are physical limits: a value outside them is always an error. A region of d > 1 dimensions constrains
    the vectors along the last dimension; a one-dimensional region constrains every number. `missing` allows NaN, which
    marks what a solver could not compute; infinity is an error everywhere.
    """

    name: str
    dims: tuple[str, ...]
    unit: str = "1"
    bounds: Region | None = None
    description: str = field(default="", compare=False)
    missing: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "dims", tuple(self.dims))
        if len(set(self.dims)) != len(self.dims):
            raise ValueError(f"FieldSpec {self.name!r}: expected distinct dims, got {self.dims}")
        if self.bounds is not None and self.bounds.n_dims > 1 and not self.dims:
            raise ValueError(f"FieldSpec {self.name!r}: expected a dimension for the components of bounds, got none")

    def check(self, data: xr.Dataset, where: str) -> xr.DataArray:
        """Return the variable in this unit and order of dimensions, or raise a ValueError that says what is wrong."""
        here = f"{where} {self.name!r}"
        if self.name not in data.variables:
            have = sorted(map(str, data.variables))
            raise ValueError(f"{here}: expected a variable with dims {self.dims}, got none; have {have}")
        array = data[self.name]
        if set(array.dims) != set(self.dims):
            raise ValueError(f"{here}: expected dims {self.dims}, got {array.dims}; rename or reshape the variable")
        if array.dtype.kind not in "iuf":
            hint = "open the file with decode_times=False" if array.dtype.kind in "mM" else "convert the variable"
            raise ValueError(f"{here}: expected real numbers, got dtype {array.dtype}; {hint}")
        unit = array.attrs.get("units", "1" if self.unit == "1" else None)
        if unit is None:
            raise ValueError(f"{here}: expected attrs['units'] convertible to {self.unit!r}, got none; set it")
        values = convert_units(array.transpose(*self.dims).values, str(unit), self.unit, here)
        bad = np.isinf(values) if self.missing else ~np.isfinite(values)
        if bad.any():
            raise ValueError(f"{here}: expected finite numbers, got {_first(values, bad)} ({bad.sum()} in all)")
        if complaint := self.complaint(values, self.bounds):
            raise ValueError(f"{here}: {complaint}")
        coords = {name: coord for name, coord in array.coords.items() if name != self.name}
        return xr.DataArray(values, dims=self.dims, coords=coords, attrs={**array.attrs, "units": self.unit})

    def outside(self, values: np.ndarray, region: Region | None) -> np.ndarray:
        """Return the mask of the entries (or of the vectors along the last dimension) outside `region`."""
        if region is None:
            return np.zeros((), dtype=bool)
        if region.n_dims > 1 and values.shape[-1] != region.n_dims:
            wanted = f"{region.n_dims} components in the last dimension of {self.dims}"
            raise ValueError(f"{self.name!r}: expected {wanted}, got shape {values.shape}")
        points = values[..., None] if region.n_dims == 1 else values
        return ~region.contains(points) & ~np.isnan(points).any(-1)

    def complaint(self, values: np.ndarray, region: Region | None, kind: str = "") -> str:
        """Return a sentence about what lies outside `region`, called "`kind` region"; an empty one if nothing does."""
        mask = self.outside(values, region)
        got = f"got {_first(values, mask)} ({mask.sum()} outside)" if mask.any() else ""
        return f"expected values inside {kind}{region} {self.unit}, {got}" if got else ""


def _first(values: np.ndarray, mask: np.ndarray) -> str:
    index = tuple(int(i) for i in np.argwhere(mask)[0])
    return f"{np.array2string(np.asarray(values[index]), separator=', ')} at index {index}"


@dataclass(frozen=True)
class Spec:
    """What an operator takes and gives.

    Parameters
    ----------
    inputs, outputs : the fields; an output named ``NAME_std`` is the standard error of the output ``NAME``.
    batch_dim : the dimension of the inputs along which samples are independent of one another.
    coords : fixed coordinates of output dimensions that no input carries: name -> (unit, values).
    """

    inputs: tuple[FieldSpec, ...]
    outputs: tuple[FieldSpec, ...]
    batch_dim: str = "batch"
    coords: Mapping[str, tuple[str, tuple[float, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        coords = {name: (unit, tuple(map(float, values))) for name, (unit, values) in self.coords.items()}
        vars(self).update(inputs=tuple(self.inputs), outputs=tuple(self.outputs), coords=coords)
        names = [spec.name for spec in (*self.inputs, *self.outputs)]
        if len(set(names)) != len(names):
            raise ValueError(f"Spec: expected distinct names, got {names}")
        if not any(self.batch_dim in spec.dims for spec in self.inputs):
            raise ValueError(f"Spec: expected an input with the batch dimension {self.batch_dim!r}, got {names}")

    def check_inputs(self, data: xr.Dataset) -> xr.Dataset:
        """Return the declared inputs, in declared units and order; the given dataset is not changed."""
        if not isinstance(data, xr.Dataset):
            raise TypeError(f"inputs: expected an xarray.Dataset, got {type(data).__name__}; build one with units")
        return _assemble(self.inputs, data, "input")

    def check_outputs(self, data: xr.Dataset) -> xr.Dataset:
        """Return the declared outputs of `data`, checked, with its coordinates and attributes."""
        return _assemble(self.outputs, data, "output").assign_attrs(data.attrs)

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and numbers that :meth:`from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Spec:
        """Rebuild a spec from :meth:`to_json`."""
        inputs, outputs = (
            tuple(FieldSpec(**{**spec, "bounds": region_from_json(spec["bounds"])}) for spec in data[kind])
            for kind in ("inputs", "outputs")
        )
        return cls(inputs, outputs, data["batch_dim"], data["coords"])


def _assemble(specs: tuple[FieldSpec, ...], data: xr.Dataset, where: str) -> xr.Dataset:
    arrays = {spec.name: spec.check(data, where) for spec in specs}
    # A field that is also a coordinate of its sisters counts once: as converted, not as given.
    return xr.Dataset({name: array.drop_vars(set(arrays) & set(array.coords)) for name, array in arrays.items()})


def region_from_json(data: Mapping[str, Any] | None) -> Region | None:
    """Rebuild a region from its plain lists; None stays None."""
    return None if data is None else Region(data["boxes"])
