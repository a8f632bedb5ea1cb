"""Pressure around NACA 0012 from two flows: the potential flow (cheap) and the viscous one (costly)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciml_mfuq.simulators.program import Execution
from sciml_mfuq.simulators.simulator import converged_only
from sciml_mfuq.simulators.xfoil import XfoilPressure

ANGLES = (0.0, 10.0)  # degree
REYNOLDS = (2e5, 5e6)


@dataclass(frozen=True, eq=False)
class FieldPair:
    """Runs of a field by a cheap and a costly simulator.

    Parameters
    ----------
    low : pressure_coefficient (batch, node) of the potential flow by angle_of_attack (batch,), degree.
    high, test : of the viscous flow by angle_of_attack and reynolds (batch,), for fitting and for judging.
    notes : on runs left out since they did not converge.
    """

    low: xr.Dataset
    high: xr.Dataset
    test: xr.Dataset
    notes: tuple[str, ...]


def cp_field_pair(
    n_low: int = 60, n_high: int = 14, n_test: int = 60, *, seed: int, execution: Execution | None = None
) -> FieldPair:
    """Run XFOIL for the pressure at the panel nodes of NACA 0012, angles 0 to 10 degrees, Reynolds 2e5 to 5e6.

    Latin hypercubes, uniform in the angle and in the logarithm of the Reynolds number, each of its own random stream:
    more runs of one kind leave the others as they are. The potential flow knows no Reynolds number.

    Parameters
    ----------
    n_low, n_high, n_test : runs of the potential flow, and of the viscous flow to fit and to judge.
    seed : of the samples.
    execution : workers, timeout, program and cache of XFOIL.

    *Contract*: equal arguments give equal data; finished runs are kept in the cache and not run again. All three share
    the nodes, whose coordinates are `node_x` and `node_y`.
    """
    run = execution or Execution()
    low, viscous = XfoilPressure(viscous=False, execution=run), XfoilPressure(execution=run)
    angle = _hypercube(n_low, 1, seed, 0)[:, 0]
    cheap, lost = converged_only(low(_inputs(angle)), "inviscid XFOIL")
    fit, lost_to_fit = converged_only(viscous(_inputs(*_hypercube(n_high, 2, seed, 1).T)), "viscous XFOIL to fit")
    test, lost_to_judge = converged_only(viscous(_inputs(*_hypercube(n_test, 2, seed, 2).T)), "viscous XFOIL to judge")
    return FieldPair(cheap, fit, test, (*lost, *lost_to_fit, *lost_to_judge))


def _hypercube(n: int, n_dims: int, seed: int, stream: int) -> NDArray[np.float64]:
    rng = np.random.default_rng([seed, stream])
    cells = rng.permuted(np.tile(np.arange(n), (n_dims, 1)), axis=1).T
    return (cells + rng.random((n, n_dims))) / n


def _inputs(angle: NDArray[np.float64], reynolds: NDArray[np.float64] | None = None) -> xr.Dataset:
    low, high = ANGLES
    data = {"angle_of_attack": ("batch", low + (high - low) * angle, {"units": "degree"})}
    if reynolds is not None:
        smallest, largest = REYNOLDS
        data["reynolds"] = ("batch", smallest * (largest / smallest) ** reynolds, {"units": "1"})
    return xr.Dataset(data)
