"""Painting on the CPU: particles sorted into slabs of the first axis, every other slab at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from sciml_kernels.mesh_paint.window import WIDTHS
from sciml_kernels.numba_tools import PARALLEL_FROM, arrays, compiled

MOST_SLABS = 32  # fixed, so that the order of the sums does not depend on the threads


@numba.njit(inline="always")
def first_cell(x, half, n_cell, width):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Return the first cell that a window covers, in [0, n_cell), and the distance from the cell it is centred on."""
    whole = np.floor(x + half) if width == 3 else np.floor(x)
    cell = np.int64(whole) if abs(x) < 2e9 else np.int64(0)  # what is no number has no cell
    cell -= width - 2
    if cell < 0 or cell >= n_cell:
        cell %= n_cell
    return cell, x - whole


@numba.njit(inline="always")
def fill(cells, weights, axis, x, n_cell, stride, taps):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Write the places and weights of the cells along one axis; `taps` is a tuple, so that its length is compiled."""
    one, half, width = weights.dtype.type(1), weights.dtype.type(0.5), len(taps)
    cell, t = first_cell(x, half, n_cell, width)
    for k in range(width):
        cells[axis * width + k] = cell * stride
        cell = cell + 1 if cell + 1 < n_cell else 0
    if width == 2:
        weights[axis * width], weights[axis * width + 1] = one - t, t
    else:
        weights[axis * width] = half * (half - t) * (half - t)
        weights[axis * width + 1] = weights.dtype.type(0.75) - t * t
        weights[axis * width + width - 1] = half * (half + t) * (half + t)


def _sort(positions, n_x, n_slab, width):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return the particles in the order of their slabs, and where each slab begins."""
    n_node, half = len(positions), positions.dtype.type(0.5)
    slab, order = np.empty(n_node, np.int32), np.empty(n_node, np.int32)
    begin, at = np.zeros(n_slab + 1, np.int64), np.zeros(n_slab, np.int64)
    for n in range(n_node):
        cell, _ = first_cell(positions[n, 0], half, n_x, width)
        slab[n] = cell * n_slab // n_x
        begin[slab[n] + 1] += 1
    for s in range(n_slab):
        begin[s + 1] += begin[s]
        at[s] = begin[s]
    for n in range(n_node):
        order[at[slab[n]]] = n
        at[slab[n]] += 1
    return order, begin


def _paint(mesh, positions, weights, order, begin, shape, taps):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Add the particles of the even slabs, then those of the odd ones: no two slabs at work touch the same cell."""
    n_slab, width = len(begin) - 1, len(taps)
    n_x, n_y, n_z = shape
    for colour in range(2):
        for pair in prange((n_slab + 1) // 2):
            s = 2 * pair + colour
            cells, share = np.empty(3 * width, np.uint64), np.empty(3 * width, mesh.dtype)
            for at in range(begin[min(s, n_slab)], begin[min(s + 1, n_slab)]):
                n = order[at]
                fill(cells, share, 0, positions[n, 0], n_x, n_y * n_z, taps)
                fill(cells, share, 1, positions[n, 1], n_y, n_z, taps)
                fill(cells, share, 2, positions[n, 2], n_z, 1, taps)
                for c in range(len(weights)):
                    for i in range(width):
                        for j in range(width):
                            row = np.uint64(c * n_x * n_y * n_z) + cells[i] + cells[width + j]
                            w = weights[c, n] * share[i] * share[width + j]
                            for k in range(width):
                                mesh[row + cells[2 * width + k]] += w * share[2 * width + k]


sort, paint = compiled(_sort)[0], compiled(_paint)


def taps(window: str) -> tuple[int, ...]:
    """Return a tuple as long as the window is wide."""
    return tuple(range(WIDTHS[window]))


def launch(positions: Tensor, weights: Tensor, shape: Sequence[int], window: str) -> Tensor:
    """Return what the reference returns, in float32 or float64 on the CPU."""
    mesh = torch.zeros((len(weights), *shape), dtype=weights.dtype)
    if not mesh.numel() or not len(positions):
        return mesh
    x, w = arrays(positions, weights)
    # slabs of at least two cells, an even number of them: a particle of one reaches into the next at most
    n_slab = max(1, 2 * min(MOST_SLABS // 2, shape[0] // 4))
    order, begin = sort(x, shape[0], n_slab, WIDTHS[window])
    parallel = int(len(x) >= PARALLEL_FROM)
    paint[parallel](mesh.numpy().reshape(-1), x, w, order, begin, tuple(shape), taps(window))
    return mesh
