"""The levels of geometric multigrid: face weights summed, air faces kept apart, weak axes left uncoarsened."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from sciml_kernels.multigrid_cycle.reference import LevelTensors

from sciml_solvers.problems import MaskProblem

COARSEST = 4
"""Axes of this many cells are not coarsened any further."""
STRONG = 0.35
"""An axis is coarsened where the mean weight of its faces is at least this part of the largest mean."""


def three_axes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the shape of a grid with three axes: (n_x, n_y) becomes (n_x, 1, n_y)."""
    return (shape[0], 1, shape[1]) if len(shape) == 2 else (shape[0], shape[1], shape[2])


def build_levels(problem: MaskProblem, dtype: torch.dtype, omega: float, coarse_scale: float) -> Iterator[LevelTensors]:
    """Yield the levels of a problem from the finest to the coarsest; none is kept once the next one is made.

    A coarse face has the sum of the weights of the faces it merges, times one half along the axes that are coarsened
    (the distance doubles). Odd lengths are rounded up: the missing cells are solid.

    Parameters
    ----------
    problem
        What is to be solved.
    dtype
        Type of the tensors.
    omega
        Relaxation factor of every cell, in (0, 2).
    coarse_scale
        Scale of the coarse operators where 1 is the plain sum of weights; 0.5 is the true coarse equation, and
        the corrections have the gain ``0.5 / coarse_scale``.
    """
    faces, ground = _finest(problem)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    gain = torch.tensor(0.5 / coarse_scale, dtype=wide)
    while True:
        factors = _factors(faces)
        diagonal = _diagonal(faces, ground)
        inverse = None if max(factors) == 2 else pseudo_inverse(faces, diagonal)
        yield LevelTensors(
            torch.from_numpy(faces).to(wide),
            torch.from_numpy(diagonal).to(wide),
            torch.tensor(omega, dtype=wide).expand(diagonal.shape),
            gain,
            factors,
            None if inverse is None else torch.from_numpy(inverse).to(wide),
        )
        if inverse is not None:
            return
        del diagonal
        faces, ground = _coarser(faces, ground, factors)


def pseudo_inverse(faces: NDArray, diagonal: NDArray) -> NDArray[np.float64]:
    """Return the pseudo-inverse of the matrix of a small grid, (cell, cell); zero rows where no unknown is."""
    shape, n = diagonal.shape, diagonal.size
    number = np.arange(n).reshape(shape)
    matrix = np.diag(diagonal.ravel().astype(np.float64))
    for axis in range(3):
        low, high = (np.take(number, range(*ends), axis).ravel() for ends in ((0, shape[axis] - 1), (1, shape[axis])))
        weight = np.take(faces[axis], range(shape[axis] - 1), axis).ravel()
        matrix[low, high] -= weight
        matrix[high, low] -= weight
    scale = np.zeros(n)
    active = diagonal.ravel() > 0
    scale[active] = matrix.diagonal()[active] ** -0.5
    values, vectors = np.linalg.eigh(scale[:, None] * matrix * scale)
    kept = values > 1e-6 * max(values.max(), 1e-300)
    half = scale[:, None] * vectors[:, kept] / np.sqrt(values[kept])
    return half @ half.T


def _finest(problem: MaskProblem) -> tuple[NDArray, NDArray]:
    shape = three_axes(problem.cells.shape)
    wide = np.float64 if problem.n_unknowns < 4096 else np.float32
    faces, ground = np.zeros((3, *shape), wide), np.zeros((3, *shape), wide)
    for axis, target in enumerate((0, 2) if problem.cells.ndim == 2 else (0, 1, 2)):
        between, to_air = problem.face_weights(axis)
        inner = faces[target].reshape(problem.cells.shape)
        inner[(slice(None),) * axis + (slice(None, -1),)] = between
        ground[target] = to_air.reshape(shape)
        del between, to_air  # before the next axis makes its own
    return faces, ground


def _diagonal(faces: NDArray, ground: NDArray) -> NDArray:
    total = ground.sum(0)
    for axis in range(3):
        total += faces[axis]
        lead = (slice(None),) * axis
        total[(*lead, slice(1, None))] += faces[axis][(*lead, slice(None, -1))]
    return total


def _factors(faces: NDArray) -> tuple[int, int, int]:
    """Choose the axes to coarsen: long ones, strongly coupled in the mean over their open faces."""
    long = [n > COARSEST for n in faces.shape[1:]]
    if not any(long):
        return (1, 1, 1)
    means = [faces[axis].sum(dtype=np.float64) / max(np.count_nonzero(faces[axis]), 1) for axis in range(3)]
    largest = max(mean for mean, is_long in zip(means, long, strict=True) if is_long)
    x, y, z = (2 if long[axis] and means[axis] >= STRONG * largest else 1 for axis in range(3))
    return x, y, z


def _coarser(faces: NDArray, ground: NDArray, factors: tuple[int, int, int]) -> tuple[NDArray, NDArray]:
    shape = faces.shape[1:]
    coarse_shape = tuple(-(-n // f) for n, f in zip(shape, factors, strict=True))
    new_faces, new_ground = (np.zeros((3, *coarse_shape), faces.dtype) for _ in range(2))
    for axis in range(3):
        scale = 1.0 / factors[axis]
        # Faces inside a coarse cell vanish: along the axis only the last cell of each pair has one that stays.
        steps = tuple(2 if a == axis and factors[a] == 2 else 1 for a in range(3))
        starts = tuple(step - 1 for step in steps)
        kept = faces[axis][tuple(slice(start, None, step) for start, step in zip(starts, steps, strict=True))]
        others = tuple(1 if a == axis else f for a, f in enumerate(factors))
        summed = block_sum(kept, others)
        new_faces[axis][tuple(slice(0, n) for n in summed.shape)] = scale * summed
        new_ground[axis] = scale * block_sum(ground[axis], factors)
    return new_faces, new_ground


def block_sum(grid: NDArray, factors: tuple[int, ...]) -> NDArray:
    """Sum blocks of 1 or 2 cells along each axis; a single last cell is a block of its own."""
    for axis, factor in enumerate(factors):
        if factor == 2:
            lead = (slice(None),) * axis
            summed = grid[(*lead, slice(0, None, 2))].copy()
            odd = grid[(*lead, slice(1, None, 2))]
            summed[(*lead, slice(0, odd.shape[axis]))] += odd
            grid = summed
    return grid
