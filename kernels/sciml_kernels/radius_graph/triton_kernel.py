"""The search on a GPU: points sorted by cell, neighbours counted, then written, and sorted by torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from sciml_kernels.radius_graph.cells import grid
from sciml_kernels.radius_graph.device_cells import sort_on_device
from sciml_kernels.radius_graph.points import nearest_image, wrap
from sciml_kernels.radius_graph.triton_walk import distance, neighbour, place
from sciml_kernels.triton_tools import require_launchable

BLOCK = 64


@triton.jit
def radius_graph_kernel(
    x: tl.tensor, cell: tl.tensor, start: tl.tensor, lengths: tl.tensor, row: tl.tensor, source: tl.tensor,
    n_node: tl.tensor, n_x: tl.tensor, n_y: tl.tensor, n_z: tl.tensor, n_most: tl.tensor,
    FILL: tl.constexpr, LOOP: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Count the neighbours of sorted nodes in their rows, or write them from there on: a thread for each node.

    Sides and squared radius come in an array: a float argument would be rounded to float32.
    """
    s = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = s < n_node
    cloud, c_x, c_y, c_z, x_s, y_s, z_s = place(x, cell, s, live, n_node, n_x, n_y, n_z)
    side_x, side_y, side_z, r2 = tl.load(lengths), tl.load(lengths + 1), tl.load(lengths + 2), tl.load(lengths + 3)
    to = tl.load(row + s, mask=live, other=0) if FILL else tl.full((BLOCK,), 0, tl.int64)
    for near in range(tl.minimum(n_x, 3) * tl.minimum(n_y, 3) * tl.minimum(n_z, 3)):
        first, last = neighbour(near, start, live, cloud, c_x, c_y, c_z, n_x, n_y, n_z)
        for number in range(n_most):
            j = first + number
            mask = j < last
            d2, _along = distance(x, j, mask, n_node, x_s, y_s, z_s, side_x, side_y, side_z)
            found = mask & (d2 <= r2)
            if not LOOP:
                found = found & (j != s)
            if FILL:
                tl.store(source + to, j, mask=found)
            to += found.to(tl.int64)
    if not FILL:
        tl.store(row + s, to, mask=live)


def launch(
    positions: Tensor, box: Sequence[float], radius: float, pointer: Tensor, loop: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the reference returns, to the last edge."""
    require_launchable("radius_graph", radius_graph_kernel, positions)
    n_node, device = len(positions), positions.device
    wrapped, shape = wrap(positions.detach(), box), grid(box, radius, n_node, len(pointer) - 1)
    x, order, cell, start = sort_on_device(wrapped, box, pointer, shape)
    lengths = torch.tensor([*box, radius * radius], dtype=torch.float64, device=device)
    degree, n_most = torch.zeros(n_node, dtype=torch.int64, device=device), int(start.diff().max())

    def run(row: Tensor, source: Tensor, fill: bool) -> None:
        # products and sums are not fused: every implementation finds the same edges
        radius_graph_kernel[(triton.cdiv(n_node, BLOCK),)](
            x, cell, start, lengths, row, source, n_node, *shape.tolist(), n_most,
            FILL=fill, LOOP=loop, BLOCK=BLOCK, num_warps=2, enable_fp_fusion=False,
        )  # fmt: skip

    if n_node:
        run(degree, order, False)
    source = order.new_empty(int(degree.sum()))
    if len(source):
        run(degree.cumsum(0) - degree, source, True)
    target = order.repeat_interleave(degree)
    edge = (target * n_node + order[source]).sort().values if len(source) else source
    edges = torch.stack([edge % max(1, n_node), edge // max(1, n_node)])
    rows = torch.zeros(n_node + 1, dtype=torch.int64, device=device)
    rows[1:] = torch.zeros_like(degree).scatter_(0, order, degree).cumsum(0)
    vectors = nearest_image(wrapped[edges[0]] - wrapped[edges[1]], box)
    return vectors.to(positions.dtype), edges, rows
