"""Classical solvers of one pressure problem under one rule: the same right-hand side, the same true residual."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

import numba
import numpy as np
import scipy.fft
import scipy.sparse as sparse
import torch
from numpy.typing import NDArray
from sciml_kernels.numba_tools import PARALLEL_FROM
from scipy.sparse.linalg import LinearOperator, cg
from threadpoolctl import threadpool_limits

from sciml.threads import one_core
from sciml_solvers import memory
from sciml_solvers.algebraic import peer
from sciml_solvers.deflation import DeflatedCG, ritz_vectors
from sciml_solvers.fast_poisson import box_poisson
from sciml_solvers.gallery import problem as gallery_problem
from sciml_solvers.multigrid import Multigrid
from sciml_solvers.petsc_peer import PetscPeer, Spent
from sciml_solvers.problems import MaskProblem
from sciml_solvers.solution import Status
from sciml_solvers.solve import iterate
from sciml_solvers.system import System, grid_system, matrix_system

Vector: TypeAlias = NDArray[np.floating]
MAX_ITERATIONS = 5000
N_RESTART = 6


@dataclass(frozen=True)
class Measured:
    """What a method needed for one problem.

    Parameters
    ----------
    name : of the method.
    iterations : of the right-hand side that took most, all restarts together.
    setup_s, solve_s : CPU seconds of all threads, least of the repeats; the sparse matrix counts as given.
    residual_true : largest ``norm(b - A x) / norm(b)`` with the sparse matrix in float64.
    status : converged where that is below the tolerance.
    bytes : peak of the resident memory over what was there before, first repeat; None where it cannot be read.
    setup_wall_s, solve_wall_s : seconds of the clock, least of the repeats.
    """

    name: str
    iterations: int
    setup_s: float
    solve_s: float
    residual_true: float
    status: Status
    bytes: int | None = None
    setup_wall_s: float = float("nan")
    solve_wall_s: float = float("nan")


@dataclass(frozen=True)
class Task:
    """What every method is given: the problem, its sparse matrix, and the system that knows its null space."""

    problem: MaskProblem
    matrix: sparse.csr_matrix
    system: System

    def projected(self, vector: Vector) -> Vector:
        """Return the vector (unknown,) with mean zero over each component that has no given pressure."""
        return self.system.constants.project(torch.from_numpy(vector)[None])[0].numpy()


Solver: TypeAlias = Callable[[Vector, float], tuple[Vector, int]]
"""From a right-hand side and a relative tolerance to the solution and the iterations."""
_Run: TypeAlias = tuple[Vector, list[Vector], int, Spent | None]


def measure(name: str, problem: MaskProblem, rtol: float, threads: int = 1, n_repeats: int = 3) -> Measured:
    """Set a method up and solve every right-hand side of a problem to ``norm(b - A x) <= rtol * norm(b)``.

    Parameters
    ----------
    name
        One of `METHODS`.
    problem
        A component without a given pressure is solved for right-hand side, answer and residual of mean zero.
    rtol
        Relative tolerance, the same rule for all: a method that says it is done goes on from the true residual until
        that is below.
    threads
        For every method alike; put back at the end. Compiled loops (``"multigrid"``) must be on so many already.
    n_repeats
        Setup and solve are done so often, from nothing; compilation is over before the first.

    *Contract*: `Measured.residual_true` is computed here from the answer, never taken from the method.
    """
    if name not in METHODS:
        raise ValueError(f"measure: expected one of {', '.join(METHODS)}, got {name!r}; choose one of these")
    if not rtol > 0 or threads < 1 or n_repeats < 1:
        raise ValueError(
            f"measure: expected positive rtol, threads and n_repeats, got {rtol}, {threads}, {n_repeats}; raise them"
        )
    method = METHODS[name]
    with _threads(threads, name == "multigrid"):
        _timed(method, _task(_tiny(problem)), rtol)
        task = _task(problem)
        gc.collect()
        before = memory.resident() if memory.reset_peak() else None
        runs = [_timed(method, task, rtol)]
        peak = memory.peak()
        runs += [_timed(method, task, rtol) for _ in range(n_repeats - 1)]
    _, x, iterations, elsewhere = runs[0]
    times = np.min([run[0] for run in runs], axis=0)
    residual, status = _judge(task, x, rtol)
    extra = None if before is None or peak is None else max(0, peak - before)
    if elsewhere is not None:
        extra = elsewhere.bytes
    setup, setup_wall, solving, solving_wall = (float(t) for t in times)
    return Measured(name, iterations, setup, solving, residual, status, extra, setup_wall, solving_wall)


def _timed(method: Callable[[Task], Solver], task: Task, rtol: float) -> _Run:
    """Return (setup CPU, wall, solve CPU, wall) seconds, the solutions, the most iterations, and another process."""
    vectors = [task.projected(task.problem.to_vector(b)) for b in task.problem.each_rhs()]
    start = np.array([time.process_time(), time.perf_counter()])
    solver = method(task)
    middle = np.array([time.process_time(), time.perf_counter()])
    found = [solver(b, rtol) for b in vectors]
    end = np.array([time.process_time(), time.perf_counter()])
    seconds, elsewhere = np.concatenate([middle - start, end - middle]), None
    if isinstance(solver, PetscPeer):  # which runs in a process of its own and times itself
        elsewhere = solver.spent
        seconds = np.array([elsewhere.setup_s, elsewhere.setup_wall_s, elsewhere.solve_s, elsewhere.solve_wall_s])
    return seconds, [x for x, _ in found], max(n for _, n in found), elsewhere


def _judge(task: Task, solutions: list[Vector], rtol: float) -> tuple[float, Status]:
    worst = 0.0
    for b, x in zip(task.problem.each_rhs(), solutions, strict=True):
        vector = task.projected(task.problem.to_vector(b))
        size = np.linalg.norm(vector)
        worst = max(worst, float(np.linalg.norm(vector - task.matrix @ x) / (size if size > 0 else 1)), key=_nan_last)
    if not np.isfinite(worst):
        return worst, Status.NONFINITE
    return worst, Status.CONVERGED if worst <= rtol else Status.MAXITER


def _nan_last(value: float) -> float:
    return value if np.isfinite(value) else np.inf


def _task(problem: MaskProblem) -> Task:
    matrix = problem.matrix()
    return Task(problem, matrix, matrix_system(matrix))


def _tiny(problem: MaskProblem) -> MaskProblem:
    """Return a small problem of the same kind on which all that is compiled at the first call is compiled."""
    n_axis = problem.cells.ndim
    # Large grids take other compiled loops than small ones, from this many cells on.
    n = 8 if problem.cells.size < PARALLEL_FROM else int(np.ceil(PARALLEL_FROM ** (1 / n_axis)))
    tiny = gallery_problem("solids", n, n_axis)
    coefficient = None if problem.coefficient is None else np.ones(tiny.cells.shape)
    return replace(tiny, coefficient=coefficient, spacing=problem.spacing)


def _until_true(step: Callable[[Vector, Vector, float, int], tuple[Vector, int]], task: Task) -> Solver:
    """Restart a method from its answer until the true residual is below the tolerance."""

    def solver(b: Vector, rtol: float) -> tuple[Vector, int]:
        target, x, n_done = rtol * float(np.linalg.norm(b)), np.zeros_like(b), 0
        goal = target
        for _ in range(N_RESTART):
            x, n_new = step(b, x, goal, MAX_ITERATIONS - n_done)
            n_done += n_new
            norm = np.linalg.norm(b - task.matrix @ x)
            if norm <= target or not np.isfinite(norm) or n_new == 0 or n_done >= MAX_ITERATIONS:
                break
            goal *= 0.5
        return x, n_done

    return solver


def _by_cg(task: Task, precondition: LinearOperator | sparse.spmatrix | None = None) -> Solver:
    """Iterate with SciPy's conjugate gradients."""
    m = precondition
    if m is not None and len(task.system.constants.count) > 1:
        inner = sparse.linalg.aslinearoperator(m)
        m = LinearOperator(inner.shape, lambda r: task.projected(inner.matvec(task.projected(r.ravel()))), dtype=float)

    def step(b: Vector, x: Vector, goal: float, n_most: int) -> tuple[Vector, int]:
        iterates: list[None] = []
        x, _ = cg(task.matrix, b, x, rtol=0.0, atol=goal, maxiter=n_most, M=m, callback=lambda _: iterates.append(None))
        return x, len(iterates)

    return _until_true(step, task)


