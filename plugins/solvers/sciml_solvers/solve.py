"""Solve a grid problem or a sparse symmetric system, with a residual that is always computed again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import scipy.sparse as sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciml_solvers.algebraic import best_there_is, check_matrix, smoothed_aggregation
from sciml_solvers.multigrid import Multigrid
from sciml_solvers.pcg import Apply, State, along, dot, pcg
from sciml_solvers.problems import MaskProblem
from sciml_solvers.solution import Solution, Status
from sciml_solvers.system import System, grid_system, matrix_system

Preconditioner: TypeAlias = str | Multigrid | Callable[[Tensor], Tensor]
N_RESTART = 6


def solve(
    problem: MaskProblem | sparse.spmatrix | sparse.sparray,
    b: NDArray[np.floating] | None = None,
    *,
    preconditioner: Preconditioner = "multigrid",
    rtol: float = 1e-6,
    max_iterations: int = 2000,
    dtype: torch.dtype = torch.float32,
) -> Solution:
    """Solve ``A x = b`` by preconditioned conjugate gradients to ``norm(b - A x) <= rtol * norm(b)``.

    Parameters
    ----------
    problem
        A grid problem, or a sparse symmetric positive (semi-)definite matrix.
    b : (unknown,) or (rhs, unknown); for a grid problem also grids
        Right-hand sides in place of the grid problem's own.
    preconditioner
        ``"multigrid"`` (for a matrix: ``"amg"`` where PyAMG is installed, else the best there is, with a `note`),
        ``"amg"`` (smoothed aggregation by PyAMG), ``"jacobi"``, ``"none"``, a `Multigrid`, or a symmetric positive
        callable on tensors (rhs, unknown).
    rtol
        Tolerance relative to the norm of the right-hand side.
    max_iterations
        Of all restarts together.
    dtype
        In which the multigrid cycle computes; vectors and residuals of the iteration are float64.

    Returns
    -------
    Solution
        Its x has the shape of the right-hand side.

    *Contract*: the status says converged only if the residual computed from x in float64 is below the tolerance;
    constants of components without a given pressure are projected out, x has mean zero there; several right-hand
    sides give what they give one by one, to rounding.

    Examples
    --------
    >>> from sciml_solvers.gallery import problem
    >>> solve(problem("empty", 16)).status.name
    'CONVERGED'
    """
    if not rtol > 0 or max_iterations < 0:
        raise ValueError(f"solve: expected rtol > 0 and max_iterations >= 0, got {rtol} and {max_iterations}; raise it")
    if isinstance(problem, MaskProblem):
        return _solve_grid(problem, b, preconditioner, rtol, max_iterations, dtype)
    return _solve_matrix(problem, b, preconditioner, rtol, max_iterations)


def iterate(
    system: System,
    b: Tensor,
    precondition: Apply,
    rtol: float,
    max_iterations: int,
    *,
    start: Tensor | None = None,
) -> Solution:
    """Run conjugate gradients, restarted from the true residual as long as that is above the tolerance.

    Parameters
    ----------
    system, precondition
        The matrix and a symmetric positive M; both on vectors of the shape of `b`.
    b : (rhs, ...)
        Right-hand sides, float64.
    rtol, max_iterations
        As in `solve`.
    start : (rhs, ...), optional
        Iterate to begin with; zero where it is left out.
    """
    project, scale = system.constants.project, unit(b)

    def rest(x: Tensor) -> Tensor:  # the scaled b is made again each time: memory is what large grids lack
        return project(b / scale).sub_(system.apply(x))

    goal = _Goal.of(b / scale, project, rtol)
    x = b.new_zeros(()).expand_as(b) if start is None else start / scale  # zeros that take no memory
    residual = project(b / scale) if start is None else rest(x)
    norm = _norm(residual)
    history, n_done = [norm], 0
    broken: list[Status | None] = [None if bool(torch.isfinite(s)) else Status.NONFINITE for s in goal.size]
    for _ in range(N_RESTART):
        target = torch.where(torch.tensor([s is not None for s in broken], device=b.device), torch.inf, goal.target)
        state, norms = _run(system, residual, precondition, target, max_iterations - n_done)
        history += norms[1:]
        n_done += state.iteration
        new = project(state.x if start is None and n_done == state.iteration else x + state.x)
        residual = rest(new)
        new_norm = _norm(residual)
        better = new_norm < norm
        ended = (state.residual_norm <= target) & (new_norm > target)
        stuck = (~better & (norm > target) | (new_norm > 0.5 * norm) & ended) & (n_done < max_iterations)
        broken = [old or failed or (Status.STAGNATED if is_stuck else None)
                  for old, failed, is_stuck in zip(broken, state.broken, stuck.tolist(), strict=True)]  # fmt: skip
        x = new if bool(better.all()) else torch.where(along(better, x), new, x)
        norm = torch.where(better, new_norm, norm)
        if n_done >= max_iterations or bool((norm <= target).all()):
            break
        if not bool(better.all()):
            residual = rest(x)
    return _report(x * scale, goal, norm, broken, n_done, history)


@dataclass(frozen=True)
class _Goal:
    """Norms of the right-hand sides and of their parts that no x reaches, and the residual norms to reach; (rhs,)."""

    size: Tensor
    outside: Tensor
    inconsistent: Tensor
    target: Tensor

    @classmethod
    def of(cls, b: Tensor, project: Apply, rtol: float) -> _Goal:
        inside = project(b)
        size, outside = _norm(b), _norm(b - inside)
        inconsistent = outside > rtol * size
        return cls(size, outside, inconsistent, rtol * torch.where(inconsistent, _norm(inside), size))


def _run(system: System, b: Tensor, precondition: Apply, target: Tensor, n_most: int) -> tuple[State, list[Tensor]]:
    """Return the last state of one run, whose residual takes the place of b, and the residual norms of all."""
    norms = []
    project = system.constants.project
    for state in pcg(system.apply_dot, b, lambda r: project(precondition(project(r))), target, overwrite=True):
        norms.append(state.residual_norm)
        if state.iteration >= n_most:
            break
    return state, norms


def unit(b: Tensor) -> Tensor:
    """Return the largest entry of each right-hand side, (rhs, 1, ...), one where all are zero.

    Divided by it they are of order one, so that the narrow type of a cycle neither overflows nor underflows.
    """
    scale = b.flatten(1).abs().amax(1) if b.numel() else b.new_zeros(len(b))
    return along(torch.where(scale > 0, scale, 1), b)


def _norm(vector: Tensor) -> Tensor:
    return dot(vector, vector).sqrt()


def _report(
    x: Tensor, goal: _Goal, norm: Tensor, broken: list[Status | None], n_done: int, history: list[Tensor]
) -> Solution:
    norm, statuses = torch.hypot(norm, goal.outside), []
    for column, failed in enumerate(broken):
        if bool(norm[column] <= goal.target[column]):
            statuses.append(Status.CONVERGED)
        elif failed is not None:
            statuses.append(failed)
        else:
            is_inconsistent = bool(goal.inconsistent[column])
            statuses.append(Status.SINGULAR_INCONSISTENT if is_inconsistent else Status.MAXITER)
    scale = torch.where(goal.size > 0, goal.size, 1)
    relative = torch.stack(history) / scale
    return Solution(x.numpy(), tuple(statuses), n_done, (norm / scale).numpy(), relative.numpy())


def _solve_grid(
    problem: MaskProblem,
    b: NDArray[np.floating] | None,
    preconditioner: Preconditioner,
    rtol: float,
    max_iterations: int,
    dtype: torch.dtype,
) -> Solution:
    given = problem.rhs if b is None else np.asarray(b, dtype=np.float64)
    is_vector = given.shape[-1:] == (problem.n_unknowns,) and given.ndim <= 2 and given.shape != problem.cells.shape
    if not is_vector and given.shape[given.ndim - problem.cells.ndim :] != problem.cells.shape:
        raise ValueError(
            f"solve: expected b of shape ({problem.n_unknowns},), {problem.cells.shape} or several of these, got "
            f"{given.shape}; reshape it"
        )
    system = grid_system(problem)
    grid = problem.to_grid(given) if is_vector else np.where(problem.fluid, given, 0.0)
    vectors = torch.from_numpy(grid.reshape(-1, *system.diagonal.shape))
    if preconditioner == "multigrid":
        preconditioner = Multigrid(problem, dtype=dtype)
    precondition: Apply
    if isinstance(preconditioner, Multigrid):
        precondition = preconditioner.apply
    elif callable(preconditioner):
        precondition = _on_unknowns(problem, preconditioner)
    elif preconditioner == "amg":
        precondition = _on_unknowns(problem, smoothed_aggregation(problem.matrix()))
    else:
        precondition = _simple(preconditioner, system)
    found = iterate(system, vectors, precondition, rtol, max_iterations)
    x = found.x.reshape(grid.shape)
    return replace(found, x=x[..., problem.fluid] if is_vector else x)


def _solve_matrix(
    matrix: sparse.spmatrix | sparse.sparray,
    b: NDArray[np.floating] | None,
    preconditioner: Preconditioner,
    rtol: float,
    max_iterations: int,
) -> Solution:
    checked = check_matrix(matrix)
    n = checked.shape[0]
    if b is None or np.asarray(b).shape[-1:] != (n,) or np.iscomplexobj(b):
        got = "none" if b is None else f"{np.asarray(b).dtype} {np.asarray(b).shape}"
        raise ValueError(
            f"solve: expected real b of shape ({n},) or (rhs, {n}), got {got}; give one entry for each row"
        )
    system = matrix_system(checked)
    vectors = torch.from_numpy(np.array(b, dtype=np.float64).reshape(-1, n))
    if bool((system.diagonal < 0).any()):
        ends = (Status.INDEFINITE_A,) * len(vectors)
        ones = np.ones(len(vectors))
        return Solution(np.zeros(np.shape(b)), ends, 0, ones, ones[None])
    precondition, note = _from_matrix(checked, system, preconditioner)
    found = iterate(system, vectors, precondition, rtol, max_iterations)
    statuses = found.statuses
    if not callable(preconditioner):  # what is made of the matrix is positive where the matrix is
        statuses = tuple(Status.INDEFINITE_A if s is Status.INDEFINITE_M else s for s in statuses)
    x = found.x.reshape(np.shape(b))
    return replace(found, x=x, statuses=statuses, fallback=bool(note), note=note)


def _from_matrix(matrix: sparse.csr_matrix, system: System, preconditioner: Preconditioner) -> tuple[Apply, str]:
    """Return the preconditioner, and a sentence where it is not the one asked for."""
    if isinstance(preconditioner, Multigrid):
        raise TypeError(
            "solve: expected a preconditioner on vectors, got Multigrid; it needs the grid: give its problem"
        )
    if callable(preconditioner):
        return preconditioner, ""
    if preconditioner == "amg":
        return smoothed_aggregation(matrix), ""
    if preconditioner != "multigrid":
        return _simple(preconditioner, system), ""
    best, note = best_there_is(matrix)
    return best or _simple("jacobi", system), note


def _simple(name: str, system: System) -> Apply:
    if name == "none":
        return torch.clone
    if name != "jacobi":
        raise ValueError(
            f"solve: expected preconditioner multigrid, amg, jacobi or none, got {name!r}; or give a callable"
        )
    inverse = torch.where(system.diagonal > 0, 1 / system.diagonal, 1.0)
    return lambda r: inverse * r


def _on_unknowns(problem: MaskProblem, function: Callable[[Tensor], Tensor]) -> Apply:
    """Wrap a callable on vectors of unknowns for grids."""
    fluid = torch.from_numpy(problem.fluid.ravel())

    def precondition(r: Tensor) -> Tensor:
        flat = r.flatten(1)
        z = torch.zeros_like(flat)
        z[:, fluid] = function(flat[:, fluid]).to(z)
        return z.reshape(r.shape)

    return precondition
