"""Distributions and sensitivities of a function by a fitted model, against exact Monte Carlo on the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.stats

from sciml_mfuq.propagation.distribution import Distribution
from sciml_mfuq.propagation.laws import Law
from sciml_mfuq.propagation.propagate import propagate
from sciml_mfuq.propagation.sobol import SobolIndices, sobol_indices
from sciml_mfuq.samples import Array
from sciml_mfuq.study.figures import Law1D
from sciml_mfuq.study.functions import Case

Predict = Callable[[Array], tuple[Array, Array]]
LAWS = ("uniform", "gaussian")
WIDTH = 1 / 6
"""Standard deviation of Gaussian inputs over the width of the box; their mean is its middle, and its ends cut them."""


@dataclass(frozen=True)
class Spread:
    """What a law of the inputs does to the output: by a model, and exactly.

    Parameters
    ----------
    law : "uniform" or "gaussian".
    model : distribution by the model.
    exact : (n,) outputs of the truth at random inputs.
    """

    law: str
    model: Distribution
    exact: Array

    @property
    def errors(self) -> tuple[float, float, float]:
        """Errors of mean and standard deviation, and Wasserstein-1 distance, in standard deviations of the truth."""
        sigma = float(self.exact.std())
        moments = self.model.moments()
        return (
            abs(float(moments["mean"].value) - float(self.exact.mean())) / sigma,
            abs(float(moments["std"].value) - sigma) / sigma,
            float(scipy.stats.wasserstein_distance(self.model.values.ravel(), self.exact)) / sigma,
        )

    def drawn(self, n: int = 300) -> Law1D:
        """Return the densities and distribution functions to draw."""
        y = self.model.grid(n)
        density = self.model.pdf(y)
        exact = scipy.stats.gaussian_kde(self.exact[: 2**15], bw_method=self.model.bandwidth / self.exact.std(ddof=1))
        cdf = np.searchsorted(np.sort(self.exact), y, side="right") / len(self.exact)
        band = 1.96 * density.standard_error
        return Law1D(y, density.value, band, exact(y), self.model.cdf(y).value, cdf)


def law_of(case: Case, kind: str) -> Law:
    """Return independent inputs, uniform in the box of a function or Gaussian about its middle and cut at its ends."""
    low, width = case.bounds[:, 0], np.diff(case.bounds, axis=1)[:, 0]
    names = tuple(f"x{number + 1}" for number in range(case.n_feature))
    if kind == "uniform":
        return Law({name: scipy.stats.uniform(a, w) for name, a, w in zip(names, low, width, strict=True)})
    end = 0.5 / WIDTH
    boxes = zip(names, low, width, strict=True)
    return Law({name: scipy.stats.truncnorm(-end, end, a + w / 2, WIDTH * w) for name, a, w in boxes})


def spread(case: Case, predict: Predict, kind: str, *, n_sample: int, n_exact: int, seed: int) -> Spread:
    """Push a law through a model and through the truth.

    Parameters
    ----------
    case, predict
        The function and the model of it.
    kind
        One of `LAWS`.
    n_sample, n_exact
        Points for the model and for the truth.
    seed
        Of both samples, which are independent.
    """
    law = law_of(case, kind)
    batches = law.batches(n_exact, [seed, 5], "random")
    exact = np.concatenate([case.levels[-1](x) for x in batches])
    return Spread(kind, propagate(predict, law, n_sample, seed=seed, name=case.name), exact)


def sensitivities(case: Case, predict: Predict, n: int, seed: int) -> tuple[SobolIndices, SobolIndices]:
    """Return the Sobol indices of the model and of the truth, inputs uniform in the box."""
    law = law_of(case, "uniform")
    return sobol_indices(predict, law, n, seed=seed), sobol_indices(case.levels[-1], law, 4 * n, seed=seed + 1)
