"""Room-acoustic decay: backward-integrated energy curves and the reverberation times read from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
RANGES: dict[str, tuple[float, float]] = {"EDT": (0.0, -10.0), "T20": (-5.0, -25.0), "T30": (-5.0, -35.0)}
MARGIN = 10.0  # dB that a record has to fall below the evaluated range
STRAIGHT = 10.0  # per mille; ISO 3382-2 calls a curve above it far from a straight line


@dataclass(frozen=True)
class DecayTime:
    """Times to lose 60 dB and whether they can be trusted; all arrays have the leading axes of the energy.

    Parameters
    ----------
    seconds : time to 60 dB, s; NaN where the range holds fewer than three samples.
    nonlinearity : 1000 (1 - r^2) of the regression, per mille; 0 is a straight decay.
    end_level : level at the end of the record, dB; what lies below it was never observed.
    sufficient : the record falls at least 10 dB below the evaluated range.
    """

    seconds: Array
    nonlinearity: Array
    end_level: Array
    sufficient: NDArray[np.bool_]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Where the decay is both sufficient and straight enough (at most 10 per mille) to be called one time."""
        return np.asarray(self.sufficient & (self.nonlinearity <= STRAIGHT))


def field_energy(pressure: ArrayLike, node_weight: ArrayLike) -> Array:
    """Energy ``sum_n w_n p_n^2`` of the pressure field at each time.

    Parameters
    ----------
    pressure : (source, time, node), Pa.
    node_weight : (node,), quadrature weights, m^d.

    Returns
    -------
    energy : (source, time), Pa^2 m^d.
    """
    field, weight = np.asarray(pressure), np.asarray(node_weight)
    if field.ndim != 3 or weight.shape != field.shape[2:]:
        raise ValueError(
            f"field_energy: expected pressure (source, time, node) and one weight per node, got {field.shape} and "
            f"{weight.shape}; transpose the pressure"
        )
    return np.asarray(np.einsum("stn,stn,n->st", field, field, weight, dtype=np.float64))


def decay_curve(energy: ArrayLike, *, extrapolate: bool = False) -> Array:
    """Schroeder's backward integral ``10 log10 (int_t^end e / int_0^end e)``.

    Parameters
    ----------
    energy : (..., time), squared pressure or field energy at equal time steps.
    extrapolate : add the energy after the end of the record, as if the last quarter of it decayed on; without this
        every curve dives at its end. Where the last quarter does not decay there is nothing to add, and nothing is.

    Returns
    -------
    level : (..., time), dB; 0 at the first sample (below it by the sum's rounding only), -inf where no energy is left.

    *Source*: Schroeder, J. Acoust. Soc. Am. 37 (1965); the constant for the end is that of ISO 3382-1, 5.3.3.
    """
    values = _energy(energy, "decay_curve")
    after = _energy_after(values)[..., None] if extrapolate else 0.0
    left = np.cumsum(values[..., ::-1], axis=-1)[..., ::-1] + np.where(np.isfinite(after), after, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * np.log10(left / left[..., :1]))


def decay_time(energy: ArrayLike, time: ArrayLike, low: float = -5.0, high: float = -25.0) -> DecayTime:
    """Time to lose 60 dB, ``-60 / slope``, from a straight line through the decay curve between two levels.

    Parameters
    ----------
    energy : (..., time), squared pressure at a receiver, or field energy.
    time : (time,), s, uniform.
    low, high : where the line begins and ends, dB; `RANGES` holds those of EDT, T20 and T30.

    *Contract*: for ``e = exp(-13.816 t / T)`` the answer is T, whatever the step.

    *Source*: ISO 3382-1, 5.3.3 and 6; nonlinearity from ISO 3382-2, annex B.

    *Departures*: samples before the sound arrives (20 dB below the peak) are left out, so EDT needs no trimmed record.

    Examples
    --------
    >>> t = np.arange(400) / 2000
    >>> float(decay_time(np.exp(-6 * np.log(10) * t / 0.1), t).seconds.round(6))
    0.1
    """
    values, times = _energy(energy, "decay_time"), np.asarray(time, float)
    if times.shape != values.shape[-1:] or np.ptp(np.diff(times)) > 1e-6 * np.ptp(times):
        got = f"{times.shape} for energy {values.shape}"
        raise ValueError(f"decay_time: expected uniform times (time,) of the energy, got {got}; resample the record")
    if not 0.0 >= low > high:
        raise ValueError(f"decay_time: expected 0 >= low > high, got {low} and {high} dB; levels are negative")
    level = decay_curve(values, extrapolate=True)
    arrived = np.maximum.accumulate(values >= 0.01 * values.max(axis=-1, keepdims=True), axis=-1)
    used = (level <= low) & (level >= high) & arrived
    count = used.sum(axis=-1)
    x, y = _centred(np.broadcast_to(times, level.shape), used), _centred(level, used)
    xx, xy, yy = (x * x).sum(axis=-1), (x * y).sum(axis=-1), (y * y).sum(axis=-1)
    evaluable = (count >= 3) & (xy < 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        seconds = np.where(evaluable, -60.0 * xx / xy, np.nan)
        nonlinearity = np.where(evaluable, 1000.0 * np.maximum(1.0 - xy * xy / (xx * yy), 0.0), np.inf)
    decaying = np.isfinite(_energy_after(values))
    end_level = np.where(decaying, level[..., -1], 0.0)
    return DecayTime(seconds, nonlinearity, end_level, evaluable & (end_level <= high - MARGIN))


def _centred(values: Array, used: NDArray[np.bool_]) -> Array:
    kept = np.where(used, values, 0.0)
    mean = kept.sum(axis=-1, keepdims=True) / np.maximum(used.sum(axis=-1, keepdims=True), 1)
    return np.where(used, kept - mean, 0.0)


def _energy(energy: ArrayLike, where: str) -> Array:
    values = np.asarray(energy, float)
    if values.ndim == 0 or values.shape[-1] < 8:
        raise ValueError(
            f"{where}: expected energy (..., time) with 8 times or more, got {values.shape}; record longer"
        )
    if not np.all(np.isfinite(values)) or np.any(values < 0.0) or np.any(values.max(axis=-1) <= 0.0):
        raise ValueError(f"{where}: expected finite energy >= 0 that is not all zero, got others; square the pressure")
    return values


def _energy_after(values: Array) -> Array:
    """Energy after the record (...): a geometric series of its last two quarters; inf where it does not decay."""
    quarter = values.shape[-1] // 4
    last = values[..., -quarter:].sum(axis=-1)
    before = values[..., -2 * quarter : -quarter].sum(axis=-1)
    ratio = last / np.where(before > 0.0, before, 1.0)
    ends = (last == 0.0) | (ratio < 1.0) & (before > 0.0)
    return np.where(ends, last * ratio / np.where(ends, 1.0 - ratio, 1.0), np.inf)
