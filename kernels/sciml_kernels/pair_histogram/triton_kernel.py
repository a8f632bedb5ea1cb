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
    own = tl.load(cell + s, mask=live, other=0)
    c_z, c_y, c_x, cloud = own % n_z, own // n_z % n_y, own // (n_z * n_y) % n_x, own // (n_z * n_y * n_x)
    y, z = x + n_node, x + 2 * n_node
    x_s, y_s = tl.load(x + s, mask=live, other=0), tl.load(y + s, mask=live, other=0)
    z_s = tl.load(z + s, mask=live, other=0)
    side_x, side_y, side_z = tl.load(lengths), tl.load(lengths + 1), tl.load(lengths + 2)
    m_y, m_z = tl.minimum(n_y, 3), tl.minimum(n_z, 3)
    histogram, one = (program % COPIES * n_batch + cloud) * n_bin, tl.full((BLOCK,), 1, tl.int64)
    for near in range(tl.minimum(n_x, 3) * m_y * m_z):
        b_x = cloud * n_x + (c_x + near // (m_y * m_z) + n_x - 1) % n_x
        b_y, b_z = (c_y + near // m_z % m_y + n_y - 1) % n_y, (c_z + near % m_z + n_z - 1) % n_z
        at = start + (b_x * n_y + b_y) * n_z + b_z
        first, last = tl.load(at, mask=live, other=0), tl.load(at + 1, mask=live, other=0)
        for number in range(n_most):
            j = first + number
            mask = (j < last) & (j > s)
            d_x = tl.abs(tl.load(x + j, mask=mask, other=0) - x_s)
            d_y = tl.abs(tl.load(y + j, mask=mask, other=0) - y_s)
            d_z = tl.abs(tl.load(z + j, mask=mask, other=0) - z_s)
            d_x, d_y, d_z = tl.minimum(d_x, side_x - d_x), tl.minimum(d_y, side_y - d_y), tl.minimum(d_z, side_z - d_z)
            d2 = d_x * d_x + d_y * d_y + d_z * d_z
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
