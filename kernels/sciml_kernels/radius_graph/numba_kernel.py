"""The search on the CPU: points sorted by cell, neighbours counted, then written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numba import prange
from torch import Tensor

from sciml_kernels.numba_tools import PARALLEL_FROM, compiled
from sciml_kernels.radius_graph.cells import grid, runs, sort_into_cells

# Nodes that one core takes at a time.
PART = 256
# Neighbours that are sorted fastest by inserting one after another.
SHORT = np.uint64(48)


def _search(edges, vectors, pointer, wrapped, x, order, cell, start, runs, shape, sides, r2, loop, longest):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 # long: the loops over cells stand together
    """Count the neighbours of node i in ``pointer[i + 1]`` where `longest` is zero, else write row i.

    Unsigned indices spare the test for negative ones, arrays and sides of their own the loads of their address.
    """
    n_node, n_x, n_y, n_z = len(order), shape[0], shape[1], shape[2]
    side_x, side_y, side_z = sides[0], sides[1], sides[2]
    x, y, z, source, target = x[0], x[1], x[2], edges[0], edges[1]
    count, one = longest == 0, np.uint64(1)
    for part in prange((n_node + PART - 1) // PART):
        row = np.empty(longest + 1, np.int64)
        for s in range(part * PART, min((part + 1) * PART, n_node)):
            own, k, x_s, y_s, z_s = np.uint64(s), np.uint64(0), x[s], y[s], z[s]
            c_z, c_y, c_x = cell[s] % n_z, cell[s] // n_z % n_y, cell[s] // (n_z * n_y) % n_x
            cloud = cell[s] // (n_z * n_y * n_x)
            for a in range(min(n_x, 3)):
                b_x = cloud * n_x + (c_x + a + n_x - 1) % n_x
                for b in range(min(n_y, 3)):
                    at = (b_x * n_y + (c_y + b + n_y - 1) % n_y) * n_z
                    for run in range(2):
                        low, high = start[at + runs[c_z, run, 0]], start[at + runs[c_z, run, 1]]
                        for j in range(np.uint64(low), np.uint64(high)):
                            d_x, d_y, d_z = abs(x[j] - x_s), abs(y[j] - y_s), abs(z[j] - z_s)
                            d_x, d_y, d_z = min(d_x, side_x - d_x), min(d_y, side_y - d_y), min(d_z, side_z - d_z)
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
    points = cells.wrapped, cells.positions, cells.order, cells.cell, cells.start, runs(int(cells.shape[2]))
    rest = cells.shape, np.array(box), radius * radius, loop
    form = search[int(n_node >= PARALLEL_FROM)]
    form(np.empty((2, 0), np.int64), np.empty((0, 3), kind), rows, *points, *rest, 0)
    longest, pointer_out = int(rows.max()), rows.cumsum()
    # arrays of numpy's: it asks for large pages, which torch does not, and new memory is half the cost of writing it
    edges, vectors = np.empty((2, pointer_out[-1]), np.int64), np.empty((pointer_out[-1], 3), kind)
    if longest:
        form(edges, vectors, pointer_out, *points, *rest, longest)
    return torch.from_numpy(vectors).to(positions.dtype), torch.from_numpy(edges), torch.from_numpy(pointer_out)
