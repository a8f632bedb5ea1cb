"""Conformance of operators: the sentences of the contract in `sciml.operator`, tried one by one."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import xarray as xr

from sciml.fields import FieldSpec, Spec, convert_units
from sciml.operator import Operator
from sciml.testing.checks import Check, require, require_close, require_refusal, verify
from sciml.testing.inputs import example_inputs
from sciml.testing.resolution import Apply, check_discretization, function_operator

Statements = dict[str, Callable[[], str | None]]


def check_operator(
    operator: Operator, inputs: xr.Dataset | None = None, *, resolution: Apply | None = None
) -> list[Check]:
    """Try every sentence of the operator's contract.

    Parameters
    ----------
    operator : a truth solver or a surrogate.
    inputs : at least two samples inside the bounds; drawn from the spec where omitted.
    resolution : the operator as a callable of `sciml.testing.resolution`, on which an "agnostic" claim is measured;
        omitted where the inputs are called x, weight and query.
    """
    spec = operator.spec
    checks = verify({"the spec is sane": lambda: _spec_is_sane(spec)})
    if not checks[0].passed:
        return checks
    given = example_inputs(spec, 3, 2011) if inputs is None else spec.check_inputs(inputs).copy(deep=True)
    answers: list[xr.Dataset] = []
    checks += verify({"the outputs fit the spec": lambda: _outputs_fit(operator, given, answers)})
    if not answers:
        return checks
    refusals: Statements = {
        f"input {field.name!r} with {what} is refused": functools.partial(_refusal, operator, given, field, spoil)
        for field in spec.inputs
        for what, spoil in _SPOILS.items()
    }
    claim: Statements = {"an 'agnostic' operator converges": lambda: _claim(operator, given, resolution)}
    return checks + verify({**_contract(operator, given, answers[0]), **refusals, **claim})


def _contract(operator: Operator, given: xr.Dataset, answer: xr.Dataset) -> Statements:
    return {
        "the same inputs give the same result": lambda: require_close(operator(given.copy(deep=True)), answer, 0.0),
        "the inputs are left unchanged": lambda: _unchanged(operator, given),
        "a batch gives what its members give one by one": lambda: _one_by_one(operator, given, answer),
        "a permuted batch gives the permuted answer": lambda: _permuted(operator, given, answer),
        "inputs in another unit give the same answer": lambda: _other_units(operator, given, answer),
    }


def _spec_is_sane(spec: Spec) -> None:
    require(spec.inputs and spec.outputs, "expected inputs and outputs, got none")
    for field in (*spec.inputs, *spec.outputs):
        convert_units(np.ones(1), f"({field.unit})", field.unit, field.name)
    names = {field.name for field in spec.outputs}
    for name in names:
        base = name.removesuffix("_std")
        require(base in names, f"output {name!r}: expected an output {base!r} beside it, got none")
    require(Spec.from_json(spec.to_json()) == spec, "expected from_json(to_json()) to give the spec back")


def _outputs_fit(operator: Operator, given: xr.Dataset, answers: list[xr.Dataset]) -> None:
    answer = operator(given.copy(deep=True))
    for field in operator.spec.outputs:
        require(field.name in answer, f"{field.name!r}: expected this output, got {sorted(map(str, answer))}")
        array = answer[field.name]
        require(array.dims == field.dims, f"{field.name!r}: expected dims {field.dims}, got {array.dims}")
        unit = array.attrs.get("units")
        require(unit == field.unit, f"{field.name!r}: expected attrs['units'] {field.unit!r}, got {unit!r}")
        for dim in set(field.dims) & set(given.sizes):
            require(
                array.sizes[dim] == given.sizes[dim],
                f"{field.name!r}: expected the inputs' {given.sizes[dim]} along {dim!r}, got {array.sizes[dim]}",
            )
    answers.append(operator.spec.check_outputs(answer))


def _unchanged(operator: Operator, given: xr.Dataset) -> None:
    kept = given.copy(deep=True)
    operator(given)
    changed = [str(name) for name in kept.variables if not given[name].identical(kept[name])]
    require(
        given.identical(kept), f"expected inputs as they were given, got other {', '.join(changed) or 'attributes'}"
    )


def _one_by_one(operator: Operator, given: xr.Dataset, answer: xr.Dataset) -> None:
    batch = operator.spec.batch_dim
    require(given.sizes[batch] > 1, f"expected at least two samples to compare, got {given.sizes[batch]}")
    for i in range(min(3, given.sizes[batch])):
        alone = operator(given.isel({batch: [i]}))
        require_close(alone, answer.isel({batch: [i]}, missing_dims="ignore"), scale=answer)


def _permuted(operator: Operator, given: xr.Dataset, answer: xr.Dataset) -> None:
    order = {operator.spec.batch_dim: np.roll(np.arange(given.sizes[operator.spec.batch_dim]), 1)}
    require_close(operator(given.isel(order)), answer.isel(order, missing_dims="ignore"))


def _other_units(operator: Operator, given: xr.Dataset, answer: xr.Dataset) -> None:
    changed = given
    for field in operator.spec.inputs:
        values = given[field.name].values.astype(float)
        try:
            unit = f"({field.unit})*mm/m"
            values = convert_units(values, field.unit, unit, field.name)
        except ValueError:  # a unit with an offset, such as degC
            unit = "kelvin"
            values = convert_units(values, field.unit, unit, field.name)
        changed = _with(changed, field.name, values, unit=unit)
    require_close(operator(changed), answer, 10.0)


def _with(
    data: xr.Dataset, name: str, values: np.ndarray, *, unit: str = "", dims: tuple[str, ...] | None = None
) -> xr.Dataset:
    old = data[name]
    attrs = {**old.attrs, "units": unit or old.attrs.get("units", "1")}
    return data.drop_vars(name).assign({name: (old.dims if dims is None else dims, values, attrs)})


def _absent(given: xr.Dataset, field: FieldSpec) -> xr.Dataset:
    return given.drop_vars(field.name)


def _wrong_unit(given: xr.Dataset, field: FieldSpec) -> xr.Dataset:
    try:
        convert_units(np.ones(1), "kg", field.unit, field.name)
        unit = "s"
    except ValueError:
        unit = "kg"
    return _with(given, field.name, given[field.name].values, unit=unit)


def _wrong_dims(given: xr.Dataset, field: FieldSpec) -> xr.Dataset:
    values = np.atleast_1d(given[field.name].values)
    return _with(given, field.name, values, dims=("unexpected", *field.dims[1:]))


def _not_a_number(given: xr.Dataset, field: FieldSpec) -> xr.Dataset:
    values = given[field.name].values.astype(float)
    values.flat[-1] = np.nan
    return _with(given, field.name, values)


def _out_of_bounds(given: xr.Dataset, field: FieldSpec) -> xr.Dataset | None:
    corners = np.array(field.bounds.boxes) if field.bounds is not None else np.full((1, 2, 1), np.inf)  # (box, 2, d)
    low, high = corners[:, 0].min(), corners[:, 1].max()
    limit = high if np.isfinite(high) else low
    if not np.isfinite(limit):
        return None
    beyond = limit + (1 if limit == high else -1) * (1.0 + abs(limit))
    return _with(given, field.name, np.full(given[field.name].shape, beyond))


_SPOILS: dict[str, Callable[[xr.Dataset, FieldSpec], xr.Dataset | None]] = {
    "no variable": _absent,
    "a wrong unit": _wrong_unit,
    "wrong dims": _wrong_dims,
    "NaN": _not_a_number,
    "values out of bounds": _out_of_bounds,
}


def _refusal(
    operator: Operator, given: xr.Dataset, field: FieldSpec, spoil: Callable[[xr.Dataset, FieldSpec], xr.Dataset | None]
) -> str:
    spoiled = spoil(given, field)
    if spoiled is None:
        return "no finite bounds: nothing to refuse"
    return require_refusal(lambda: operator(spoiled), repr(field.name))


def _claim(operator: Operator, given: xr.Dataset, resolution: Apply | None) -> str:
    if operator.discretization == "fixed":
        return "claims nothing"
    if resolution is None:
        resolution = function_operator(operator, _parameters(operator.spec, given))
    return str(check_discretization(resolution, operator.discretization))


def _parameters(spec: Spec, given: xr.Dataset) -> xr.Dataset:
    """Return the inputs that live neither on the samples nor on the query points, for one member of the batch."""
    functional = {dim for field in spec.inputs if field.name in ("x", "query") for dim in field.dims} - {spec.batch_dim}
    kept = [field.name for field in spec.inputs if not functional & set(field.dims)]
    return given[kept].isel({spec.batch_dim: [0]}, missing_dims="ignore")
