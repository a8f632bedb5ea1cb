"""The Poisson equation in an empty box by fast transforms, as a preconditioner for boxes that are not empty."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from sciml_solvers.problems import AIR, MaskProblem

Vector: TypeAlias = NDArray[np.floating]


def box_poisson(problem: MaskProblem) -> LinearOperator:
    r"""Return the exact inverse of the equation with constant coefficient in the box, as a preconditioner.

    ``M = R F^T (sum_axes (2 - 2 cos theta) / h^2)^-1 F R^T`` with cosine transforms F and the restriction R to fluid.

    Parameters
    ----------
    problem
        Solids and air inside of the box are not looked at. An end of the box is open (Dirichlet) where its planes hold
        air and no fluid, else closed (Neumann). Two closed ends: DCT-II; two open ones: DST-I; one of each: modes
        ``cos((2 k + 1) pi (i + 1/2) / (2 n + 1))``, for which no fast transform is at hand, by a matrix product.

    *Contract*: symmetric positive definite; the inverse of ``problem.matrix()`` if the box is all fluid, constant
    coefficient one, and open somewhere.
    """
    box, ends = _box(problem)
    fluid = problem.fluid[box]
    kinds = [sum(end) for end in ends]
    closed = [axis for axis, kind in enumerate(kinds) if kind == 0]
    sines = [axis for axis, kind in enumerate(kinds) if kind == 2]
    mixed = {axis: _modes(fluid.shape[axis], ends[axis][0]) for axis, kind in enumerate(kinds) if kind == 1}
    eigenvalue = np.zeros(fluid.shape)
    for axis, (kind, n) in enumerate(zip(kinds, fluid.shape, strict=True)):
        line = _eigenvalues(n, kind) * problem.spacing[axis] ** -2.0
        eigenvalue += line.reshape(-1, *(1,) * (fluid.ndim - 1 - axis))
    # The constant mode of a closed box may take any positive factor: that of the slowest other mode.
    positive = eigenvalue[eigenvalue > 0].min(initial=np.inf)
    inverse = 1 / np.maximum(eigenvalue, positive if np.isfinite(positive) else 1.0)

    def transform(grid: Vector, forward: bool) -> Vector:
        if closed:
            grid = (scipy.fft.dctn if forward else scipy.fft.idctn)(grid, type=2, axes=closed, norm="ortho")
        if sines:
            grid = (scipy.fft.dstn if forward else scipy.fft.idstn)(grid, type=1, axes=sines, norm="ortho")
        for axis, modes in mixed.items():
            grid = np.moveaxis(np.moveaxis(grid, axis, -1) @ (modes.T if forward else modes), -1, axis)
        return grid

    def apply(vector: Vector) -> Vector:
        grid = np.zeros(fluid.shape)
        grid[fluid] = vector.ravel()
        return transform(inverse * transform(grid, True), False)[fluid]

    return LinearOperator((problem.n_unknowns,) * 2, matvec=apply, rmatvec=apply, dtype=np.float64)


def _eigenvalues(n: int, n_open: int) -> Vector:
    """Return those of the second difference on a line of n cells, of which none, one or two ends are open."""
    k = np.arange(n)
    theta = (k / max(n, 1), (2 * k + 1) / (2 * n + 1), (k + 1) / (n + 1))[n_open]
    return 2 - 2 * np.cos(np.pi * theta)


def _modes(n: int, open_below: bool) -> Vector:
    """Return the orthonormal modes (mode, cell) of a line with one open end."""
    angle = np.pi * np.outer(2 * np.arange(n) + 1, np.arange(n) + 0.5) / (2 * n + 1)
    modes = 2 / np.sqrt(2 * n + 1) * np.cos(angle)
    return modes[:, ::-1] if open_below else modes


def _box(problem: MaskProblem) -> tuple[tuple[slice, ...], list[tuple[bool, bool]]]:
    """Return the smallest box around the fluid, and for each axis whether its lower and upper end are open."""
    box, ends = [], []
    for axis in range(problem.cells.ndim):
        across = tuple(a for a in range(problem.cells.ndim) if a != axis)
        wet = np.flatnonzero(problem.fluid.any(across))
        low, high = (int(wet[0]), int(wet[-1]) + 1) if len(wet) else (0, 0)
        airy = (problem.cells == AIR).any(across)
        box.append(slice(low, high))
        ends.append((low > 0 and bool(airy[low - 1]), high < len(airy) and bool(airy[high])))
    return tuple(box), ends
