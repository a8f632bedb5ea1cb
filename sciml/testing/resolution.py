"""The resolution kit measures whether an operator on functions converges as its samples are refined, on any mesh."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
import xarray as xr

from sciml.fields import FieldSpec
from sciml.operator import Discretization, Operator

Function = Callable[[np.ndarray], np.ndarray]
Apply = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
SIZES = (64, 128, 256, 512, 1024)
MESHES: dict[str, Function] = {"uniform": lambda t: t, "clustered": lambda t: t**2}
ROUNDING = 1e-12  # relative errors below this are rounding, and have no order


@dataclass(frozen=True)
class ResolutionReport:
    """Relative errors of an operator against its own finest uniform grid, one per mesh and size, and their orders.

    `problem` says why an operator declared "fixed" could not be measured; it is empty otherwise.
    """

    sizes: tuple[int, ...]
    reference: int
    errors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    problem: str = ""

    def order(self, mesh: str) -> float:
        """Return the observed order on `mesh`: the slope of log error over log 1/n; infinite when all is rounding.

        Sizes above a quarter of the finest grid are left out where two others remain: its own error would be seen.
        """
        n, error = np.array(self.sizes, dtype=float), np.array(self.errors[mesh])
        usable = error > ROUNDING
        far = usable & (n <= self.reference / 4 + 1)
        usable = far if far.sum() >= 2 else usable
        if usable.sum() < 2:
            return np.inf
        return float(-np.polyfit(np.log(n[usable]), np.log(error[usable]), 1)[0])

    def __str__(self) -> str:
        lines = [f"{mesh}, order {self.order(mesh):.2f}: " + ", ".join(
            f"{error:.1e} (n={n})" for n, error in zip(self.sizes, errors, strict=True))
            for mesh, errors in self.errors.items()]  # fmt: skip
        return "\n".join(lines) or self.problem


def mesh_and_weights(kind: str, n: int, interval: tuple[float, float] = (0.0, 1.0)) -> tuple[np.ndarray, np.ndarray]:
    """Return n points x of a mesh with both ends, x = t ("uniform") or t^2 ("clustered"), and trapezoid weights.

    The weights sum to the length of the interval; on periodic functions the uniform rule is exact up to aliasing.
    """
    low, high = interval
    x = low + (high - low) * MESHES[kind](np.linspace(0.0, 1.0, n))
    gaps = np.diff(x)
    return x, np.concatenate(([gaps[0]], gaps[1:] + gaps[:-1], [gaps[-1]])) / 2


def smooth_function(interval: tuple[float, float] = (0.0, 1.0)) -> Function:
    """Return the band-limited periodic test function: a mean and five waves of unlike phases over the interval."""
    k, amplitude, phase = np.arange(6), 1 / (1 + np.arange(6) ** 2), np.sqrt(7 * np.arange(6))
    low, high = interval
    return lambda x: (amplitude * np.cos(2 * np.pi * k * (x[:, None] - low) / (high - low) + phase)).sum(-1)


def measure_resolution(apply: Apply, *, function: Function | None = None, interval: tuple[float, float] = (0.0, 1.0),
                       sizes: Sequence[int] = SIZES, reference: int = 2048) -> ResolutionReport:  # fmt: skip
    """Return the errors of `apply` on uniform and clustered meshes against its own answer on the finest uniform grid.

    e(mesh, n) = max |A(f, mesh_n)(q) - A(f, uniform_N)(q)| / max |A(f, uniform_N)(q)| over 61 query points q.

    Parameters
    ----------
    apply : (values (node), x (node), weights (node), query (query)) -> (query) or (query, feature), float64 arrays.
    function : the input function, evaluated at the samples; smooth, band-limited and periodic unless given.
    sizes, reference : numbers n of samples, and N; n and N - 1 that grow by powers of two give the cleanest orders.

    Contract: one limit on all meshes. An operator that ignores the weights converges on each mesh, to another limit;
    its error against the uniform grid then stops falling.
    Source: Berner et al., arXiv 2506.10973 (discretisation convergence). Departures: one input function instead of the
    supremum over a compact set. A stencil of fixed pixels whose taps have a sum converges too, to a pointwise
    multiplication: whether that is the operator that was meant, no refinement can tell.
    """
    function = function or smooth_function(interval)
    if max(sizes) >= reference or min(sizes) < 3:
        raise ValueError(f"measure_resolution: expected 3 <= sizes < reference, got {tuple(sizes)} and {reference}")
    length = interval[1] - interval[0]
    query = interval[0] + length * (np.arange(61) + 0.5) / 61

    def answer(kind: str, n: int) -> np.ndarray:
        x, weights = mesh_and_weights(kind, n, interval)
        result = np.asarray(apply(function(x), x, weights, query.copy()), dtype=float)
        if result.shape[:1] != query.shape or not np.isfinite(result).all():
            raise ValueError(f"operator: expected finite values at {len(query)} query points from n = {n} samples "
                             f"on the {kind} mesh, got shape {result.shape}; return one per query")  # fmt: skip
        return result

    finest = answer("uniform", reference)
    scale = np.abs(finest).max() or 1.0
    errors = {kind: tuple(float(np.abs(answer(kind, n) - finest).max() / scale) for n in sizes) for kind in MESHES}
    return ResolutionReport(tuple(sizes), reference, errors)


def check_discretization(
    apply: Apply,
    declared: Discretization,
    *,
    min_order: float = 0.9,
    tolerance: float = 0.1,
    measure: Callable[[Apply], ResolutionReport] = measure_resolution,
) -> ResolutionReport:
    """Raise an AssertionError if an operator declared "agnostic" does not converge; return what was measured.

    Parameters
    ----------
    min_order : the least observed order on every mesh, unless the errors are rounding.
    tolerance : the largest relative error allowed at the largest size; a fixed stencil can fall with n and stay wrong.
    measure : `measure_resolution`, or a partial of it with other sizes or another function.

    Contract: a "fixed" operator always passes, also when it takes one size only; its report says what was seen.
    """
    if declared not in get_args(Discretization):
        raise ValueError(
            f"check_discretization: expected {get_args(Discretization)}, got {declared!r}; correct the class"
        )
    try:
        report = measure(apply)
    except Exception as error:  # a network of one size may raise anything
        if declared == "fixed":
            return ResolutionReport((), 0, problem=f"not applicable to other sizes: {type(error).__name__}: {error}")
        raise AssertionError(f'resolution: expected an operator declared "agnostic" to take any mesh, got '
                             f'{type(error).__name__}: {error}; declare it "fixed" or mend it') from error  # fmt: skip
    for mesh, errors in report.errors.items():
        order = report.order(mesh)
        if declared == "agnostic" and max(errors) > ROUNDING and (order < min_order or errors[-1] > tolerance):
            raise AssertionError(
                f'resolution: expected an operator declared "agnostic" to converge on the {mesh} mesh with order >= '
                f"{min_order:g} and relative error <= {tolerance:g} at n = {report.sizes[-1]}, got order {order:.2f} "
                f'and {errors[-1]:.1e}; weight sums over samples by the quadrature weights, or declare it "fixed"'
            )
    return report


def function_operator(operator: Operator, parameters: xr.Dataset | None = None) -> Apply:
    """Return an operator on labelled datasets as the callable that the kit measures.

    Convention: among its inputs are `x` (node), `weight` (node) and `query` (query); the first other input that shares
    the dimension of `x` is the function; the first output, along the dimension of `query`, is the answer. Any of them
    may have the batch dimension, of size one here. Values are given in the units that the spec declares.

    Parameters
    ----------
    parameters : the remaining inputs, if there are any, with a batch of one.
    """
    fields = {spec.name: spec for spec in operator.spec.inputs}
    missing = {"x", "weight", "query"} - fields.keys()
    if missing:
        raise ValueError(
            f"function_operator: expected the inputs x, weight and query, got none called {sorted(missing)}"
        )
    batch = operator.spec.batch_dim
    nodes = set(fields["x"].dims) - {batch}
    samples = [s for name, s in fields.items() if name not in ("x", "weight", "query") and nodes & set(s.dims)]
    if not samples:
        raise ValueError(f"function_operator: expected an input function with the dimension {nodes} of x, got none")

    def labelled(spec: FieldSpec, values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray, dict[str, str]]:
        return (
            spec.dims,
            values.reshape([1 if dim == batch else len(values) for dim in spec.dims]),
            {"units": spec.unit},
        )

    def apply(values: np.ndarray, x: np.ndarray, weights: np.ndarray, query: np.ndarray) -> np.ndarray:
        given = {"x": x, "weight": weights, "query": query, samples[0].name: values}
        data = xr.Dataset({name: labelled(fields[name], array) for name, array in given.items()})
        output = operator(data if parameters is None else data.merge(parameters))[operator.spec.outputs[0].name]
        return np.asarray(output.isel({batch: 0}) if batch in output.dims else output)

    return apply
