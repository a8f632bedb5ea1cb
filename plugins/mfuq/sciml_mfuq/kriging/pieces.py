"""Co-kriging in two pieces: where a cheap level jumps, every level is told on which side of the jump it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sciml_mfuq.engines import Unsuited
from sciml_mfuq.kriging.cokriging import CoKriging, CoKrigingOptions, fit_cokriging
from sciml_mfuq.kriging.increment import OF_INCREMENTS, GPOptions
from sciml_mfuq.kriging.jumps import N_RUNS, Jump, find_jump
from sciml_mfuq.kriging.reml import Likelihood
from sciml_mfuq.kriging.scaling import scaled
from sciml_mfuq.model import Predictor
from sciml_mfuq.samples import Array, Samples

FORM = CoKrigingOptions(rho="constant", process=GPOptions(trend="linear"))
"""The side is in the trend, so that a level may jump more or less than the one below; of few runs no factor depends on
it as well, which would do the same."""


class Pieces(Predictor):
    r"""Co-kriging whose inputs carry one more column, the side of a jump that a cheap level was found to have.

    Of the place of the jump it is known only that it lies between two runs of that level. Runs of the truth between
    them divide this gap into parts k, a_k < x_j < b_k, of probability w_k each, and with each goes a model of its own,
    that is told the sides. With m_0, V_0 and m_1, V_1 what it says of a point on the lower and on the upper side, and
    p the probability that the jump lies below the point,

        p = (x_j - a) / (b - a) within [0, 1],   m = (1 - p) m_0 + p m_1
        V = (1 - p) V_0 + p V_1 + p (1 - p) (m_1 - m_0)^2
        mean = sum_k w_k m_k,   variance = sum_k w_k (V_k + (m_k - mean)^2)

    Parameters
    ----------
    column : j, the input across which the jump is.
    inner : configurations of the models that are told the side, one for each part.

    *Contract*: outside the gap each model speaks of the side on which the point lies.

    *Source*: Gramacy and Lee, JASA 103 (2008) 1119: treed Gaussian processes, here with one split. *Departures*: the
    pieces share one model, which learns from few runs of the truth how far their heights differ; the split is sought
    in a cheap level, which has the runs to show it.
    """

    engine: ClassVar[str] = "pieces"
    gaps: Tensor
    weights: Tensor

    def __init__(self, column: int, inner: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.column = column
        self.inner = nn.ModuleList(CoKriging(**one) for one in inner)
        self.register_buffer("gaps", torch.zeros(len(inner), 2, dtype=torch.float64))
        self.register_buffer("weights", torch.zeros(len(inner), dtype=torch.float64))

    @property
    def parts(self) -> list[CoKriging]:
        """The models of the parts of the gap."""
        return [one for one in self.inner.children() if isinstance(one, CoKriging)]

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""
        return {"column": self.column, "inner": [one.config for one in self.parts]}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (batch, feature), raw units, to the mean (batch,) and the standard deviation (batch,)."""
        x = x.to(self.gaps)
        known = [self._part(x, number) for number in range(len(self.inner))]
        means, variances = (torch.stack(column) for column in zip(*known, strict=True))
        mean = self.weights @ means
        return mean, (self.weights @ (variances + (means - mean).square())).clamp_min(1e-300).sqrt()

    def _part(self, x: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Return mean and variance (batch,) if the jump lies in a part of the gap."""
        low, high = self.gaps[number]
        p = ((x[:, self.column] - low) / (high - low)).clamp(0, 1)
        side = torch.zeros_like(x[:, :1])
        (mean_0, std_0), (mean_1, std_1) = (self.inner[number](torch.cat([x, side + one], 1)) for one in (0, 1))
        apart = p * (1 - p) * (mean_1 - mean_0).square()
        return (1 - p) * mean_0 + p * mean_1, (1 - p) * std_0.square() + p * std_1.square() + apart


def fit_pieces(samples: Samples, *, seed: int, lower: Predictor | None = None) -> Pieces:
    """Return co-kriging that is told on which side of a jump of a cheap level a point is.

    Parameters
    ----------
    samples : of one output.
    seed : of the search for the jump, and of the fits.
    lower : pieces of the same runs of the cheap levels, whose jump and cheap levels are taken over.

    Raises
    ------
    Unsuited
        Where no cheap level jumps.

    Examples
    --------
    >>> from sciml_mfuq.study.functions import CASES
    >>> model = fit_pieces(CASES["c2"].sample(103), seed=103)
    >>> (37 * model.gaps).round().tolist()
    [[18.0, 19.0]]
    """
    if isinstance(lower, Pieces):
        column, ends, below = lower.column, np.array([lower.gaps.min(), lower.gaps.max()]), lower.parts[0]
    else:
        jump = jump_of(samples, seed)
        low, high = samples.bounds[jump.column]
        column, ends, below = jump.column, low + (high - low) * np.array([jump.low, jump.high]), None
    at = samples.truth.x[:, column]
    edges = np.unique(np.concatenate([ends, at[(at > ends[0]) & (at < ends[1])]]))
    gaps = np.stack([edges[:-1], edges[1:]], 1)
    models = list[CoKriging]()
    for gap in gaps:
        sided = with_side(samples, column, ends, gap)
        models.append(fit_cokriging(sided, seed=seed, options=FORM, lower=models[0] if models else below))
    pieces = Pieces(column, [one.config for one in models])
    pieces.inner, pieces.gaps = nn.ModuleList(models), torch.as_tensor(gaps)
    evidence = torch.as_tensor(np.log(np.diff(gaps)[:, 0]) + [log_likelihood(one) for one in models])
    pieces.weights = torch.softmax(evidence, 0)
    pieces.noise_std = pieces.weights @ torch.stack([one.noise_std for one in models])
    return pieces


def jump_of(samples: Samples, seed: int) -> Jump:
    """Return the jump of the cheapest level that has runs enough to show one."""
    for number, level in enumerate(samples.levels[:-1]):
        if N_RUNS[0] <= len(level.x) <= N_RUNS[1]:
            jump = find_jump(scaled(samples, number), seed)
            if jump is None:
                raise Unsuited(f"pieces: expected a jump of level {level.name!r}, found none; take another engine")
            return jump
    raise Unsuited(
        f"pieces: expected a cheap level of {N_RUNS[0]} to {N_RUNS[1]} runs to look for a jump, got none; take another "
        "engine"
    )


def with_side(samples: Samples, column: int, ends: Array, gap: Array) -> Samples:
    """Return samples with the side of the jump as a last input, 0 below and 1 above.

    Parameters
    ----------
    samples, column : see above.
    ends : (2,), runs of a cheap level that enclose the jump; those of others in between are left out.
    gap : (2,), the part of it in which the jump is taken to lie; no run of the truth is within.
    """
    levels = []
    for level in samples.levels:
        columns = tuple(range(samples.n_feature)) if level.columns is None else level.columns
        if column in columns:
            low, high = gap if level is samples.truth else ends
            at = level.x[:, columns.index(column)]
            level = level.kept((at <= low) | (at >= high))
            side = level.x[:, [columns.index(column)]] >= high
            seen = None if level.columns is None else (*columns, samples.n_feature)
            level = replace(level, x=np.concatenate([level.x, side], 1), columns=seen)
        levels.append(level)
    return Samples(tuple(levels), np.concatenate([samples.bounds, [[0.0, 1.0]]]))


def log_likelihood(model: CoKriging) -> float:
    """Return the log likelihood of the runs of the truth, given the cheaper levels, at the best draw, to a constant."""
    top = model.increment(-1)
    process, n_below = top.process, len(model.increments) - 1
    with torch.no_grad():
        factor = top.factor(process.points)
        carried = factor[:, None] * factor * model.covariance_at(process.points, n_below)
        likelihood = Likelihood(process.kernel, process.runs(carried), process.learns_noise, OF_INCREMENTS)
        return -min(likelihood.value(theta.numpy()) for theta in process.theta)