def _jacobi(task: Task) -> Solver:
    diagonal = task.matrix.diagonal()
    return _by_cg(task, sparse.diags(1 / np.where(diagonal > 0, diagonal, 1)).tocsr())


def _deflated(task: Task) -> Solver:
    """Deflate Ritz vectors of the first right-hand side."""
    first = task.projected(task.problem.to_vector(next(task.problem.each_rhs())))
    method = DeflatedCG(task.matrix, ritz_vectors(task.matrix, first))

    def step(b: Vector, x: Vector, goal: float, n_most: int) -> tuple[Vector, int]:
        iterates: list[None] = []
        return method.solve(b, x, goal, n_most, lambda _: iterates.append(None)), len(iterates)

    return _until_true(step, task)


def _incomplete_cholesky(task: Task) -> Solver:
    return _by_cg(task, peer("ilupp", "measure").IChol0Preconditioner(task.matrix))


def _smoothed_aggregation(task: Task) -> Solver:
    return _by_cg(task, peer("pyamg", "measure").smoothed_aggregation_solver(task.matrix).aspreconditioner())


def _ruge_stuben(task: Task) -> Solver:
    return _by_cg(task, peer("pyamg", "measure").ruge_stuben_solver(task.matrix).aspreconditioner())


def _petsc(kind: str, task: Task) -> Solver:
    """Set up anew for each right-hand side, in another process."""
    constants = task.system.constants
    label = constants.label.numpy() if len(constants.count) > 1 else None
    return PetscPeer(kind, task.matrix.data, task.matrix.indices, task.matrix.indptr, label)


