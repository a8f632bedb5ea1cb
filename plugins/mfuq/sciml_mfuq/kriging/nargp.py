"""Nonlinear autoregression: each level is a process of the inputs and of the level below, and of its derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sciml.config import setting
from sciml_mfuq.kriging.increment import (
    OF_INCREMENTS,
    GPOptions,
    Increment,
    assemble,
    draws,
    fit_increment,
    fitted_rows,
    most_likely,
    runs_of,
    trends,
)
from sciml_mfuq.kriging.process import Posterior, in_chunks
from sciml_mfuq.kriging.scaling import Scaled, scaled, unit_box
from sciml_mfuq.model import Predictor
from sciml_mfuq.samples import Samples

STEP = 1e-3
"""Half of the step, in the unit box, of the central difference that gives a derivative of the level below."""

WIDTH = 12**-0.5
"""Factor that gives a feature of unit deviation the deviation of an input of the unit box."""

N_DERIVED = 3
"""Inputs up to which derivatives are tried."""

NODES = ((0.0, 2 / 3), (3**0.5, 1 / 6), (-(3**0.5), 1 / 6))
"""Gauss-Hermite nodes and weights for a standard normal variable, exact to the fifth degree."""


@dataclass(frozen=True)
class NARGPOptions:
    """How nonlinear autoregression is fitted."""

    features: str = setting("auto", "seen of the level below: value, derivative (value and slopes), or auto")
    process: GPOptions = setting(GPOptions(), "how the process of each level is fitted")


DEFAULT = NARGPOptions()


class NARGP(Predictor):
    r"""Nonlinear autoregressive Gaussian processes of any number of levels, whose runs need not be nested.

        f_t(x) = g_t(x, f_{t-1}(x)[, grad f_{t-1}(x)]),   k_g = k_1(x, f, grad f) + k_2(x),   trend [f, 1, x]

    What is not known about f_{t-1} passes through g_t by Gauss-Hermite quadrature: mean and variance of the mixture of
    the predictions at the nodes.

    Parameters
    ----------
    n_feature : inputs of the truth.
    increments : configurations of the processes, from the cheapest level.
    features : of the level below, one word per level: "none" for the cheapest, "value" or "derivative".

    *Source*: Perdikaris et al., Proc. R. Soc. A 473 (2017) 20160751; derivatives as inputs: Lee, Bilionis and
    Tepole, Comput. Methods Appl. Mech. Eng. 2019.
    *Departures*: the product of kernels of x and of f is one kernel of both; a trend that holds f, so that the linear
    case is contained; quadrature in place of Monte Carlo; the derivatives of f_{t-1} count as known.
    """

    engine: ClassVar[str] = "nargp"
    low: Tensor
    width: Tensor
    feature_scale: Tensor

    def __init__(self, n_feature: int, increments: Sequence[dict[str, Any]], features: Sequence[str]) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(n_feature, dtype=torch.float64))
        self.register_buffer("width", torch.ones(n_feature, dtype=torch.float64))
        self.register_buffer("feature_scale", torch.ones(len(features), n_feature, dtype=torch.float64))
        self.features = list(features)
        self.increments = nn.ModuleList(Increment.build(**each) for each in increments)
        self._given: list[Posterior] = []
        self.register_load_state_dict_post_hook(lambda module, keys: module._given.clear())

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""
        increments = [self.increment(number).config for number in range(len(self.increments))]
        return {"n_feature": len(self.low), "increments": increments, "features": self.features}

    def increment(self, number: int) -> Increment:
        """Return the process of a level."""
        found = self.increments[number]
        assert isinstance(found, Increment)
        return found

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (batch, feature), raw units, to the mean (batch,) and the standard deviation (batch,)."""
        u = (x.to(self.low) - self.low) / self.width
        last = len(self.increments) - 1
        mean, variance = self.moments(u, last).unbind(1)
        top = self.increment(last)
        return top.centre + top.scale * mean, top.scale * variance.clamp_min(1e-24).sqrt()

    def moments(self, u: Tensor, number: int) -> Tensor:
        """Return mean and variance (batch, 2) of a level at points of the unit box, in standard units."""
        n_held = sum(self.increment(level).process.n_held for level in range(number + 1))
        return in_chunks(lambda some: self._moments(some, number), u, n_held)

    def _moments(self, u: Tensor, number: int) -> Tensor:
        level, posterior = self.increment(number), self._posterior(number)
        if number == 0:
            return torch.stack(posterior.moments(u, level.basis(u, None)), 1)
        below, spread = self._moments(u, number - 1).unbind(1)
        slopes = self.derivatives(u, number)
        means, variances = [], []
        for node, _ in NODES:
            value = below + node * spread.clamp_min(1e-24).sqrt()
            mean, variance = posterior.moments(joined(u, value, slopes), level.basis(u, value))
            means.append(mean)
            variances.append(variance)
        weight = torch.tensor([w for _, w in NODES], dtype=u.dtype, device=u.device)
        mean = weight @ torch.stack(means)
        return torch.stack([mean, weight @ (torch.stack(variances) + (torch.stack(means) - mean).square())], 1)

    def derivatives(self, u: Tensor, number: int) -> Tensor:
        """Return the slopes (batch, column) of the mean of the level below, scaled; none where it does not use them."""
        if self.features[number] != "derivative":
            return u[:, :0]
        slopes = []
        for column in self.increment(number - 1).columns:
            step = torch.zeros_like(u[0])
            step[column] = STEP
            ends = [self._moments(u + sign * step, number - 1)[:, 0] for sign in (1, -1)]
            slopes.append((ends[0] - ends[1]) / self.feature_scale[number, column])
        return torch.stack(slopes, 1)

    def _posterior(self, number: int) -> Posterior:
        if self._given and self._given[0].anchors.device != self.low.device:
            self._given.clear()
        while len(self._given) <= number:
            self._given.append(self.increment(len(self._given)).process.given())
        return self._given[number]


