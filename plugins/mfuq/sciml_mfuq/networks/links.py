"""What one level adds to what is known of the cheaper ones: a trend in them and a Gaussian process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sciml_mfuq.kriging.increment import GPOptions, assemble, draws, fitted_rows, most_likely
from sciml_mfuq.kriging.process import Posterior, Process
from sciml_mfuq.kriging.reml import Likelihood, Runs
from sciml_mfuq.networks.polynomials import least_squares, products, sparse_trend

N_LINEAR = 64
"""Up to so many runs the trend is linear."""
N_COMPARED = 320
"""Up to so many runs both kinds of correlation are tried, beyond that the Matern one is taken."""
N_AVERAGED = 64
"""Up to so many runs the parameters of the process are averaged over."""
LEARNS_FROM = 12
"""Runs from which a part of the truth that no smooth function explains is told apart."""
SCALED_FROM = 100
"""Runs from which, while each counts by itself, the variance is scaled to what left-out runs show."""
ROOT12 = 12**0.5


@dataclass(frozen=True)
class Evidence:
    """Runs of one level with what is known of the cheaper ones there.

    Parameters
    ----------
    x : (run, input), raw units.
    low : (run, low), what the cheaper levels say, and their slopes where wanted.
    y, noise : (run,), values and known noise variance.
    box : (input, 2).
    directions : (input, direction), of the box scaled to a common width; none where the inputs say enough.
    """

    x: Tensor
    low: Tensor
    y: Tensor
    noise: Tensor
    box: Tensor
    directions: Tensor | None = None

    def some(self, rows: Tensor) -> Evidence:
        """Return the runs at the given rows."""
        return replace(self, x=self.x[rows], low=self.low[rows], y=self.y[rows], noise=self.noise[rows])


@dataclass(frozen=True)
class Scales:
    """How what a level sees is scaled to columns of about unit width around zero.

    Parameters
    ----------
    box : (input, 2), to [-1/2, 1/2].
    centre, width : (low,), of the cheaper levels.
    directions : (input, direction), of the inputs scaled so.
    """

    box: Tensor
    centre: Tensor
    width: Tensor
    directions: Tensor

    @staticmethod
    def of(evidence: Evidence) -> Scales:
        """Return the scales that give the cheaper levels and the directions the spread of an input."""
        box, centre = evidence.box, evidence.low.mean(0)
        spread = (evidence.low - centre).square().mean(0).sqrt()
        width = ROOT12 * torch.where(spread > 0, spread, torch.ones_like(spread))
        if evidence.directions is None:
            return Scales(box, centre, width, box.new_zeros(len(box), 0))
        inner = Scales(box, centre, width, evidence.directions)
        along = inner(evidence.x, evidence.low)[:, len(box) + len(centre) :]
        return replace(inner, directions=evidence.directions / (ROOT12 * along.square().mean(0).sqrt()))

    def __call__(self, x: Tensor, low: Tensor) -> Tensor:
        """Map points (batch, input) and the cheaper levels (batch, low) there to (batch, input + low + direction)."""
        u = (x - self.box[:, 0]) / (self.box[:, 1] - self.box[:, 0]) - 0.5
        along = [u @ self.directions] if self.directions.shape[1] else []
        return torch.cat([u, (low - self.centre) / self.width, *along], 1)


class Link(nn.Module):
    r"""A level given the cheaper ones: ``y = beta^T b(v) + g(v)``, v the inputs x, the cheaper levels f and
    the inputs along some directions, scaled.

    g is a Gaussian process with a Matern-5/2 or Gaussian correlation of a length-scale for each column of v, b a
    constant and the polynomial `terms`, beta unknown, its prior flat for the constant and the cheaper levels.
    What is known of f only up to a variance is passed on:

        mean = m(x, f),   variance = c V(x, f) + sum_p ((m(x, f + s_p) - m(x, f - s_p)) / 2)^2 + excess

    with V and m of the process and s_p the standard deviation of f_p. The learned variance of single runs is mostly
    the error of f, which is passed on already; `excess` is what it exceeds that by, in the mean of the runs. From
    `SCALED_FROM` runs on the `spread` c is the mean of (residual^2 / variance) of runs predicted from the others, which
    asks less of the model than its likelihood does (Bachoc, Comput. Stat. Data Anal. 66, 2013, eq. 9); else it is 1.

    Parameters
    ----------
    n_input, n_low : numbers of inputs and of columns of the cheaper levels.
    n_term : terms of the trend.
    process : configuration of the Gaussian process.
    n_direction : directions along which it sees the inputs, beside the inputs themselves.
    """

    box: Tensor
    directions: Tensor
    centre: Tensor
    width: Tensor
    terms: Tensor
    offset: Tensor
    scale: Tensor
    excess: Tensor
    spread: Tensor

    def __init__(self, n_input: int, n_low: int, n_term: int, process: Mapping[str, Any], n_direction: int = 0) -> None:
        super().__init__()
        self.n_input, self.n_low = n_input, n_low
        self.process = Process.build(**process)
        floats = {"box": (n_input, 2), "centre": (n_low,), "width": (n_low,), "offset": (), "scale": (), "excess": ()}
        for name, shape in floats.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("spread", torch.ones((), dtype=torch.float64))
        self.register_buffer("directions", torch.zeros(n_input, n_direction, dtype=torch.float64))
        self.register_buffer("terms", torch.zeros(n_term, 4, dtype=torch.long))
        self._solved: Posterior | None = None
        self.register_load_state_dict_post_hook(lambda module, keys: module.forget())

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""
        sizes = {"n_input": self.n_input, "n_low": self.n_low, "n_term": len(self.terms)}
        sizes["n_direction"] = self.directions.shape[1]
        return {**sizes, "process": self.process.config}

    def forget(self) -> None:
        """Drop what was computed from the buffers."""
        self._solved = None

    def scaled(self, x: Tensor, low: Tensor) -> Tensor:
        """Return v (batch, input + low + direction), of about unit width around zero."""
        return Scales(self.box, self.centre, self.width, self.directions)(x, low)

    def forward(self, x: Tensor, low: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance (batch,).

        Parameters
        ----------
        x : (batch, input).
        low : (batch, low), the parents, then their slopes.
        variance : (batch, parent), up to which the parents are known.
        """
        v = self.scaled(x, low)
        mean, total = self._posterior().moments(v, self._basis(v))
        total = self.spread * total + self.excess
        for number in range(variance.shape[1]):
            total = total + self._passed_on(v, number, variance[:, number])
        return self.offset + self.scale * mean, self.scale.square() * total

    def left_out(self) -> float:
        """Return the root mean squared error of the runs, each predicted from the others, in the unit of y."""
        residual, _ = self._left_out()
        return float(self.scale * (residual.square() - self.process.noise).mean().clamp_min(0).sqrt())

    def _left_out(self) -> tuple[Tensor, Tensor]:
        process = self.process
        likelihood = Likelihood(process.kernel, process.runs(), process.learns_noise)
        return likelihood.leave_one_out(process.theta.mean(0))

    def _basis(self, v: Tensor) -> Tensor:
        return basis_of(v, self.terms)

    def _posterior(self) -> Posterior:
        if self._solved is None:
            self._solved = self.process.given()
        return self._solved

    def _mean(self, v: Tensor) -> Tensor:
        return self._posterior().mean(v, self._basis(v))

    def _passed_on(self, v: Tensor, number: int, variance: Tensor) -> Tensor:
        """Return the variance (batch,) that comes from a parent, by a difference over its standard deviation."""
        column = self.n_input + number
        step = torch.zeros_like(v)
        step[:, column] = 1
        step = step * (variance.clamp_min(1e-24).sqrt() / self.width[number])[:, None]
        return (0.5 * (self._mean(v + step) - self._mean(v - step))).square()


