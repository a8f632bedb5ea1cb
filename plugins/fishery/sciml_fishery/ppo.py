"""Proximal policy optimization on batched tensors: for models that can be run but not differentiated.

    max E[ min(rho A, clip(rho, 1 - e, 1 + e) A) ],  rho = pi(a | s) / pi_old(a | s)

over a normal policy before the squashing, with generalised advantages A. All environments step as one tensor; an
episode that ends starts anew in the same step.

Source: Schulman et al., arXiv 1707.06347 and 1506.02438. Departures from the usual page of code: the action is squashed
by the policy's own sigmoid, so that zero can be learned; episodes end after `n_years` and the critic sees the year,
whereas the paper's training never ends one; rewards are scaled by a constant, not by a running mean.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sciml.config import setting
from sciml.training import seeded
from sciml_fishery.batch import Batch
from sciml_fishery.models import Model
from sciml_fishery.objectives import CATCH, Objective
from sciml_fishery.policies import NeuralPolicy, neural

SCALE = 0.1  # of rewards: returns of an episode are then of order one to ten
MOST = 2**31  # episodes of training are numbered beyond it, where no evaluation goes


@dataclass(frozen=True)
class PpoConfig:
    """How a policy is trained by proximal policy optimization."""

    n_updates: int = setting(200, "updates")
    n_envs: int = setting(1024, "environments that step together")
    n_steps: int = setting(32, "steps between updates")
    n_epochs: int = setting(4, "passes over the data of an update")
    learning_rate: float = setting(1e-3, "of Adam; falls linearly to zero")
    discount: float = setting(0.99, "factor of a year in the advantages")
    trace: float = setting(0.95, "lambda of the advantages")
    clip: float = setting(0.2, "limit of the ratio of probabilities")

    def __post_init__(self) -> None:
        counts = self.n_updates, self.n_envs, self.n_steps, self.n_epochs
        if min(counts) < 1 or not self.learning_rate > 0 or not (0 < self.discount <= 1 and 0 <= self.trace <= 1):
            raise ValueError(f"ppo: expected counts >= 1, 0 < discount <= 1 and 0 <= trace <= 1, got {self}; correct")


@dataclass(frozen=True)
class PpoState:
    """Updates and environment steps done, CPU seconds, mean reward of a year, and the policy as it is."""

    update: int
    n_steps: int
    cpu_s: float
    reward: float
    policy: NeuralPolicy


class Actor(nn.Module):
    """The policy with a log standard deviation and a critic that also sees the year."""

    def __init__(self, policy: NeuralPolicy, n_years: int) -> None:
        super().__init__()
        self.policy, self.n_years = policy, n_years
        self.log_sd = nn.Parameter(torch.full((len(policy.fisheries),), -0.5))
        layers = nn.Linear(len(policy.sees) + 1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)
        self.critic = nn.Sequential(*layers)

    def features(self, seen: Tensor) -> Tensor:
        """Return scaled log stocks."""
        return (seen.clamp(min=1e-3).log() - self.policy.centre) / self.policy.spread

    def normal(self, seen: Tensor) -> torch.distributions.Normal:
        """Return the law of the action before the squashing."""
        return torch.distributions.Normal(self.policy.body(self.features(seen)), self.log_sd.exp())

    def value(self, seen: Tensor, year: Tensor) -> Tensor:
        """Return the critic's value."""
        left = (2 * year / self.n_years - 1)[..., None]
        return self.critic(torch.cat([self.features(seen), left], -1))[..., 0]


def train_ppo(model: Model, config: PpoConfig, seed: int, objective: Objective = CATCH) -> Iterator[PpoState]:
    """Train a network by PPO, yielding a state after every update; its `policy` acts without noise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        actor = Actor(neural(model.sees, model.yields, seed, head="fraction"), model.n_years)
    optimizer = torch.optim.Adam(actor.parameters(), lr=config.learning_rate)
    batch, generator, began = (
        Batch(model, config.n_envs, seed, MOST, objective),
        seeded(seed, "ppo"),
        time.process_time(),
    )
    for update in range(config.n_updates):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (1 - update / config.n_updates)
        rows, reward = _collect(actor, batch, config, generator)
        for _ in range(config.n_epochs):
            for index in torch.randperm(len(rows[0]), generator=generator).chunk(8):
                loss = _loss(actor, [row[index] for row in rows], config.clip)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(actor.parameters(), 0.5)
                optimizer.step()
        n_steps, spent = (update + 1) * config.n_envs * config.n_steps, time.process_time() - began
        yield PpoState(update + 1, n_steps, spent, reward, copy.deepcopy(actor.policy))


def _collect(actor: Actor, batch: Batch, config: PpoConfig, generator: torch.Generator) -> tuple[list[Tensor], float]:
    """Return observations, years, actions, log probabilities, advantages and targets, all (sample, ...)."""
    kept: list[list[Tensor]] = []
    with torch.no_grad():
        for _ in range(config.n_steps):
            seen, year = batch.seen(), batch.year
            law, value = actor.normal(seen), actor.value(seen, year)
            action = law.mean + law.stddev * torch.randn(law.mean.shape, generator=generator)
            reward, lost = batch.step(torch.sigmoid(action - 1))
            over = lost | (batch.year >= batch.model.n_years)
            batch.restart(over)
            kept.append([seen, year, action, law.log_prob(action).sum(-1), value, SCALE * reward, over.float()])
        seen, year, action, chance, value, reward, over = (torch.stack(column) for column in zip(*kept, strict=True))
        ahead = actor.value(batch.seen(), batch.year)
        following = torch.cat([value[1:], ahead[None]])
        advantage, trace = torch.zeros_like(reward), torch.zeros_like(ahead)
        for t in reversed(range(config.n_steps)):
            error = reward[t] + config.discount * (1 - over[t]) * following[t] - value[t]
            trace = error + config.discount * config.trace * (1 - over[t]) * trace
            advantage[t] = trace
    target = advantage + value
    columns = [column.flatten(0, 1) for column in (seen, year, action, chance, advantage, target)]
    return columns, float(reward.mean()) / SCALE


def _loss(actor: Actor, rows: list[Tensor], clip: float) -> Tensor:
    seen, year, action, chance, advantage, target = rows
    law = actor.normal(seen)
    ratio = (law.log_prob(action).sum(-1) - chance).exp()
    gain = (advantage - advantage.mean()) / (advantage.std() + 1e-6)
    surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain).mean()
    return -surrogate + 0.5 * ((actor.value(seen, year) - target) ** 2).mean()
