"""A surrogate that never answers unguarded: outside its training range it raises, warns or asks the true solver."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Literal, get_args

import numpy as np
import xarray as xr

from sciml import FieldSpec, Operator, Region, Spec, Surrogate

Policy = Literal["raise", "warn", "fallback"]
FLAG = "outside_training_domain"


def samples_outside(surrogate: Surrogate, inputs: xr.Dataset) -> np.ndarray:
    """Return which samples leave the training domain: a mask (batch,).

    A sample is outside when any number of it is; all are when an input that they share is.

    Parameters
    ----------
    surrogate : with the domain.
    inputs : as `predict` takes them, in any unit that converts.
    """
    spec = surrogate.spec
    checked = spec.check_inputs(inputs)
    mask = np.zeros(checked.sizes[spec.batch_dim], dtype=bool)
    for field in spec.inputs:
        outside = field.outside(checked[field.name].values, surrogate.domain.get(field.name))
        if spec.batch_dim in field.dims and outside.ndim:
            axis = field.dims.index(spec.batch_dim)
            mask |= np.moveaxis(outside, axis, 0).reshape(len(mask), -1).any(1)
        else:
            mask |= outside.any()
    return mask


class Guarded(Operator):
    """The surrogate inside its training domain, and outside it what the caller chose.

    Parameters
    ----------
    surrogate : what answers inside the domain.
    outside : "raise" a ValueError; "warn" and answer by the surrogate all the same; "fallback": the other operator
        answers for the samples outside, and for these alone.
    fallback : an operator, such as the solver that made the training data, with the surrogate's outputs; it takes the
        surrogate's inputs. A standard error that it does not give is NaN where it answered.

    Raises
    ------
    ValueError
        The fallback is missing, not wanted, or does not fit.

    *Contract*: the output ``outside_training_domain`` (batch,) is 1 for the samples outside and 0 for the others; the
    attribute ``guard`` of the answer is "inside", "warned" or "fallback". Everything else is as of every operator.
    """

    def __init__(self, surrogate: Surrogate, *, outside: Policy = "raise", fallback: Operator | None = None) -> None:
        if outside not in get_args(Policy):
            raise ValueError(f"guard: expected outside= one of {', '.join(get_args(Policy))}, got {outside!r}")
        if (fallback is not None) != (outside == "fallback"):
            got = "none" if fallback is None else f"one with outside={outside!r}"
            raise ValueError(f"guard: expected a fallback operator with outside='fallback' only, got {got}")
        self.surrogate, self.outside, self.fallback = surrogate, outside, fallback
        spec = surrogate.spec
        given = {field.name: field for field in (fallback.spec.outputs if fallback else spec.outputs)}
        outputs = [field if field.name in given else _may_be_missing(field) for field in spec.outputs]
        flag = FieldSpec(FLAG, (spec.batch_dim,), "1", Region.interval(0, 1), "1 where the sample is outside")
        self._spec = Spec(spec.inputs, (*outputs, flag), spec.batch_dim, spec.coords)
        if fallback is not None:
            _require_fit(spec, fallback.spec)

    @property
    def spec(self) -> Spec:
        """The surrogate's, with the flag among the outputs."""
        return self._spec

    def _apply(self, inputs: xr.Dataset) -> xr.Dataset:
        mask = samples_outside(self.surrogate, inputs)
        complaint = "; ".join(self.surrogate.complaints(inputs).values())
        if mask.any() and self.outside == "raise":
            raise ValueError(f"{complaint}; retrain on a wider domain, or guard with outside='warn' or 'fallback'")
        if mask.any() and self.outside == "warn":
            warnings.warn(f"{complaint} (answered by the surrogate)", stacklevel=4)
        if mask.any() and self.fallback is not None:
            answer = self._mixed(inputs, mask, self.fallback)
        else:
            answer = self.surrogate.predict(inputs, outside="allow")
        what = {"warn": "warned", "fallback": "fallback"}.get(self.outside, "inside") if mask.any() else "inside"
        flag = (self.spec.batch_dim, mask.astype(float), {"units": "1"})
        return answer.drop_attrs(deep=False).assign({FLAG: flag}).assign_attrs(guard=what)

    def _mixed(self, inputs: xr.Dataset, mask: np.ndarray, fallback: Operator) -> xr.Dataset:
        batch = self.spec.batch_dim
        solved = fallback(inputs.isel({batch: np.flatnonzero(mask)}))
        if mask.all():
            guessed = self.surrogate.predict(inputs.isel({batch: [0]}), outside="allow")  # for shapes alone
        else:
            guessed = self.surrogate.predict(inputs.isel({batch: np.flatnonzero(~mask)}), outside="allow")
        variables = {}
        for field in self.surrogate.spec.outputs:
            inside, axis = guessed[field.name], field.dims.index(batch)
            shape = list(inside.shape)
            shape[axis] = len(mask)
            values = np.full(shape, np.nan, dtype=np.result_type(inside.dtype, np.float64))
            rows = np.moveaxis(values, axis, 0)
            if not mask.all():
                rows[~mask] = np.moveaxis(inside.values, axis, 0)
            if field.name in solved:
                truth = field.check(solved, "fallback output").values
                rows[mask] = np.moveaxis(truth, axis, 0)
            variables[field.name] = (field.dims, values, inside.attrs)
        coords = {name: coord for name, coord in inputs.coords.items() if coord.dims == (batch,)}
        others = {name: coord for name, coord in guessed.coords.items() if batch not in coord.dims}
        return xr.Dataset(variables, {**others, **coords})


def _may_be_missing(field: FieldSpec) -> FieldSpec:
    return dataclasses.replace(field, missing=True)


def _require_fit(spec: Spec, other: Spec) -> None:
    """Raise a ValueError unless an operator with the spec `other` can stand in for one with `spec`."""
    have = {field.name for field in spec.inputs}
    if needs := {field.name for field in other.inputs} - have:
        raise ValueError(f"guard: expected a fallback of the inputs {sorted(have)}, got one that needs {sorted(needs)}")
    found = {field.name: field for field in other.outputs}
    for field in spec.outputs:
        if field.name.endswith("_std") and field.name not in found:
            continue
        if field.name not in found or set(found[field.name].dims) != set(field.dims):
            got = f"dims {found[field.name].dims}" if field.name in found else "none"
            raise ValueError(f"guard: expected a fallback output {field.name!r} with dims {field.dims}, got {got}")
        if spec.batch_dim not in field.dims:
            raise ValueError(f"guard: expected outputs with the dim {spec.batch_dim!r}, got {field.name!r} without it")
