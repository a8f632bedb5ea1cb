"""The deep conjugate direction iteration: conjugate directions from any rule, exact steps, true residuals."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from sciml_solvers.dcdm_net import Cells
from sciml_solvers.problems import MaskProblem
from sciml_solvers.solution import Solution, Status

Vector: TypeAlias = NDArray[np.float64]
Direction: TypeAlias = Callable[[Vector], NDArray[np.floating]]
Source = Literal["start", "rule", "residual", "none"]

ROUNDING = 1e-13  # below this share of the product of the norms an inner product is rounding


@dataclass(frozen=True)
class DcdmOptions:
    """When to stop, and how many directions to keep.

    `tolerance` is relative to the norm of the right-hand side; `n_previous` is the paper's k: 2 as published. More cost
    two vectors and two inner products each, which is little beside a network, and save iterations.
    """

    tolerance: float = 1e-6
    n_iterations: int = 1000
    n_previous: int = 2

    def __post_init__(self) -> None:
        if not self.tolerance >= 0 or self.n_iterations < 0 or self.n_previous < 0:
            raise ValueError(f"DcdmOptions: expected numbers >= 0, got {self}; correct them")


@dataclass(frozen=True)
class DcdmState:
    """One iterate.

    Parameters
    ----------
    iteration : number of steps taken.
    solution : x (unknown); an array of its own, not changed by later steps.
    residual : ``||b - A x|| / ||b||``, recomputed in float64.
    direction : p of the step that led here (unknown); zeros at the start.
    source : where p came from: "rule"; "residual" where the rule's direction was not usable; "start"; "none" where
        the residual itself is no descent direction: the matrix is not positive definite there, the iteration ends.
    n_fallbacks : steps so far that took the residual.
    """

    iteration: int
    solution: Vector
    residual: float
    direction: Vector
    source: Source
    n_fallbacks: int


def identity(residual: Vector) -> Vector:
    """Return the residual: with this rule and k >= 1 the iteration is conjugate gradients."""
    return residual


def network_direction(network: torch.nn.Module, box: Cells, /, **conditions: torch.Tensor) -> Direction:
    """Return the rule r -> N(r) of a network with the input `residual` and the output `direction`.

    Parameters
    ----------
    network : such as a `DcdmNet`; evaluated where its weights are, in their precision, without gradients.
    box : where the unknowns lie.
    conditions : further inputs of the network, the same in every iteration.
    """
    weight = next(network.parameters())
    network.eval()

    def direction(residual: Vector) -> NDArray[np.floating]:
        with torch.no_grad():
            grid = box.to_grid(torch.from_numpy(residual[None]).to(weight))
            return box.to_vectors(network(residual=grid, **conditions)["direction"])[0].double().numpy(force=True)

    return direction


# long: the loop of the paper with its checks
def dcdm(
    matrix: sparse.spmatrix,
    rhs: NDArray[np.floating],
    direction: Direction = identity,
    options: DcdmOptions = DcdmOptions(),
    initial: NDArray[np.floating] | None = None,
) -> Iterator[DcdmState]:
    """Solve ``A x = b`` by conjugate directions that a rule proposes, yielding the start and every iterate.

    Parameters
    ----------
    matrix : symmetric positive definite A (unknown, unknown).
    rhs : b (unknown).
    direction : rule: residual of unit norm (unknown) -> proposal q (unknown); its scale and its sign have no meaning.
    options : tolerance, most iterations, number k of previous directions.
    initial : x_0 (unknown); zero by default.

    *Contract*: it converges whatever the rule returns, NaN included: each step multiplies the error's energy
    ``(x - x*).A (x - x*)`` by at most 1 - l / L, with l the least eigenvalue of A and L its largest sum over a row.
    ``p_i.A p_j = 0`` for the last k directions. With the identity and k >= 1 the iterates are those of conjugate
    gradients. The last state has reached the tolerance, the most iterations, or has the source "none".

    *Source*: A. Kaneda et al., ICML 2023, and the released iteration; the comments number its steps.

    *Departures*: the residual is recomputed from x, as in the released code, so that a step costs two products with A
    (and one application of the rule); it is in float64, relative to ||b||. Directions are orthogonalised one after
    another (modified Gram-Schmidt), and twice. Where the rule's direction is not finite, vanishes, has no positive
    curvature or takes less energy than steepest descent does in the worst case, the residual takes its place, at one
    product more. The paper has no such provision.

    Examples
    --------
    >>> matrix = sparse.diags([-1.0, 2.0, -1.0], [-1, 0, 1], (8, 8), format="csr")
    >>> iterations_to(dcdm(matrix, np.ones(8)), (1e-1, 1e-6))
    [4, 4]
    """
    b = np.asarray(rhs, dtype=np.float64)
    x = np.zeros_like(b) if initial is None else np.array(initial, dtype=np.float64)
    if b.ndim != 1 or matrix.shape != (len(b), len(b)) or x.shape != b.shape:
        shapes = f"{matrix.shape}, {b.shape} and {x.shape}"
        raise ValueError(f"dcdm: expected a square matrix and vectors of its size, got {shapes}; flatten the grids")
    if not (np.isfinite(b).all() and np.isfinite(x).all()):
        raise ValueError("dcdm: expected a finite right-hand side and start, got NaN or infinity; repair them")
    previous: deque[_Conjugate] = deque(maxlen=options.n_previous)
    n_fallbacks, scale = 0, float(np.linalg.norm(b)) or 1.0
    # What steepest descent takes at least from a residual of unit norm, as the row sums bound the eigenvalues.
    least = (1 - 1e-9) / float(abs(matrix).sum(axis=1).max())
    r = b - matrix @ x
    state = DcdmState(0, x, float(np.linalg.norm(r)) / scale, np.zeros_like(b), "start", 0)
    yield state
    while state.residual > options.tolerance and state.iteration < options.n_iterations:
        unit = r / np.linalg.norm(r)
        # 1. q = N(r / ||r||); 2. p = q - sum_j p_j (p_j.A q) / (p_j.A p_j)
        source: Source = "rule"
        step = _conjugate(matrix, np.array(direction(unit.copy()), dtype=np.float64), unit, previous, least)
        if step is None:
            source, n_fallbacks = "residual", n_fallbacks + 1
            step = _conjugate(matrix, unit, unit, previous) or _conjugate(matrix, unit, unit, ())
        if step is None:
            yield DcdmState(state.iteration, x, state.residual, np.zeros_like(b), "none", n_fallbacks)
            return
        # 3. alpha = p.r / p.A p; 4. x = x + alpha p
        x = x + (step.p @ r / step.curvature) * step.p
        # 5. r = b - A x: the second product, which keeps the residual true
        r = b - matrix @ x
        previous.append(step)
        state = DcdmState(state.iteration + 1, x, float(np.linalg.norm(r)) / scale, step.p, source, n_fallbacks)
        yield state


@dataclass(frozen=True)
class _Conjugate:
    """A direction p of unit norm, A p, and p.A p > 0."""

    p: Vector
    product: Vector
    curvature: float


def _conjugate(matrix: sparse.spmatrix, q: Vector, unit: Vector, previous: Iterable[_Conjugate],
               least: float = 0.0) -> _Conjugate | None:  # fmt: skip
    """Return q made A-orthogonal to the previous directions; None where its step takes less energy than `least`."""
    if q.shape != unit.shape:
        text = f"expected a direction of shape {unit.shape}, got {q.shape}"
        raise ValueError(f"dcdm: {text}; the rule takes and returns vectors of unknowns")
    size = np.linalg.norm(q)
    if not (np.isfinite(size) and size > 0):
        return None
    p = q / size
    for _ in range(2):  # as rounding grows where q is almost in the span of the others
        for other in previous:
            p = p - (other.product @ p / other.curvature) * other.p
    left = np.linalg.norm(p)
    if not left > ROUNDING:
        return None
    p = p / left
    product = matrix @ p
    curvature = float(p @ product)
    if not curvature > ROUNDING * np.linalg.norm(product):
        return None
    return _Conjugate(p, product, curvature) if (p @ unit) ** 2 / curvature >= least else None


def iterations_to(states: Iterable[DcdmState], tolerances: Sequence[float]) -> list[int | None]:
    """Return for each tolerance the first iteration whose relative residual is at or below it; None where none is."""
    found: list[int | None] = [None] * len(tolerances)
    for state in states:
        for place, tolerance in enumerate(tolerances):
            if found[place] is None and state.residual <= tolerance:
                found[place] = state.iteration
    return found


def solve_dcdm(problem: MaskProblem, direction: Direction = identity, options: DcdmOptions = DcdmOptions()) -> Solution:
    """Solve every right-hand side of a problem by :func:`dcdm` and say how it ended.

    Parameters
    ----------
    problem : its matrix must be positive definite: some air next to every body of fluid.
    direction : rule; see :func:`network_direction` and `mlpcg_direction`.
    options : tolerance, most iterations, number of previous directions.

    Returns
    -------
    The last iterates, those of least energy; `fallback` tells that some step took the residual for its direction.
    """
    matrix, answers, histories, ends = problem.matrix(), list[Vector](), list[list[float]](), list[DcdmState]()
    for grid in problem.each_rhs():
        states = dcdm(matrix, problem.to_vector(grid), direction, options)
        history = list[float]()
        for state in states:
            history.append(state.residual)
        histories.append(history if state.source != "none" else history[:-1])
        ends.append(state)
        answers.append(problem.to_grid(state.solution).astype(np.float64))
    length = max(map(len, histories))
    return Solution(
        np.stack(answers).reshape(problem.rhs.shape),
        tuple(_status(state, options) for state in ends),
        length - 1,
        np.array([state.residual for state in ends]),
        np.array([history + history[-1:] * (length - len(history)) for history in histories]).T,
        fallback=any(state.n_fallbacks for state in ends),
    )


def _status(state: DcdmState, options: DcdmOptions) -> Status:
    if state.residual <= options.tolerance:
        return Status.CONVERGED
    return Status.INDEFINITE_A if state.source == "none" else Status.MAXITER
