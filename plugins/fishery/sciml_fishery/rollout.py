"""Whole episodes of a model under a policy: batched over episodes, one loop over years."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def simulate_each(model: Model, policies: Mapping[str, Decide], *, seed: int, episodes: Tensor,
                  parameters: Parameters | None = None) -> dict[str, Outcome]:  # fmt: skip
    """Follow every policy through the same episodes, all of them as one batch.

    A year of a few hundred episodes costs as much as one of a few: stepping them together shares it.

    Parameters
    ----------
    policies : by name.
    episodes, parameters : as in `simulate`, for each policy.

    Examples
    --------
    >>> from sciml_fishery.three_species import published
    >>> rules = {u: lambda stock, year, u=u: 0 * stock[:, :1] + u for u in (0.1, 0.2)}
    >>> found = simulate_each(published("M2"), rules, seed=3, episodes=torch.arange(5))
    >>> alone = simulate(published("M2"), rules[0.2], seed=3, episodes=5)
    >>> torch.allclose(found[0.2].reward, alone.reward)
    True
    """
    if not policies:
        return {}
    n, each = len(policies), len(episodes)

    def decide(seen: Tensor, year: Tensor) -> Tensor:
        rows = zip(policies.values(), seen.split(each), year.split(each), strict=True)
        return torch.cat([policy(*row) for policy, *row in rows])

    repeated = {name: p if p.dim() == 0 else p.repeat(n) for name, p in (parameters or {}).items()}
    found = simulate(model, decide, seed=seed, episodes=episodes.repeat(n), parameters=repeated or None)
    columns = (found.reward, found.paper_reward, found.years, found.survived)
    parts = zip(policies, *(column.split(each) for column in columns), strict=True)
    return {name: Outcome(*part) for name, *part in parts}
