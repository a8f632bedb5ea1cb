"""Networks for the cheapest level; above, level by level, a trend in the cheaper ones and a Gaussian process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sciml.config import setting
from sciml_mfuq.kriging.increment import GPOptions
from sciml_mfuq.model import Predictor
from sciml_mfuq.networks.directions import active_directions, fit_link_along
from sciml_mfuq.networks.graph import columns_of, padded, parents_of
from sciml_mfuq.networks.links import Evidence, Link, fit_link
from sciml_mfuq.networks.net_fit import Data, fit_ensemble, fold_error, noise_variance
from sciml_mfuq.networks.nets import Ensemble, NetOptions
from sciml_mfuq.samples import Array, Level, Samples

N_PROCESS = 1000
"""Runs of a level without cheaper ones up to which a Gaussian process is considered for it."""
N_CHUNK = 2048
"""Points that are predicted at a time."""
N_SLOPE, N_SLOPE_CHUNK = 2000, 256
"""Runs at which the slopes of a cheaper level are taken at most, and how many of them at a time."""


@dataclass(frozen=True)
class ResidualOptions:
    """How each level is modelled."""

    low: str = setting(
        "auto", "model of a level without cheaper ones: net, gp, or auto for the better at left-out runs"
    )
    directions: str = setting(
        "auto", "whether a level sees its inputs along the directions that matter below: auto (if few do), none"
    )
    slopes: bool = setting(False, "whether the slopes of the cheaper levels are columns too, for shifted functions")
    net: NetOptions | None = setting(None, "networks; none: what suits the number of runs")
    process: GPOptions = setting(GPOptions(), "Gaussian processes")


class Residual(Predictor):
    """Levels one upon the other: networks or a process below, a `Link` for each further level.

    Parameters
    ----------
    columns : of each level, the inputs of the truth that it sees.
    models : of each level, {"net": configuration of an `Ensemble`} or {"link": configuration of a `Link`}.
    slopes : whether links see the slopes of their parents.

    *Source*: Kennedy and O'Hagan, Biometrika 87 (2000); one level after the other: Le Gratiet and Garnier, Int. J.
    Uncertain. Quantif. 4 (2014); network below, linear transfer and Gaussian process above: Yi, Cheng and Bessa, arXiv
    2407.15110. *Departures*: see `Link`.
    """

    engine: ClassVar[str] = "residual"

    def __init__(
        self, columns: Sequence[Sequence[int]], models: Sequence[Mapping[str, Any]], slopes: bool = False
    ) -> None:
        super().__init__()
        self.columns = [tuple(one) for one in columns]
        self.parents = parents_of(self.columns)
        self.slopes = slopes
        self.models = nn.ModuleList(
            Ensemble.build(**one["net"]) if "net" in one else Link(**one["link"]) for one in models
        )

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""
        models = [{"net" if isinstance(one, Ensemble) else "link": one.config} for one in self.models]
        return {"columns": [list(one) for one in self.columns], "models": models, "slopes": self.slopes}

    def forward(self, x: Tensor, low: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (batch,) of the truth at x (batch, feature).

        Parameters
        ----------
        x : points.
        low : (batch, parent), values of the levels that the truth looks at, where they were run at the points; in place
            of what is predicted of them.
        """
        top, chunks = len(self.models) - 1, x.split(N_CHUNK)
        lows: Sequence[Tensor | None] = [None] * len(chunks) if low is None else low.split(N_CHUNK)
        parts = [self._known(part, top, given) for part, given in zip(chunks, lows, strict=True)]
        mean, variance = (torch.cat(column) for column in zip(*parts, strict=True))
        return mean, variance.clamp_min(1e-300).sqrt()

    def _known(self, x: Tensor, level: int, low: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and variance (batch,) of a level at points (batch, feature) of the truth."""
        model, seen = self.models[level], x[:, list(self.columns[level])]
        if isinstance(model, Ensemble):
            mean, variance = model(seen)
        else:
            mean, variance = model(seen, *self.below(x, level, low))
        return mean, variance

    def below(self, x: Tensor, level: int, low: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the columns (batch, low) that a level sees of the cheaper ones, and the parents' variances."""
        parents = self.parents[level]
        if not parents or (low is not None and not self.slopes):
            none = x.new_zeros(len(x), 0)
            return (none, none) if low is None else (low, torch.zeros_like(low))
        means, variances, slopes = [], [], []
        for parent in parents:
            mean, variance, slope = self._with_slope(x, parent)
            means.append(mean)
            variances.append(variance)
            slopes.append(slope)
        values, variance = torch.stack(means, 1), torch.stack(variances, 1)
        if low is not None:
            values, variance = low, torch.zeros_like(low)
        return torch.cat([values, *slopes], 1), variance

    def _with_slope(self, x: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
        if not self.slopes:
            return *self._known(x, level), x[:, :0]
        mean, variance, slope = self._sloping(x, level)
        return mean, variance, slope[:, list(self.columns[level])]

    def _sloping(self, x: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
        with torch.enable_grad():
            point = x if x.requires_grad else x.detach().requires_grad_()
            mean, variance = self._known(point, level)
            (slope,) = torch.autograd.grad(mean.sum(), point, create_graph=x.requires_grad)
        return (mean, variance, slope) if x.requires_grad else (mean.detach(), variance.detach(), slope)

    def directions(self, samples: Samples, level: int) -> Tensor:
        """Return the directions (input, direction) along which the parents of a level vary at their own runs.

        Each parent counts by its slopes relative to their root mean square.
        """
        width = torch.as_tensor(samples.bounds[:, 1] - samples.bounds[:, 0])
        slopes = []
        for parent in self.parents[level]:
            below = samples.levels[parent]
            runs = torch.as_tensor(padded(below, samples.n_feature))
            runs = runs[:: -(-len(runs) // N_SLOPE)]
            slope = torch.cat([self._sloping(part, parent)[2] for part in runs.split(N_SLOPE_CHUNK)]) * width
            slopes.append(slope / slope.square().sum(1).mean().sqrt().clamp_min(1e-300))
        return active_directions(torch.cat(slopes)[:, list(self.columns[level])])


def fit_residual(samples: Samples, *, seed: int, options: ResidualOptions = ResidualOptions(),
                 low: Array | None = None, lower: Predictor | None = None) -> Residual:  # fmt: skip
    """Fit the levels one after the other, from the cheapest to the truth.

    Parameters
    ----------
    samples : of one output.
    seed : of weights, batches and draws.
    options : see there.
    low : (run, parent), values of the levels that the truth looks at, at the runs of the truth, for a model that is
        given them at prediction too; where they are left out, what is predicted of them.
    lower : a model of the same runs of the cheap levels, whose cheap levels are taken over as they are.
    """
    columns = columns_of(samples)
    residual = Residual(columns, [], options.slopes)
    if isinstance(lower, Residual):
        residual.models.extend(lower.models[:-1])
    for number, level in enumerate(samples.levels):
        if number < len(residual.models):
            continue
        seen = torch.as_tensor(samples.bounds[list(columns[number])])
        if not residual.parents[number]:
            residual.models.append(_lowest(level, seen, options, seed))
            continue
        full = torch.as_tensor(padded(level, samples.n_feature))
        given = None if low is None or level is not samples.truth else torch.as_tensor(low).reshape(len(full), -1)
        with torch.no_grad():
            values, variance = residual.below(full, number, given)
        evidence = Evidence(torch.as_tensor(level.x), values, torch.as_tensor(level.y), noise_variance(level), seen)
        if options.directions == "auto":
            evidence = replace(evidence, directions=residual.directions(samples, number))
        residual.models.append(fit_link_along(evidence, variance, options.process, seed))
    residual.noise_std = noise_variance(samples.truth).mean().sqrt()
    return residual


def _lowest(level: Level, box: Tensor, options: ResidualOptions, seed: int) -> nn.Module:
    """Return a model of a level that looks at no other."""
    data = Data(torch.as_tensor(level.x), torch.as_tensor(level.y), box, noise_variance(level))
    net = options.net or NetOptions.suited(*level.x.shape)
    n_run = len(data.y)
    if options.low == "net" or (options.low == "auto" and n_run > N_PROCESS):
        return fit_ensemble(data, net, seed)
    none = data.x.new_zeros(n_run, 0)
    link = fit_link(Evidence(data.x, none, data.y, data.noise, box), none, options.process, seed)
    if options.low == "auto" and fold_error(data, net, seed) < link.left_out():
        return fit_ensemble(data, net, seed)
    return link
