"""Moments of a stream of numbers: updated in one pass, merged in any order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Moments:
    """Count, mean, and sums of the second to fourth power of the deviations from the mean.

    ``M_k = sum_j (y_j - mean)^k``; two sets merge by the binomial expansion about the joint mean.

    Parameters
    ----------
    n : how many numbers.
    mean : of them.
    m2, m3, m4 : sums of powers of the deviations.

    *Contract*: merging is associative and commutative up to rounding, and never subtracts sums of raw powers.

    *Source*: Pebay, Sandia report SAND2008-6212 (pairwise update).

    Examples
    --------
    >>> both = Moments.of([1.0, 2.0]) + Moments.of([6.0])
    >>> both.mean, both.variance
    (3.0, 7.0)
    """

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0
    m3: float = 0.0
    m4: float = 0.0

    @classmethod
    def of(cls, values: ArrayLike) -> Moments:
        """Return the moments of some numbers.

        Parameters
        ----------
        values
            Any shape.
        """
        y = np.asarray(values, dtype=np.float64).ravel()
        if not len(y):
            return cls()
        mean = float(y.mean())
        d = y - mean
        square = d * d
        return cls(len(y), mean, float(square.sum()), float((square * d).sum()), float((square * square).sum()))

    def __add__(self, other: Moments) -> Moments:
        if not self.n or not other.n:
            return self if self.n else other
        a, b, n = self, other, self.n + other.n
        step = b.mean - a.mean
        mean = a.mean + step * b.n / n
        m2 = a.m2 + b.m2 + step**2 * a.n * b.n / n
        m3 = a.m3 + b.m3 + step**3 * a.n * b.n * (a.n - b.n) / n**2 + 3 * step * (a.n * b.m2 - b.n * a.m2) / n
        m4 = (
            a.m4
            + b.m4
            + step**4 * a.n * b.n * (a.n**2 - a.n * b.n + b.n**2) / n**3
            + 6 * step**2 * (a.n**2 * b.m2 + b.n**2 * a.m2) / n**2
            + 4 * step * (a.n * b.m3 - b.n * a.m3) / n
        )
        return Moments(n, mean, m2, m3, m4)

    @property
    def variance(self) -> float:
        """``M_2 / (n - 1)``, unbiased; NaN for fewer than two numbers."""
        return self.m2 / (self.n - 1) if self.n > 1 else math.nan

    @property
    def std(self) -> float:
        """Root of the variance."""
        return math.sqrt(self.variance)

    @property
    def skewness(self) -> float:
        """``(M_3 / n) / (M_2 / n)^{3/2}``; NaN where all numbers are equal."""
        return math.sqrt(self.n) * self.m3 / self.m2**1.5 if self.m2 > 0 else math.nan

    @property
    def excess_kurtosis(self) -> float:
        """``n M_4 / M_2^2 - 3``; NaN where all numbers are equal."""
        return self.n * self.m4 / self.m2**2 - 3 if self.m2 > 0 else math.nan
