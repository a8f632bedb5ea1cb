"""How policies fare where the world is not the one they were made for: stability, transfer, one species for three."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sciml_fishery.dp import solve
from sciml_fishery.models import Model, Parameters, perturbed
from sciml_fishery.policies import Policy
from sciml_fishery.rollout import Decide, simulate, simulate_each


@dataclass(frozen=True)
class Stability:
    """Mean rewards (draw,) of every policy in worlds whose parameters were drawn, and which draws count.

    Parameters
    ----------
    rewards : policy -> mean reward in each drawn world.
    coexist : whether all species persist without fishing in at least 99 % of the episodes.
    """

    rewards: Mapping[str, Tensor]
    coexist: Tensor

    def gain(self, policy: str, over: str) -> tuple[float, float]:
        """Return mean and standard deviation over the draws that count of what a policy earns more than another."""
        more = (self.rewards[policy] - self.rewards[over])[self.coexist].double()
        return float(more.mean()), float(more.std())


def stability(model: Model, policies: Mapping[str, Decide], spread: float, seed: int, *, n_draws: int = 100,
              n_episodes: int = 20) -> Stability:  # fmt: skip
    """Judge policies in worlds drawn around the nominal one: the paper's study of noisy parameters.

    Parameters
    ----------
    spread : relative standard deviation of every parameter.
    n_draws, n_episodes : worlds, and episodes in each.

    Departures: a draw counts where the species coexist without fishing; the paper's check steps the environment with a
    scalar action and drops the wrong ones.
    """
    world = torch.arange(n_draws).repeat_interleave(n_episodes)
    drawn: Parameters = perturbed(model, spread, seed, world)

    def idle(stock: Tensor, year: Tensor) -> Tensor:
        return torch.zeros(len(stock), len(model.fished))

    episode, each = torch.arange(len(world)), {"": idle, **policies}
    outcomes = simulate_each(model, each, seed=seed, episodes=episode, parameters=drawn)
    alive = outcomes[""].survived.float().reshape(n_draws, -1).mean(1)
    rewards = {name: outcomes[name].reward.reshape(n_draws, -1).mean(1) for name in policies}
    return Stability(rewards, alive >= 0.99)


def transfer(models: Mapping[str, Model], policies: Mapping[str, Decide], seed: int,
             n_episodes: int = 500) -> dict[str, dict[str, float]]:  # fmt: skip
    """Return world -> policy -> mean reward: trained on one, tested on the others; species and fisheries must agree."""
    episode, rewards = torch.arange(n_episodes), {}
    for world, model in models.items():
        outcomes = simulate_each(model, policies, seed=seed, episodes=episode)
        rewards[world] = {name: outcome.mean for name, outcome in outcomes.items()}
    return rewards


def lifted(policy: Policy, model: Model) -> Decide:
    """Return a one-species policy applied to every fished species of a larger model as if it were alone."""

    def decide(stock: Tensor, year: Tensor) -> Tensor:
        return torch.cat([policy.fraction(stock[:, i : i + 1], year) for i in model.fished], -1)

    return decide


def regret(world: Model, simple: Mapping[str, Model], optimum: float, seed: int,
           n_episodes: int = 1000) -> dict[str, float]:  # fmt: skip
    """Return the share of a world's optimal reward that optimal one-species policies lose in it.

    Parameters
    ----------
    simple : one-species models; each one's optimal policy is computed and fished by.
    optimum : reward of the world's optimal policy on the episodes of this seed.
    """
    lost = {}
    for name, model in simple.items():
        policy = lifted(solve(model, (201,)).policy, world)
        lost[name] = 1 - simulate(world, policy, seed=seed, episodes=n_episodes).mean / optimum
    return lost
