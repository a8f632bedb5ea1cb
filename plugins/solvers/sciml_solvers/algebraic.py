"""What is asked of a sparse matrix without a grid, and preconditioners made of it by packages that may be absent."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciml_solvers.pcg import Apply

ZERO = 1e-14  # of the largest entry: an eigenvalue of the coarsest matrix that is zero but for rounding
SHIFT = 1e-6  # of the diagonal: the last pivot of a singular matrix would be rounding
INSTALL = "pip install 'sciml-toolkit[bench]'"


def check_matrix(matrix: object) -> sparse.csr_matrix:
    """Return a sparse matrix by rows in float64, or refuse it: conjugate gradients need a symmetric real finite one."""
    if not sparse.issparse(matrix):
        raise TypeError(f"solve: expected a MaskProblem or a sparse matrix, got {type(matrix).__name__}; convert it")
    csr = sparse.csr_matrix(matrix)
    if csr.shape[0] != csr.shape[1]:
        raise ValueError(f"solve: expected a square matrix, got {csr.shape}; conjugate gradients need one")
    if np.iscomplexobj(csr.data):
        raise TypeError("solve: expected a real matrix, got a complex one; use a method for complex systems")
    csr = csr.astype(np.float64)
    if not np.isfinite(csr.data).all():
        raise ValueError("solve: expected a finite matrix, got NaN or infinity; repair its entries")
    largest = abs(csr).max() if csr.nnz else 0.0
    off = abs(csr - csr.T).max() if csr.nnz else 0.0
    if off > 1e-10 * largest:
        raise ValueError(
            f"solve: expected a symmetric matrix, got a difference of {off / largest:.1e} to its transpose; use a "
            "method for non-symmetric systems"
        )
    return csr


def smoothed_aggregation(matrix: sparse.csr_matrix, candidates: NDArray[np.float64] | None = None) -> Apply:
    """Return one V-cycle of PyAMG's smoothed aggregation as a map of vectors (rhs, unknown).

    Parameters
    ----------
    matrix
        Symmetric positive (semi-)definite, (unknown, unknown).
    candidates : (unknown, candidate)
        Vectors that A takes almost to zero, such as the rigid motions of an elastic body; constants by default.

    *Contract*: symmetric, and positive where the matrix is; it draws no random numbers, so that the same matrix gives
    the same map to the bit. Where A is singular, project constants out before and after, as `solve` does.

    *Source*: P. Vanek, J. Mandel, M. Brezina, Computing 56 (1996). *Departures* from PyAMG's defaults: the prolongator
    is smoothed with a factor for each row, from the sum of its entries, in place of an estimate from random vectors;
    the coarsest matrix counts as singular below a share of the entries of the finest one.

    Examples
    --------
    >>> path = sparse.diags([-1.0, 2.0, -1.0], [-1, 0, 1], (40, 40), format="csr")
    >>> smoothed_aggregation(path)(torch.ones(2, 40, dtype=torch.float64)).shape
    torch.Size([2, 40])
    """
    pyamg = peer("pyamg", "smoothed_aggregation")
    smooth = ("jacobi", {"omega": 4 / 3, "weighting": "local"})
    # The eigenvalue zero of a singular matrix is rounding on the coarsest level, which must not be inverted.
    coarsest = ("pinv", {"atol": ZERO * abs(matrix).max(), "rtol": ZERO})
    given = _with_short_indices(matrix)
    hierarchy = pyamg.smoothed_aggregation_solver(given, B=candidates, smooth=smooth, coarse_solver=coarsest)
    return _row_by_row(hierarchy.aspreconditioner().matvec)


def incomplete_cholesky(matrix: sparse.csr_matrix) -> Apply:
    """Return the inverse of the incomplete factors ``L L^T`` with the pattern of the matrix, on (rhs, unknown).

    *Contract*: symmetric and positive. Pivots that are not positive, which matrices with positive entries off the
    diagonal may give, raise an ArithmeticError.

    *Source*: J. A. Meijerink, H. A. van der Vorst, Math. Comp. 31 (1977), as in the package ilupp. *Departures*: a
    millionth of the diagonal is added first, so that singular matrices have factors.
    """
    shifted = matrix + SHIFT * sparse.diags(matrix.diagonal())
    factors = peer("ilupp", "incomplete_cholesky").IChol0Preconditioner(_with_short_indices(shifted))
    if not np.isfinite(factors @ np.ones(matrix.shape[0])).all():
        raise ArithmeticError("incomplete_cholesky: expected positive pivots, got others; use smoothed aggregation")
    return _row_by_row(lambda r: factors @ r)


def best_there_is(matrix: sparse.csr_matrix) -> tuple[Apply | None, str]:
    """Return a preconditioner, and a sentence where it is not smoothed aggregation; None stands for Jacobi."""
    try:
        return smoothed_aggregation(matrix), ""
    except ImportError:
        missing = f"PyAMG is not installed: {INSTALL} gives smoothed aggregation."
    try:
        return incomplete_cholesky(matrix), f"Incomplete Cholesky factors did the work, as {missing}"
    except (ImportError, ArithmeticError):
        return None, f"The diagonal alone did the work, as {missing}"


def peer(package: str, where: str) -> Any:
    """Import a package of the extra `bench`, or say in one sentence how to get it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"{where}: expected the package {package}, got none; install it with: {INSTALL}") from error


def _row_by_row(apply: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Apply:
    def rows(r: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([apply(row) for row in r.double().numpy(force=True)])).to(r)

    return rows


def _with_short_indices(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the matrix with indices of 32 bits, which compiled packages ask for."""
    parts = (matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32))
    return sparse.csr_matrix(parts, shape=matrix.shape)
