"""Points sorted into the cells of a grid over a periodic box, for searches on the CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sciml_kernels.numba_tools import compiled
from sciml_kernels.radius_graph.points import wrap

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """Clouds of points sorted by cloud and cell; within a cell they keep their order.

    Parameters
    ----------
    wrapped : (node, 3)
        Positions in the box, in the order they came in.
    positions : (3, node)
        The same in sorted order.
    order : (node,)
        Number of each sorted node before it was sorted.
    cell : (node,)
        Cell of each sorted node: ``((cloud n_x + i_x) n_y + i_y) n_z + i_z``.
    start : (batch n_x n_y n_z + 1,)
        Cell c holds the sorted nodes ``start[c]`` up to ``start[c + 1]``.
    shape : (3,)
        Cells along each axis: three or more, or one.
    """

    wrapped: Reals
    positions: Reals
    order: Integers
    cell: Integers
    start: Integers
    shape: Integers


def grid(sides: Sequence[float], reach: float, n_node: int, n_cloud: int) -> Integers:
    """Return the cells along each axis: at least `reach` wide, and not many more of them than nodes.

    An axis with room for fewer than three has one: with two a cell would be the neighbour of another on both sides.
    """
    # A little wider than the reach, so that rounding never puts a pair within reach two cells apart.
    shape = [min(int(side / (reach * (1 + 1e-6))), 2**20) for side in sides]
    while max(shape) > 2 and n_cloud * math.prod(max(n, 1) for n in shape) > 4 * n_node + 64:
        shape[shape.index(max(shape))] //= 2
    return np.array([n if n > 2 else 1 for n in shape])


def sort_into_cells(positions: Tensor, sides: Sequence[float], pointer: Tensor, shape: Integers) -> Cells:
    """Sort the positions (node, 3) of clouds into a grid of `shape` cells over the box."""
    x = wrap(positions.detach(), sides).contiguous().numpy()
    start = np.zeros((len(pointer) - 1) * int(shape.prod()) + 1, np.int64)
    order, cell = np.empty((2, len(x)), np.int64)
    cells = Cells(x, np.empty((3, len(x))), order, cell, start, shape)
    sort(cells.positions, cells.order, cells.cell, start, x, pointer.contiguous().numpy(), shape, np.array(sides))
    return cells


def runs(n_z: int) -> Integers:
    """Return which cells of a row are next to its cell z: two runs (z, run, first and beyond last).

    Cells along the last axis lie side by side in memory; the second run is the cell beyond a face of the box, and
    mostly empty.
    """
    table = np.zeros((n_z, 2, 2), np.int64)
    z = np.arange(n_z)
    table[:, 0] = np.stack([np.maximum(z - 1, 0), np.minimum(z + 2, n_z)], 1)
    if n_z > 1:
        table[0, 1], table[-1, 1] = (n_z - 1, n_z), (0, 1)
    return table


def _sort(out, order, cell, start, x, pointer, shape, sides):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Sort by counting."""
    key = np.empty(len(order), np.int64)
    for c in range(len(pointer) - 1):
        for i in range(pointer[c], pointer[c + 1]):
            key[i] = c
            for axis in range(3):
                at = min(int(x[i, axis] / sides[axis] * shape[axis]), shape[axis] - 1)
                key[i] = key[i] * shape[axis] + at
            start[key[i] + 1] += 1
    for k in range(1, len(start)):
        start[k] += start[k - 1]
    end = start[:-1].copy()
    for i in range(len(order)):
        at = end[key[i]]
        end[key[i]] += 1
        order[at], cell[at] = i, key[i]
        for axis in range(3):
            out[axis, at] = x[i, axis]


sort: Any = compiled(_sort)[0]
