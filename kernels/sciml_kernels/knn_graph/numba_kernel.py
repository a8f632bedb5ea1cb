"""The search on the CPU: cells around each point, ring by ring, until the rest is farther than what was found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numba import prange
from torch import Tensor

from sciml_kernels.numba_tools import PARALLEL_FROM, compiled
from sciml_kernels.radius_graph.cells import gap, grid_of_neighbours, sort_into_cells

# Nodes that one core takes at a time.
PART = 256


def _search(edges, vectors, wrapped, x, order, cell, start, shape, sides, k):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 # long: the loops over cells stand together
    """Write the k nearest of every node to its row.

    Ring r are the cells at most r away along each axis, and r along one. An axis of n cells reaches from
    ``-(n - 1) // 2`` to ``n // 2``, so that no cell is met from both sides of the box.
    """
    n_x, n_y, n_z = shape[0], shape[1], shape[2]
    side_x, side_y, side_z = sides[0], sides[1], sides[2]
    x, y, z, source, target = x[0], x[1], x[2], edges[0], edges[1]
    thickness = np.inf
    for axis in range(3):
        if shape[axis] > 1:
            thickness = min(thickness, sides[axis] / shape[axis])
    for part in prange((len(order) + PART - 1) // PART):
        best, who = np.empty(k), np.empty(k, np.int64)
        for s in range(part * PART, min((part + 1) * PART, len(order))):
            best[:], who[:] = np.inf, len(order)
            c_z, c_y, c_x = cell[s] % n_z, cell[s] // n_z % n_y, cell[s] // (n_z * n_y) % n_x
            cloud, x_s, y_s, z_s = cell[s] // (n_z * n_y * n_x), x[s], y[s], z[s]
            for r in range(max(n_x, n_y, n_z) // 2 + 1):
                for a in range(-min(r, (n_x - 1) // 2), min(r, n_x // 2) + 1):
                    b_x = cloud * n_x + (c_x + a + n_x) % n_x
                    for b in range(-min(r, (n_y - 1) // 2), min(r, n_y // 2) + 1):
                        at = (b_x * n_y + (c_y + b + n_y) % n_y) * n_z
                        for c in range(-min(r, (n_z - 1) // 2), min(r, n_z // 2) + 1):
                            if max(abs(a), abs(b), abs(c)) < r:
                                continue
                            near = at + (c_z + c + n_z) % n_z
                            for j in range(start[near], start[near + 1]):
                                d_x, d_y = gap(x[j], x_s, side_x), gap(y[j], y_s, side_y)
                                d_z = gap(z[j], z_s, side_z)
                                d2, m = d_x * d_x + d_y * d_y + d_z * d_z, k - 1
                                if d2 > best[m] or (d2 == best[m] and order[j] > who[m]) or j == s:
                                    continue
                                while m > 0 and (best[m - 1] > d2 or (best[m - 1] == d2 and who[m - 1] > order[j])):
                                    best[m], who[m] = best[m - 1], who[m - 1]
                                    m -= 1
                                best[m], who[m] = d2, order[j]
                # what lies beyond ring r is at least r cells away; a little less, so that rounding drops no equal one
                if best[k - 1] < (r * thickness * (1 - 1e-9)) ** 2:
                    break
            i = order[s]
            for m in range(k):
                at = i * k + m
                source[at], target[at] = who[m], i
                for axis in range(3):
                    apart, side = wrapped[who[m], axis] - wrapped[i, axis], sides[axis]
                    shift = side if apart > side / 2 else (-side if apart < -side / 2 else 0.0)
                    vectors[at, axis] = apart - shift


search = compiled(_search, contract=False)


def launch(positions: Tensor, box: Sequence[float], k: int, pointer: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the reference returns, to the last edge."""
    n_node, n_cloud = len(positions), len(pointer) - 1
    cells = sort_into_cells(positions, box, pointer, grid_of_neighbours(box, k, n_node, n_cloud))
    kind = np.float32 if positions.dtype == torch.float32 else np.float64
    edges, vectors = np.empty((2, n_node * k), np.int64), np.empty((n_node * k, 3), kind)
    points = cells.wrapped, cells.positions, cells.order, cells.cell, cells.start
    search[int(n_node >= PARALLEL_FROM)](edges, vectors, *points, cells.shape, np.array(box), k)
    return torch.from_numpy(vectors).to(positions.dtype), torch.from_numpy(edges)
