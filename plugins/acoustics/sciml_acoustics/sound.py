"""Impulse responses made audible: band-limited resampling at one level for all clips."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import firwin, resample_poly

Array = NDArray[Any]
HEADROOM = 0.9  # peak of the loudest clip; a prediction at the same level may exceed the truth by a tenth
HALF_LENGTH = 32  # of the interpolation filter, in samples of the slower rate


def to_audio(
    responses: ArrayLike, time: ArrayLike, rate: int = 48000, level: float | None = None, fade: float = 0.005
) -> tuple[Array, float]:
    """Resample responses to an audio rate and scale all of them by one number.

    Parameters
    ----------
    responses : (n, time), Pa.
    time : (time,), s, uniform.
    rate : samples per second of the clips.
    level : pressure (Pa) that becomes 1; None: that at which the loudest clip peaks at 0.9. Give the level that one
        call returned to the next, and their clips can be compared.
    fade : length of a cosine fade at the end, s; without it the cut end of a response is a click of its own.

    Returns
    -------
    clips : (n, sample), in [-1, 1].
    level : pressure that 1 stands for, Pa.

    *Contract*: clips keep the ratios of their responses; nothing is normalised one by one, and nothing clips.

    Examples
    --------
    >>> t = np.arange(100) / 2000
    >>> clips, level = to_audio([np.exp(-t / 0.01), 0.5 * np.exp(-t / 0.01)], t)
    >>> clips.shape, float((abs(clips[1]).max() / abs(clips[0]).max()).round(12))
    ((2, 2400), 0.5)
    """
    signals, times = np.asarray(responses, float), np.asarray(time, float)
    if signals.ndim != 2 or times.shape != signals.shape[1:] or len(times) < 2 or not np.all(np.isfinite(signals)):
        got = f"{signals.shape} and {times.shape}"
        raise ValueError(f"to_audio: expected finite responses (n, time) and their times, got {got}; one row a clip")
    step = np.ptp(times) / (len(times) - 1)
    if np.abs(np.diff(times) - step).max() > 1e-6 * step:
        raise ValueError(f"to_audio: expected uniform times, got steps {np.diff(times)}; interpolate first")
    n_fade = min(round(fade / step), len(times))
    window = np.ones(len(times))
    window[len(times) - n_fade :] = 0.5 + 0.5 * np.cos(np.pi * (np.arange(n_fade) + 1.0) / (n_fade + 1.0))
    clips = _resample(signals * window, Fraction(rate * step).limit_denominator(1000))
    peak = float(np.abs(clips).max())
    level = level if level is not None else peak / HEADROOM if peak > 0.0 else 1.0
    if not level > 0.0 or peak > level:
        raise ValueError(f"to_audio: expected a level of at least the peak {peak:.4g} Pa, got {level:.4g}; raise it")
    return clips / level, level


def _resample(signals: Array, ratio: Fraction) -> Array:
    """Signals (n, time) at `ratio` times their rate, through one long linear-phase filter."""
    slower = max(ratio.numerator, ratio.denominator)
    taps = firwin(2 * HALF_LENGTH * slower + 1, 1.0 / slower, window=("kaiser", 8.0)) if slower > 1 else np.ones(1)
    return np.asarray(resample_poly(signals, ratio.numerator, ratio.denominator, axis=-1, window=taps))


def pulse_train(clips: ArrayLike, rate: int = 48000, n_clicks: int = 3, interval: float = 0.5) -> Array:
    """Repeat clips as if the room were excited by several clicks: a response of 50 ms alone is too short to judge.

    Parameters
    ----------
    clips : (n, sample), from `to_audio`.
    rate : samples per second.
    n_clicks, interval : number of clicks and time between them, s.

    Returns
    -------
    trains : (n, n_clicks x interval x rate), in [-1, 1].

    *Contract*: the level is that of the clips; a clip that outlasts the interval is an error, so nothing adds up.
    """
    signals = np.asarray(clips, float)
    n_interval = round(interval * rate)
    if signals.ndim != 2 or n_clicks < 1 or signals.shape[1] > n_interval:
        got = f"{signals.shape}, {n_clicks} clicks"
        raise ValueError(f"pulse_train: expected clips (n, at most {n_interval}), got {got}; lengthen the interval")
    silence = np.zeros((len(signals), n_interval - signals.shape[1]))
    return np.tile(np.concatenate([signals, silence], axis=1), (1, n_clicks))
