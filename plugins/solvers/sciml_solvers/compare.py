"""Solve one problem by one method, timed on one core, with the residual computed again from the answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from sciml_solvers.dcdm import DcdmOptions, Direction, dcdm
from sciml_solvers.gallery import problem
from sciml_solvers.learned import LearnedCycle, learned_cycle
from sciml_solvers.multigrid import Multigrid
from sciml_solvers.problems import MaskProblem
from sciml_solvers.solve import solve

Result = TypeVar("Result")
TUNING = tuple((omega, scale) for omega in (1.0, 1.1, 1.2, 1.3, 1.4) for scale in (0.5, 0.55, 0.6, 0.7))


@dataclass(frozen=True)
class Timed:
    """How one method did on one problem.

    Parameters
    ----------
    converged : whether it arrived.
    residual : ``norm(b - A x) / norm(b)``, computed from the answer in float64.
    history : relative residual norms from the start, (iteration + 1).
    seconds : CPU seconds of one core, set-up included, at which they were reached, (iteration + 1).
    answer : shape of the cells.
    """

    converged: bool
    residual: float
    history: NDArray[np.float64]
    seconds: NDArray[np.float64]
    answer: NDArray[np.float64]

    @property
    def iterations(self) -> int:
        """How many it took."""
        return len(self.history) - 1

    @property
    def cpu_s(self) -> float:
        """CPU seconds of set-up and solve."""
        return float(self.seconds[-1])

    @property
    def solve_cpu_s(self) -> float:
        """CPU seconds of the solve alone."""
        return float(self.seconds[-1] - self.seconds[0])


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """Return the result of a call and the CPU seconds that it took."""
    start = time.process_time()
    return call(), time.process_time() - start


def by_conjugate_gradients(task: MaskProblem, preconditioner: str, rtol: float) -> Timed:
    """Solve by conjugate gradients with the preconditioner "none" or "jacobi"."""
    return _finish(task, preconditioner, rtol, 0.0)


def by_multigrid(task: MaskProblem, make: Callable[[MaskProblem], Multigrid], rtol: float) -> Timed:
    """Solve by conjugate gradients with a cycle; its set-up holds the hierarchy and one cycle on zeros."""

    def set_up() -> Multigrid:
        cycle = make(task)
        cycle.apply(torch.zeros(1, *task.cells.shape, dtype=torch.float64))
        return cycle

    cycle, setup_s = timed(set_up)
    return _finish(task, cycle, rtol, setup_s)


def _finish(task: MaskProblem, preconditioner: str | Multigrid, rtol: float, setup_s: float) -> Timed:
    found, solve_s = timed(lambda: solve(task, preconditioner=preconditioner, rtol=rtol, max_iterations=20_000))
    history = found.history[:, 0]
    # The iterations cost the same; what precedes them is a small share of the solve.
    seconds = setup_s + solve_s * np.linspace(0.0, 1.0, len(history))
    return Timed(found.converged, found.residual_norm_true, history, seconds, found.x)


def by_directions(task: MaskProblem, direction: Direction, options: DcdmOptions) -> Timed:
    """Solve by conjugate directions that a rule proposes; building the sparse matrix is its set-up."""
    matrix, setup_s = timed(task.matrix)
    start, history, seconds = time.process_time(), list[float](), list[float]()
    for state in dcdm(matrix, task.to_vector(task.rhs), direction, options):
        history.append(state.residual)
        seconds.append(setup_s + time.process_time() - start)
    answer = task.to_grid(state.solution).astype(np.float64)
    return Timed(state.residual <= options.tolerance, state.residual, np.array(history), np.array(seconds), answer)


def warm_up() -> None:
    """Solve small problems, so that whatever is compiled at its first use is compiled before anything is timed."""
    for name in ("solids", "jumps"):
        for n in (8, 28):  # serial loops and parallel ones
            small = problem(name, n)
            for preconditioner in ("none", Multigrid(small), learned_cycle(LearnedCycle(), small)):
                solve(small, preconditioner=preconditioner, max_iterations=2)


def shortest(call: Callable[[], Timed], n_repeats: int) -> Timed:
    """Return the run of least CPU time; the numbers of iterations of all are the same."""
    return min((call() for _ in range(n_repeats)), key=lambda row: row.cpu_s)


def tuned(problems: Sequence[MaskProblem], rtol: float) -> tuple[tuple[float, float], list[int]]:
    """Return the one setting (omega, coarse scale) of a 1+1 cycle that is best on these problems, and its iterations.

    It is chosen on the problems it is judged on, by the geometric mean: the strongest baseline of uniform parameters.
    """
    best: tuple[float, tuple[float, float], list[int]] | None = None
    for omega, scale in TUNING:
        counts = [
            solve(p, preconditioner=Multigrid(p, smoothing=(1, 1), omega=omega, coarse_scale=scale), rtol=rtol)
            for p in problems
        ]
        if all(found.converged for found in counts):
            iterations = [found.iterations for found in counts]
            mean = geometric_mean(iterations)
            if best is None or mean < best[0]:
                best = mean, (omega, scale), iterations
    if best is None:
        raise ValueError("tuned: expected a setting that solves every problem, got none; raise rtol")
    return best[1], best[2]


def geometric_mean(values: Iterable[float]) -> float:
    """Return the geometric mean of positive numbers."""
    return float(np.exp(np.mean(np.log(np.fromiter(values, float)))))
