"""What a solve returns, and the sentences that say how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray


class Status(Enum):
    """How a solve ended; the value is a sentence with the cause and a next step."""

    CONVERGED = "The residual, computed again in float64, is below the tolerance."
    MAXITER = "The iterations ran out before the tolerance was reached; allow more or use a stronger preconditioner."
    STAGNATED = (
        "The residual stopped decreasing above the tolerance; the matrix is too ill-conditioned for it: loosen rtol or "
        "rescale the coefficients."
    )
    INDEFINITE_A = (
        "A direction with p.Ap <= 0 was found: the matrix is not positive definite; check its sign and its boundary "
        "conditions, or use another method than conjugate gradients."
    )
    INDEFINITE_M = (
        "A residual with r.Mr <= 0 was found: the preconditioner is not positive definite; use a symmetric positive "
        "one, such as multigrid or jacobi."
    )
    SINGULAR_INCONSISTENT = (
        "A component without a given pressure has a right-hand side that does not sum to zero, so no solution exists; "
        "the closest solvable problem was solved: balance the sources or open the component."
    )
    NONFINITE = "NaN or infinity appeared; check the right-hand side, the matrix and the preconditioner."


_ORDER = tuple(Status)


@dataclass(frozen=True)
class Solution:
    """The answer of a linear solve.

    Parameters
    ----------
    x : shape of the right-hand side
        Best iterate, float64; zero in cells that are no unknowns.
    statuses
        How each right-hand side ended.
    iterations
        Of the right-hand side that took most.
    residual_norms : (rhs,)
        ``norm(b - A x) / norm(b)``, computed from x in float64; zero for a zero right-hand side.
    history : (iteration + 1, rhs)
        Relative residual norms as the iteration carried them, from the start.
    fallback
        Whether another preconditioner than the one asked for did the work.
    note
        Which one did, and why; empty where that is the one asked for.
    """

    x: NDArray[np.float64]
    statuses: tuple[Status, ...]
    iterations: int
    residual_norms: NDArray[np.float64]
    history: NDArray[np.float64]
    fallback: bool = False
    note: str = ""

    @property
    def status(self) -> Status:
        """The worst status of all right-hand sides."""
        return max(self.statuses, key=_ORDER.index) if self.statuses else Status.CONVERGED

    @property
    def converged(self) -> bool:
        """Whether every right-hand side reached the tolerance."""
        return self.status is Status.CONVERGED

    @property
    def residual_norm_true(self) -> float:
        """The largest relative residual norm of all right-hand sides, computed in float64."""
        return float(self.residual_norms.max(initial=0.0))
