"""Deflated conjugate gradients: directions in which the matrix is slow are solved for exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import scipy.linalg
import scipy.sparse as sparse
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.floating]


def ritz_vectors(matrix: sparse.csr_matrix, start: Vector, n_vectors: int = 16, n_steps: int = 32) -> Vector:
    """Return the Ritz vectors of the smallest Ritz values in the Krylov space of a start vector.

    ``A Q = Q T + beta q e^T, T s = theta s, w = Q s``

    Parameters
    ----------
    matrix
        Symmetric, (unknown, unknown).
    start : (unknown,)
        Any vector but zero, such as the residual.
    n_vectors, n_steps
        Vectors kept and Lanczos steps done; fewer where the Krylov space is exhausted.

    Returns
    -------
    (unknown, vector)
        Orthonormal columns.

    *Source*: Golub and Van Loan, Matrix Computations, section 10.1. *Departures*: every vector is orthogonalised twice
    against all earlier ones.
    """
    size = np.linalg.norm(start)
    if not size > 0:
        return np.zeros((len(start), 0))
    basis = np.empty((min(n_steps, len(start)), len(start)))
    diagonal, beside = np.empty(len(basis)), np.empty(len(basis))
    basis[0], n_done = start / size, len(basis)
    for step in range(len(basis)):
        w = matrix @ basis[step]
        diagonal[step] = w @ basis[step]
        for _ in range(2):
            w -= (basis[: step + 1] @ w) @ basis[: step + 1]
        beside[step] = np.linalg.norm(w)
        if beside[step] <= 1e-10 * np.abs(diagonal[: step + 1]).max():
            n_done = step + 1
            break
        if step + 1 < len(basis):
            basis[step + 1] = w / beside[step]
    _, s = scipy.linalg.eigh_tridiagonal(diagonal[:n_done], beside[: n_done - 1])
    return np.ascontiguousarray((s[:, :n_vectors].T @ basis[:n_done]).T)


class DeflatedCG:
    r"""Conjugate gradients with Jacobi preconditioning, kept A-orthogonal to given vectors W.

    ``p = z + beta p - W (W^T A W)^-1 (A W)^T z``, from ``x_0 += W (W^T A W)^-1 W^T r_0``.

    Parameters
    ----------
    matrix
        Symmetric positive definite, (unknown, unknown).
    vectors : (unknown, vector)
        Linearly independent columns W, from `ritz_vectors`.

    *Contract*: the residual stays orthogonal to W up to rounding; without vectors this is Jacobi-preconditioned CG.

    *Source*: Saad, Yeung, Erhel and Guyomarc'h, SIAM J. Sci. Comput. 21 (2000), algorithm 3.6.
    """

    def __init__(self, matrix: sparse.csr_matrix, vectors: Vector) -> None:
        self._matrix, self._vectors = matrix, vectors
        self._images = matrix @ vectors
        self._factor = scipy.linalg.cho_factor(vectors.T @ self._images) if vectors.shape[1] else None
        diagonal = matrix.diagonal()
        self._inverse = 1 / np.where(diagonal > 0, diagonal, 1)

    def solve(
        self,
        b: Vector,
        x: Vector,
        target: float,
        max_iterations: int,
        callback: Callable[[Vector], None] | None = None,
    ) -> Vector:
        """Iterate from x until the residual norm, as the recurrence carries it, is at most `target`.

        Parameters
        ----------
        b, x : (unknown,)
            Right-hand side and start; not changed.
        target
            Norm of the residual at which to stop.
        max_iterations
            After which to stop.
        callback
            Called with the iterate after every step.
        """
        x = x + self._lift(self._vectors.T @ (b - self._matrix @ x))
        r = b - self._matrix @ x
        p, rz_old = np.zeros_like(x), 1.0
        for iteration in range(max_iterations):
            if np.linalg.norm(r) <= target:
                break
            z = self._inverse * r
            rz = r @ z
            p = z + (rz / rz_old if iteration else 0.0) * p - self._lift(self._images.T @ z)
            q = self._matrix @ p
            pq = p @ q
            if not pq > 0:
                break
            x += rz / pq * p
            r -= rz / pq * q
            rz_old = rz
            if callback is not None:
                callback(x)
        return x

    def _lift(self, products: Vector) -> Vector:
        if self._factor is None:
            return np.zeros(len(self._vectors))
        return self._vectors @ scipy.linalg.cho_solve(self._factor, products)
