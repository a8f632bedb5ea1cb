"""Runs of operators as levels of a fit, each with the inputs that it has; and a real chain of three simulators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from sciml_mfuq.samples import Level, Samples
from sciml_mfuq.simulators.nektar import RECORDED_ANGLES, RECORDED_COST_S, RECORDED_REYNOLDS, nektar_table
from sciml_mfuq.simulators.neuralfoil import NeuralFoil
from sciml_mfuq.simulators.program import Execution
from sciml_mfuq.simulators.xfoil import Flow, Numerics, Xfoil

COST_S = {"neuralfoil": 0.001, "xfoil": 0.05, "nektar": RECORDED_COST_S}  # of one run, on one core


def level_of_runs(name: str, runs: xr.Dataset, output: str, inputs: Sequence[str], cost: float) -> Level:
    """Return the runs of one simulator as a level for the truth's `inputs`, of which it may see only some.

    Parameters
    ----------
    name : of the simulator.
    runs : `output` (batch,) or (batch, location), NaN where a run has no answer, with its standard error `NAME_std`
        where there is one; the inputs that the simulator has are coordinates or variables (batch,).
    output : which output.
    inputs : names of the inputs of the truth, in order.
    cost : of one run.

    >>> runs = xr.Dataset({"lift": ("batch", [0.0, 0.4])}, coords={"angle": ("batch", [0.0, 4.0])})
    >>> level_of_runs("potential flow", runs, "lift", ["angle", "reynolds"], 0.1).columns
    (0,)
    """
    columns = tuple(number for number, name in enumerate(inputs) if name in runs.variables)
    if not columns:
        raise ValueError(f"level {name!r}: expected some of the inputs {list(inputs)}, got none; name them so")
    x = np.stack([runs[inputs[number]].values for number in columns], 1)
    noise = runs[f"{output}_std"].values if f"{output}_std" in runs else None
    return Level(name, x, runs[output].values, cost, noise, None if len(columns) == len(inputs) else columns)


def laminar_chain(
    output: str = "lift_coefficient", n_neuralfoil: int = 33, n_xfoil: int = 9, execution: Execution | None = None
) -> Samples:
    """Return a chain of real simulators of NACA 0012 at Reynolds number 1000: NeuralFoil, XFOIL, recorded Nektar++.

    The only input is the angle of attack, 0 to 8 degrees, evenly spaced for the two that are run.

    Parameters
    ----------
    output : lift_coefficient, drag_coefficient or moment_coefficient.
    n_neuralfoil, n_xfoil : runs of these two, none of NeuralFoil if 0; Nektar++ has its three recorded ones, with their
        standard errors.
    execution : of XFOIL.
    """
    names, (low, high) = ("angle_of_attack",), (min(RECORDED_ANGLES), max(RECORDED_ANGLES))

    def angles(n: int) -> xr.Dataset:
        return xr.Dataset({names[0]: ("batch", np.linspace(low, high, n), {"units": "degree"})})

    levels = []
    if n_neuralfoil:
        surrogate = NeuralFoil(inputs=names, reynolds=RECORDED_REYNOLDS)
        runs = surrogate(angles(n_neuralfoil))
        levels.append(level_of_runs("neuralfoil", runs, output, names, COST_S["neuralfoil"]))
    # at this Reynolds number a cold start jumps between two solutions
    numerics, run = Numerics(angle_step=1.0), execution or Execution()
    panels = Xfoil(inputs=names, flow=Flow(RECORDED_REYNOLDS, mach=0.0), numerics=numerics, execution=run)
    levels.append(level_of_runs("xfoil", panels(angles(n_xfoil)), output, names, COST_S["xfoil"]))
    levels.append(level_of_runs("nektar", nektar_table(), output, names, COST_S["nektar"]))
    return Samples(tuple(levels), np.array([[low, high]]))