def joined(u: Tensor, below: Tensor, slopes: Tensor) -> Tensor:
    """Return the points (batch, feature + 1 + column) of a level's process."""
    return torch.cat([u, WIDTH * below[:, None], WIDTH * slopes], 1)


def fit_nargp(samples: Samples, *, seed: int, options: NARGPOptions = DEFAULT, lower: Predictor | None = None) -> NARGP:
    """Return nonlinear autoregression fitted to the runs of all levels.

    Parameters
    ----------
    samples : runs; a level must see every input that the level below sees.
    seed : of starts and draws.
    options : see `NARGPOptions`.
    lower : a model of the same runs of the cheap levels, whose cheap levels are taken over as they are.

    Examples
    --------
    >>> from sciml_mfuq.study.functions import CASES
    >>> model = fit_nargp(CASES["c4"].sample(1), seed=1)
    >>> model.features
    ['none', 'derivative']
    """
    model = NARGP(samples.n_feature, [], ["none"] * len(samples.levels))
    model.low, model.width = unit_box(samples)
    if isinstance(lower, NARGP):
        model.increments.extend(lower.increments[:-1])
        model.features[:-1] = lower.features[:-1]
        model.feature_scale[:-1] = lower.feature_scale[:-1]
    with torch.no_grad():
        if not len(model.increments):
            first = scaled(samples, 0)
            forms = [("none", trend) for trend in trends(options.process, len(first.y))]
            model.increments.append(fit_increment(first, None, forms, options.process, seed))
        for number in range(len(model.increments), len(samples.levels)):
            _add_level(model, scaled(samples, number), options, seed + 1000 * number)
    top = model.increment(len(samples.levels) - 1)
    model.noise_std = top.process.noise_variance.sqrt() * top.scale
    return model


def _add_level(model: NARGP, data: Scaled, options: NARGPOptions, seed: int) -> None:
    number = len(model.increments)
    generator = np.random.default_rng([seed, 7])
    below = model.moments(data.u, number - 1)[:, 0]
    rows = fitted_rows(len(data.y), options.process, generator)
    form = ("constant", trends(options.process, len(data.y))[-1])
    tried = []
    for word in _words(options.features, len(model.increment(number - 1).columns)):
        slopes = _scaled_slopes(model, data, number, word)
        runs = replace(runs_of(data, below, form), points=joined(data.u, below, slopes))
        with_below = (*data.columns, *range(data.u.shape[1], runs.points.shape[1]))
        terms = (data.columns, with_below)
        likelihood, mode = most_likely(runs.some(rows), terms, options.process, generator, OF_INCREMENTS)
        tried.append((likelihood.value(mode), word, slopes, runs, likelihood, mode))
    _, word, _, runs, likelihood, mode = min(tried, key=lambda each: each[0])
    _scaled_slopes(model, data, number, word)
    theta = draws(likelihood, mode, len(rows), options.process, generator)
    increment = Increment(assemble(likelihood, theta, runs, options.process), *form)
    increment.rho, increment.centre, increment.scale = data.y[:1] * 0 + 1, data.centre, data.scale
    model.increments.append(increment)


def _words(wanted: str, n_column: int) -> list[str]:
    if wanted != "auto":
        return [wanted]
    return ["value", "derivative"] if n_column <= N_DERIVED else ["value"]


def _scaled_slopes(model: NARGP, data: Scaled, number: int, word: str) -> Tensor:
    """Set what a level sees of the level below, and the scale of its slopes to their deviation at the runs."""
    model.features[number] = word
    model.feature_scale[number] = 1.0
    slopes = model.derivatives(data.u, number)
    if not slopes.shape[1]:
        return slopes
    columns = model.increment(number - 1).columns
    model.feature_scale[number, columns] = slopes.std(0).clamp_min(1e-12)
    return slopes / model.feature_scale[number, columns]
