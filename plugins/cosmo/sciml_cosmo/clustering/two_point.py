"""The two-point correlation function of a periodic box: exact pair counts, analytic or random reference pairs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sciml_kernels.pair_histogram import pair_histogram

Array = NDArray[np.float64]

# Lowest and highest edge (Mpc/h) and number of edges, by suite. Shipped: logarithmic, as in the public scripts.
SHIPPED = {"quijote": (2.0, 80.0, 25), "camels-sam": (1.0, 40.0, 20), "camels": (0.1, 12.0, 20)}
PAPER = {"quijote": (0.5, 480.0, 26), "camels-sam": (0.0125, 12.0, 26), "camels": (0.0125, 12.0, 26)}


def binning(suite: str, source: str = "shipped") -> Array:
    """Return the edges (edge,) of the separation bins of a suite, Mpc/h, equal in the logarithm.

    Parameters
    ----------
    suite
        "quijote", "camels-sam" or "camels".
    source
        "shipped": of the published scripts; "paper": 25 bins, as its appendix B.1 is quoted.

    *Source*: CosmoBench, arXiv 2507.03707, appendix B.1, and its public scripts.

    *Departures*: the paper does not say how its 25 bins are spaced; they are logarithmic here.

    Examples
    --------
    >>> binning("camels-sam")[[0, -1]].tolist(), len(binning("quijote", "paper")) - 1
    ([1.0, 40.0], 25)
    """
    known = {"shipped": SHIPPED, "paper": PAPER}
    if source not in known or suite not in SHIPPED:
        wanted = f"one of {', '.join(SHIPPED)} and shipped or paper"
        raise ValueError(f"binning: expected {wanted}, got {suite!r} and {source!r}; choose from these")
    low, high, n_edge = known[source][suite]
    return np.geomspace(low, high, n_edge)


def pair_counts(positions: Array, box_size: float, edges: Array) -> NDArray[np.int64]:
    """Count the ordered pairs of distinct nodes in every bin of separation, on the torus.

    DD_k = #{(i, j), i != j : edges_k <= r_ij < edges_(k+1)}, r the distance to the nearest image.

    Parameters
    ----------
    positions : (node, axis)
        Comoving, Mpc/h, in [0, L).
    box_size
        L, Mpc/h.
    edges : (edge,)
        Increasing, Mpc/h, at least 0 and at most L / 2: beyond it a pair would have two images.

    Returns
    -------
    (bin,) integers, exact.

    Examples
    --------
    >>> pair_counts(np.array([[1.0, 1, 1], [1, 1, 9.5]]), 10.0, np.array([0.5, 1.0, 2.0, 5.0])).tolist()
    [0, 2, 0]
    """
    edges = np.asarray(edges, dtype=np.float64)
    _check(positions, box_size, edges)
    counts, _ = pair_histogram(
        torch.as_tensor(np.ascontiguousarray(positions), dtype=torch.float64), box_size, edges.tolist()
    )
    return np.asarray(2 * counts.numpy())


def cross_counts(positions: Array, others: Array, box_size: float, edges: Array) -> NDArray[np.int64]:
    """Count the pairs of a node of `positions` and one of `others` (both (node, axis)) in every bin of `edges`.

    `box_size` as in :func:`pair_counts`; returns (bin,) integers, exact: the pairs of both together less those of each.
    """
    together = pair_counts(np.concatenate([positions, others]), box_size, edges)
    return (together - pair_counts(positions, box_size, edges) - pair_counts(others, box_size, edges)) // 2


def shell_volumes(edges: Array) -> Array:
    """Return the volumes (bin,) of the shells between the `edges`, (4 pi / 3) (b^3 - a^3)."""
    return 4 * np.pi / 3 * np.diff(np.asarray(edges, dtype=np.float64) ** 3)


def random_pairs(n_node: int, box_size: float, edges: Array) -> Array:
    """Return the ordered pairs (bin,) expected of independent uniform nodes, exact on the torus.

    RR_k = N (N - 1) V_k / L^3, with V_k the volume of the shell between two `edges` below L / 2, `box_size` = L.
    """
    return n_node * (n_node - 1) * shell_volumes(edges) / box_size**3


def correlation(positions: Array, box_size: float, edges: Array, randoms: Array | None = None) -> Array:
    """Estimate xi(r) in bins of separation.

    Natural estimator with the analytic reference, xi = DD / RR - 1; with `randoms`, that of Landy and Szalay,
    xi = (DD - 2 DR + RR) / RR, each count over its number of pairs.

    Parameters
    ----------
    positions : (node, axis)
        Mpc/h, at least two nodes.
    box_size
        L, Mpc/h.
    edges : (edge,)
        Mpc/h, up to L / 2.
    randoms : (node, axis), optional
        Uniform nodes; take many more than there are data. A bin without random pairs gets xi = 0.

    Returns
    -------
    (bin,), no unit.

    *Contract*: the mean over uniform nodes is 0; shifts, reflections and permutations of the axes change nothing.

    *Source*: Landy and Szalay, Astrophys. J. 412 (1993).

    *Departures*: in a periodic box the analytic RR is exact and has no noise: randoms are there for parity.

    Examples
    --------
    >>> nodes = np.random.default_rng(7).uniform(0, 50, (2000, 3))
    >>> bool(abs(correlation(nodes, 50.0, np.array([5.0, 10.0, 20.0]))).max() < 0.02)
    True
    """
    n_node = len(positions)
    if n_node < 2:
        raise ValueError(f"correlation: expected at least 2 nodes, got {n_node}; leave such clouds out")
    dd = pair_counts(positions, box_size, edges)
    if randoms is None:
        return dd / random_pairs(n_node, box_size, edges) - 1
    n_random = len(randoms)
    rr = pair_counts(randoms, box_size, edges) / (n_random * (n_random - 1))
    dr = cross_counts(positions, randoms, box_size, edges) / (n_node * n_random)
    excess = dd / (n_node * (n_node - 1)) - 2 * dr + rr
    return np.divide(excess, rr, out=np.zeros_like(rr), where=rr > 0)


def _check(positions: Array, box_size: float, edges: Array) -> None:
    edges = np.asarray(edges, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or edges[0] < 0 or (np.diff(edges) <= 0).any():
        raise ValueError(f"pair counts: expected two or more increasing edges >= 0, got {edges}; sort them")
    if edges[-1] > box_size / 2:
        got = f"{edges[-1]:g} of a box of {box_size:g} Mpc/h"
        raise ValueError(f"pair counts: expected edges up to half the box, got {got}; lower the largest edge")
    if np.ndim(positions) != 2 or np.shape(positions)[1] != 3 or not np.isfinite(positions).all():
        raise ValueError(f"pair counts: expected finite (node, 3), got shape {np.shape(positions)}; give three columns")
    if np.min(positions, initial=0) < 0 or np.max(positions, initial=0) >= box_size:
        got = f"{np.min(positions):g} to {np.max(positions):g}"
        raise ValueError(f"pair counts: expected positions in [0, {box_size:g}), got {got}; wrap them, as Cloud does")
