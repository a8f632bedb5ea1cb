"""The restricted likelihood of a Gaussian process with a linear trend: value, gradient and leave-one-out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sciml_mfuq.kriging.covariance import Kernel, cholesky
from sciml_mfuq.samples import Array


@dataclass(frozen=True)
class Priors:
    """Mean and standard deviation of the logs of parameters; the target has about unit variance.

    Parameters
    ----------
    length : of a length-scale of a column of unit width; the mean grows with half the log of the number of columns.
    variance : of the variance of a term of the kernel.
    noise : of a learned noise variance.
    """

    length: tuple[float, float] = (math.log(0.4), 1.0)
    variance: tuple[float, float] = (0.0, 1.5)
    noise: tuple[float, float] = (math.log(1e-8), 4.0)


@dataclass(frozen=True)
class Runs:
    """What a Gaussian process is fitted to.

    Parameters
    ----------
    points : (run, column), of about unit width.
    basis : (run, coefficient), the trend at the points.
    target : (run,), of about unit variance.
    noise : (run,), known variance.
    precision : (coefficient,), of the Gaussian prior of the coefficients; zero for none.
    carried : (run, run) or None, known covariance of the target beside the kernel, as from a lower level.
    """

    points: Tensor
    basis: Tensor
    target: Tensor
    noise: Tensor
    precision: Tensor
    carried: Tensor | None = None

    def some(self, rows: Tensor) -> Runs:
        """Return the runs at the given rows."""
        carried = None if self.carried is None else self.carried[rows][:, rows]
        return Runs(self.points[rows], self.basis[rows], self.target[rows], self.noise[rows], self.precision, carried)


class _Solved(NamedTuple):
    """The factor of K, the whitened trend, the factor of A, the coefficients, and the whitened target less trend."""

    factor: Tensor
    basis: Tensor
    normal: Tensor
    beta: Tensor
    rest: Tensor


@dataclass(frozen=True)
class Likelihood:
    r"""Negative log posterior of the parameters of a kernel, the coefficients of the trend integrated out.

        (log|K| + log|A| - log|P| + y^T B y) / 2 + prior,   A = G^T K^-1 G + P,   B = K^-1 - K^-1 G A^-1 G^T K^-1

    P is the precision of the coefficients; those without a prior are left out of its determinant.

    Parameters
    ----------
    kernel, runs : covariance function and data.
    learns_noise : whether `theta` has a last entry, the log of one more noise variance.
    priors : of the parameters.

    *Source*: Harville, JASA 72 (1977); leave-one-out: Dubrule, Math. Geol. 15 (1983).
    """

    kernel: Kernel
    runs: Runs
    learns_noise: bool = False
    priors: Priors = Priors()

    def prior(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (parameter,) of the Gaussian prior."""
        pairs: list[tuple[float, float]] = []
        for columns in self.kernel.terms:
            pairs.append(self.priors.variance)
            pairs += [(self.priors.length[0] + 0.5 * math.log(len(columns)), self.priors.length[1])] * len(columns)
        if self.learns_noise:
            pairs.append(self.priors.noise)
        mean, std = torch.tensor(pairs, dtype=torch.float64).T
        return mean, std

    def covariance(self, theta: Tensor) -> Tensor:
        """Return K (run, run)."""
        return covariance(self.kernel, theta, self.runs, self.learns_noise)

    def _solved(self, theta: Tensor) -> _Solved:
        factor = cholesky(self.covariance(theta))
        both = torch.cat([self.runs.target[:, None], self.runs.basis], 1)
        white = torch.linalg.solve_triangular(factor, both, upper=False)
        basis = white[:, 1:]
        normal = cholesky(basis.T @ basis + self.runs.precision.diag())
        beta = torch.cholesky_solve(basis.T @ white[:, :1], normal)[:, 0]
        return _Solved(factor, basis, normal, beta, white[:, 0] - basis @ beta)

    def _value(self, theta: Tensor, solved: _Solved) -> float:
        mean, std = self.prior()
        precision = self.runs.precision
        value = 0.5 * (solved.rest.square().sum() + (precision * solved.beta.square()).sum())
        value += solved.factor.diagonal().log().sum() + solved.normal.diagonal().log().sum()
        value -= 0.5 * precision[precision > 0].log().sum()
        return float(value + 0.5 * ((theta - mean) / std).square().sum())

    def value(self, theta: Array) -> float:
        """Return the negative log posterior up to a constant; infinity where K cannot be factorised."""
        t = torch.as_tensor(theta)
        try:
            return self._value(t, self._solved(t))
        except ValueError:
            return float("inf")

    def _weight(self, theta: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return B, B y and the value."""
        solved = self._solved(theta)
        both = torch.cat([solved.rest[:, None], solved.basis], 1)
        back = torch.linalg.solve_triangular(solved.factor.T, both, upper=True)
        half = torch.linalg.solve_triangular(solved.normal, back[:, 1:].T, upper=False)
        b = torch.cholesky_inverse(solved.factor).addmm_(half.T, half, alpha=-1)
        return b, back[:, 0], self._value(theta, solved)

    def value_and_gradient(self, theta: Array) -> tuple[float, Array]:
        """Return the negative log posterior and its gradient (parameter,); 1e25 where K cannot be factorised."""
        t = torch.as_tensor(theta)
        try:
            weight, by, value = self._weight(t)
        except ValueError:
            return 1e25, np.zeros_like(theta)
        weight.addr_(by, by, alpha=-1).mul_(0.5)
        gradient = self.kernel.gradient(t[: self.kernel.n_parameter], self.runs.points, weight)
        if self.learns_noise:
            gradient = torch.cat([gradient, (t[-1].exp() * weight.diagonal().sum())[None]])
        mean, std = self.prior()
        return value, (gradient + (t - mean) / std.square()).numpy()

    def coefficients(self, theta: Tensor) -> Tensor:
        """Return the generalised least squares estimate (coefficient,) of the trend."""
        return self._solved(theta).beta

    def leave_one_out(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return residual and variance (run,) of each run when predicted from the others, trend and noise included.

        ``residual_i = (B y)_i / B_ii,  variance_i = 1 / B_ii``
        """
        b, by, _ = self._weight(theta)
        diagonal = b.diagonal().clamp_min(1e-300)
        return by / diagonal, 1 / diagonal

    def score(self, theta: Tensor) -> float:
        """Return the mean log density of the runs, each predicted from the others; higher is better."""
        residual, variance = self.leave_one_out(theta)
        return float(-0.5 * (variance.log() + residual.square() / variance + math.log(2 * math.pi)).mean())

    def on(self, runs: Runs) -> Likelihood:
        """Return the same for other runs."""
        return replace(self, runs=runs)


def covariance(kernel: Kernel, theta: Tensor, runs: Runs, learns_noise: bool) -> Tensor:
    """Return the covariance K (..., run, run) of the target for parameters (..., parameter)."""
    k = kernel(theta[..., : kernel.n_parameter], runs.points, runs.points)
    if runs.carried is not None:
        k = k + runs.carried
    noise = runs.noise.expand(k.shape[:-1])
    if learns_noise:
        noise = noise + theta[..., -1:].exp()
    k.diagonal(dim1=-2, dim2=-1).add_(noise)
    return k
