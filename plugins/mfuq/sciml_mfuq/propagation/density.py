"""Kernel density estimates in linear time: linear binning, then one convolution."""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

from sciml_mfuq.propagation.calls import Array

NODES_PER_BANDWIDTH = 8
MOST_NODES = 2**20
REACH = 8.0
"""Bandwidths after which the normal kernel is cut; what is cut is 1e-15 of it."""


def silverman(values: Array) -> float:
    """Return Silverman's bandwidth ``0.9 min(std, IQR / 1.349) n^{-1/5}``, in the unit of the values.

    Parameters
    ----------
    values : (n,)
        A sample that is not constant.

    *Source*: Silverman, Density Estimation (1986), equation (3.31). It over-smooths densities of several narrow modes.

    *Departures*: the standard deviation alone where half of the values are equal.
    """
    low, high = np.quantile(values, [0.25, 0.75])
    spread = float(values.std())
    quartiles = float(high - low) / 1.349
    return 0.9 * (min(spread, quartiles) if quartiles > 0 else spread) * len(values) ** -0.2


def kernel_density(values: Array, at: Array, bandwidth: float) -> Array:
    """Return the density of a sample smoothed by a normal kernel.

    ``p(y) = 1 / (n h) sum_j phi((y - y_j) / h)``

    Parameters
    ----------
    values : (n,)
        The sample.
    at : (point,)
        Where to estimate.
    bandwidth
        Standard deviation h of the kernel, in the unit of the values.

    Returns
    -------
    (point,)
        Density in one over the unit of the values.

    *Contract*: integrates to one over the line; its bias is ``h^2 p'' / 2``, and at a jump of the true density, such as
    the end of its support, the estimate is the mean of both sides, whatever the sample size: it leaks by about 2 h.

    *Source*: Wand, J. Comput. Graph. Stat. 3 (1994), section 3 (linear binning, convolution).

    Examples
    --------
    >>> kernel_density(np.array([0.0]), np.array([0.0, 1.0]), 1.0).round(3)
    array([0.399, 0.242])
    """
    at = np.asarray(at, dtype=np.float64)
    low, high = at.min() - (REACH + 1) * bandwidth, at.max() + (REACH + 1) * bandwidth
    step = bandwidth / NODES_PER_BANDWIDTH
    n_nodes = int(np.ceil((high - low) / step)) + 2
    if n_nodes > MOST_NODES:
        got = f"{at.min():g} to {at.max():g} with bandwidth {bandwidth:g}"
        raise ValueError(
            f"kernel_density: expected a range of at most {MOST_NODES // 8} bandwidths, got {got}; narrow it"
        )
    near = values[(values >= low) & (values <= high)]
    place = (near - low) / step
    left = place.astype(np.int64)
    share = place - left
    counts = np.bincount(left, 1 - share, n_nodes) + np.bincount(left + 1, share, n_nodes + 1)[:n_nodes]
    offsets = np.arange(-int(REACH * NODES_PER_BANDWIDTH), int(REACH * NODES_PER_BANDWIDTH) + 1) / NODES_PER_BANDWIDTH
    kernel = np.exp(-0.5 * offsets**2) / np.sqrt(2 * np.pi)
    smooth = np.maximum(fftconvolve(counts, kernel, mode="same"), 0.0) / (len(values) * bandwidth)
    return np.asarray(np.interp(at, low + step * np.arange(n_nodes), smooth))
