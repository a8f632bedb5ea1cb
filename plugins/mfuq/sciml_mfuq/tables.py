"""Labelled data of several levels, turned into the runs that the engines are fitted to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr

from sciml.fields import convert_units
from sciml.operator import Operator
from sciml_mfuq.samples import Array, Level, Samples
from sciml_mfuq.surrogate import Input, Output


def to_dataset(inputs: Sequence[Input], x: Array) -> xr.Dataset:
    """Return points (batch, feature), as models see them, as a dataset of the named inputs with their units."""
    variables, start = {}, 0
    for one in inputs:
        width = one.size or 1
        columns = np.exp(x[:, start : start + width]) if one.logarithmic else x[:, start : start + width]
        values = columns[:, 0] if one.size is None else columns
        variables[one.name] = (one.field.dims, values, {"units": one.unit, "long_name": one.description or one.name})
        start += width
    return xr.Dataset(variables)


def to_matrix(inputs: Sequence[Input], data: xr.Dataset) -> Array:
    """Return the named inputs of a dataset as points (batch, feature), in their units, as models see them."""
    checked = [one.field.check(data, "input").values for one in inputs]
    seen = [np.log(v) if one.logarithmic else v for one, v in zip(inputs, checked, strict=True)]
    return np.concatenate([v[:, None] if v.ndim == 1 else v for v in seen], 1)


def samples_of(
    runs: Mapping[str, xr.Dataset],
    inputs: Sequence[Input],
    output: Output,
    *,
    costs: Mapping[str, float] | None = None,
    noises: Mapping[str, float | None] | None = None,
) -> Samples:
    """Return the runs of named levels, from the cheapest to the truth, as samples of one output.

    Parameters
    ----------
    runs
        Level -> dataset along ``batch``. Units are converted. A level that lacks some of the inputs (scalar ones) sees
        only those it has; NaN in the output marks a run that failed.
    inputs, output
        Of the truth.
    costs, noises
        By level; one, and none, where they are left out.
    """
    levels = []
    for name, data in runs.items():
        seen = [one for one in inputs if one.name in data.variables]
        if not seen:
            raise ValueError(
                f"level {name!r}: expected some of {[i.name for i in inputs]}, got none; rename its inputs"
            )
        columns = None if len(seen) == len(inputs) else _columns(inputs, seen, name)
        cost, noise = (costs or {}).get(name, 1.0), (noises or {}).get(name)
        levels.append(Level(name, to_matrix(seen, data), _values(output, data, name), cost, noise, columns))
    box = np.array([one.range for one in inputs for _ in range(one.size or 1)], dtype=np.float64)
    return Samples(tuple(levels), box)


def operator_function(operator: Operator, inputs: Sequence[Input], output: Output) -> Callable[[Array], Array]:
    """Return an operator as a function of points (batch, feature) to one output (batch,) or (batch, node)."""

    def function(x: Array) -> Array:
        return _values(output, operator(to_dataset(inputs, x)), type(operator).__name__)

    return function


def _columns(inputs: Sequence[Input], seen: Sequence[Input], name: str) -> tuple[int, ...]:
    starts = np.cumsum([0, *(one.size or 1 for one in inputs)])
    absent = [one.name for one in inputs if one not in seen and one.size is not None]
    if absent:
        raise ValueError(f"level {name!r}: expected the vector inputs {absent} in every level, got none; add them")
    found = [range(starts[i], starts[i + 1]) for i, one in enumerate(inputs) if one in seen]
    return tuple(int(column) for columns in found for column in columns)


def _values(output: Output, data: xr.Dataset, name: str) -> Array:
    where = f"level {name!r} output {output.name!r}"
    if output.name not in data.variables:
        raise ValueError(f"{where}: expected a variable, got none; have {sorted(map(str, data.variables))}")
    array = data[output.name]
    dims = output.fields[0].dims
    if set(array.dims) != set(dims):
        raise ValueError(f"{where}: expected dims {dims}, got {array.dims}; rename them")
    unit = array.attrs.get("units", "1" if output.unit == "1" else None)
    if unit is None:
        raise ValueError(f"{where}: expected attrs['units'] convertible to {output.unit!r}, got none; set it")
    return convert_units(np.asarray(array.transpose(*dims).values, dtype=np.float64), str(unit), output.unit, where)
