"""The pair counts on the CPU: points sorted by cell, pairs in range collected, then put into bins by a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numba import prange
from torch import Tensor

from sciml_kernels.numba_tools import PARALLEL_FROM, compiled
from sciml_kernels.radius_graph.cells import RUNS, Integers, Reals, gap, grid, sort_into_cells, walk

# Points that one core takes at a time; the sums are added in this order on any number of cores.
PART = 256
# Bits of a float64 that the table leaves out: 64 entries for each factor of two in the squared distance.
SHIFT = 46


def _count(counts, sums, parts, x, cell, start, shape, sides, squares, table, base, n_mu, room):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Count the pairs (s, j > s) of each part: each pair once, since the points stand in the order of the cells.

    Unsigned indices spare the test for negative ones, arrays and sides of their own the loads of their address.
    """
    one, side_x, side_y, side_z, least, beyond = np.uint64(1), sides[0], sides[1], sides[2], squares[0], squares[-1]
    x, y, z = x[0], x[1], x[2]
    for part in prange(len(parts)):
        square, along = np.empty(room), np.empty(room if n_mu > 1 else 1)
        bits, count, total = square.view(np.int64), counts[part], sums[part]
        runs, here, n_run = np.empty((RUNS, 2), np.int64), -1, 0
        for s in range(parts[part, 0], parts[part, 1]):
            k, x_s, y_s, z_s = np.uint64(0), x[s], y[s], z[s]
            if cell[s] != here:
                here, n_run = cell[s], walk(runs, cell[s], start, shape)
            for run in range(n_run):
                for j in range(np.uint64(max(runs[run, 0], s + 1)), np.uint64(max(runs[run, 1], s + 1))):
                    d_x, d_y, d_z = gap(x[j], x_s, side_x), gap(y[j], y_s, side_y), gap(z[j], z_s, side_z)
                    d2 = d_x * d_x + d_y * d_y + d_z * d_z
                    square[k] = d2
                    if n_mu > 1:
                        along[k] = d_z
                    k += np.uint64((d2 < beyond) & (d2 >= least))
            for m in range(k):
                d2 = square[m]
                at_bin = np.uint64(table[max((bits[m] >> SHIFT) - base, 0)])
                while d2 >= squares[at_bin + one]:
                    at_bin += one
                total[at_bin, 0] += d2
                total[at_bin, 1] += d2 * d2
                if n_mu > 1:
                    cosine = along[m] / np.sqrt(d2) if d2 > 0 else 0.0
                    count[at_bin, min(int(cosine * n_mu), n_mu - 1)] += 1
                else:
                    count[at_bin, 0] += 1


count = compiled(_count, contract=False)


def launch(
    positions: Tensor, box: Sequence[float], edges: Sequence[float], pointer: Tensor, n_mu: int
) -> tuple[Tensor, Tensor]:
    """Return what the reference returns; the counts to the last pair."""
    n_node, n_batch, n_bin = len(positions), len(pointer) - 1, len(edges) - 1
    cells = sort_into_cells(positions, box, pointer, grid(box, edges[-1], n_node, n_batch))
    starts = pointer.numpy()
    cloud, parts = _parts(starts)
    counts, sums = np.zeros((len(parts), n_bin, n_mu), np.int64), np.zeros((len(parts), n_bin, 2))
    squares = np.array([edge * edge for edge in edges])
    points = cells.positions, cells.cell, cells.start, cells.shape, np.array(box)
    room = int(np.diff(starts).max(initial=0)) + 1
    form = count[int(n_node >= PARALLEL_FROM)]
    form(counts, sums, parts, *points, squares, *_table(squares), n_mu, room)
    out = np.zeros((n_batch, n_bin, n_mu), np.int64), np.zeros((n_batch, n_bin, 2))
    for total, piece in zip(out, (counts, sums), strict=True):
        np.add.at(total, cloud, piece)
    return torch.from_numpy(out[0]), torch.from_numpy(out[1])


def _parts(starts: Integers) -> tuple[Integers, Integers]:
    """Cut every cloud into parts of at most `PART` points: the cloud of each, its first point and the one beyond."""
    n_parts = -(-np.diff(starts) // PART)
    cloud = np.repeat(np.arange(len(n_parts)), n_parts)
    first = starts[cloud] + PART * (np.arange(len(cloud)) - np.repeat(n_parts.cumsum() - n_parts, n_parts))
    return cloud, np.stack([first, np.minimum(first + PART, starts[cloud + 1])], 1)


def _table(squares: Reals) -> tuple[Integers, int]:
    """Return the bin at the low end of each stretch of squared distances that agree in their leading bits.

    The first entry, for bits `base`, also takes what is smaller. From there it is no more than a bin or two upwards.
    """
    base, last = (int(square.view(np.int64)) >> SHIFT for square in (squares[squares > 0][0], squares[-1]))
    low = (np.arange(base, last + 1) << SHIFT).view(np.float64)
    table = np.clip(np.searchsorted(squares, low, "right") - 1, 0, len(squares) - 2)
    table[0] = 0
    return table, base
