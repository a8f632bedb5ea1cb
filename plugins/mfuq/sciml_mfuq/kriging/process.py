"""The posterior of a Gaussian process with a linear trend, averaged over draws of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sciml_mfuq.kriging.covariance import Kernel, cholesky, solve_lower
from sciml_mfuq.kriging.reml import Runs, covariance

N_CHUNK = 2**21
"""Numbers that one array of a prediction may hold."""
N_CACHED = 2**17
"""Numbers that one array of a prediction should hold, so that its passes find it in the cache of a core."""
N_BLOCK = 64
"""Points of a block at the least: fewer would make the products slow."""


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, n_held: int) -> Tensor:
    """Return function(x), a few rows at a time, so that memory stays flat; each row needs n_held numbers."""
    return torch.cat([function(rows) for rows in x.split(max(1, N_CHUNK // max(1, n_held)))])


@dataclass(frozen=True)
class Belief:
    """What is known about a process at some points.

    Parameters
    ----------
    points : (batch, column).
    mean, variance : (batch,).
    less, more : (batch, ...), so that the covariance with other points is that of the kernel, minus the products of
        their `less`, plus the products of their `more`.
    """

    points: Tensor
    mean: Tensor
    variance: Tensor
    less: Tensor
    more: Tensor


class Process(nn.Module):
    r"""A Gaussian process with a linear trend of unknown coefficients, given its runs.

    With ``w(x) = L^-1 k(X, x)``, ``K = L L^T``, ``G`` the trend at the runs and ``A = G^T K^-1 G``, for each draw

        mean = g(x)^T beta + w(x)^T L^-1 (y - G beta),   beta = A^-1 G^T K^-1 y
        cov  = k(x, x') - w(x)^T w(x') + u(x)^T A^-1 u(x'),   u(x) = g(x) - G^T K^-1 k(X, x)

    where A also holds the precision of the prior of the coefficients.

    The draws are mixed with equal weights: the covariance of the mixture holds that of the means of the draws too.

    Parameters
    ----------
    kernel : covariance function.
    n_run, n_basis, n_draw : sizes of what is learned.
    learns_noise : whether `theta` (draw, parameter) ends with the log of a noise variance.
    n_inducing : points through which many runs are seen; none where all runs count by themselves.

    *Contract*: `given` computes all that is not saved.

    *Source*: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), sections 2.7 and 5.1; inducing
    points: Snelson and Ghahramani 2006 (FITC).
    """

    points: Tensor
    basis: Tensor
    target: Tensor
    noise: Tensor
    precision: Tensor
    theta: Tensor
    inducing: Tensor

    def __init__(
        self, kernel: Kernel, n_run: int, n_basis: int, n_draw: int, learns_noise: bool = False, n_inducing: int = 0
    ) -> None:
        super().__init__()
        self.kernel, self.learns_noise = kernel, learns_noise
        n_column = 1 + max(max(columns) for columns in kernel.terms)
        shapes = {
            "points": (n_run, n_column),
            "basis": (n_run, n_basis),
            "target": (n_run,),
            "noise": (n_run,),
            "precision": (n_basis,),
            "theta": (n_draw, kernel.n_parameter + learns_noise),
            "inducing": (n_inducing, n_column),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of `build` as plain JSON values."""
        sizes = [len(self.target), self.basis.shape[1], len(self.theta), self.learns_noise, len(self.inducing)]
        return {"kind": self.kernel.kind, "terms": [list(columns) for columns in self.kernel.terms], "sizes": sizes}

    @staticmethod
    def build(kind: str, terms: Sequence[Sequence[int]], sizes: Sequence[int]) -> Process:
        """Return a process that awaits its buffers; the arguments are those of `config`."""
        kernel = Kernel(kind, tuple(tuple(columns) for columns in terms))
        return Process(kernel, sizes[0], sizes[1], sizes[2], bool(sizes[3]), sizes[4])

    def fill(self, runs: Runs, theta: Tensor, inducing: Tensor | None = None) -> Process:
        """Take over runs, draws (draw, parameter) and inducing points (inducing, column); return the process."""
        n_column = self.points.shape[1]  # later columns are none of the kernel's
        self.points, self.basis = runs.points[:, :n_column], runs.basis
        self.target, self.noise = runs.target, runs.noise
        self.precision, self.theta = runs.precision, theta
        if inducing is not None:
            self.inducing = inducing[:, :n_column]
        return self

    def runs(self, carried: Tensor | None = None) -> Runs:
        """Return what the process is given, with known covariance of the target beside the kernel."""
        return Runs(self.points, self.basis, self.target, self.noise, self.precision, carried)

    @property
    def n_held(self) -> int:
        """How many numbers a prediction at one point needs."""
        return (len(self.inducing) or len(self.target)) * len(self.theta)

    @property
    def noise_variance(self) -> Tensor:
        """The mean noise variance of a run (): what is known of it, plus what was learned."""
        learned = self.theta[:, -1].exp().mean() if self.learns_noise else self.theta.new_zeros(())
        return self.noise.mean() + learned

    def prior(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the covariance (n, m) of the kernel, the mean over the draws."""
        return torch.stack([self.kernel(self._kernel_theta[j], a, b) for j in range(len(self.theta))]).mean(0)

    @property
    def _kernel_theta(self) -> Tensor:
        return self.theta[:, : self.kernel.n_parameter]

    def given(self, carried: Tensor | None = None) -> Posterior:
        """Return the posterior; `carried` is known covariance of the target beside the kernel.

        It is of shape (run, run), or (run,) and counts as noise where there are inducing points.
        """
        with torch.no_grad():
            if len(self.inducing):
                return Posterior.through_inducing(self, carried)
            return Posterior.exact(self, carried)


class Trend(NamedTuple):
    """The trend at the anchors (draw, anchor, coefficient) and the target less the trend (draw, anchor), whitened.

    Then the lower factor of A (draw, coefficient, coefficient) and the coefficients (draw, coefficient).
    """

    basis: Tensor
    rest: Tensor
    normal: Tensor
    beta: Tensor


@dataclass(frozen=True)
class Posterior:
    """Factors of a process given its runs, to be asked at points; one of each per draw.

    Parameters
    ----------
    process : whose posterior it is.
    factor, inner : lower triangular (draw, anchor, anchor), the anchors being the runs or the inducing points; `inner`
        is there with inducing points only.
    trend : what was estimated of the trend.
    """

    process: Process
    factor: Tensor
    inner: Tensor | None
    trend: Trend
    _weight: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        weight = self.trend.rest[..., None]
        for lower in (self.factor,) if self.inner is None else (self.inner, self.factor):
            weight = torch.linalg.solve_triangular(lower.mT, weight, upper=True)
        object.__setattr__(self, "_weight", weight[..., 0])

    @property
    def anchors(self) -> Tensor:
        """The points (anchor, column) with which covariances are taken."""
        return self.process.points if self.inner is None else self.process.inducing

    @staticmethod
    def exact(process: Process, carried: Tensor | None) -> Posterior:
        """Condition on all runs."""
        factor = cholesky(covariance(process.kernel, process.theta, process.runs(carried), process.learns_noise))
        both = torch.cat([process.target[:, None], process.basis], 1).expand(len(factor), -1, -1)
        white = torch.linalg.solve_triangular(factor, both, upper=False)
        return Posterior(process, factor, None, _trend(process, white, white.mT @ white))

    @staticmethod
    def through_inducing(process: Process, carried: Tensor | None) -> Posterior:
        """Condition on all runs as the inducing points see them; what they do not see counts as noise of each run."""
        z, theta = process.inducing, process._kernel_theta
        factor = cholesky(process.kernel(theta, z, z))
        w = torch.linalg.solve_triangular(factor, process.kernel(theta, z, process.points), upper=False)
        noise = (process.kernel.variance(theta)[:, None] - w.square().sum(1)).clamp_min(0) + process.noise
        if process.learns_noise:
            noise = noise + process.theta[:, -1:].exp()
        if carried is not None:
            noise = noise + carried
        root = (noise + 1e-10 * process.kernel.variance(theta)[:, None]).sqrt()
        w = w / root[:, None, :]
        inner = torch.linalg.cholesky(torch.eye(len(z), dtype=w.dtype, device=w.device) + w @ w.mT)
        both = torch.cat([process.target[:, None], process.basis], 1) / root[..., None]
        white = torch.linalg.solve_triangular(inner, w @ both, upper=False)
        return Posterior(process, factor, inner, _trend(process, white, both.mT @ both - white.mT @ white))

    def coefficient_covariance(self, n: int) -> Tensor:
        """Return the covariance (n, n) of the first n coefficients of the trend over the mixture."""
        eye = torch.eye(self.trend.beta.shape[1], dtype=self.trend.beta.dtype, device=self.trend.beta.device)
        within = torch.cholesky_solve(eye.expand(len(self.trend.beta), -1, -1), self.trend.normal).mean(0)
        apart = self.trend.beta - self.trend.beta.mean(0)
        return (within + apart.T @ apart / len(self.trend.beta))[:n, :n]

    def at(self, points: Tensor, basis: Tensor, carried: tuple[Tensor, Tensor] | None = None) -> Belief:
        """Return what is known at points (batch, column) with the trend (batch, coefficient) there.

        Parameters
        ----------
        points, basis : see above.
        carried : the known covariance beside the kernel, of the points with the runs (batch, run) and of each point
            with itself (batch,).
        """
        less, more, means = self._asked(points, basis, None if carried is None else carried[0])
        n_draw, mean = len(means), means.mean(0)
        more = torch.cat([*(part.flatten(0, 1) for part in more), means - mean]).T / n_draw**0.5
        less = less.flatten(0, 1).T / n_draw**0.5
        prior = self._prior if carried is None else self._prior + carried[1]
        variance = (prior - less.square().sum(1)).clamp_min(0) + more.square().sum(1)
        return Belief(points, mean, variance, less, more)

    def moments(self, points: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance (batch,) of `at`, without what only covariances need, in blocks."""
        parts = [self._moments(*rows) for rows in self._blocks(points, basis)]
        mean, variance = (torch.cat(column) for column in zip(*parts, strict=True))
        return mean, variance

    def mean(self, points: Tensor, basis: Tensor) -> Tensor:
        """Return the mean (batch,) of `at` alone, in blocks: ``g(x)^T beta + k(x, X) weight``."""
        kernel, theta = self.process.kernel, self.process._kernel_theta
        parts = []
        for some, trend in self._blocks(points, basis):
            own = (self._weight[:, None, :] @ kernel(theta, self.anchors, some))[:, 0]
            parts.append((self.trend.beta @ trend.T + own).mean(0))
        return torch.cat(parts)

    def _blocks(self, points: Tensor, basis: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        n_point = max(N_BLOCK, N_CACHED // self.process.n_held)
        return zip(points.split(n_point), basis.split(n_point), strict=True)

    def _moments(self, points: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
        less, more, means = self._asked(points, basis)
        mean = means.mean(0)
        gained = (means - mean).square().mean(0)
        for part in more:
            gained = gained + part.square().sum(1).mean(0)
        return mean, (self._prior - less.square().sum(1).mean(0)).clamp_min(0) + gained

    def _asked(
        self, points: Tensor, basis: Tensor, carried: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Return `less`, parts of `more` (draw, ..., batch) and means (draw, batch), of each draw, at points."""
        k = self.process.kernel(self.process._kernel_theta, self.anchors, points)
        if carried is not None and self.inner is None:
            k = k + carried.T
        less = w = solve_lower(self.factor, k)
        if self.inner is not None:
            w = solve_lower(self.inner, w)
        u = solve_lower(self.trend.normal, basis.T - self.trend.basis.mT @ w)
        means = self.trend.beta @ basis.T + (self.trend.rest[:, None, :] @ w)[:, 0]
        return less, (u,) if self.inner is None else (w, u), means

    @property
    def _prior(self) -> Tensor:
        return self.process.kernel.variance(self.process._kernel_theta).mean()


def _trend(process: Process, white: Tensor, gram: Tensor) -> Trend:
    """Estimate the trend from the target and the trend, whitened, and from their products by K^-1."""
    normal = cholesky(gram[:, 1:, 1:] + process.precision.diag())
    beta = torch.cholesky_solve(gram[:, 1:, :1], normal)[..., 0]
    basis = white[..., 1:]
    return Trend(basis, white[..., 0] - (basis @ beta[..., None])[..., 0], normal, beta)
