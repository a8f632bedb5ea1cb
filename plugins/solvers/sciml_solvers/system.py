"""The linear system behind a solve: how it is applied, its diagonal, and its null space by connected component."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
import torch
from numpy.typing import NDArray
from sciml_kernels.masked_stencil import masked_stencil, masked_stencil_dot
from scipy import ndimage
from torch import Tensor

from sciml_solvers.hierarchy import three_axes
from sciml_solvers.pcg import Apply, ApplyDot, with_dot
from sciml_solvers.problems import MaskProblem


@dataclass(frozen=True)
class Constants:
    """The components whose constants are in the null space: those without a face to air.

    Parameters
    ----------
    label : shape of a vector
        Number of the component, from 1; zero elsewhere.
    count : (component + 1,)
        Unknowns of each component; the first entry is not used.
    """

    label: Tensor
    count: Tensor

    def means(self, vector: Tensor) -> Tensor:
        """Return the mean over each component, (rhs, component + 1); zero in the first column."""
        sums = torch.zeros(len(vector), len(self.count), dtype=vector.dtype, device=vector.device)
        sums = sums.index_add(1, self.label.flatten(), vector.flatten(1)) / self.count
        return torch.cat([torch.zeros_like(sums[:, :1]), sums[:, 1:]], 1)

    def project(self, vector: Tensor) -> Tensor:
        """Return the vectors, (rhs, ...), with mean zero over each component."""
        if len(self.count) == 1:
            return vector
        return vector - self.means(vector)[:, self.label.flatten()].reshape(vector.shape)


@dataclass(frozen=True)
class System:
    """A symmetric system in the shape in which its vectors are iterated.

    Parameters
    ----------
    apply
        The matrix, on float64 vectors (rhs, ...).
    apply_dot
        The same with the product of each vector and what it becomes, as conjugate gradients need it.
    diagonal : (...)
        Its diagonal; zero where no unknown is.
    constants
        Its null space.
    """

    apply: Apply
    apply_dot: ApplyDot
    diagonal: Tensor
    constants: Constants


def grid_system(problem: MaskProblem) -> System:
    """Return the system of a grid problem, on grids of three axes that hold zero outside of the unknowns."""
    shape = three_axes(problem.cells.shape)
    is_even = problem.coefficient is None
    faces, diagonal = np.zeros((3, 1, 1, 1) if is_even else (3, *shape)), np.zeros(problem.cells.shape)
    grounded = np.zeros(problem.cells.shape, dtype=bool)
    for axis, target in enumerate((0, 2) if problem.cells.ndim == 2 else (0, 1, 2)):
        between, ground = problem.face_weights(axis)
        lead = (slice(None),) * axis
        if is_even:
            faces[target] = problem.spacing[axis] ** -2.0
        else:
            faces[target].reshape(problem.cells.shape)[(*lead, slice(None, -1))] = between
        diagonal += ground
        diagonal[(*lead, slice(None, -1))] += between
        diagonal[(*lead, slice(1, None))] += between
        grounded |= ground > 0
        del between, ground  # before the next axis makes its own
    label, n_label = ndimage.label(problem.fluid)
    closed = np.ones(n_label + 1, dtype=bool)
    closed[label[grounded]] = False
    weights, total = torch.from_numpy(faces), torch.from_numpy(diagonal.reshape(shape))
    return System(
        lambda p: masked_stencil(p, weights, total),
        lambda p: masked_stencil_dot(p, weights, total),
        total,
        _constants(label.reshape(shape), closed),
    )


def matrix_system(matrix: sparse.csr_matrix) -> System:
    """Return the system of a sparse symmetric matrix, on vectors; constants are sought component by component."""
    _, label = sparse.csgraph.connected_components(matrix, directed=False)
    label = label + 1
    diagonal = matrix.diagonal()
    row_sums = np.abs(np.asarray(matrix.sum(axis=1)).ravel())
    open_ = row_sums > 1e-12 * np.asarray(abs(matrix).sum(axis=1)).ravel()
    closed = np.ones(label.max(initial=0) + 1, dtype=bool)
    closed[label[open_]] = False

    def apply(p: Tensor) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray((matrix @ p.numpy().T).T))

    return System(apply, with_dot(apply), torch.from_numpy(diagonal), _constants(label, closed))


def _constants(label: NDArray, closed: NDArray[np.bool_]) -> Constants:
    closed[0] = False
    number = np.zeros(len(closed), dtype=np.int64)
    number[closed] = np.arange(1, np.count_nonzero(closed) + 1)
    if not closed.any():
        return Constants(torch.zeros(0, dtype=torch.int64), torch.ones(1, dtype=torch.float64))
    compact = number[label]
    count = np.bincount(compact.ravel(), minlength=number.max() + 1)
    return Constants(torch.from_numpy(compact), torch.from_numpy(np.maximum(count, 1).astype(np.float64)))
