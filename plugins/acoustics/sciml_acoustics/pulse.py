"""The Gaussian pressure pulse that starts every simulation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pulse_width(f_max: float, c: float = 343.0) -> float:
    """Width ``sigma0 = c / (pi f_max / 2)`` in metres of the pulse that fills the band up to ``f_max`` (Hz).

    At ``f_max`` the spectrum of the pulse, ``exp(-(k sigma0 / 2)^2)`` with ``k = 2 pi f_max / c``, has fallen to
    ``exp(-4) = 0.018`` of its value at 0 Hz.

    Examples
    --------
    >>> round(pulse_width(1000.0), 4)
    0.2184
    """
    if not (f_max > 0.0 and c > 0.0):
        raise ValueError(f"pulse_width: expected positive f_max and c, got {f_max} Hz and {c} m/s; check the units")
    return c / (math.pi * f_max / 2.0)


def gaussian_pulse(
    source_position: ArrayLike, nodes: ArrayLike, sigma0: float, amplitude: float = 1.0
) -> NDArray[np.float64]:
    """Initial pressure ``A exp(-|x - x0|^2 / sigma0^2)`` of each source at each node.

    Parameters
    ----------
    source_position : (n_source, n_axis), m.
    nodes : (n_node, n_axis), m.
    sigma0 : width, m.
    amplitude : peak pressure A, Pa.

    Returns
    -------
    pressure : (n_source, n_node), Pa.
    """
    sources = np.atleast_2d(np.asarray(source_position, float))
    points = np.atleast_2d(np.asarray(nodes, float))
    if sources.ndim != 2 or points.ndim != 2 or sources.shape[1] != points.shape[1]:
        raise ValueError(
            f"gaussian_pulse: expected sources (S, d) and nodes (N, d) with the same d, got {sources.shape} and "
            f"{points.shape}; reshape them"
        )
    if not sigma0 > 0.0:
        raise ValueError(f"gaussian_pulse: expected a positive sigma0, got {sigma0}; use pulse_width(f_max, c)")
    exponent = np.zeros((len(sources), len(points)))
    for axis in range(sources.shape[1]):
        exponent += (sources[:, axis, None] - points[None, :, axis]) ** 2
    return np.asarray(amplitude * np.exp(-exponent / sigma0**2))
