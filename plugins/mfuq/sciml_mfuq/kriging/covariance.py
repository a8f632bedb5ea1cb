"""Covariance functions as sums of stationary terms, and what is done with their matrices."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

KINDS = ("matern52", "rbf")
JITTERS = (1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4)
ROOT5 = math.sqrt(5.0)
N_BLOCK = 64
"""Rows that `solve_lower` solves for at a time."""


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return ``|a_i - b_j|^2`` (..., n, m) of points (..., n, column) and (..., m, column)."""
    centre = a.mean(-2, keepdim=True)  # points near the origin lose fewest digits in the sum below
    a, b = a - centre, b - centre
    size_a, size_b = a.square().sum(-1, keepdim=True), b.square().sum(-1, keepdim=True)
    left = torch.cat([-2 * a, size_a, torch.ones_like(size_a)], -1)
    right = torch.cat([b, torch.ones_like(size_b), size_b], -1)
    return (left @ right.mT).clamp_(min=0)  # the product adds up too: one pass over the pairs


def correlated(kind: str, distance2: Tensor, log_variance: Tensor) -> Tensor:
    """Return the variance times ``exp(-r^2 / 2)`` or ``(1 + s + s^2 / 3) exp(-s), s = sqrt5 r``, r^2 given.

    The variance stands in the exponent: it costs no pass over the pairs of its own.
    """
    if kind == "rbf":
        return torch.exp(torch.sub(log_variance, distance2, alpha=0.5))
    s = ROOT5 * distance2.clamp_min(1e-24).sqrt()  # the root has no slope at zero, the correlation has
    return torch.addcmul(1 + s, s, s, value=1 / 3) * torch.exp(log_variance - s)


def slope(kind: str, distance2: Tensor, log_variance: Tensor) -> Tensor:
    """Return ``-2 d correlated / d r^2``."""
    if kind == "rbf":
        return correlated(kind, distance2, log_variance)
    s = ROOT5 * distance2.sqrt()
    return 5 / 3 * (1 + s) * torch.exp(log_variance - s)


