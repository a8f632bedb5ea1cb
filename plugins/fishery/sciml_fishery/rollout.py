"""Whole episodes of a model under a policy: batched over episodes, one loop over years."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from sciml_fishery.models import (
    Model,
    Parameters,
    check_decision,
    check_growth,
    check_parameters,
    nominal,
    see,
    start,
    take,
)
from sciml_fishery.noise import Purpose, draw
from sciml_fishery.objectives import CATCH, UNMANAGED, Management, Objective

Decide = Callable[[Tensor, Tensor], Tensor]  # (observation (episode, seen), year (episode,)) -> fraction


@dataclass(frozen=True)
class Path:
    """Stocks before harvest (time, episode, species), fractions and catches of the years; NaN after the end."""

    stock: Tensor
    fraction: Tensor
    catch: Tensor


@dataclass(frozen=True)
class Outcome:
    """How episodes ended.

    Parameters
    ----------
    reward : (episode,) utility of all years less the cost of a loss: true accounting.
    paper_reward : (episode,) as the paper's tables count: without the last year, hence without the cost of a loss.
    years : (episode,) until the end.
    survived : (episode,) whether no species was lost.
    path : the years in between, where they were kept.
    """

    reward: Tensor
    paper_reward: Tensor
    years: Tensor
    survived: Tensor
    path: Path | None = None

    @property
    def mean(self) -> float:
        """Mean reward."""
        return float(self.reward.double().mean())

    @property
    def error(self) -> float:
        """Standard error of the mean reward."""
        return float(self.reward.double().std() / len(self.reward) ** 0.5)

    @property
    def survival(self) -> float:
        """Share of the episodes in which no species was lost."""
        return float(self.survived.double().mean())

    def quantile(self, level: float) -> float:
        """Return a quantile of the reward."""
        return float(torch.quantile(self.reward.double(), level))


def simulate(  # long: the years of an episode, one after the other
    model: Model, policy: Decide, *, seed: int, episodes: int | Tensor, objective: Objective = CATCH,
    management: Management = UNMANAGED, parameters: Parameters | None = None, keep: bool = False,
    device: str = "cpu",
) -> Outcome:  # fmt: skip
    """Follow a policy through episodes.

    Parameters
    ----------
    policy : (observation (episode, seen), year (episode,)) -> fraction (episode, fishery) in [0, 1].
    seed : of the noise.
    episodes : how many, from number 0 on, or their numbers (episode,); one may occur several times.
    parameters : by name, each of shape () or (episode,); the nominal ones where omitted.
    keep : keep stocks, fractions and catches of all years.

    *Contract*: an episode depends on its number and the seed, not on the others beside it.
    """
    episode = (torch.arange(episodes) if isinstance(episodes, int) else episodes).to(device)
    p = nominal(model, device=device) if parameters is None else parameters
    check_parameters(model, p)
    stock = start(model, p, seed, episode, torch.float32)
    fished, error = list(model.fished), partial(draw, seed, episode)
    alive = torch.ones_like(episode, dtype=torch.bool)
    total = paper = torch.zeros(len(episode), device=device)
    years, last, seen, factor = torch.zeros_like(episode), None, None, 1.0
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    with torch.no_grad():
        for t in range(model.n_years):
            now, year = torch.full_like(total, t), torch.full_like(episode, t)
            if t % management.survey_every == 0 or seen is None:
                seen = see(model, stock, p)
                if management.observation_sd:
                    seen = management.seen(seen, error(year, seen.shape[-1], Purpose.OBSERVATION))
            asked = fraction = policy(seen, now)
            if management != UNMANAGED:
                noise = error(year, len(fished), Purpose.IMPLEMENTATION)
                fraction = management.imposed(asked, stock[:, fished], last, noise)
            check_decision(model, t, stock, fraction)
            escaped, catch = take(model, stock, fraction, p)
            grown = model.grow(escaped, p, now, error(year, model.takes_noise))
            check_growth(model, t, stock, grown)
            lost = (grown <= model.threshold).any(-1)
            value = factor * (objective.utility(catch, fraction) - lost * objective.death(now))
            total, paper = total + alive * value, paper + (alive & ~lost & (t < model.n_years - 1)) * value
            years, last, factor = years + alive, catch, factor * objective.discount
            if keep:
                gone = torch.where(alive, 0.0, torch.nan)[:, None]
                rows.append((stock + gone, fraction + gone, catch + gone))
            alive = alive & ~lost
            stock = torch.where(alive[:, None], grown, stock)  # those that ended keep a stock that is a number
            if not keep and not bool(alive.any()):
                break
    path = Path(*(torch.stack(column) for column in zip(*rows, strict=True))) if keep else None
    return Outcome(total, paper, years, alive, path)
