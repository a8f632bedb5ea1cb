"""The search on the CPU: points sorted by cell, neighbours counted, then written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numba import prange
from torch import Tensor

from sciml_kernels.numba_tools import PARALLEL_FROM, compiled
from sciml_kernels.radius_graph.cells import RUNS, gap, grid, sort_into_cells, walk

# Nodes that one core takes at a time.
PART = 256
# Neighbours that are sorted fastest by inserting one after another.
SHORT = np.uint64(48)


def _search(edges, vectors, pointer, wrapped, x, order, cell, start, shape, sides, r2, loop, longest):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 # long: neighbours are found, sorted and written
    """Count the neighbours of node i in ``pointer[i + 1]`` where `longest` is zero, else write row i.

    Unsigned indices spare the test for negative ones, arrays and sides of their own the loads of their address.
    """
    n_node, side_x, side_y, side_z = len(order), sides[0], sides[1], sides[2]
    x, y, z, source, target = x[0], x[1], x[2], edges[0], edges[1]
    count, one = longest == 0, np.uint64(1)
    for part in prange((n_node + PART - 1) // PART):
        row, runs, here, n_run = np.empty(longest + 1, np.int64), np.empty((RUNS, 2), np.int64), -1, 0
        for s in range(part * PART, min((part + 1) * PART, n_node)):
            own, k, x_s, y_s, z_s = np.uint64(s), np.uint64(0), x[s], y[s], z[s]
            if cell[s] != here:
                here, n_run = cell[s], walk(runs, cell[s], start, shape)
            for run in range(n_run):
                for j in range(np.uint64(runs[run, 0]), np.uint64(runs[run, 1])):
                    d_x, d_y, d_z = gap(x[j], x_s, side_x), gap(y[j], y_s, side_y), gap(z[j], z_s, side_z)
                    if not count:
                        row[k] = order[j]
                    k += np.uint64((d_x * d_x + d_y * d_y + d_z * d_z <= r2) & (loop | (j != own)))
            i = np.uint64(order[s])
            if count:
                pointer[i + one] = k
                continue
            if k > SHORT:
                row[:k].sort()
            else:
                for m in range(one, k):
                    value, to = row[m], np.uint64(m)
                    while to > np.uint64(0) and row[to - one] > value:
                        row[to] = row[to - one]
                        to -= one
                    row[to] = value
            first = np.uint64(pointer[i])
            for m in range(k):
                edge, other = first + np.uint64(m), np.uint64(row[m])
                source[edge], target[edge] = row[m], order[s]
                for axis in range(3):
                    apart, side = wrapped[other, axis] - wrapped[i, axis], sides[axis]
                    shift = side if apart > side / 2 else (-side if apart < -side / 2 else 0.0)
                    vectors[edge, axis] = apart - shift


search = compiled(_search, contract=False)


def launch(
    positions: Tensor, box: Sequence[float], radius: float, pointer: Tensor, loop: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the reference returns, to the last edge."""
    n_node, n_cloud = len(positions), len(pointer) - 1
    rows, kind = np.zeros(n_node + 1, np.int64), np.float32 if positions.dtype == torch.float32 else np.float64
    cells = sort_into_cells(positions, box, pointer, grid(box, radius, n_node, n_cloud))
    points = cells.wrapped, cells.positions, cells.order, cells.cell, cells.start
    rest = cells.shape, np.array(box), radius * radius, loop
    form = search[int(n_node >= PARALLEL_FROM)]
    form(np.empty((2, 0), np.int64), np.empty((0, 3), kind), rows, *points, *rest, 0)
    longest, pointer_out = int(rows.max()), rows.cumsum()
    # arrays of numpy's: it asks for large pages, which torch does not, and new memory is half the cost of writing it
    edges, vectors = np.empty((2, pointer_out[-1]), np.int64), np.empty((pointer_out[-1], 3), kind)
    if longest:
        form(edges, vectors, pointer_out, *points, *rest, longest)
    return torch.from_numpy(vectors).to(positions.dtype), torch.from_numpy(edges), torch.from_numpy(pointer_out)
