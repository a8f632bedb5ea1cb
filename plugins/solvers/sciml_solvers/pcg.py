"""Preconditioned conjugate gradients for many right-hand sides, as a generator of states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from sciml_solvers.solution import Status

Apply: TypeAlias = Callable[[Tensor], Tensor]
ApplyDot: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Takes p, (rhs, ...), and returns A p and p . A p, (rhs,)."""
PATIENCE = 300
"""Iterations without a new least residual after which a right-hand side counts as stagnated."""


@dataclass(frozen=True)
class State:
    """Where the iteration stands.

    Parameters
    ----------
    iteration
        Steps done, 0 for the start.
    x, residual : (rhs, ...)
        Iterate and residual; written over by the next step.
    residual_norm : (rhs,)
        As the recurrence carries it.
    running : (rhs,)
        Which right-hand sides take part in the next step.
    broken
        Why a right-hand side was given up; None for those that were not.
    """

    iteration: int
    x: Tensor
    residual: Tensor
    residual_norm: Tensor
    running: Tensor
    broken: tuple[Status | None, ...]


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of each pair of vectors, (rhs, ...) to (rhs,), always summed in the same order."""
    return torch.stack([torch.dot(x.flatten(), y.flatten()) for x, y in zip(a, b, strict=True)])


def with_dot(apply: Apply) -> ApplyDot:
    """Return the function that gives A p and p . A p, for a matrix that has no faster way to both."""

    def apply_dot(p: Tensor) -> tuple[Tensor, Tensor]:
        q = apply(p)
        return q, dot(p, q)

    return apply_dot


def along(factor: Tensor, vector: Tensor) -> Tensor:
    """Return one factor for each right-hand side in a shape that multiplies vectors (rhs, ...)."""
    return factor.reshape(-1, *(1,) * (vector.ndim - 1))


def pcg(
    apply_dot: ApplyDot, b: Tensor, precondition: Apply, target: Tensor, *, overwrite: bool = False
) -> Iterator[State]:
    """Iterate from zero until each residual norm is at most its target; yield the start and every step.

    ``q = A p, alpha = r.z / p.q, x += alpha p, r -= alpha q, z = M r, beta = r.z / (r.z)_old, p = z + beta p``

    Parameters
    ----------
    apply_dot, precondition
        Symmetric positive operators A, with its product p.q, and M on vectors of the shape of `b`.
    b : (rhs, ...)
        Right-hand sides.
    target : (rhs,)
        Residual norms at which to stop.
    overwrite
        Whether b may become the residual, which saves a copy.

    *Contract*: a right-hand side takes the same steps alone as beside others, and is left alone once it has arrived
    or is given up (p.q <= 0, r.z <= 0, NaN, or stagnation); no global state, no randomness.

    *Source*: Golub and Van Loan, Matrix Computations, algorithm 11.5.1. *Departures*: several right-hand sides.
    """
    x, r = torch.zeros_like(b), b if overwrite else b.clone()
    norm = dot(r, r).sqrt()
    watch = _Watch(norm, target)
    yield watch.state(0, x, r, norm)
    if not watch.running.any():
        return
    p, rz_old = torch.zeros_like(b), torch.ones_like(norm)
    iteration = 0
    while True:
        z = precondition(r)
        rz = dot(r, z)
        watch.require(rz, Status.INDEFINITE_M)
        beta = torch.where(watch.running, rz / rz_old, 0) if iteration else torch.zeros_like(rz)
        p = p.mul_(along(beta, p)).add_(z)
        del z  # its memory is q's now
        q, pq = apply_dot(p)
        watch.require(pq, Status.INDEFINITE_A)
        alpha = along(torch.where(watch.running, rz / pq, 0), p)
        if bool(watch.running.all()):
            x.addcmul_(alpha, p)
            r.addcmul_(alpha, q, value=-1)
        else:  # a column that was given up may hold NaN in p, which zero times it would spread
            for column in watch.running.nonzero().flatten().tolist():
                x[column].add_(alpha[column] * p[column])
                r[column].sub_(alpha[column] * q[column])
        del q
        iteration, rz_old = iteration + 1, torch.where(watch.running, rz, 1)
        norm = dot(r, r).sqrt()
        watch.judge(norm, target)
        yield watch.state(iteration, x, r, norm)
        if not watch.running.any():
            return


class _Watch:
    """Which right-hand sides go on, and why the others do not."""

    def __init__(self, norm: Tensor, target: Tensor) -> None:
        self.broken: list[Status | None] = [None] * len(norm)
        self.running = torch.ones_like(norm, dtype=torch.bool)
        self._best, self._since = norm, torch.zeros_like(norm)
        self.judge(norm, target)

    def state(self, iteration: int, x: Tensor, r: Tensor, norm: Tensor) -> State:
        return State(iteration, x, r, norm, self.running, tuple(self.broken))

    def require(self, product: Tensor, status: Status) -> None:
        """Give up where an inner product that must be positive is not."""
        self._give_up(~torch.isfinite(product), Status.NONFINITE)
        self._give_up(product <= 0, status)

    def judge(self, norm: Tensor, target: Tensor) -> None:
        self._give_up(~torch.isfinite(norm), Status.NONFINITE)
        self._since = torch.where(norm < self._best, 0, self._since + 1)
        self._best = torch.minimum(norm, self._best)
        self.running = self.running & (norm > target)
        self._give_up(self._since > PATIENCE, Status.STAGNATED)

    def _give_up(self, where: Tensor, status: Status) -> None:
        for column in (where & self.running).nonzero().flatten().tolist():
            self.broken[column] = status
        self.running = self.running & ~where
