"""Escapement with a giving-up threshold and a terminal sell-out, and the search for its numbers.

An optimum over finitely many years sells out in the last of them, and sells a stock that it cannot bring back. Both are
steps of a policy: no small change of a policy that does neither leads there, so that gradients do not find them. They
are few numbers, and a search over whole rules does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sciml.config import setting
from sciml.training import seeded
from sciml_fishery.models import Model
from sciml_fishery.objectives import CATCH, Objective
from sciml_fishery.policies import TINY, ConstantEscapement, PredatorEscapement, parameter
from sciml_fishery.rollout import simulate

ENDING = ("giving-up threshold", "given up from year", "remnant", "sell-out year")
MOST = 2**31  # episodes of training are numbered beyond it, where no evaluation goes
LAST_YEARS = 20  # a sell-out begins at most so many years before the end
NEVER = 1e6  # a year that does not come


def end(fraction: Tensor, fished: Tensor, year: Tensor, ending: Tensor) -> Tensor:
    """Return the fractions (episode, fishery) where stocks are given up or sold out.

    f_i = max(0, 1 - R_i / N_i) from the year T_i on, and from the year G_i on where N_i < A_i; elsewhere as they are.

    Parameters
    ----------
    fraction, fished : what another policy would fish of the stocks N, and these stocks.
    year : (episode,).
    ending : (..., fishery, 4), the numbers A, G, R, T of `ENDING`.
    """
    below, since, remnant, sold = ending.unbind(-1)
    over = (year[:, None] >= sold) | ((fished < below) & (year[:, None] >= since))
    return torch.where(over, (1 - remnant / fished.clamp(min=TINY)).clamp(0, 1), fraction)


class SellOutEscapement(PredatorEscapement):
    """The predator-dependent escapement with a giving-up threshold and a terminal sell-out for each fishery.

    Parameters
    ----------
    knots, levels, gains : as in `PredatorEscapement`.
    endings : (fishery, 4), what `ENDING` names; without them nothing is given up and nothing sold out.
    """

    registered: ClassVar[str] = "fishery.sell_out"

    def __init__(self, sees: Sequence[str], fisheries: Sequence[str],
                 knots: Sequence[float] = (0.05, 0.11, 0.24, 0.54, 1.2), levels: Sequence[Any] | None = None,
                 gains: Sequence[float] | None = None, endings: Sequence[Any] | None = None) -> None:  # fmt: skip
        super().__init__(sees, fisheries, knots, levels, gains)
        none = [[0.0, NEVER, 0.0, NEVER]] * len(fisheries)
        self.ending = parameter(none if endings is None else endings, (len(fisheries), len(ENDING)), 0.0)

    def fraction(self, stock: Tensor, year: Tensor) -> Tensor:
        """Return the fractions."""
        return end(super().fraction(stock, year), stock[:, self.at], year, self.ending)


def as_rule(policy: ConstantEscapement) -> PredatorEscapement:
    """Return constant escapement as the rule whose levels are the same at every knot and whose gains are one."""
    n_knots = len(PredatorEscapement(policy.sees, policy.fisheries).log_knots)
    levels = [[level] * n_knots for level in policy.level.tolist()]
    return PredatorEscapement(policy.sees, policy.fisheries, levels=levels, gains=[1.0] * len(levels))


@dataclass(frozen=True)
class SellOutConfig:
    """The search for a giving-up threshold and a sell-out year: a cross-entropy method over whole rules."""

    n_generations: int = setting(12, "generations")
    n_rules: int = setting(64, "rules in each generation")
    n_episodes: int = setting(128, "episodes that every rule of a generation is tried on")
    n_elite: int = setting(8, "best rules that the next generation is drawn around")

    def __post_init__(self) -> None:
        if min(self.n_generations, self.n_episodes) < 1 or not 2 <= self.n_elite <= self.n_rules:
            wanted = "generations and episodes >= 1 and 2 <= n_elite <= n_rules"
            raise ValueError(f"sell_out: expected {wanted}, got {self}; correct them")


def decode(place: Tensor, base: PredatorEscapement, model: Model) -> tuple[Tensor, Tensor]:
    """Return the factors of the levels (rule, fishery) and the endings (rule, fishery, 4) at places in the unit cube.

    The place 0 of the last coordinate is no sell-out, that of the second is no giving up; years are whole.
    """
    scale, below, since, rest, left = place.unbind(-1)
    level = base.level.detach().clamp(min=0).mean(-1)
    low = max(model.threshold, 0.0)
    n_last = ((1 + LAST_YEARS) ** left - 1).round()
    sold = torch.where(n_last > 0, model.n_years - n_last, NEVER)
    ending = [below * level, (since * model.n_years).round(), low + 0.3 * rest * level, sold]
    return 0.7 + 0.6 * scale, torch.stack(ending, -1)


def mean_rewards(model: Model, base: PredatorEscapement, scale: Tensor, ending: Tensor, episode: Tensor, seed: int,
                 objective: Objective = CATCH) -> Tensor:  # fmt: skip
    """Return the mean reward (rule,) of every rule on the same episodes: all rules and episodes are one batch."""
    n = len(episode)
    factor, ends = scale.repeat_interleave(n, 0), ending.repeat_interleave(n, 0)

    def decide(stock: Tensor, year: Tensor) -> Tensor:
        fished = stock[:, base.at]
        return end(base.taking(factor * base.levels_at(stock[:, -1]), fished), fished, year, ends)

    outcome = simulate(model, decide, seed=seed, episodes=episode.repeat(len(scale)), objective=objective)
    return outcome.reward.reshape(-1, n).mean(1)


def search_sell_out(model: Model, base: PredatorEscapement, config: SellOutConfig, seed: int,
                    objective: Objective = CATCH) -> SellOutEscapement:  # fmt: skip
    """Return the base rule with the scale of its levels and the endings that earn most.

    A generation is drawn from independent normals in the unit cube; their means and deviations move towards those of
    the best rules. The last generation's best are tried once more, with the base itself, on four times the episodes.

    Parameters
    ----------
    base : the rule that is scaled and ended.
    objective : what a year is worth.

    *Contract*: the episodes are numbered beyond 2^31, where no evaluation goes, and differ between generations.
    *Source*: R. Y. Rubinstein and D. P. Kroese, *The Cross-Entropy Method*, Springer 2004, chapter 4.
    """
    generator, n_fished = seeded(seed, "sell-out"), len(model.fished)

    def best_of(place: Tensor, n_best: int, n_episodes: int) -> Tensor:
        first = int(torch.randint(MOST - n_episodes, (), generator=generator))
        episode = MOST + first + torch.arange(n_episodes)
        reward = mean_rewards(model, base, *decode(place, base, model), episode, seed, objective)
        return place[reward.topk(n_best).indices]

    mean, sd = torch.full((2, n_fished, 5), 0.5)
    best = torch.zeros(0, n_fished, 5)
    for _ in range(config.n_generations):
        drawn = mean + sd * torch.randn(config.n_rules, n_fished, 5, generator=generator)
        best = best_of(torch.cat([best, drawn.clamp(0, 1)]), config.n_elite, config.n_episodes)
        mean, sd = 0.3 * mean + 0.7 * best.mean(0), (0.3 * sd + 0.7 * best.std(0)).clamp(min=0.01)
    best = best_of(torch.cat([_unchanged(n_fished), best]), 1, 4 * config.n_episodes)
    scale, ending = decode(best, base, model)
    return _rounded(base, scale[0], ending[0])


def _unchanged(n_fished: int) -> Tensor:
    """Return the place (1, fishery, 5) of the base rule as it is."""
    return torch.tensor([0.5, 0, 0, 0, 0]).expand(1, n_fished, 5)


def _rounded(base: PredatorEscapement, scale: Tensor, ending: Tensor) -> SellOutEscapement:
    """Return the rule with three digits of every level."""

    def short(values: Tensor) -> list[Any]:
        return [short(value) if value.dim() else float(f"{float(value):.3g}") for value in values]

    levels = short(base.level.detach() * scale[:, None])
    gains, ends = short(base.gain.detach()), short(ending)
    return SellOutEscapement(base.sees, base.fisheries, base.config["knots"], levels, gains, ends)
