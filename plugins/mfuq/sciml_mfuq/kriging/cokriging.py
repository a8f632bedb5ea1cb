"""Recursive co-kriging: each level is the one below times a factor, plus a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sciml.config import setting
from sciml_mfuq.kriging.increment import Below, GPOptions, Increment, fit_increment, trends
from sciml_mfuq.kriging.process import Belief, Posterior, in_chunks
from sciml_mfuq.kriging.scaling import scaled, unit_box
from sciml_mfuq.model import Predictor
from sciml_mfuq.samples import Samples


@dataclass(frozen=True)
class CoKrigingOptions:
    """How co-kriging is fitted."""

    rho: str = setting("auto", "factor of the level below: constant, linear, or auto for what the runs favour")
    process: GPOptions = setting(GPOptions(), "how the process of each level is fitted")


DEFAULT = CoKrigingOptions()


class CoKriging(Predictor):
    r"""Autoregressive co-kriging of any number of levels, whose runs need not be nested.

        f_t(x) = rho_t(x) f_{t-1}(x) + delta_t(x),  delta_t a Gaussian process

    Each level is conditioned on its own runs, with what is known about the level below as its prior: the mean enters
    the trend, so that rho and the trend are estimated together by generalised least squares, and its covariance
    ``rho(x) rho(x') C_{t-1}(x, x')`` is added to that of delta_t. Where the runs are nested this covariance vanishes at
    them, and

        mean_t = rho mean_{t-1} + mean_delta,   var_t = (rho^2 + var_rho) var_{t-1} + var_delta

    Parameters
    ----------
    n_feature : inputs of the truth.
    increments : configurations of the levels' own parts, from the cheapest.

    *Contract*: with rho known it is the posterior of Kennedy and O'Hagan's joint model, nested or not.

    *Source*: Kennedy and O'Hagan, Biometrika 87 (2000); Le Gratiet and Garnier, Int. J. UQ 4 (2014).
    *Departures*: the carried covariance off the nested case, with rho at its estimate; the parameters of the kernels
    are averaged over where runs are few.
    """

    engine: ClassVar[str] = "cokriging"
    low: Tensor
    width: Tensor

    def __init__(self, n_feature: int, increments: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(n_feature, dtype=torch.float64))
        self.register_buffer("width", torch.ones(n_feature, dtype=torch.float64))
        self.increments = nn.ModuleList(Increment.build(**each) for each in increments)
        self._given: list[tuple[Posterior, list[Belief]]] = []
        self.register_load_state_dict_post_hook(lambda module, keys: module._given.clear())

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""
        return {"n_feature": len(self.low), "increments": [each.config for each in self._levels]}

    def increment(self, number: int) -> Increment:
        """Return the part of a level that is its own."""
        found = self.increments[number]
        assert isinstance(found, Increment)
        return found

    @property
    def _levels(self) -> list[Increment]:
        return [self.increment(number) for number in range(len(self.increments))]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (batch, feature), raw units, to the mean (batch,) and the standard deviation (batch,)."""
        u = (x.to(self.low) - self.low) / self.width

        def top(some: Tensor) -> Tensor:
            belief = self.beliefs(some)[-1]
            return torch.stack([belief.mean, belief.variance], 1)

        mean, variance = in_chunks(top, u, self._n_held).unbind(1)
        last = self._levels[-1]
        return last.centre + last.scale * mean, last.scale * variance.clamp_min(1e-24).sqrt()

    @property
    def _n_held(self) -> int:
        return sum(level.process.n_held for level in self._levels)

    def beliefs(self, u: Tensor, n_level: int | None = None) -> list[Belief]:
        """Return what is known about the lowest levels, all by default, at points (batch, feature) of the unit box.

        Each in the units in which its level is standardised.
        """
        known: list[Belief] = []
        for number, level in enumerate(self._levels[:n_level]):
            posterior, at_runs = self._posterior(number)
            basis = level.basis(u, known[-1].mean if known else None)
            carried = None
            if known:
                slopes = level.slopes(u)
                spread = ((slopes @ posterior.coefficient_covariance(slopes.shape[1])) * slopes).sum(1)
                own = (level.factor(u).square() + spread) * known[-1].variance
                carried = self._carried(number, u, known, level.process.points, at_runs), own
            known.append(posterior.at(u, basis, carried))
        return known

    def _posterior(self, number: int) -> tuple[Posterior, list[Belief]]:
        """Return the posterior of a level and what is known of the lower ones at its runs; computed once per device."""
        if number == 0 and self._given and self._given[0][0].anchors.device != self.low.device:
            self._given.clear()
        if number == len(self._given):
            process = self._levels[number].process
            with torch.no_grad():
                at_runs, carried = self.beliefs(process.points, number), None
                if at_runs and len(process.inducing):
                    carried = self.increment(number).factor(process.points).square() * at_runs[-1].variance
                elif at_runs:
                    carried = self._carried(number, process.points, at_runs, process.points, at_runs)
                self._given.append((process.given(carried), at_runs))
        return self._given[number]

    def mean_at(self, u: Tensor) -> Tensor:
        """Return the mean (batch,) of the last level at points of the unit box, in standard units."""
        return in_chunks(lambda some: self.beliefs(some)[-1].mean, u, self._n_held)

    def covariance_at(self, u: Tensor, n_level: int | None = None) -> Tensor:
        """Return the covariance (batch, batch) of a level at points of the unit box, in standard units.

        The last level by default, else the highest of the `n_level` lowest.
        """
        known = self.beliefs(u, n_level)
        return self._covariance(len(known) - 1, u, known, u, known)

    def _carried(self, number: int, u: Tensor, known: list[Belief], v: Tensor, at_v: list[Belief]) -> Tensor:
        level = self._levels[number]
        below = self._covariance(number - 1, u, known, v, at_v)
        return level.factor(u)[:, None] * level.factor(v) * below

    def _covariance(self, number: int, u: Tensor, known: list[Belief], v: Tensor, at_v: list[Belief]) -> Tensor:
        a, b = known[number], at_v[number]
        k = self._levels[number].process.prior(u, v) - a.less @ b.less.T + a.more @ b.more.T
        return k if number == 0 else k + self._carried(number, u, known, v, at_v)


