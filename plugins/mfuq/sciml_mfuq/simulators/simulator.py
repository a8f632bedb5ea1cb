"""What simulators outside this process share: how runs without an answer are marked, and what can go wrong at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr


class ProgramError(RuntimeError):
    """A program outside this process did not give what it was asked for."""


class MissingProgram(ProgramError):
    """The program is not installed."""


class MissingCompiler(ProgramError):
    """What must be compiled cannot be: there is no C compiler."""


class ProgramCrashed(ProgramError):
    """The program did not start, or ended by a signal or with an error."""


class ProgramTimeout(ProgramError):
    """The program did not end in time and was stopped."""


class GarbledOutput(ProgramError):
    """The program ended, but its output is not what it should be."""


def marked(outputs: xr.Dataset, inputs: xr.Dataset, reasons: Sequence[str]) -> xr.Dataset:
    """Return `outputs` with coordinates along the batch: the mask `converged`, the text `reason`, and the inputs.

    Parameters
    ----------
    outputs : (batch, ...), NaN in the runs without an answer.
    inputs : of the runs.
    reasons : (batch,), why a run has no answer; empty where it has one.
    """
    marks = {
        "converged": ("batch", np.array([not reason for reason in reasons], dtype=bool)),
        "reason": ("batch", np.array(reasons, dtype=object)),
    }
    return outputs.assign_coords({**inputs.variables, **marks})


def converged_only(outputs: xr.Dataset, name: str) -> tuple[xr.Dataset, tuple[str, ...]]:
    """Return the runs that have an answer, their marks taken off, and a note on those left out, if any.

    Parameters
    ----------
    outputs : of a simulator, with the coordinate `converged`.
    name : of the simulator, for the note.
    """
    mask = outputs["converged"].values
    kept = outputs.isel(batch=np.flatnonzero(mask)).drop_vars(["converged", "reason"])
    n_lost = int((~mask).sum())
    if not n_lost:
        return kept, ()
    verb = "was" if n_lost == 1 else "were"
    return kept, (f"{name}: {n_lost} of {len(mask)} runs gave no converged answer and {verb} left out",)
