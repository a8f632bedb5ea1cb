"""The part of a level that is its own, a process whose trend may hold the level below, and how it is fitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from sciml.config import setting
from sciml_mfuq.kriging.covariance import KINDS, Kernel, require_memory, spread_points
from sciml_mfuq.kriging.process import Process
from sciml_mfuq.kriging.reml import Likelihood, Priors, Runs
from sciml_mfuq.kriging.scaling import Scaled
from sciml_mfuq.kriging.search import descend, draw, find_mode, polish
from sciml_mfuq.samples import Array

N_DRAWN = 64, 320
"""Runs up to which all draws are made, and up to which half of them; of more runs the mode stands alone."""

N_LEARN_NOISE = 12
"""Runs from which on noise is learned where it is not known."""

N_PER_COLUMN = 10
"""Runs per input that make a design of usual size (Loeppky, Sacks and Welch, Technometrics 51, 2009)."""

EARNED = 2.0
"""By how much the log posterior of fewer runs must favour infinitely smooth functions before they are believed in."""


@dataclass(frozen=True)
class GPOptions:
    """How a Gaussian process is fitted."""

    kernel: str = setting("auto", "correlation: matern52, rbf, or auto for rbf where the runs clearly favour it")
    trend: str = setting("auto", "constant, linear (slopes have a prior), or auto for what the runs favour")
    noise: str = setting("auto", "learned, none, or auto: learned from 12 runs on; given noise is used as given")
    n_draw: int = setting(16, "draws of the parameters that are averaged over where there are few runs")
    max_exact: int = setting(5000, "runs up to which each counts by itself")
    n_inducing: int = setting(1000, "inducing points through which more runs are seen")


OF_INCREMENTS = Priors(variance=(-2.0, 3.0))
"""What one level adds to another may be much smaller than either."""

DEFAULT_PRIORS = Priors()

Terms: TypeAlias = tuple[tuple[int, ...], ...]


def most_likely(
    runs: Runs, terms: Terms, options: GPOptions, generator: np.random.Generator, priors: Priors = DEFAULT_PRIORS
) -> tuple[Likelihood, Array]:
    """Return the likelihood of the kind of correlation that the runs favour, and its mode."""
    kinds = KINDS if options.kernel == "auto" else (options.kernel,)
    is_known = bool((runs.noise > 0).any())
    is_many = len(runs.target) >= N_LEARN_NOISE
    learns = options.noise == "learned" or (options.noise == "auto" and not is_known and is_many)
    found = []
    for kind in kinds:
        likelihood = Likelihood(Kernel(kind, terms), runs, learns, priors)
        found.append((likelihood, find_mode(likelihood, generator)))
    is_few = len(runs.target) < N_PER_COLUMN * max(len(columns) for columns in terms)
    handicap = {"rbf": EARNED * is_few, "matern52": 0.0}
    best, mode = min(found, key=lambda pair: pair[0].value(pair[1]) + handicap[pair[0].kernel.kind])
    return best, polish(best, mode)


def draws(
    likelihood: Likelihood, mode: Array, n_run: int, options: GPOptions, generator: np.random.Generator
) -> Tensor:
    """Return draws (draw, parameter) of the parameters, as many as the number of runs calls for."""
    n_draw = options.n_draw if n_run <= N_DRAWN[0] else options.n_draw // 2 if n_run <= N_DRAWN[1] else 1
    return torch.as_tensor(draw(likelihood, mode, n_draw, generator) if n_draw > 1 else mode[None])


def assemble(likelihood: Likelihood, theta: Tensor, runs: Runs, options: GPOptions) -> Process:
    """Return the process of all runs, seen through inducing points where they are too many."""
    kernel, inducing = likelihood.kernel, None
    if len(runs.target) > options.max_exact:
        inducing = spread_points(kernel, theta[0, : kernel.n_parameter], runs.points, options.n_inducing)
    sizes = len(runs.target), runs.basis.shape[1], len(theta)
    process = Process(kernel, *sizes, likelihood.learns_noise, 0 if inducing is None else len(inducing))
    return process.fill(runs, theta, inducing)


def fitted_rows(n_run: int, options: GPOptions, generator: np.random.Generator) -> Tensor:
    """Return the runs from which parameters are found: all, or 2,000 of more than count by themselves."""
    if n_run > options.max_exact:
        return torch.as_tensor(np.sort(generator.choice(n_run, min(2000, options.max_exact), replace=False)))
    require_memory(n_run)
    return torch.arange(n_run)


class Increment(nn.Module):
    """The part of one level that is its own: a process whose trend holds the level below.

    Parameters
    ----------
    process : its trend is [f, f x] (with a level below), 1, x.
    rho, trend : "none", "constant" or "linear"; rho is none without a level below.
    """

    rho: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, process: Process, rho: str, trend: str) -> None:
        super().__init__()
        self.process, self.rho_form, self.trend = process, rho, trend
        self.columns = list(process.kernel.terms[0])
        n_rho = {"none": 0, "constant": 1, "linear": 1 + len(self.columns)}[rho]
        self.register_buffer("rho", torch.zeros(n_rho, dtype=torch.float64))
        self.register_buffer("centre", torch.zeros((), dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))

    @property
    def config(self) -> dict[str, Any]:
        """What `build` needs, as plain JSON values."""
        return {"process": self.process.config, "rho": self.rho_form, "trend": self.trend}

    @staticmethod
    def build(process: dict[str, Any], rho: str, trend: str) -> Increment:
        """Return an increment that awaits its buffers."""
        return Increment(Process.build(**process), rho, trend)

    def slopes(self, u: Tensor) -> Tensor:
        """Return what the coefficients of rho multiply, (batch, coefficient), at points of the unit box."""
        return trend_of(self.rho_form, u[:, self.columns])

    def factor(self, u: Tensor) -> Tensor:
        """Return rho (batch,)."""
        return self.slopes(u) @ self.rho

    def basis(self, u: Tensor, below: Tensor | None) -> Tensor:
        """Return the trend (batch, coefficient), given the mean (batch,) of the level below."""
        return basis_of((self.rho_form, self.trend), u[:, self.columns], below)


def trend_of(form: str, u: Tensor) -> Tensor:
    """Return (batch, coefficient): nothing, [1] or [1, x - 1/2]."""
    one = u.new_ones(len(u), 0 if form == "none" else 1)
    return torch.cat([one, u - 0.5], 1) if form == "linear" else one


def basis_of(form: tuple[str, str], u: Tensor, below: Tensor | None) -> Tensor:
    """Return the trend (batch, coefficient) of the forms of rho and trend at points (batch, column)."""
    own = trend_of(form[1], u)
    return own if below is None else torch.cat([trend_of(form[0], u) * below[:, None], own], 1)


@dataclass(frozen=True)
class Below:
    """The level below, as it is known at points (n, feature) of the unit box: its mean (n,) and covariance (n, n)."""

    mean: Callable[[Tensor], Tensor]
    covariance: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Fitted:
    """Parameters found for the forms of rho and trend."""

    form: tuple[str, str]
    likelihood: Likelihood
    mode: Array
    rho: Tensor


def fit_increment(
    data: Scaled, below: Below | None, forms: Sequence[tuple[str, str]], options: GPOptions, seed: int
) -> Increment:
    """Return the increment of the form, among some of rho and trend, that the runs favour.

    Parameters
    ----------
    data : runs of the level.
    below : level below, if there is one.
    forms : of (rho, trend), to be tried.
    options, seed : of the fit.
    """
    generator = np.random.default_rng([seed, 7])
    rows = fitted_rows(len(data.y), options, generator)
    some = data.some(rows)
    known = None if below is None else (below.mean(some.u), below.covariance(some.u))
    tried = [_fit_form(some, known, form, options, generator) for form in forms]
    best = tried[0]
    if len(tried) > 1:
        best = min(tried, key=lambda each: each.likelihood.value(each.mode))
    theta = draws(best.likelihood, best.mode, len(rows), options, generator)
    runs = runs_of(data, None if below is None else below.mean(data.u), best.form)
    process = assemble(best.likelihood, theta, runs, options)
    increment = Increment(process, *best.form)
    increment.rho, increment.centre, increment.scale = best.rho, data.centre, data.scale
    return increment


def _fit_form(
    data: Scaled,
    below: tuple[Tensor, Tensor] | None,
    form: tuple[str, str],
    options: GPOptions,
    generator: np.random.Generator,
) -> _Fitted:
    terms = (data.columns,)
    runs = runs_of(data, None if below is None else below[0], form)
    if below is None:
        return _Fitted(form, *most_likely(runs, terms, options, generator), data.y[:0])
    slopes = trend_of(form[0], data.seen)
    rho = torch.linalg.lstsq(runs.basis, runs.target[:, None], driver="gelsd").solution[: slopes.shape[1], 0]
    likelihood, mode = most_likely(_carrying(runs, slopes @ rho, below[1]), terms, options, generator, OF_INCREMENTS)
    for _ in range(2):
        rho = likelihood.coefficients(torch.as_tensor(mode))[: slopes.shape[1]]
        likelihood = likelihood.on(_carrying(runs, slopes @ rho, below[1]))
        mode = descend(likelihood, mode, 20)
    return _Fitted(form, likelihood, mode, rho)


def runs_of(data: Scaled, below: Tensor | None, form: tuple[str, str]) -> Runs:
    """Return the runs with their trend, given the mean (run,) of the level below.

    Slopes have a prior: that of rho a deviation of one over the box; those of the trend the one that gives a linear
    function the variance of the target.
    """
    basis = basis_of(form, data.seen, below)
    n_column = len(data.columns)
    parts = [_precision(form[0], n_column, 1.0)] if below is not None else []
    precision = torch.cat([*parts, _precision(form[1], n_column, 12.0)])
    return Runs(data.u, basis, data.y, data.noise, precision)


def _precision(form: str, n_column: int, variance: float) -> Tensor:
    slopes = torch.full((n_column if form == "linear" else 0,), n_column / variance, dtype=torch.float64)
    return torch.cat([slopes.new_zeros(1), slopes])


def _carrying(runs: Runs, factor: Tensor, below: Tensor) -> Runs:
    return replace(runs, carried=factor[:, None] * factor * below)


def trends(options: GPOptions, n_run: int) -> list[str]:
    """Return the forms of the trend to be tried; of many runs the general one is good enough."""
    if options.trend != "auto":
        return [options.trend]
    return ["constant", "linear"] if n_run <= N_DRAWN[1] else ["linear"]
