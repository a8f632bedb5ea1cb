"""Pairs of points of a periodic box counted by their distance, with the sums of its powers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from sciml_kernels.pair_histogram.reference import reference
from sciml_kernels.pattern import define
from sciml_kernels.radius_graph.points import check_points, check_radius

LAUNCHERS = {
    "numba": "sciml_kernels.pair_histogram.numba_kernel:launch",
    "triton": "sciml_kernels.pair_histogram.triton_kernel:launch",
}


def pair_histogram(
    positions: Tensor,
    box: float | Sequence[float],
    edges: Sequence[float],
    pointer: Tensor | None = None,
    n_mu: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Count the pairs of points of a periodic box by the distance d of their nearest images.

    ``counts_k = #{i < j: edge_k <= d_ij < edge_{k+1}}`` and ``sums_k = (sum d^2, sum d^4)`` over the same pairs.

    Parameters
    ----------
    positions : (node, 3)
        In the unit of `box`; wrapped into the box, wherever they are.
    box
        Side, or three sides.
    edges : (bin + 1,)
        Rising; the first zero or above, the last at most half the shortest side.
    pointer : (batch + 1,), optional
        int64; cloud b holds the nodes ``pointer[b]`` up to ``pointer[b + 1]``. One cloud without it.
    n_mu
        Number of equal bins from 0 to 1 of mu = abs(d_z) / d, the cosine to the line of sight z; 1 is in the last.

    Returns
    -------
    counts : (bin,), with `pointer` (batch, bin), with `n_mu` (..., bin, mu)
        int64.
    sums : (bin, 2), with `pointer` (batch, bin, 2)
        float64, of d^2 and d^4. What is closer than edge k + 1 is their running total, as is that of the counts.

    *Contract*: each pair once (catalogues of pairs often count it twice). Bins hold their lower edge and not their
    upper one, the last one neither; squared distances are compared with squared edges in float64 whatever the type, so
    that every implementation returns the same counts to the last one. Points at the same place are a pair of distance
    zero, in the first bin where that begins with zero, and of mu = 0; a point is no pair with itself. Without gradient.
    Pairs across two sets are those of both together less those of each.

    Examples
    --------
    >>> positions = torch.tensor([[0.5, 0.0, 0.0], [9.5, 0.0, 0.0], [3.5, 0.0, 0.0]])
    >>> counts, sums = pair_histogram(positions, 10.0, [0.0, 2.0, 4.0])
    >>> counts.tolist(), sums.tolist()
    ([1, 1], [[1.0, 1.0], [9.0, 81.0]])
    """
    where = "pair_histogram"
    sides, starts = check_points(where, positions, box, pointer)
    cuts = [float(edge) for edge in edges]
    if len(cuts) < 2 or cuts[0] < 0 or not all(a < b for a, b in pairwise(cuts)):
        raise ValueError(f"{where}: expected two or more rising edges from zero on, got {cuts}; sort the edges")
    check_radius(where, "the last edge", cuts[-1], sides)
    if n_mu is not None and n_mu < 1:
        raise ValueError(f"{where}: expected n_mu of one or more, got {n_mu}; leave it out for no bins of mu")
    counts, sums = torch.ops.sciml.pair_histogram(positions.detach(), sides, cuts, starts, n_mu or 1)
    counts = counts[..., 0] if n_mu is None else counts
    return (counts[0], sums[0]) if pointer is None else (counts, sums)


def _fake(
    positions: Tensor, box: Sequence[float], edges: Sequence[float], pointer: Tensor, n_mu: int
) -> tuple[Tensor, Tensor]:
    shape = len(pointer) - 1, len(edges) - 1
    counts = positions.new_empty((*shape, n_mu), dtype=torch.int64)
    return counts, positions.new_empty((*shape, 2), dtype=torch.float64)


_op: Any = define(
    "pair_histogram(Tensor positions, float[] box, float[] edges, Tensor pointer, int n_mu) -> (Tensor, Tensor)",
    reference,
    _fake,
    LAUNCHERS,
)
