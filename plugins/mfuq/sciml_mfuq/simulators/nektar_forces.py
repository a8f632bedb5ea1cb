"""The force files of Nektar++'s filter AeroForces, and the coefficients of an aerofoil in them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sciml_mfuq.simulators.simulator import GarbledOutput, ProgramError

Array = NDArray[np.float64]
TITLES = ("#", "Time", *(f"{axis}-{part}" for axis in ("F1", "F2", "M3") for part in ("press", "visc", "total")))
QUARTER_CHORD = 0.25


class UnfinishedRun(ProgramError):
    """A run that broke off before its end, or went on with numbers that are none."""


@dataclass(frozen=True, eq=False)
class Forces:
    """Forces and moment on an aerofoil over time, unit density, inflow speed and chord.

    Parameters
    ----------
    time : (time,), chords over inflow speed.
    force : (time, axis, part), along x (the chord) and y, by pressure and by viscosity.
    moment : (time, part), about the leading edge, counterclockwise.
    """

    time: Array
    force: Array
    moment: Array

    def coefficients(self, angle_of_attack: float, mean_after: float) -> Array:
        """Return the mean lift, drag and moment coefficients after a transient: (3,).

            C_l = 2 (F_y cos a - F_x sin a),  C_d = 2 (F_x cos a + F_y sin a),  C_m = 2 (F_y / 4 - M)

        The moment counts nose up, about the quarter chord.

        Parameters
        ----------
        angle_of_attack : a, degree.
        mean_after : records after this time count, chords over inflow speed.
        """
        late = self.time > mean_after
        if not late.any():
            raise UnfinishedRun(
                f"forces: expected records after time {mean_after:g}, got none; let the run go on or lower mean_after"
            )
        x, y = self.force[late].sum(-1).mean(0)
        moment = self.moment[late].sum(-1).mean()
        sin, cos = math.sin(math.radians(angle_of_attack)), math.cos(math.radians(angle_of_attack))
        return 2 * np.array([y * cos - x * sin, x * cos + y * sin, QUARTER_CHORD * y - moment])


def read_forces(text: str, end_time: float, where: str = "forces") -> Forces:
    """Return what a force file records, if the run came to its end.

    The columns behind the time have the width of their titles, so that numbers may touch; a time that outgrows its own
    column moves the others to the right. A last line without its end, as a killed run leaves it, does not count.

    Parameters
    ----------
    text : of the file.
    end_time : at least which the last record must reach, to the rounding of the file.
    where : named by errors.

    Contract: a run that broke off, or whose records hold NaN or infinity, is an `UnfinishedRun` that says when; other
    damage is a `GarbledOutput`.
    """
    lines = text[: text.rfind("\n") + 1].splitlines()
    titles = next((line for line in lines if tuple(line.split()) == TITLES), None)
    if titles is None:
        raise GarbledOutput(f"{where}: expected the columns {' '.join(TITLES[1:])}, got {text[:60]!r}; check the file")
    width = titles.index("F1-visc") + len("F1-visc") - titles.index("F1-press") - len("F1-press")
    rows = [line.rstrip() for line in lines if line.strip() and not line.startswith("#")]
    n_columns = len(TITLES) - 2
    try:
        table = np.array([_numbers(row, width, n_columns) for row in rows]).reshape(-1, 1 + n_columns)
    except ValueError:
        raise GarbledOutput(
            f"{where}: expected rows of a time and {n_columns} numbers, got another; copy it again"
        ) from None
    bad = ~np.isfinite(table).all(1)
    last = float(table[~bad][-1, 0]) if (~bad).any() else 0.0
    if bad.any():
        raise UnfinishedRun(
            f"{where}: expected finite forces, got NaN or infinity after time {last:g}; shorten time_step"
        )
    if last < end_time - 1e-6 * abs(end_time):
        raise UnfinishedRun(f"{where}: expected records to time {end_time:g}, got them to {last:g}; look at its log")
    by_part = table[:, 1:].reshape(-1, 3, 3)[:, :, :2]
    return Forces(table[:, 0], by_part[:, :2], by_part[:, 2])


def _numbers(row: str, width: int, n_columns: int) -> list[float]:
    first = len(row) - width * n_columns
    return [float(row[:first]), *(float(row[first + width * i : first + width * (i + 1)]) for i in range(n_columns))]
