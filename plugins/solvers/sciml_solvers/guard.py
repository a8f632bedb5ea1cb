"""A learned cycle under watch: a few steps beside the classical cycle decide which of the two goes on."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciml_solvers.learned import LearnedCycle, learned_cycle
from sciml_solvers.multigrid import Multigrid
from sciml_solvers.pcg import dot, pcg
from sciml_solvers.problems import MaskProblem
from sciml_solvers.solution import Solution, Status
from sciml_solvers.solve import iterate
from sciml_solvers.system import grid_system

N_TRIAL = 3
_BROKEN_DOWN = {Status.NONFINITE, Status.INDEFINITE_M, Status.STAGNATED}


class GuardedCycle:
    r"""Solve one grid problem for many right-hand sides with the better of a learned and a classical cycle.

    The first solve runs both for K = 3 steps of conjugate gradients and compares what each has won of the energy,
    ``E = b.x - x.A x / 2 = x.(b + r) / 2``. As ``||x - x*||_A^2 = x*.A x* - 2 E``, the larger E has the smaller error
    in the A-norm, exactly. The better of the two goes on from its iterate, with its directions; the verdict holds for
    the solves that follow. A network that gives NaN or infinity loses; where it breaks down later, the classical cycle
    begins anew.

    Parameters
    ----------
    problem
        Its mask, coefficients and spacing.
    network
        Predicts the cycle, once.
    classical
        What to fall back to; `Multigrid` with one sweep before and after where it is left out.
    dtype
        Of the learned cycle, and of the classical one where that is left out.

    *Contract*: converges for any weights where the classical cycle does. The first solve spends K cycles more than the
    one that goes on would alone, the others none. A verdict after K steps is no promise for the steps that follow.
    """

    def __init__(
        self,
        problem: MaskProblem,
        network: LearnedCycle,
        *,
        classical: Multigrid | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._problem, self._system = problem, grid_system(problem)
        self._classical = classical or Multigrid(problem, smoothing=(1, 1), dtype=dtype)
        self._learned: Multigrid | None = None
        self.fallback: bool | None = None
        """Whether the classical cycle does the work; None before the first solve has compared the two."""
        try:
            self._learned = learned_cycle(network, problem, dtype=dtype)
        except FloatingPointError:
            self.fallback = True

    def solve(
        self, b: NDArray[np.floating] | None = None, *, rtol: float = 1e-6, max_iterations: int = 2000
    ) -> Solution:
        """Solve for the problem's right-hand sides, or for b (shape of cells) or (rhs, shape of cells).

        Returns
        -------
        Solution
            As of `sciml_solvers.solve.solve`. Its `fallback` says that the classical cycle did the work; `iterations`
            are those of the cycle that did, the `N_TRIAL` of the other in the first solve are not among them.
        """
        given = self._problem.rhs if b is None else np.asarray(b, dtype=np.float64)
        shape = self._problem.cells.shape
        if given.shape[given.ndim - len(shape) :] != shape:
            raise ValueError(
                f"GuardedCycle: expected b of shape {shape} or (rhs, *{shape}), got {given.shape}; reshape"
            )
        if not rtol > 0 or max_iterations < 0:
            got = f"{rtol} and {max_iterations}"
            raise ValueError(f"GuardedCycle: expected rtol > 0 and max_iterations >= 0, got {got}; raise it")
        grid = np.where(self._problem.fluid, given, 0.0)
        found = self._solve(torch.from_numpy(grid.reshape(-1, *self._system.diagonal.shape)), rtol, max_iterations)
        fields = found.statuses, found.iterations, found.residual_norms, found.history
        return Solution(found.x.reshape(grid.shape), *fields, fallback=bool(self.fallback))

    def _solve(self, b: Tensor, rtol: float, n_most: int) -> Solution:
        classical = _Kept(self._classical)
        if self._learned is not None and not self.fallback:
            learned = _Kept(self._learned)
            if self.fallback is None and bool(torch.isfinite(b).all()) and bool((b != 0).any()):
                self.fallback = not bool(self._won(learned, b) >= self._won(classical, b))
            if not self.fallback:
                found = iterate(self._system, b, learned, rtol, n_most)
                if not set(found.statuses) & _BROKEN_DOWN or not bool(torch.isfinite(b).all()):
                    return found
                self.fallback = True
        return iterate(self._system, b, classical, rtol, n_most)

    def _won(self, cycle: _Kept, b: Tensor) -> Tensor:
        """Return the energy won in `N_TRIAL` steps, each relative to ``b.b``, summed over b."""
        project = self._system.constants.project
        b = project(b)
        size = dot(b, b)
        run = pcg(self._system.apply, b, lambda r: project(cycle(project(r))), 1e-12 * size.sqrt())
        state = list(islice(run, N_TRIAL + 1))[-1]
        cycle.rewind()
        if any(status in _BROKEN_DOWN for status in state.broken):
            return torch.tensor(torch.nan)
        return (dot(state.x, b + state.residual) / torch.where(size > 0, size, 1)).sum()


class _Kept:
    """A cycle that keeps what it gave: an iteration that is run again from the start spends no cycle twice."""

    def __init__(self, cycle: Multigrid) -> None:
        self._cycle = cycle
        self._given: list[tuple[Tensor, Tensor]] = []
        self._is_again = False

    def rewind(self) -> None:
        """Give the same again from now on, as long as the residuals are the same."""
        self._is_again = True

    def __call__(self, residual: Tensor) -> Tensor:
        if self._is_again and self._given:
            asked, z = self._given.pop(0)
            if torch.equal(asked, residual):
                return z
            self._given.clear()  # a right-hand side has arrived and is left alone, or the iteration began anew
        z = self._cycle.apply(residual)
        if not self._is_again:
            self._given.append((residual.clone(), z))
        return z