def _multigrid(task: Task) -> Solver:
    """Set up from the mask alone, the matrix not used, and solve as `sciml_solvers.solve.solve` does."""
    problem = task.problem
    system, cycle = grid_system(problem), Multigrid(problem).prepare()

    def solver(b: Vector, rtol: float) -> tuple[Vector, int]:
        grid = torch.from_numpy(problem.to_grid(b).reshape(1, *system.diagonal.shape))
        found = iterate(system, grid, cycle.apply, rtol, MAX_ITERATIONS)
        return problem.to_vector(found.x.reshape(problem.cells.shape)), found.iterations

    return solver


METHODS: dict[str, Callable[[Task], Solver]] = {
    "cg": _by_cg,
    "jacobi": _jacobi,
    "deflated": _deflated,
    "ic0": _incomplete_cholesky,
    "box_dct": lambda task: _by_cg(task, box_poisson(task.problem)),
    "pyamg_sa": _smoothed_aggregation,
    "pyamg_rs": _ruge_stuben,
    "petsc_hypre": lambda task: _petsc("hypre", task),
    "petsc_gamg": lambda task: _petsc("gamg", task),
    "multigrid": _multigrid,
}


@contextmanager
def _threads(n: int, uses_numba: bool) -> Iterator[None]:
    """Run what is measured on n threads; more than one of numba's belong to the process, so they are only looked at."""
    if uses_numba and n > 1 and numba.get_num_threads() != n:
        raise ValueError(
            f"measure: expected compiled loops on {n} threads, got {numba.get_num_threads()}; start Python with "
            f"NUMBA_NUM_THREADS={n} or call numba.set_num_threads({n})"
        )
    with one_core() if n == 1 else threadpool_limits(n), scipy.fft.set_workers(n):
        yield
