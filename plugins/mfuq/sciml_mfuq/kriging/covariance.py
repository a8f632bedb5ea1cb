"""Covariance functions as sums of stationary terms, with distances by matrix products and gradients in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

KINDS = ("matern52", "rbf")
JITTERS = (1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4)
ROOT5 = math.sqrt(5.0)


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return ``|a_i - b_j|^2`` (..., n, m) of points (..., n, column) and (..., m, column)."""
    centre = b.mean(-2, keepdim=True)  # points near the origin lose fewest digits in the difference below
    a, b = a - centre, b - centre
    product = a @ b.mT
    return product.mul_(-2).add_(a.square().sum(-1)[..., None]).add_(b.square().sum(-1)[..., None, :]).clamp_(min=0)


def correlation(kind: str, distance2: Tensor) -> Tensor:
    """Return the correlation at a squared distance: ``exp(-r^2 / 2)`` or ``(1 + s + s^2 / 3) exp(-s), s = sqrt5 r``."""
    if kind == "rbf":
        return torch.exp(-0.5 * distance2)
    s = ROOT5 * distance2.clamp_min(1e-24).sqrt()  # the root has no slope at zero, the correlation has
    return (1 + s + s.square() / 3) * torch.exp(-s)


def slope(kind: str, distance2: Tensor) -> Tensor:
    """Return ``-2 d correlation / d r^2``."""
    if kind == "rbf":
        return torch.exp(-0.5 * distance2)
    s = ROOT5 * distance2.sqrt()
    return 5 / 3 * (1 + s) * torch.exp(-s)


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
            yield theta[..., start].exp()[..., None, None], [p[:, list(columns)] / length for p in points]

    def __call__(self, theta: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Return the covariance (..., n, m) of points (n, column) with points (m, column)."""
        terms = (v * correlation(self.kind, squared_distance(*ab)) for v, ab in self._scaled(theta, a, b))
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
            parts.append((correlation(self.kind, distance2).mul_(weight)).sum()[None] * v.flatten())
            m = slope(self.kind, distance2).mul_(weight)
            parts.append(2 * v.flatten() * ((m.sum(1)[:, None] * z.square()).sum(0) - (z * (m @ z)).sum(0)))
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
