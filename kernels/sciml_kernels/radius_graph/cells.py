"""Points sorted into the cells of a grid over a periodic box, for searches on the CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sciml_kernels.numba_tools import compiled
from sciml_kernels.radius_graph.points import wrap

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]

# Runs of points around a cell: two for each of nine rows of cells.
RUNS = 18


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


def grid_of_neighbours(sides: Sequence[float], k: int, n_node: int, n_cloud: int) -> Integers:
    """Return the cells along each axis for a search for `k` neighbours.

    A quarter of k and one nodes in a cell: the first ring then holds the sphere of the k nearest, on average.
    """
    reach = (math.prod(sides) * max(1, n_cloud) * (k / 4 + 1) / max(1, n_node)) ** (1 / 3)
    return grid(sides, reach, n_node, n_cloud)


def sort_into_cells(positions: Tensor, sides: Sequence[float], pointer: Tensor, shape: Integers) -> Cells:
    """Sort the positions (node, 3) of clouds into a grid of `shape` cells over the box."""
    x = wrap(positions.detach(), sides).contiguous().numpy()
    start = np.zeros((len(pointer) - 1) * int(shape.prod()) + 1, np.int64)
    order, cell = np.empty((2, len(x)), np.int64)
    cells = Cells(x, np.empty((3, len(x))), order, cell, start, shape)
    sort(cells.positions, cells.order, cells.cell, start, x, pointer.contiguous().numpy(), shape, np.array(sides))
    return cells


@numba.njit(inline="always")
def walk(runs, cell, start, shape):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Write the runs of sorted points, first and beyond last, in and around a cell, and return how many there are.

    Cells along the last axis lie side by side in memory: three of them are one run, and what is beyond a face of the
    box is another. Empty runs are left out; there are `RUNS` of them at most, the same for all points of a cell.
    """
    n_x, n_y, n_z, n_run = shape[0], shape[1], shape[2], 0
    c_z, c_y, c_x = cell % n_z, cell // n_z % n_y, cell // (n_z * n_y) % n_x
    cloud = cell // (n_z * n_y * n_x)
    low, high, through = max(c_z - 1, 0), min(c_z + 2, n_z), n_z - 1 if c_z == 0 else 0
    faces = 1 if n_z > 1 and (c_z == 0 or c_z == n_z - 1) else 0
    for a in range(min(n_x, 3)):
        b_x = cloud * n_x + (c_x + a + n_x - 1) % n_x
        for b in range(min(n_y, 3)):
            at = (b_x * n_y + (c_y + b + n_y - 1) % n_y) * n_z
            runs[n_run, 0], runs[n_run, 1] = start[at + low], start[at + high]
            n_run += runs[n_run, 1] > runs[n_run, 0]
            if faces:
                runs[n_run, 0], runs[n_run, 1] = start[at + through], start[at + through + 1]
                n_run += runs[n_run, 1] > runs[n_run, 0]
    return n_run


@numba.njit(inline="always")
def gap(a, b, side):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Return how far two coordinates in [0, side) are apart, at most half a side; the same bits in either order."""
    d = abs(a - b)
    return min(d, side - d)


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
