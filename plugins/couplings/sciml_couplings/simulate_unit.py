"""Simulate a mock-up unit by fmpy in a process of its own: a unit brings Python along, and is no guest that leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

STEP = 0.2


def simulate(
    unit: Path, inputs: Mapping[str, np.ndarray], start: Mapping[str, float] | None = None
) -> dict[str, np.ndarray]:
    """Return inputs and outputs over the steps of a simulation, by name.

    Parameters
    ----------
    unit : of FMI 2 or 3.
    inputs : variables (time, ...) by name, one value for each step; all of one shape, as fmpy wants them.
    start : values of variables that stay.

    Raises
    ------
    ValueError
        The simulation failed; the message is the simulator's log.
    """
    words = [str(unit), {name: array.tolist() for name, array in inputs.items()}, dict(start or {})]
    command, folder = [sys.executable, "-m", __name__], str(unit.parent)
    environment = {**os.environ, "TMPDIR": folder}
    done = subprocess.run(command, input=json.dumps(words), env=environment, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    if done.returncode or not lines or not lines[-1].startswith("{"):
        raise ValueError(f"fmu: expected a simulation, got: {(done.stdout + done.stderr)[-2000:]}")
    return {name: np.array(values) for name, values in json.loads(lines[-1]).items()}


def main() -> None:
    """Read what to simulate from the standard input, and write the result as the last line."""
    import fmpy

    unit, inputs, start = json.load(sys.stdin)
    arrays = {name: np.array(values, dtype=float) for name, values in inputs.items()}
    kinds: Any = [("time", float), *((name, float, array.shape[1:]) for name, array in arrays.items())]
    table = np.zeros(len(next(iter(arrays.values()))), dtype=kinds)
    table["time"] = STEP * np.arange(len(table))
    for name, array in arrays.items():
        table[name] = array
    variables = fmpy.read_model_description(unit).modelVariables
    names = [variable.name for variable in variables if variable.causality in ("input", "output")]
    times = {"stop_time": float(table["time"][-1]), "step_size": STEP, "output_interval": STEP}
    result = fmpy.simulate_fmu(unit, input=table, start_values=start, output=names, **times)
    print(json.dumps({name: result[name].tolist() for name in names}))


if __name__ == "__main__":
    try:
        main()
        code = 0
    except Exception as error:
        print(error, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the unit's library does not survive the interpreter's own end