@dataclass(frozen=True)
class Kernel:
    """A sum of stationary covariances, each of some columns of the points, with a length-scale per column.

        k(a, b) = sum_t exp(v_t) correlation(sum_c (a_c - b_c)^2 / exp(2 l_tc))

    Parameters
    ----------
    kind : of correlation, "matern52" or "rbf".
    terms : the columns that each term sees.

    A vector `theta` (..., parameter) holds for each term the log variance v and then the log length-scales l.

    Examples
    --------
    >>> kernel = Kernel("rbf", ((0, 1),))
    >>> kernel.n_parameter
    3
    >>> x = torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    >>> kernel(torch.zeros(3), x, x)[0].tolist()
    [1.0, 0.1353352814912796]
    """

    kind: str
    terms: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Kernel: expected a kind among {', '.join(KINDS)}, got {self.kind!r}; choose one of them")

    @property
    def n_parameter(self) -> int:
        """How many numbers `theta` holds."""
        return sum(1 + len(columns) for columns in self.terms)

    def variance_positions(self) -> list[int]:
        """Return where in `theta` the log variances are."""
        starts, position = [], 0
        for columns in self.terms:
            starts.append(position)
            position += 1 + len(columns)
        return starts

    def _scaled(self, theta: Tensor, *points: Tensor) -> Iterator[tuple[Tensor, list[Tensor]]]:
        for start, columns in zip(self.variance_positions(), self.terms, strict=True):
            length = theta[..., start + 1 : start + 1 + len(columns)].exp()[..., None, :]
            yield theta[..., start, None, None], [p[:, list(columns)] / length for p in points]

    def __call__(self, theta: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Return the covariance (..., n, m) of points (n, column) with points (m, column)."""
        terms = (correlated(self.kind, squared_distance(*ab), v) for v, ab in self._scaled(theta, a, b))
        total = next(terms)
        for term in terms:
            total = total + term
        return total

    def variance(self, theta: Tensor) -> Tensor:
        """Return the covariance (...,) of a point with itself."""
        return theta[..., self.variance_positions()].exp().sum(-1)

    def gradient(self, theta: Tensor, points: Tensor, weight: Tensor) -> Tensor:
        """Return the derivative (parameter,) of ``sum_ij weight_ij k(points_i, points_j)``, weight symmetric, by theta.

        By the length-scales it needs no array of pairs either:
        ``sum_ij M_ij (z_i - z_j)^2 = 2 (sum_i (M 1)_i z_i^2 - z^T M z)``.
        """
        parts = []
        for v, (z,) in self._scaled(theta, points):
            z = z - z.mean(0)
            distance2 = squared_distance(z, z)
            parts.append(correlated(self.kind, distance2, v).mul_(weight).sum()[None])
            m = slope(self.kind, distance2, v).mul_(weight)
            parts.append(2 * ((m.sum(1)[:, None] * z.square()).sum(0) - (z * (m @ z)).sum(0)))
        return torch.cat(parts)


def cholesky(matrix: Tensor) -> Tensor:
    """Return the lower factor of symmetric matrices (..., n, n) after adding the least jitter of `JITTERS` that helps.

    The jitter is relative to the mean of the diagonal. *Contract*: the matrix keeps its values.

    Raises
    ------
    ValueError
        Where 1e-4 is not enough: the matrix is not positive semi-definite.
    """
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    size = diagonal.mean(-1, keepdim=True).clamp_min(1e-300)
    for jitter in JITTERS:
        shifted = matrix.clone()
        shifted.diagonal(dim1=-2, dim2=-1).add_(jitter * size)
        factor, info = torch.linalg.cholesky_ex(shifted)
        if not bool(info.any()) and bool(torch.isfinite(factor.diagonal(dim1=-2, dim2=-1)).all()):
            return factor
    raise ValueError(
        "cholesky: expected a positive semi-definite covariance, got one that a jitter of 1e-4 does not mend; drop "
        "repeated runs or scale the inputs"
    )


def spread_points(kernel: Kernel, theta: Tensor, points: Tensor, n: int) -> Tensor:
    """Return the n points of largest remaining variance, one after the other: the pivots of a Cholesky factorisation.

    *Source*: Burt, Rasmussen and van der Wilk, JMLR 21 (2020).
    """
    rest = kernel.variance(theta).repeat(len(points))
    rows, chosen = points.new_zeros(n, len(points)), []
    for number in range(n):
        pivot = int(rest.argmax())
        if rest[pivot] <= 1e-10 * kernel.variance(theta):
            break
        column = kernel(theta, points[pivot : pivot + 1], points)[0]
        row = (column - rows[:number, pivot] @ rows[:number]) / rest[pivot].sqrt()
        rows[number] = row
        rest = (rest - row.square()).clamp_min(0)
        chosen.append(pivot)
    return points[chosen]


def require_memory(n_run: int) -> None:
    """Refuse a number of runs whose covariance matrices would not fit in memory."""
    needed, available = 7 * 8 * n_run**2, _available()
    if needed > available:
        raise ValueError(
            f"Gaussian process: expected covariance matrices that fit in memory, got {n_run} runs that need "
            f"{needed:,} bytes of {available:,} available; lower max_exact to use inducing points"
        )


def _available() -> int:
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def solve_lower(factor: Tensor, right: Tensor) -> Tensor:
    """Return ``factor^-1 right`` of lower triangular matrices (..., n, n) and right sides (..., n, m).

    Forward substitution by blocks, most of it as matrix products, which run faster than a triangular solve of the
    whole and are as stable; products with inverses are not: variances would lose digits.

    Examples
    --------
    >>> solve_lower(torch.tensor([[2.0, 0.0], [1.0, 4.0]]), torch.tensor([[2.0], [9.0]])).flatten().tolist()
    [1.0, 2.0]
    """
    n_block = math.ceil(factor.shape[-1] / N_BLOCK)
    cuts = [round(factor.shape[-1] * number / n_block) for number in range(n_block + 1)]
    solved = right[..., :0, :]
    for start, stop in itertools.pairwise(cuts):
        rest = right[..., start:stop, :]
        if start:
            rest = rest - factor[..., start:stop, :start] @ solved
        rest = torch.linalg.solve_triangular(factor[..., start:stop, start:stop], rest, upper=False)
        solved = torch.cat([solved, rest], -2)
    return solved