def fit_cokriging(
    samples: Samples, *, seed: int, options: CoKrigingOptions = DEFAULT, lower: Predictor | None = None
) -> CoKriging:
    """Return co-kriging fitted to the runs of all levels.

    Parameters
    ----------
    samples : runs; a level must see every input that the level below sees.
    seed : of starts and draws.
    options : see `CoKrigingOptions`.
    lower : co-kriging of the same runs of the cheap levels, whose cheap levels are taken over as they are.

    Examples
    --------
    >>> from sciml_mfuq.study.functions import CASES
    >>> model = fit_cokriging(CASES["c1"].sample(1), seed=1)
    >>> mean, std = model(torch.tensor([[0.4]]))
    >>> round(float(mean), 3)
    0.115
    """
    model = CoKriging(samples.n_feature, [])
    model.low, model.width = unit_box(samples)
    if isinstance(lower, CoKriging):
        model.increments.extend(lower.increments[:-1])
    with torch.no_grad():
        for number in range(len(model.increments), len(samples.levels)):
            data = scaled(samples, number)
            rhos = ["none"] if number == 0 else ["constant", "linear"] if options.rho == "auto" else [options.rho]
            forms = list(product(rhos, trends(options.process, len(data.y))))
            below = Below(model.mean_at, model.covariance_at) if number else None
            model.increments.append(fit_increment(data, below, forms, options.process, seed + 1000 * number))
    top = model.increment(-1)
    model.noise_std = top.process.noise_variance.sqrt() * top.scale
    return model
