"""Constant policies by exhaustive search on a grid, every rule on the same episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from sciml_kernels.rollout import rollout
from sciml_kernels.rollout.reference import N_KNOTS, PARAMETERS, RULE
from torch import Tensor

from sciml_fishery.models import Model, nominal, start
from sciml_fishery.noise import growth_noise
from sciml_fishery.objectives import CATCH, Objective
from sciml_fishery.policies import ConstantEscapement, ConstantMortality
from sciml_fishery.rollout import simulate

Kind = Literal["mortality", "escapement"]
KINDS: tuple[Kind, ...] = ("mortality", "escapement")
TOP = {"mortality": 0.5, "escapement": 1.0}
CHUNK = 100_000  # episodes at once where no op computes the model


@dataclass(frozen=True)
class Searched:
    """Mean reward and survival of every rule of a grid, and the best rule as a policy.

    Parameters
    ----------
    levels : (rule, fishery).
    reward, survival : (rule,) on the episodes of the search, on which the best one looks better than it is.
    policy : the rule with the largest mean reward.
    """

    levels: Tensor
    reward: Tensor
    survival: Tensor
    policy: ConstantMortality | ConstantEscapement


def search(model: Model, kind: Kind, n_points: int, n_episodes: int, seed: int,
           objective: Objective = CATCH) -> Searched:  # fmt: skip
    """Try all combinations of `n_points` levels per fishery, from 0 to `TOP`, on the episodes 0 to n_episodes - 1.

    The models that the op `rollout` of the kernels computes go through it; the others through `simulate`, batched over
    rules and episodes alike.
    """
    axis = torch.linspace(0, TOP[kind], n_points)
    levels = torch.cartesian_prod(*[axis] * len(model.fished)).reshape(-1, len(model.fished))
    plain = objective == CATCH
    follow = _by_op if model.drift is not None and plain else _by_simulation
    reward, survival = follow(model, kind, levels, n_episodes, seed, objective)
    best = levels[int(reward.argmax())].tolist()
    family = ConstantMortality if kind == "mortality" else ConstantEscapement
    return Searched(levels, reward, survival, family(model.sees, model.yields, best))


def rule_columns(model: Model, kind: Kind, levels: Tensor) -> Tensor:
    """Return constant rules as rows that the op takes; an unfished prey has mortality and gain zero."""
    rule = torch.zeros(len(levels), len(RULE), dtype=levels.dtype)
    for f, i in enumerate(model.fished):
        if kind == "mortality":
            rule[:, i] = levels[:, f]
        else:
            rule[:, 2 + i] = 1
            rule[:, 4 + N_KNOTS * i : 4 + N_KNOTS * (i + 1)] = levels[:, f : f + 1]
    return rule


def _by_op(model: Model, kind: Kind, levels: Tensor, n_episodes: int, seed: int,
           objective: Objective) -> tuple[Tensor, Tensor]:  # fmt: skip
    assert model.drift is not None
    episode, p = torch.arange(n_episodes), nominal(model)
    values = [p[name] for name in PARAMETERS[:-2]] + [torch.tensor(value) for value in model.drift]
    initial = start(model, p, seed, episode, torch.float32)
    noise = growth_noise(seed, episode, model.n_years, 3)
    knots = torch.linspace(-3, 0, N_KNOTS)
    parameters = torch.stack(values).expand(n_episodes, -1)
    outcome = rollout(
        rule_columns(model, kind, levels), parameters, initial, noise, knots, model.threshold, objective.death_penalty
    )
    return outcome[..., 0].mean(1), outcome[..., 2].mean(1)


def _by_simulation(model: Model, kind: Kind, levels: Tensor, n_episodes: int, seed: int,
                   objective: Objective) -> tuple[Tensor, Tensor]:  # fmt: skip
    rewards, survivals = [], []
    for part in levels.split(max(1, CHUNK // n_episodes)):
        level = part.repeat_interleave(n_episodes, 0)
        episodes = torch.arange(n_episodes).repeat(len(part))

        def decide(stock: Tensor, year: Tensor, level: Tensor = level) -> Tensor:
            return level if kind == "mortality" else (1 - level / stock[:, list(model.fished)]).clamp(0, 1)

        outcome = simulate(model, decide, seed=seed, episodes=episodes, objective=objective)
        rewards.append(outcome.reward.reshape(len(part), -1).mean(1))
        survivals.append(outcome.survived.float().reshape(len(part), -1).mean(1))
    return torch.cat(rewards), torch.cat(survivals)
