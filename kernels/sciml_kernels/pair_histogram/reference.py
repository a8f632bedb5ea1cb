"""Pairs of points counted by their distance, in plain torch: every distance is looked at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sciml_kernels.radius_graph.points import CHUNK, cloud_of_nodes, squared_distances, wrap


def reference(
    positions: Tensor, box: Sequence[float], edges: Sequence[float], pointer: Tensor, n_mu: int
) -> tuple[Tensor, Tensor]:
    """Return counts (batch, bin, mu) and sums (batch, bin, 2); parameters are those of `pair_histogram`."""
    x = wrap(positions.detach(), box)
    n_node, n_batch, n_bin = len(x), len(pointer) - 1, len(edges) - 1
    node, cloud = torch.arange(n_node, device=x.device), cloud_of_nodes(pointer, n_node)
    squares = torch.stack([torch.full((), edge * edge, dtype=torch.float64, device=x.device) for edge in edges])
    # one entry more than there are bins takes what is outside of all
    counts = torch.zeros(n_batch * n_bin * n_mu + 1, dtype=torch.int64, device=x.device)
    sums = torch.zeros(n_batch * n_bin + 1, 2, dtype=torch.float64, device=x.device)
    step = max(1, CHUNK // max(1, n_node))
    for first in range(0, n_node, step):
        rows = slice(first, first + step)
        square = squared_distances(x[rows], x, box)
        at = torch.bucketize(square, squares, right=True) - 1
        inside = (at >= 0) & (at < n_bin) & (cloud[rows, None] == cloud) & (node[rows, None] < node)
        at = torch.where(inside, cloud[rows, None] * n_bin + at, n_batch * n_bin)
        sums = sums.index_add(0, at.flatten(), torch.stack([square, square * square], -1).flatten(0, 1))
        along = squared_distances(x[rows, 2:], x[:, 2:], box[2:]).sqrt()
        cosine = torch.where(square > 0, along / square.sqrt(), 0)
        at = torch.where(inside, at * n_mu + (cosine * n_mu).long().clamp(max=n_mu - 1), n_batch * n_bin * n_mu)
        counts = counts.index_add(0, at.flatten(), torch.ones_like(at).flatten())
    return counts[:-1].reshape(n_batch, n_bin, n_mu), sums[:-1].reshape(n_batch, n_bin, 2)
