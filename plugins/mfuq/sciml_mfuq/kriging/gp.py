"""Gaussian process regression of the truth from its own runs."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from sciml_mfuq.kriging.increment import GPOptions, Increment, fit_increment, trends
from sciml_mfuq.kriging.process import Belief, Posterior
from sciml_mfuq.kriging.reml import Likelihood
from sciml_mfuq.kriging.scaling import scaled, unit_box
from sciml_mfuq.model import Predictor
from sciml_mfuq.samples import Array, Samples

DEFAULT = GPOptions()


class GPPredictor(Predictor):
    r"""Kriging: a Gaussian process with a trend, from the runs of one level.

        f(x) = g(x)^T beta + Z(x),  beta flat,  Z stationary, its parameters averaged over where runs are few

    Parameters
    ----------
    n_feature : inputs.
    increment : configuration of the process.

    *Source*: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), section 2.7.
    """

    engine: ClassVar[str] = "gp"
    low: Tensor
    width: Tensor

    def __init__(self, n_feature: int, increment: dict[str, Any]) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(n_feature, dtype=torch.float64))
        self.register_buffer("width", torch.ones(n_feature, dtype=torch.float64))
        self.increment = Increment.build(**increment)
        self._given: list[Posterior] = []
        self.register_load_state_dict_post_hook(lambda module, keys: module._given.clear())

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""
        return {"n_feature": len(self.low), "increment": self.increment.config}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (batch, feature), raw units, to the mean (batch,) and the standard deviation (batch,)."""
        u = (x.to(self.low) - self.low) / self.width
        mean, variance = self._posterior().moments(u, self.increment.basis(u, None))
        scale = self.increment.scale
        return self.increment.centre + scale * mean, scale * variance.clamp_min(1e-24).sqrt()

    def belief(self, u: Tensor) -> Belief:
        """Return what is known at points (batch, feature) of the unit box, in standard units."""
        return self._posterior().at(u, self.increment.basis(u, None))

    def _posterior(self) -> Posterior:
        if self._given and self._given[0].anchors.device != self.low.device:
            self._given.clear()
        if not self._given:
            self._given.append(self.increment.process.given())
        return self._given[0]

    def leave_one_out(self) -> tuple[Array, Array]:
        """Return, of each run, its residual and standard deviation (run,) when predicted from the others, raw units.

        The parameters stay those found from all runs, as the first draw has them.
        """
        process = self.increment.process
        runs = process.runs()
        likelihood = Likelihood(process.kernel, runs, process.learns_noise)
        residual, variance = likelihood.leave_one_out(process.theta[0])
        return (residual * self.increment.scale).numpy(), (variance.sqrt() * self.increment.scale).numpy()


def fit_gp(samples: Samples, *, seed: int, options: GPOptions = DEFAULT) -> GPPredictor:
    """Return kriging fitted to the runs of the truth; the cheap levels are not looked at.

    Parameters
    ----------
    samples : runs.
    seed : of starts and draws.
    options : see `GPOptions`.

    Examples
    --------
    >>> from sciml_mfuq.study.functions import CASES
    >>> model = fit_gp(CASES["park"].sample(1), seed=1)
    >>> len(model.leave_one_out()[0])
    12
    """
    data = scaled(samples.truth_only(), 0)
    with torch.no_grad():
        forms = [("none", trend) for trend in trends(options, len(data.y))]
        increment = fit_increment(data, None, forms, options, seed)
    model = GPPredictor(samples.n_feature, increment.config)
    model.increment = increment
    model.low, model.width = unit_box(samples)
    model.noise_std = increment.process.noise_variance.sqrt() * increment.scale
    return model
