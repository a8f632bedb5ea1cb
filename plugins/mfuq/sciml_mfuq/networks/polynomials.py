"""A sparse polynomial trend: powers of single inputs, and products of two inputs that the runs ask for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_DEGREE = 6
"""Of a single input."""
MAX_PAIR_DEGREE = 4
"""Of a product of two inputs, both degrees together."""
MAX_ROUNDS = 6
"""Times that products are looked for in what is left."""
RUNS_PER_TERM = 5
"""Least number of runs for each coefficient."""
N_BLOCK = 1024
"""Runs whose terms are held at a time."""


@dataclass(frozen=True)
class Trend:
    """Terms of a polynomial, as rows (input, degree, input, degree), and how well it predicts left-out runs.

    Parameters
    ----------
    terms : (term, 4), whole numbers; degree zero makes a factor one.
    coefficient : (1 + term,), the constant first.
    error : root of the mean squared leave-one-out error relative to the standard deviation of the target.
    """

    terms: Tensor
    coefficient: Tensor
    error: float


def legendre(u: Tensor, degree: int) -> Tensor:
    """Return the polynomials ``sqrt(2 k + 1) P_k(u)`` of degree 0 to `degree` (k, ...), orthonormal for uniform u.

    Examples
    --------
    >>> [round(value, 3) for value in legendre(torch.tensor([1.0]), 2)[:, 0].tolist()]
    [1.0, 1.732, 2.236]
    """
    p = [torch.ones_like(u), u]
    for k in range(1, degree):
        p.append(((2 * k + 1) * u * p[k] - k * p[k - 1]) / (k + 1))
    return torch.stack([math.sqrt(2 * k + 1) * p[k] for k in range(degree + 1)])


def products(u: Tensor, terms: Tensor) -> Tensor:
    """Return the terms (batch, term) at points u (batch, input) of the box [-1, 1]^input."""
    if not len(terms):
        return u.new_zeros(len(u), 0)
    # A trace cannot look at numbers: it computes all degrees, of which the same are taken.
    p = legendre(u, MAX_DEGREE if torch.compiler.is_exporting() else max(1, int(terms[:, 1::2].max())))
    i, a, j, b = terms.T
    return (p[a, :, i] * p[b, :, j]).T


def least_squares(u: Tensor, terms: Tensor, target: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return coefficients, residual (run,) and leave-one-out error of a constant and terms at points u (run, input).

    ``e_i = r_i / (1 - h_ii)`` with the leverage h; the error is relative to the standard deviation of the target.

    *Departures* from plain least squares: a ridge of 1e-8 keeps equal columns from harm; runs come in blocks, so that
    the design is never held whole.
    """
    n_coefficient = 1 + len(terms)
    gram, moment = u.new_zeros(n_coefficient, n_coefficient), u.new_zeros(n_coefficient)
    for part, y in zip(u.split(N_BLOCK), target.split(N_BLOCK), strict=True):
        design = _design(part, terms)
        gram.addmm_(design.T, design)
        moment.addmv_(design.T, y)
    gram.diagonal().add_(1e-8 * len(u))
    factor = torch.linalg.cholesky(gram)
    coefficient = torch.cholesky_solve(moment[:, None], factor)[:, 0]
    residuals, leverages = [], []
    for part, y in zip(u.split(N_BLOCK), target.split(N_BLOCK), strict=True):
        design = _design(part, terms)
        residuals.append(y - design @ coefficient)
        leverages.append(torch.linalg.solve_triangular(factor, design.T, upper=False).square().sum(0))
    residual = torch.cat(residuals)
    left_out = residual / (1 - torch.cat(leverages)).clamp_min(1e-3)
    spread = target.std().clamp_min(1e-300)
    return coefficient, residual, float(left_out.square().mean().sqrt() / spread)


def _design(u: Tensor, terms: Tensor) -> Tensor:
    return torch.cat([u.new_ones(len(u), 1), products(u, terms)], 1)


def sparse_trend(u: Tensor, target: Tensor) -> Trend:
    """Return the polynomial of single inputs and screened pairs that predicts left-out runs best.

    The powers of single inputs come first, of the highest degree up to `MAX_DEGREE` that the number of runs allows.
    Then products ``P_a(u_i) P_b(u_j)``, and powers where not all were taken, enter whose correlation with the residual
    exceeds the universal threshold ``sqrt(2 log m / n)`` of m candidates, the strongest first, round by round until
    the leave-one-out error rests.

    Parameters
    ----------
    u : (run, input), in the box [-1, 1]^input.
    target : (run,).

    *Source*: order of effects: Rabitz and Alis, J. Math. Chem. 25 (1999); threshold: Donoho and Johnstone, Biometrika
    81 (1994); leave-one-out choice of sparse chaos expansions: Blatman and Sudret, J. Comput. Phys. 230 (2011).
    *Departures*: screening by rounds in place of least angles; no array of all candidates is made.
    """
    n_run, n_input = u.shape
    most = n_run // RUNS_PER_TERM - 1
    degree = min(MAX_DEGREE, most // n_input)
    none = torch.zeros(0, 4, dtype=torch.long)
    if degree < 1:
        return Trend(none, target.mean()[None], 1.0)
    terms = torch.tensor([[i, a, 0, 0] for a in range(1, degree + 1) for i in range(n_input)])
    coefficient, residual, error = least_squares(u, terms, target)
    best = Trend(terms, coefficient, error)
    for _ in range(MAX_ROUNDS):
        found = _strongest(u, residual, best.terms, most - len(best.terms))
        if not len(found):
            break
        terms = torch.cat([best.terms, found])
        coefficient, residual, error = least_squares(u, terms, target)
        if error > 0.99 * best.error:
            break
        best = Trend(terms, coefficient, error)
    return best if best.error < 1 else Trend(none, target.mean()[None], 1.0)


def _strongest(u: Tensor, residual: Tensor, known: Tensor, most: int) -> Tensor:
    """Return at most so many powers and products (term, 4) that the residual correlates with, beyond the known ones."""
    n_run, n_input = u.shape
    size = residual.std() * math.sqrt(n_run)
    pairs = [(a, b) for a in range(1, MAX_PAIR_DEGREE) for b in range(a, MAX_PAIR_DEGREE) if a + b <= MAX_PAIR_DEGREE]
    threshold = math.sqrt(2 * math.log(max(2, MAX_PAIR_DEGREE * n_input * (n_input - 1))))
    p = legendre(u, MAX_DEGREE)
    seen, found = {tuple(row) for row in known.tolist()}, []
    for a, b in pairs:
        score = ((p[a] * residual[:, None]).T @ p[b] / size).abs()
        score.fill_diagonal_(0)
        if a == b:
            score = score.triu()
        rows = [((i, a, j, b), float(score[i, j])) for i, j in torch.nonzero(score > threshold).tolist()]
        found += [row for row in rows if row[0] not in seen]
    for a in range(2, MAX_DEGREE + 1):
        power = (p[a].T @ residual / size).abs()
        rows = [((i, a, 0, 0), float(power[i])) for i in torch.nonzero(power > threshold).flatten().tolist()]
        found += [row for row in rows if row[0] not in seen]
    found.sort(key=lambda row: -row[1])
    return torch.tensor([row[0] for row in found[: max(0, most)]], dtype=torch.long).reshape(-1, 4)