def basis_of(v: Tensor, terms: Tensor) -> Tensor:
    """Return a constant and the terms (batch, 1 + term) at scaled points v (batch, column) of unit width."""
    return torch.cat([v.new_ones(len(v), 1), products(2 * v, terms)], 1)


def precision_of(terms: Tensor, n_input: int) -> Tensor:
    """Return the precision (1 + term,) of the prior of the trend's coefficients, for a target of unit variance.

    All terms together have the variance of the target, the constant and the parents themselves are free.
    """
    is_parent = (terms[:, 0] >= n_input) & (terms[:, 1] == 1) & (terms[:, 3] == 0)
    precision = torch.where(is_parent, 0.0, float((~is_parent).sum())).to(torch.float64)
    return torch.cat([precision.new_zeros(1), precision])


def linear_terms(columns: Sequence[int]) -> Tensor:
    """Return the terms (term, 4) that are the given columns themselves."""
    return torch.tensor([[c, 1, 0, 0] for c in columns], dtype=torch.long).reshape(-1, 4)


def fit_link(evidence: Evidence, variance: Tensor, options: GPOptions, seed: int) -> Link:
    """Fit what a level adds to the cheaper ones.

    Parameters
    ----------
    evidence : the runs.
    variance : (run, parent), up to which the cheaper levels are known there.
    options : of the process.
    seed : of its draws.
    """
    n_input, n_run, scales = evidence.x.shape[1], len(evidence.y), Scales.of(evidence)
    v = scales(evidence.x, evidence.low)
    offset, scale = evidence.y.mean(), evidence.y.std().clamp_min(1e-12 * evidence.y.abs().max().clamp_min(1e-300))
    target, noise = (evidence.y - offset) / scale, evidence.noise / scale.square()
    is_few = n_run <= N_COMPARED
    options = replace(
        options,
        kernel=options.kernel if is_few or options.kernel != "auto" else "matern52",
        noise="learned" if n_run >= LEARNS_FROM else "none",
        n_draw=options.n_draw if n_run <= N_AVERAGED else 0,
    )
    generator = np.random.default_rng([seed, 7])
    rows = fitted_rows(n_run, options, generator)
    terms = trend_terms(v, target, (n_input, variance.shape[1], scales.directions.shape[1]))
    runs = Runs(v, basis_of(v, terms), target, noise, precision_of(terms, n_input))
    likelihood, mode = most_likely(runs.some(rows), (tuple(range(v.shape[1])),), options, generator)
    process = assemble(likelihood, draws(likelihood, mode, len(rows), options, generator), runs, options)
    link = Link(n_input, evidence.low.shape[1], len(terms), process.config, scales.directions.shape[1])
    link.process, link.terms, link.offset, link.scale = process, terms, offset, scale
    link.box, link.centre, link.width, link.directions = scales.box, scales.centre, scales.width, scales.directions
    with torch.no_grad():
        if SCALED_FROM <= n_run <= options.max_exact:
            residual, expected = link._left_out()
            link.spread = (residual.square() / expected).mean()
        learned = link.spread * (process.noise_variance - process.noise.mean()).clamp_min(0)
        known = sum((link._passed_on(v, k, variance[:, k]).mean() for k in range(variance.shape[1])), learned * 0)
    link.excess = (learned - known).clamp_min(0)
    return link


def trend_terms(v: Tensor, target: Tensor, sizes: tuple[int, int, int]) -> Tensor:
    """Return the terms (term, 4) of the trend.

    They are the inputs and the parents; or, of many runs, what predicts left-out runs better than these: with the
    squares of the parents and of the directions, or, where there are no directions, a sparse polynomial.

    Parameters
    ----------
    v : (run, column), inputs, cheaper levels (first the parents, then their slopes) and directions, scaled.
    target : (run,).
    sizes : numbers of inputs, parents and directions.
    """
    n_input, n_parent, n_direction = sizes
    seen = list(range(n_input + n_parent))
    linear = linear_terms(seen)
    if len(target) <= N_LINEAR:
        return linear
    if n_direction:
        bent = seen[n_input:] + list(range(v.shape[1] - n_direction, v.shape[1]))
        other = torch.cat([linear, torch.tensor([[column, 2, 0, 0] for column in bent])])
    else:
        other = sparse_trend(2 * v, target).terms
    both = [least_squares(2 * v, terms, target)[2] for terms in (linear, other)]
    return other if both[1] < both[0] else linear
