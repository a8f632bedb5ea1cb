"""Which run to buy next: the point and the level that lower the uncertainty of the truth most for their cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from sciml_mfuq.kriging.cokriging import CoKriging, fit_cokriging
from sciml_mfuq.samples import Array, Level, Samples

N_REFERENCE, N_CANDIDATE = 128, 384
"""Points over which the variance is averaged, and points from which the next run is taken."""


@dataclass(frozen=True)
class Proposal:
    """A run to buy: level by number, inputs (feature,) of the truth in raw units, and gain for the cost.

    `gain` is the fall of the mean variance of the truth over the box, in units of its runs' variance, per unit cost.
    """

    level: int
    x: Array
    gain: float


@dataclass(frozen=True)
class Step:
    """Where adaptive sampling stands: runs so far, the model of them, the mean standard deviation over the box."""

    samples: Samples
    model: CoKriging
    mean_std: float


def propose(
    model: CoKriging, samples: Samples, *, seed: int, n_batch: int = 1, budget: float = np.inf
) -> list[Proposal]:
    r"""Return the runs that lower the integrated variance of the truth most for their cost, one after the other.

    A run of level l at x takes ``mean_s [(prod_{k > l} rho_k(s))^2 C_l(s, x)^2] / (C_l(x, x) + noise)`` from the mean
    variance over points s of the box; divided by its cost. C_l is the covariance of the mixture over the draws of the
    kernel parameters, the spread of the draws' means included: where parameters are not known, runs that tell draws
    apart count. Within a batch the covariance is conditioned on the runs already proposed, which needs no values.

    Parameters
    ----------
    model : co-kriging of the samples.
    samples : runs so far, with the costs of the levels.
    seed : of candidates and reference points.
    n_batch : how many runs.
    budget : of all of them together; fewer are proposed where it does not suffice.

    *Source*: Sacks et al., Stat. Sci. 4 (1989), integrated variance; Le Gratiet and Cannamela, Technometrics 57 (2015),
    levels by cost; Goldstein and Wooff, Bayes Linear Statistics (2007), of a mixture by its covariance alone.
    *Departures*: levels count as conditioned on their own runs alone; the weights of the draws stay as they are, so
    that the gain is at most that of conditioning the mixture.
    """
    sampler = qmc.Sobol(samples.n_feature, rng=np.random.default_rng([seed, 31]))
    points = torch.as_tensor(sampler.random(N_REFERENCE + N_CANDIDATE))
    with torch.no_grad():
        levels = [_Known.of(model, samples, number, points) for number in range(len(samples.levels))]
        found = []
        for _ in range(n_batch):
            if not any(one.cost <= budget for one in levels):
                break
            gains = torch.stack([one.gains() if one.cost <= budget else torch.zeros(N_CANDIDATE) for one in levels])
            at = int(gains.argmax())
            number, candidate = at // N_CANDIDATE, at % N_CANDIDATE
            u = points[N_REFERENCE + candidate].numpy()
            x = samples.bounds[:, 0] + u * (samples.bounds[:, 1] - samples.bounds[:, 0])
            found.append(Proposal(number, x, float(gains.flatten()[at])))
            levels[number] = levels[number].with_run(N_REFERENCE + candidate)
            budget -= levels[number].cost
    return found


def adapt(
    samples: Samples,
    functions: Sequence[Callable[[Array], Array]],
    *,
    budget: float,
    seed: int,
    n_batch: int = 1,
    step_cost: float | None = None,
    target_std: float = 0.0,
) -> Iterator[Step]:
    """Buy runs until the budget is spent or the mean standard deviation is small; yield the start and every step.

    Parameters
    ----------
    samples : first runs; what they cost counts.
    functions : of each level, its own inputs (n, feature) to outputs (n,); NaN where a run fails.
    budget : total cost, in the unit of the levels' costs.
    seed : of fits and candidates.
    n_batch : most runs between two fits.
    step_cost : no further run before a fit that would take their cost above it; one run of the truth by default,
        since the parameters of its process are what a few runs leave open.
    target_std : mean standard deviation of the truth at which to stop, in its unit.

    *Contract*: never above the budget; runs that fail are paid for and not asked for again.
    """
    spent, truth = samples.cost, len(samples.levels) - 1
    most = samples.truth.cost if step_cost is None else step_cost
    step = _step(samples, seed)
    yield step
    number = 0
    while step.mean_std > target_std:
        number += 1
        left = budget - spent
        wanted = propose(step.model, step.samples, seed=seed + number, n_batch=n_batch, budget=left)
        if not wanted:
            return
        costs = np.cumsum([samples.levels[one.level].cost for one in wanted])
        n_bought = max(1, int(np.searchsorted(costs, most, side="right")))
        wanted, spent = wanted[:n_bought], spent + float(costs[n_bought - 1])
        lower = step.model if all(one.level == truth for one in wanted) else None
        step = _step(_bought(step.samples, functions, wanted), seed, lower)
        yield step


@dataclass(frozen=True)
class _Known:
    """Covariance (point, point) of one level, what carries it to the truth, noise and cost; references come first."""

    covariance: Tensor
    carry: Tensor
    noise: float
    cost: float

    @classmethod
    def of(cls, model: CoKriging, samples: Samples, number: int, points: Tensor) -> _Known:
        carry = torch.ones(N_REFERENCE, dtype=points.dtype)
        for above in range(number + 1, len(samples.levels)):
            carry = carry * model.increment(above).factor(points[:N_REFERENCE])
        noise = max(float(model.increment(number).process.noise_variance), 1e-9)
        return cls(model.covariance_at(points, number + 1), carry, noise, samples.levels[number].cost)

    def gains(self) -> Tensor:
        """Return the fall of the mean variance of the truth by a run at each candidate, for its cost."""
        cross = self.carry[:, None] * self.covariance[:N_REFERENCE, N_REFERENCE:]
        own = self.covariance.diagonal()[N_REFERENCE:] + self.noise
        return cross.square().mean(0) / own / self.cost

    def with_run(self, point: int) -> _Known:
        """Return what is known once a run at a point is done, whatever it gives."""
        column = self.covariance[:, point]
        return replace(self, covariance=self.covariance - torch.outer(column, column) / (column[point] + self.noise))


def _step(samples: Samples, seed: int, lower: CoKriging | None = None) -> Step:
    model = fit_cokriging(samples, seed=seed, lower=lower)
    u = qmc.Sobol(samples.n_feature, rng=np.random.default_rng([seed, 37])).random(N_REFERENCE)
    x = samples.bounds[:, 0] + u * (samples.bounds[:, 1] - samples.bounds[:, 0])
    with torch.no_grad():
        return Step(samples, model, float(model(torch.as_tensor(x))[1].mean()))


def _bought(samples: Samples, functions: Sequence[Callable[[Array], Array]], proposals: Sequence[Proposal]) -> Samples:
    levels = []
    for number, (level, function) in enumerate(zip(samples.levels, functions, strict=True)):
        wanted = [one.x for one in proposals if one.level == number]
        if wanted:
            x = level.seen(np.stack(wanted))
            level = _longer(level, x, function(x))
        levels.append(level)
    return replace(samples, levels=tuple(levels))


def _longer(level: Level, x: Array, y: Array) -> Level:
    noise = level.noise
    if isinstance(noise, np.ndarray) and noise.ndim:
        noise = np.concatenate([noise, np.full(len(x), noise.mean())])
    return replace(level, x=np.concatenate([level.x, x]), y=np.concatenate([level.y, y]), noise=noise)
