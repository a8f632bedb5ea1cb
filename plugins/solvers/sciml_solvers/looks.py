"""Which cells of a level look alike: what a network says of one of them holds for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import prange
from sciml_kernels.multigrid_cycle.reference import LevelTensors
from sciml_kernels.numba_tools import PARALLEL_FROM, compiled
from torch import Tensor

FEW, SHARE = 4096, 64
"""Up to so many looks, or one for so many cells, are few."""


@dataclass(frozen=True)
class Looks:
    """The looks of a level's cells.

    Parameters
    ----------
    first : (look,)
        A cell of each look, counted in C order.
    number : (n_x, n_y, n_z)
        The look of each cell.
    """

    first: Tensor
    number: Tensor


def few_looks(level: LevelTensors, fill: Tensor) -> Looks | None:
    """Return the looks of a level where they are few, else None.

    Two cells look alike where their weights are the same to the bit but for reflections and, among axes that are
    coarsened alike, rotations, and so are those of the 27 cells around in some order: then they have the same
    `sciml_solvers.learned.FEATURES`, to rounding. Looks are told apart by 64-bit fingerprints.

    Parameters
    ----------
    level
        In float32 or float64 on the CPU.
    fill : (n_x, n_y, n_z)
        Share of unknowns in each cell.
    """
    n_cell = level.diagonal.numel()
    kind = np.uint32 if level.diagonal.dtype == torch.float32 else np.uint64
    faces, *others = (t.contiguous().numpy().view(kind) for t in (level.faces, level.diagonal, fill.to(level.faces)))
    own = np.empty(level.diagonal.shape, np.uint64)
    constants = (np.uint64(0x27D4EB2F165667C5 * factor) for factor in level.factors)
    fingerprint[n_cell >= PARALLEL_FROM](own, faces[0], faces[1], faces[2], *others, *constants)
    around = own.copy()
    for axis in range(3):
        lead, before = (slice(None),) * axis, around.copy()
        around[(*lead, slice(1, None))] += before[(*lead, slice(None, -1))]
        around[(*lead, slice(None, -1))] += before[(*lead, slice(1, None))]
    most = max(FEW, n_cell // SHARE)
    table = np.full(1 << (4 * most).bit_length(), -1, np.int32)
    first, number = np.empty(most, np.int64), np.empty(n_cell, np.int32)
    n_look = group[0](number, first, table, own.reshape(-1), around.reshape(-1))
    if n_look > most:
        return None
    return Looks(torch.from_numpy(first[:n_look]), torch.from_numpy(number.reshape(own.shape)))


def neighbourhoods(level: LevelTensors, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return diagonal (cell, 27) and weights of upper and lower faces (3, cell, 27) in the 27 cells around some cells.

    Beyond the grid all are zero; the cell itself is number 13.
    """
    shape = torch.tensor(level.diagonal.shape)
    strides = torch.tensor(level.diagonal.stride())
    steps = torch.cartesian_prod(*(torch.arange(-1, 2),) * 3)
    places = torch.stack(torch.unravel_index(cells, level.diagonal.shape), -1)[:, None] + steps
    inside = ((places >= 0) & (places < shape)).all(-1)
    at = torch.where(inside, (places * strides).sum(-1), 0)
    diagonal = torch.where(inside, level.diagonal.flatten()[at], 0)
    upper, lower = [], []
    for axis in range(3):
        weights, has_lower = level.faces[axis].flatten(), inside & (places[..., axis] > 0)
        upper.append(torch.where(inside, weights[at], 0))
        lower.append(torch.where(has_lower, weights[torch.where(has_lower, at - strides[axis], 0)], 0))
    return diagonal, torch.stack(upper), torch.stack(lower)


def _fingerprint(own, f_x, f_y, f_z, diagonal, fill, c_x, c_y, c_z):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Hash the faces of a cell, its diagonal and its fill, all as unsigned integers.

    Lower and upper faces count alike, so do axes with the same constant.
    """
    n_x, n_y, n_z = own.shape
    zero, a, b = np.uint64(0), np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
    for i in prange(n_x):
        for j in range(n_y):
            for k in range(n_z):
                low, high = np.uint64(f_x[i - 1, j, k]) if i > 0 else zero, np.uint64(f_x[i, j, k])
                x = ((low + high) * a + low * high * b) ^ c_x
                low, high = np.uint64(f_y[i, j - 1, k]) if j > 0 else zero, np.uint64(f_y[i, j, k])
                y = ((low + high) * a + low * high * b) ^ c_y
                low, high = np.uint64(f_z[i, j, k - 1]) if k > 0 else zero, np.uint64(f_z[i, j, k])
                z = ((low + high) * a + low * high * b) ^ c_z
                x, y, z = (x ^ (x >> np.uint64(32))) * b, (y ^ (y >> np.uint64(32))) * b, (z ^ (z >> np.uint64(32))) * b
                h = (x ^ (x >> np.uint64(29))) + (y ^ (y >> np.uint64(29))) + (z ^ (z >> np.uint64(29)))
                h += np.uint64(diagonal[i, j, k]) * np.uint64(0x165667B19E3779F9)
                h += np.uint64(fill[i, j, k]) * np.uint64(0xFF51AFD7ED558CCD)
                h = (h ^ (h >> np.uint64(30))) * np.uint64(0xD6E8FEB86659FD93)
                own[i, j, k] = (h ^ (h >> np.uint64(27))) * np.uint64(0xA0761D6478BD642F)


def _group(number, first, table, own, around):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Number the different pairs of fingerprints in a table of cells; return how many, and stop beyond the most."""
    mask, most, n_look = np.uint64(len(table) - 1), len(first), 0
    for cell in range(len(own)):
        mixed = around[cell] + own[cell] * np.uint64(0x9E3779B97F4A7C15)
        slot = (mixed ^ (mixed >> np.uint64(32))) & mask
        while True:
            look = table[slot]
            if look < 0:
                if n_look == most:
                    return most + 1
                table[slot] = look = n_look
                first[n_look] = cell
                n_look += 1
                break
            if own[first[look]] == own[cell] and around[first[look]] == around[cell]:
                break
            slot = (slot + np.uint64(1)) & mask
        number[cell] = look
    return n_look


fingerprint, group = compiled(_fingerprint), compiled(_group)
