"""The pair counts on a GPU: points sorted by cell, a thread for each, bins by comparison with all edges."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from sciml_kernels.radius_graph.cells import grid
from sciml_kernels.radius_graph.device_cells import sort_on_device
from sciml_kernels.radius_graph.points import wrap
from sciml_kernels.radius_graph.triton_walk import distance, neighbour, place
from sciml_kernels.triton_tools import require_launchable

# Points of a program, and histograms that programs add to in turn, so that few meet in one.
BLOCK, COPIES = 64, 64


@triton.jit
def pair_histogram_kernel(
    x: tl.tensor, cell: tl.tensor, start: tl.tensor, lengths: tl.tensor, counts: tl.tensor, sums: tl.tensor,
    n_node: tl.tensor, n_x: tl.tensor, n_y: tl.tensor, n_z: tl.tensor, n_most: tl.tensor, n_batch: tl.tensor,
    n_bin: tl.tensor, n_mu: tl.tensor, BLOCK: tl.constexpr, COPIES: tl.constexpr,
) -> None:  # fmt: skip
    """Count the pairs (s, j > s) of sorted points s: each pair once, since the points stand in the order of cells.

    Sides and squared edges come in an array: a float argument would be rounded to float32.
    """
    program = tl.program_id(0).to(tl.int64)
    s = program * BLOCK + tl.arange(0, BLOCK)
    live = s < n_node
    cloud, c_x, c_y, c_z, x_s, y_s, z_s = place(x, cell, s, live, n_node, n_x, n_y, n_z)
    side_x, side_y, side_z = tl.load(lengths), tl.load(lengths + 1), tl.load(lengths + 2)
    histogram, one = (program % COPIES * n_batch + cloud) * n_bin, tl.full((BLOCK,), 1, tl.int64)
    for near in range(tl.minimum(n_x, 3) * tl.minimum(n_y, 3) * tl.minimum(n_z, 3)):
        first, last = neighbour(near, start, live, cloud, c_x, c_y, c_z, n_x, n_y, n_z)
        for number in range(n_most):
            j = first + number
            mask = (j < last) & (j > s)
            d2, d_z = distance(x, j, mask, n_node, x_s, y_s, z_s, side_x, side_y, side_z)
            k = tl.full((BLOCK,), -1, tl.int64)
            for edge in range(n_bin + 1):
                k += (d2 >= tl.load(lengths + 3 + edge)).to(tl.int64)
            inside = mask & (k >= 0) & (k < n_bin)
            cosine = tl.where(d2 > 0, d_z / tl.sqrt(tl.where(d2 > 0, d2, 1)), 0)
            mu = tl.minimum((cosine * n_mu).to(tl.int64), n_mu - 1)
            tl.atomic_add(counts + (histogram + k) * n_mu + mu, one, mask=inside)
            tl.atomic_add(sums + (histogram + k) * 2, d2, mask=inside)
            tl.atomic_add(sums + (histogram + k) * 2 + 1, d2 * d2, mask=inside)


def launch(
    positions: Tensor, box: Sequence[float], edges: Sequence[float], pointer: Tensor, n_mu: int
) -> tuple[Tensor, Tensor]:
    """Return what the reference returns: the counts to the last pair, the sums to the rounding of another order."""
    require_launchable("pair_histogram", pair_histogram_kernel, positions)
    n_node, n_batch, n_bin, device = len(positions), len(pointer) - 1, len(edges) - 1, positions.device
    shape = grid(box, edges[-1], n_node, n_batch)
    x, _, cell, start = sort_on_device(wrap(positions.detach(), box), box, pointer, shape)
    lengths = torch.tensor([*box, *(edge * edge for edge in edges)], dtype=torch.float64, device=device)
    counts = torch.zeros(COPIES, n_batch, n_bin, n_mu, dtype=torch.int64, device=device)
    sums = torch.zeros(COPIES, n_batch, n_bin, 2, dtype=torch.float64, device=device)
    if n_node:
        # products and sums are not fused: every implementation counts the same pairs
        pair_histogram_kernel[(triton.cdiv(n_node, BLOCK),)](
            x, cell, start, lengths, counts, sums, n_node, *shape.tolist(), int(start.diff().max()), n_batch, n_bin,
            n_mu, BLOCK=BLOCK, COPIES=COPIES, num_warps=2, enable_fp_fusion=False,
        )  # fmt: skip
    return counts.sum(0), sums.sum(0)
