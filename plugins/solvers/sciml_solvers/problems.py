"""Pressure-like problems on grids of fluid, solid and air cells, and the sparse matrices that they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating]

SOLID, FLUID, AIR = 0, 1, 2
_WHERE = "MaskProblem"


@dataclass(frozen=True)
class MaskProblem:
    r"""A Poisson equation on the fluid cells of a grid: ``-div(coefficient grad p) = rhs``.

    A face between two fluid cells has the weight ``k / spacing**2`` with the harmonic mean ``k`` of the two
    coefficients. A face to an air cell has the same weight and the pressure zero beyond it (Dirichlet). Faces to solid
    cells and to the outside of the grid are closed (Neumann):
    ``(A p)_i = sum_faces w_ij (p_i - p_j)``, with ``p_j = 0`` in air.

    Parameters
    ----------
    name
        What the problem is called in tables.
    cells : (n_x, n_y) or (n_x, n_y, n_z)
        Codes of type uint8: SOLID 0, FLUID 1, AIR 2.
    rhs : shape of cells, or (rhs, shape of cells)
        Right-hand side, float64; what stands outside of fluid cells is not looked at.
    coefficient : shape of cells, optional
        Positive in fluid and air cells; one where it is left out.
    spacing
        Edge lengths of a cell, one for each axis; one where they are left out.

    *Contract*: the matrix is a symmetric M-matrix whose rows sum to the weights of the faces to air.

    Examples
    --------
    >>> problem = MaskProblem("column", np.array([[1, 1, 2]], dtype=np.uint8), np.ones((1, 3)))
    >>> problem.matrix().toarray()
    array([[ 1., -1.],
           [-1.,  2.]])
    """

    name: str
    cells: NDArray[np.uint8]
    rhs: NDArray[np.float64]
    coefficient: NDArray[np.float64] | None = None
    spacing: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_cells(self.cells)
        spacing = tuple(float(h) for h in self.spacing) or (1.0,) * self.cells.ndim
        if len(spacing) != self.cells.ndim or not all(0 < h < np.inf for h in spacing):
            raise ValueError(
                f"{_WHERE}: expected {self.cells.ndim} positive spacings, got {self.spacing}; give one for each axis"
            )
        object.__setattr__(self, "spacing", spacing)
        object.__setattr__(self, "rhs", _checked_values("rhs", self.rhs))
        if self.rhs.shape != self.cells.shape and self.rhs.shape[1:] != self.cells.shape:
            raise ValueError(
                f"{_WHERE}: expected rhs of shape {self.cells.shape} or (rhs, *{self.cells.shape}), got "
                f"{self.rhs.shape}; reshape it as cells"
            )
        if not np.isfinite(self.to_vector(self.rhs)).all():
            raise ValueError(f"{_WHERE}: expected finite rhs in fluid cells, got NaN or infinity; repair the source")
        if self.coefficient is not None:
            object.__setattr__(self, "coefficient", _checked_values("coefficient", self.coefficient))
            _check_coefficient(self.coefficient, self.cells)

    @cached_property
    def fluid(self) -> NDArray[np.bool_]:
        """Where the unknowns are, (shape of cells)."""
        return self.cells == FLUID

    @cached_property
    def n_unknowns(self) -> int:
        """Count of the fluid cells."""
        return int(np.count_nonzero(self.fluid))

    @property
    def index(self) -> NDArray[np.int64]:
        """Number of each fluid cell in C order, -1 in the others, (shape of cells)."""
        number = np.full(self.cells.shape, -1, dtype=np.int64)
        number[self.fluid] = np.arange(self.n_unknowns)
        return number

    def to_vector(self, grid: Array) -> Array:
        """Take the fluid cells of a grid, or of several: (..., shape of cells) to (..., unknown)."""
        return grid[..., self.fluid]

    def to_grid(self, vector: Array) -> Array:
        """Put the unknowns in their cells and zero in the others: (..., unknown) to (..., shape of cells)."""
        grid = np.zeros((*vector.shape[:-1], *self.cells.shape), dtype=vector.dtype)
        grid[..., self.fluid] = vector
        return grid

    def face_weights(self, axis: int) -> tuple[Array, Array]:
        """Return the weights of the faces normal to an axis: between two fluid cells, and from fluid to air.

        Returns
        -------
        between : as cells, but one shorter along the axis
            Weight of the face between a cell and the next, zero unless both are fluid.
        ground : shape of cells
            Sum of the weights of a fluid cell's faces to air.
        """
        low, high = _pair(self.cells, axis)
        weight: Array | np.float64 = np.float64(self.spacing[axis] ** -2.0)
        if self.coefficient is not None:
            a, b = _pair(self.coefficient, axis)
            total = np.where((low != SOLID) & (high != SOLID), a + b, 1.0)
            weight = weight * 2 * a * b / total
        between = np.where((low == FLUID) & (high == FLUID), weight, 0.0)
        ground = np.zeros(self.cells.shape)
        ground_low, ground_high = _pair(ground, axis)
        ground_low += np.where((low == FLUID) & (high == AIR), weight, 0.0)
        ground_high += np.where((low == AIR) & (high == FLUID), weight, 0.0)
        return between, ground

    def matrix(self) -> sparse.csr_matrix:
        """Return the matrix over the fluid cells in C order, (unknown, unknown), float64."""
        n, number = self.n_unknowns, self.index
        diagonal = np.zeros(self.cells.shape)
        triplets: list[tuple[Array, NDArray[np.int64], NDArray[np.int64]]] = []
        for axis in range(self.cells.ndim):
            between, ground = self.face_weights(axis)
            diagonal += ground
            for part in _pair(diagonal, axis):
                part += between
            low, high = _pair(number, axis)
            is_open = between > 0
            triplets.append((between[is_open], low[is_open], high[is_open]))
        data, row, column = (np.concatenate(parts) for parts in zip(*triplets, strict=True))
        upper = sparse.coo_matrix((-data, (row, column)), shape=(n, n)).tocsr()
        matrix: sparse.csr_matrix = (upper + upper.T + sparse.diags(self.to_vector(diagonal))).tocsr()
        matrix.sort_indices()
        return matrix

    def each_rhs(self) -> Iterator[NDArray[np.float64]]:
        """Yield the right-hand sides one by one, (shape of cells) each."""
        yield from self.rhs.reshape(-1, *self.cells.shape)


def _pair(grid: NDArray, axis: int) -> tuple[NDArray, NDArray]:
    """Return the views of all cells but the last along an axis and of all but the first."""
    lead = (slice(None),) * axis
    return grid[(*lead, slice(None, -1))], grid[(*lead, slice(1, None))]


def _check_cells(cells: object) -> None:
    if not isinstance(cells, np.ndarray) or cells.dtype != np.uint8:
        kind = cells.dtype if isinstance(cells, np.ndarray) else type(cells).__name__
        raise TypeError(f"{_WHERE}: expected cells as an array of uint8, got {kind}; convert it with .astype('uint8')")
    if cells.ndim not in (2, 3) or cells.size == 0:
        raise ValueError(f"{_WHERE}: expected cells with 2 or 3 axes, none empty, got {cells.shape}; reshape it")
    if cells.max() > AIR:
        raise ValueError(
            f"{_WHERE}: expected cells of 0 (solid), 1 (fluid) and 2 (air), got {cells.max()}; recode the cells"
        )


def _checked_values(name: str, values: object) -> NDArray[np.float64]:
    if not isinstance(values, np.ndarray) or not np.issubdtype(values.dtype, np.floating):
        kind = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise TypeError(f"{_WHERE}: expected {name} as an array of float64, got {kind}; convert it")
    return values.astype(np.float64, copy=False)


def _check_coefficient(coefficient: NDArray[np.float64], cells: NDArray[np.uint8]) -> None:
    if coefficient.shape != cells.shape:
        raise ValueError(
            f"{_WHERE}: expected coefficient of shape {cells.shape}, got {coefficient.shape}; give one for each cell"
        )
    used = coefficient[cells != SOLID]
    if not (np.isfinite(used).all() and (used > 0).all()):
        raise ValueError(
            f"{_WHERE}: expected positive finite coefficients, got {used.min() if used.size else 0}; "
            "make closed cells SOLID"
        )
