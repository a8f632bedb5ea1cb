"""Groups of linked particles: cells found by hashing, groups joined as their pairs are met."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sciml_kernels.numba_tools import compiled

MOST_CELLS = 2**20  # along an axis: the number of a cell fits 63 bits
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
# A cell (1, 1, 1) and half of its neighbours: every pair of cells is met once.
AHEAD = np.array([(1, 1, 1), (1, 1, 2), *((1, 2, k) for k in range(3)),
                  *((2, j, k) for j in range(3) for k in range(3))])  # fmt: skip


def _numbers(positions, box_size, n_cell):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return the number of the cell of each particle."""
    cell = np.empty(len(positions), np.int64)
    for n in range(len(positions)):
        number = 0
        for axis in range(3):
            number = number * n_cell + min(int(positions[n, axis] / box_size * n_cell), n_cell - 1)
        cell[n] = number
    return cell


def _hash(first, shift):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return an open table of 2^(64 - shift) places that holds, for each cell number, its place in `first`."""
    table = np.full(1 << (64 - shift), -1, np.int32)
    for c in range(len(first)):
        at = (np.uint64(first[c]) * MULTIPLIER) >> np.uint64(shift)
        while table[at] >= 0:
            at = (at + np.uint64(1)) & np.uint64(len(table) - 1)
        table[at] = c
    return table


def _join(group, x, number, start, table, shift, ahead, n_cell, box_size, link):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Join the groups of all pairs within `link`; the smallest member stands for a group."""
    half, reach, near = 0.5 * box_size, link * link, np.empty((3, 3), np.int64)
    for c in range(len(number)):
        rest = number[c]
        for axis in range(2, -1, -1):
            row, rest = rest % n_cell, rest // n_cell
            near[axis, 0] = row - 1 if row > 0 else n_cell - 1
            near[axis, 1] = row
            near[axis, 2] = row + 1 if row < n_cell - 1 else 0
        for a in range(len(ahead)):
            wanted = (near[0, ahead[a, 0]] * n_cell + near[1, ahead[a, 1]]) * n_cell + near[2, ahead[a, 2]]
            at = (np.uint64(wanted) * MULTIPLIER) >> np.uint64(shift)
            while table[at] >= 0 and number[table[at]] != wanted:
                at = (at + np.uint64(1)) & np.uint64(len(table) - 1)
            other = table[at]
            if other < 0:
                continue
            for m in range(start[c], start[c + 1]):
                for n in range(m + 1 if other == c else start[other], start[other + 1]):
                    square = 0.0
                    for axis in range(3):
                        d = abs(x[m, axis] - x[n, axis])
                        d = box_size - d if d > half else d
                        square += d * d
                    if square <= reach:
                        p, q = m, n
                        while group[p] != p:
                            group[p] = group[group[p]]
                            p = group[p]
                        while group[q] != q:
                            group[q] = group[group[q]]
                            q = group[q]
                        group[max(p, q)] = min(p, q)


def _label(group, order):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return the groups counted from zero; a member comes after the one it points to."""
    label, found = np.empty(len(group), np.int64), 0
    for n in range(len(group)):
        if group[n] == n:
            label[order[n]] = found
            found += 1
        else:
            label[order[n]] = label[order[group[n]]]
    return label


numbers, hashed, join, labelled = (compiled(function)[0] for function in (_numbers, _hash, _join, _label))


def friends_of_friends(positions: NDArray[np.float64], box_size: float, link: float) -> NDArray[np.int64]:
    """Return the group (node,) of each particle: those within `link` of each other are friends.

    Particles are sorted into cells of at least the linking length; a hash table finds the occupied neighbours of each.

    Parameters
    ----------
    positions : (node, axis)
        In [0, box_size).
    box_size, link
        In the unit of the positions; the box is periodic, and `link` at most half of it.

    *Source*: Davis, Efstathiou, Frenk and White 1985 (ApJ 292, 371), section IIe.

    Examples
    --------
    >>> friends_of_friends(np.array([[0.1, 1, 1], [9.9, 1, 1], [5.0, 1, 1]]), 10.0, 0.3).tolist()
    [0, 0, 1]
    """
    x = np.ascontiguousarray(positions, np.float64)
    inside = x.ndim == 2 and x.shape[1] == 3 and bool(((x >= 0) & (x < box_size)).all())
    if not inside or not 0 < link <= box_size / 2:
        wanted = f"positions (node, 3) in [0, {box_size:g}) and a link in (0, {box_size / 2:g}]"
        raise ValueError(f"friends_of_friends: expected {wanted}, got {x.shape} and {link}; wrap the positions")
    if not len(x):
        return np.zeros(0, np.int64)
    n_cell = max(1, min(int(box_size / link), MOST_CELLS))
    cell = numbers(x, box_size, n_cell)
    order = np.argsort(cell, kind="stable")
    start = np.flatnonzero(np.diff(cell[order], prepend=-1))
    number, group = cell[order][start], np.arange(len(x))
    shift = 64 - int(2 * len(number)).bit_length()
    table = hashed(number, shift)
    join(group, x[order], number, np.append(start, len(x)), table, shift, AHEAD, n_cell, box_size, link)
    return labelled(group, order)
