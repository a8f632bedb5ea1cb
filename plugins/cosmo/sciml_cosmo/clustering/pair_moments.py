"""Invariant statistics of pair distances below cut-offs: what the published least squares sees of a cloud."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sciml_kernels.pair_histogram import pair_histogram

Array = NDArray[np.float64]

N_FINE = 64  # parts of equal volume of each shell between two cut-offs, for the quantiles
STATISTICS = ("mean", "std", "quantile 1/3", "quantile 2/3")


def pair_statistics(positions: Array, box_size: float, cuts: Array) -> Array:
    """Return mean, standard deviation, 1/3 and 2/3 quantile of the squared distances below every cut-off.

    Parameters
    ----------
    positions : (node, axis)
        Mpc/h, in [0, L).
    box_size
        L, Mpc/h.
    cuts : (cut,)
        Increasing cut-offs, Mpc/h, up to L / 2.

    Returns
    -------
    (cut, 4), in the order of `STATISTICS`, (Mpc/h)^2.

    *Contract*: invariant under shifts, reflections, permutations of axes and nodes. Mean and standard deviation are
    exact; a quantile is interpolated in a histogram of `N_FINE` equal volumes between two cut-offs. The pairs stream
    by: no array of them is ever held.

    *Source*: CosmoBench, arXiv 2507.03707, appendix on least squares.

    *Departures*: pairs at distance 0 count (merged haloes do not vanish); below a cut-off with fewer than two pairs
    the statistics are those of uniform nodes, r^2 (3/5, sqrt(12/175), (1/3)^(2/3), (2/3)^(2/3)), and not NaN.

    Examples
    --------
    >>> nodes = np.random.default_rng(7).uniform(0, 10, (400, 3))
    >>> (pair_statistics(nodes, 10.0, np.array([2.0, 4.0])) / [[4.0], [16.0]]).round(1).tolist()
    [[0.6, 0.3, 0.5, 0.8], [0.6, 0.3, 0.5, 0.8]]
    """
    cuts = np.asarray(cuts, dtype=np.float64)
    if cuts.ndim != 1 or not len(cuts) or cuts[0] <= 0 or (np.diff(cuts) <= 0).any() or cuts[-1] > box_size / 2:
        wanted = f"increasing cut-offs above 0 and up to half the box, {box_size / 2:g} Mpc/h"
        raise ValueError(f"pair_statistics: expected {wanted}, got {cuts}; choose others")
    volumes = _fine_volumes(cuts)
    edges = np.cbrt(volumes)
    edges[N_FINE::N_FINE] = cuts  # to the bit, so that mean and std are of exactly these pairs
    counts, powers = pair_histogram(
        torch.as_tensor(np.ascontiguousarray(positions), dtype=torch.float64), box_size, edges.tolist()
    )
    sums = np.stack([counts.numpy(), *powers.numpy().T])
    return _statistics(sums, volumes, cuts)


def _fine_volumes(cuts: Array) -> Array:
    coarse = np.concatenate([[0.0], cuts**3])
    parts = np.arange(1, N_FINE + 1) / N_FINE
    inner = coarse[:-1, None] + np.diff(coarse)[:, None] * parts
    return np.concatenate([[0.0], inner.ravel()])


def _statistics(sums: Array, volumes: Array, cuts: Array) -> Array:
    cumulated = np.concatenate([np.zeros((3, 1)), np.cumsum(sums, axis=1)], axis=1)
    n, first, second = cumulated[:, N_FINE::N_FINE]
    uniform = np.array([3 / 5, np.sqrt(12 / 175), (1 / 3) ** (2 / 3), (2 / 3) ** (2 / 3)])
    found = cuts[:, None] ** 2 * uniform
    for k in np.flatnonzero(n >= 2):
        mean = first[k] / n[k]
        inside = slice(0, (k + 1) * N_FINE + 1)
        thirds = np.interp(n[k] * np.array([1 / 3, 2 / 3]), cumulated[0, inside], volumes[inside])
        found[k] = mean, np.sqrt(max(second[k] / n[k] - mean**2, 0.0)), *np.cbrt(thirds) ** 2
    return found
