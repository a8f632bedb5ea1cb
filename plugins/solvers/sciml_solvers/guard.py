"""A learned cycle under watch: one step beside the classical cycle decides which of the two goes on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciml_solvers.learned import LearnedCycle, predicted_levels
from sciml_solvers.multigrid import Multigrid
from sciml_solvers.pcg import Apply, dot
from sciml_solvers.problems import MaskProblem
from sciml_solvers.solution import Solution, Status
from sciml_solvers.solve import iterate, unit
from sciml_solvers.system import grid_system

PER_DECADE = 40
"""Iterations for each decade that a learned cycle is given; the classical one needs 2 to 17 on the gallery."""
_BROKEN_DOWN = {Status.NONFINITE, Status.INDEFINITE_M, Status.STAGNATED}


class GuardedCycle:
    r"""Solve one grid problem for many right-hand sides with the better of a learned and a classical cycle.

    Three questions, the cheap ones first. (1) Are the looks of the finest level's cells few
    (`sciml_solvers.looks.few_looks`)? Where they are not, as with a random coefficient or pores in every other cell,
    predicting takes as long as solving: the classical cycle does the work at once. (2) Does one learned cycle win more
    of the energy, ``E = b.x - x.A x / 2 = x.(b + r) / 2``, than one classical cycle of the first right-hand sides? As
    ``||x - x*||_A^2 = x*.A x* - 2 E``, the larger E has the smaller error in the A-norm, exactly. The winner goes on
    from its iterate; the verdict holds for the solves that follow. (3) Does the learned cycle arrive within
    `PER_DECADE` iterations per decade, without NaN, infinity or stagnation? Where it does not, the classical one goes
    on from what was reached, and does the work from then on.

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

    *Contract*: converges for any weights where the classical cycle does. The first solve spends at most one cycle, a
    look at each cell and a prediction for a 64th of them more than the cycle that goes on would alone, the others
    nothing. A verdict after one cycle is no promise for the steps that follow.
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
        own = Multigrid(problem, smoothing=(1, 1), dtype=dtype)
        self._classical, self._learned = classical or own, own
        self.fallback: bool | None = None
        """Whether the classical cycle does the work; None before the first solve has compared the two."""
        try:
            levels = predicted_levels(network, own.hierarchy, only_few=True)
        except FloatingPointError:
            levels = None
        if levels is None:
            self.fallback = True
        else:
            self._learned = Multigrid(problem, smoothing=(1, 1), dtype=dtype, levels=levels).prepare()

    def solve(
        self, b: NDArray[np.floating] | None = None, *, rtol: float = 1e-6, max_iterations: int = 2000
    ) -> Solution:
        """Solve for the problem's right-hand sides, or for b (shape of cells) or (rhs, shape of cells).

        Returns
        -------
        Solution
            As of `sciml_solvers.solve.solve`. Its `fallback` says that the classical cycle did the work, or finished
            it; `iterations` are those of the cycles that did, the one cycle of the loser is not among them.
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
        learned: Apply = self._learned.apply
        classical: Apply = self._classical.apply
        is_finite = bool(torch.isfinite(b).all())
        if self.fallback is None and is_finite and bool((b != 0).any()):
            learned, ours = self._begin(self._learned, b)
            classical, theirs = self._begin(self._classical.prepare(finest_of=self._learned), b)
            self.fallback = not bool(ours >= theirs)
        if self.fallback:
            return iterate(self._system, b, classical, rtol, n_most)
        n_patient = min(n_most, math.ceil(PER_DECADE * max(1.0, -math.log10(rtol))))
        found = iterate(self._system, b, learned, rtol, n_patient)
        is_late = found.iterations >= n_patient < n_most and not found.converged
        if not is_finite or not (is_late or set(found.statuses) & _BROKEN_DOWN):
            return found
        self.fallback = True
        start = torch.from_numpy(found.x)
        rest = iterate(self._system, b, self._classical.apply, rtol, n_most - found.iterations, start=start)
        history = np.concatenate([found.history, rest.history[1:]])
        return replace(rest, iterations=found.iterations + rest.iterations, history=history)

    def _begin(self, cycle: Multigrid, b: Tensor) -> tuple[_Begun, Tensor]:
        """Apply a cycle to b; return it with what it gave, and the energy won, relative to ``b.b`` and summed over b.

        One step of conjugate gradients from zero with z = M b wins ``E = (b.z)^2 / (2 z.A z)``.
        """
        project = self._system.constants.project
        b = project(b / unit(b))
        begun = _Begun(cycle, b)
        z = project(begun.z)
        won, size, curvature = dot(b, z), dot(b, b), self._system.apply_dot(z)[1]
        won = torch.where((won > 0) & (curvature > 0), won**2 / (2 * curvature), torch.nan)
        return begun, torch.where(size > 0, won / size, 0).sum()


class _Begun:
    """A cycle that was applied once already: an iteration that begins with the same residual gets that back."""

    def __init__(self, cycle: Multigrid, residual: Tensor) -> None:
        self._cycle, self._residual = cycle, residual
        self.z = cycle.apply(residual)
        self._is_first = True

    def __call__(self, residual: Tensor) -> Tensor:
        is_first, self._is_first = self._is_first, False
        if is_first and torch.equal(residual, self._residual):
            return self.z
        return self._cycle.apply(residual)
