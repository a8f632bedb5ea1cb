"""The search on a GPU: points sorted by cell, a thread for each, which keeps the nearest so far in registers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from sciml_kernels.radius_graph.cells import grid_of_neighbours
from sciml_kernels.radius_graph.device_cells import sort_on_device
from sciml_kernels.radius_graph.points import nearest_image, wrap
from sciml_kernels.radius_graph.triton_walk import distance, held, place
from sciml_kernels.triton_tools import require_launchable

# Nodes of a program, and the most neighbours that are looked for in one walk over the cells.
BLOCK, MOST = 64, 32


@triton.jit
def ring_cell(number, ring, n_x, n_y, n_z):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Return the steps by axis to cell `number` of a cube around a cell, and whether it is of the ring and new."""
    width = 2 * ring + 1
    a, b, c = number // (width * width) - ring, number // width % width - ring, number % width - ring
    on_x, on_y, on_z = (a == -ring) | (a == ring), (b == -ring) | (b == ring), (c == -ring) | (c == ring)
    # an axis of n cells reaches from -(n - 1) // 2 to n // 2, so that no cell is met from both sides of the box
    new = (a >= -((n_x - 1) // 2)) & (a <= n_x // 2) & (b >= -((n_y - 1) // 2)) & (b <= n_y // 2)
    new = new & (c >= -((n_z - 1) // 2)) & (c <= n_z // 2)
    return a, b, c, new & (on_x | on_y | on_z)


@triton.jit
def replace_worst(best, who, worst, worst_i, d2, i, mask):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Put a node in the place of the worst of the nearest so far where it is nearer, and return what is worst then."""
    mask = mask & ((d2 < worst) | ((d2 == worst) & (i < worst_i)))
    out = mask[None, :] & (who == worst_i[None, :]) & (best == worst[None, :])
    best, who = tl.where(out, d2[None, :], best), tl.where(out, i[None, :], who)
    worst = tl.reduce(best, 0, tl.standard._elementwise_max)
    worst_i = tl.reduce(tl.where(best == worst[None, :], who, -1), 0, tl.standard._elementwise_max)
    return best, who, worst, worst_i


@triton.jit
def write_in_order(row, best, who, begin, end, live, none):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Write the nearest to their rows, `begin` to `end`, and return the last (distance, number); `none` is no node."""
    last_d2 = tl.reduce(best, 0, tl.standard._elementwise_min)
    last_i = tl.reduce(who, 0, tl.standard._elementwise_min)
    for m in range(begin, end):
        last_d2 = tl.reduce(best, 0, tl.standard._elementwise_min)
        last_i = tl.where(best == last_d2[None, :], who, none)
        last_i = tl.reduce(last_i, 0, tl.standard._elementwise_min)
        tl.store(row + m, last_i, mask=live)
        best = tl.where(who == last_i[None, :], float("inf"), best)
    return last_d2, last_i


@triton.jit
def knn_graph_kernel(
    x: tl.tensor, cell: tl.tensor, start: tl.tensor, order: tl.tensor, lengths: tl.tensor, source: tl.tensor,
    n_node: tl.tensor, n_x: tl.tensor, n_y: tl.tensor, n_z: tl.tensor, k: tl.tensor,
    K: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Write the k nearest of sorted nodes to their rows, the K least (distance, number) above the last ones at a time.

    Rings of cells as in the kernel for the CPU; of the nearest so far the worst is replaced, and they are sorted at the
    end. Sides and the least thickness of a cell come in an array: a float argument would be rounded to float32.
    """
    s = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = s < n_node
    cloud, c_x, c_y, c_z, x_s, y_s, z_s = place(x, cell, s, live, n_node, n_x, n_y, n_z)
    side_x, side_y, side_z = tl.load(lengths), tl.load(lengths + 1), tl.load(lengths + 2)
    thickness, n_ring = tl.load(lengths + 3), tl.maximum(tl.maximum(n_x, n_y), n_z) // 2
    row = tl.load(order + s, mask=live, other=0) * k
    column, inf = tl.arange(0, K)[:, None], float("inf")
    last_d2, last_i = tl.full((BLOCK,), -1, tl.float64), tl.full((BLOCK,), -1, tl.int64)
    for done in range(0, k, K):
        # columns beyond k hold what is never the worst
        best = tl.where(column < k - done, tl.full((K, BLOCK), inf, tl.float64), -1)
        who = tl.full((K, BLOCK), n_node, tl.int64) + column
        worst, worst_i = tl.full((BLOCK,), inf, tl.float64), tl.full((BLOCK,), n_node, tl.int64)
        worst_i += tl.minimum(k - done, K) - 1
        ring, searching = 0, 1
        while searching > 0:
            for number in range((2 * ring + 1) * (2 * ring + 1) * (2 * ring + 1)):
                a, b, c, wanted = ring_cell(number, ring, n_x, n_y, n_z)
                if wanted:
                    first, beyond = held(start, live, cloud, c_x + a, c_y + b, c_z + c, n_x, n_y, n_z)
                    for at in range(tl.reduce(beyond - first, 0, tl.standard._elementwise_max)):
                        j = first + at
                        mask = (j < beyond) & (j != s)
                        d2, _along = distance(x, j, mask, n_node, x_s, y_s, z_s, side_x, side_y, side_z)
                        i = tl.load(order + j, mask=mask, other=0)
                        mask = mask & ((d2 > last_d2) | ((d2 == last_d2) & (i > last_i)))
                        best, who, worst, worst_i = replace_worst(best, who, worst, worst_i, d2, i, mask)
            reached = ring * thickness  # what lies beyond a ring is at least so many cells away
            ring += 1
            unsure = live & (worst >= reached * reached) & (ring <= n_ring)
            searching = tl.reduce(unsure.to(tl.int32), 0, tl.standard._elementwise_max)
        best = tl.where(column < k - done, best, inf)
        last_d2, last_i = write_in_order(source + row, best, who, done, tl.minimum(done + K, k), live, 2 * n_node + K)


def launch(positions: Tensor, box: Sequence[float], k: int, pointer: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the reference returns, to the last edge."""
    require_launchable("knn_graph", knn_graph_kernel, positions)
    n_node, device = len(positions), positions.device
    wrapped, shape = wrap(positions.detach(), box), grid_of_neighbours(box, k, n_node, len(pointer) - 1)
    x, order, cell, start = sort_on_device(wrapped, box, pointer, shape)
    sizes = [side / n for side, n in zip(box, shape.tolist(), strict=True) if n > 1]
    # one cell along every axis holds all; else a little less than the cell, so that rounding drops no equal one
    thickness = min(sizes, default=0.0) * (1 - 1e-9)
    lengths = torch.tensor([*box, thickness], dtype=torch.float64, device=device)
    source = order.new_empty(n_node * k)
    if n_node:
        # products and sums are not fused: every implementation finds the same edges
        knn_graph_kernel[(triton.cdiv(n_node, BLOCK),)](
            x, cell, start, order, lengths, source, n_node, *shape.tolist(), k,
            K=min(triton.next_power_of_2(k), MOST), BLOCK=BLOCK, num_warps=2, enable_fp_fusion=False,
        )  # fmt: skip
    target = torch.arange(n_node, device=device).repeat_interleave(k)
    vectors = nearest_image(wrapped[source] - wrapped[target], box)
    return vectors.to(positions.dtype), torch.stack([source, target])
