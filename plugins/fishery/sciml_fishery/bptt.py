"""Policies by gradients through the simulation: the default solver, for models whose equations are known.

An episode that ends has no useful gradient: the year of its end jumps. Where the noise of a model is linear, the chance
to end is known, and so is the stock given that it does not end:

    w_{t+1} = w_t prod_i (1 - p_i),  p_i = Phi((threshold - mean_i) / sd_i),
    N_i' = mean_i + sd_i Phi^-1(p_i + (1 - p_i) Phi(eps_i)),

so that sum_t w_t (u_t - (1 - prod_i (1 - p_i)) cost_t) has the expectation of the reward, and a gradient.

Source: conditional Monte Carlo (Asmussen and Glynn, *Stochastic Simulation*, V.4), applied year by year.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sciml.config import setting
from sciml.training import FitOptions, FitState, cosine, fit
from sciml_fishery.models import Model, Parameters, nominal, perturbed, see, start, take
from sciml_fishery.noise import draw
from sciml_fishery.objectives import CATCH, Objective
from sciml_fishery.policies import Policy

Goal = Callable[[Tensor], Tensor]  # returns (episode,) -> what is maximised
MOST = 2**31


@dataclass(frozen=True)
class BpttConfig:
    """How a policy is trained through the simulation."""

    n_steps: int = setting(120, "optimization steps")
    n_episodes: int = setting(256, "episodes in each step")
    learning_rate: float = setting(3e-3, "of Adam at the start; a cosine takes it to zero")

    def __post_init__(self) -> None:
        if min(self.n_steps, self.n_episodes) < 1 or not self.learning_rate > 0:
            raise ValueError(f"bptt: expected steps, episodes and learning rate above zero, got {self}; raise them")


def survive(mean: Tensor, sd: Tensor, threshold: float, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return the stock given that no species is lost, and the chance of that: (..., species) and (...)."""
    sd = sd.clamp(min=1e-6)
    below = torch.special.ndtr((threshold - mean) / sd)
    rank = (below + (1 - below) * torch.special.ndtr(noise)).clamp(1e-6, 1 - 1e-6)
    # where an end is out of the question the formula is the identity, and the plain one loses no digits
    given = mean + sd * torch.where(below < 1e-7, noise, torch.special.ndtri(rank))
    return given.clamp(min=threshold), (1 - below).prod(-1)


def expected_returns(model: Model, policy: Policy, seed: int, episode: Tensor, objective: Objective = CATCH,
                     parameters: Parameters | None = None) -> Tensor:  # fmt: skip
    """Return a differentiable reward (episode,) whose expectation is that of `rollout.simulate`.

    *Contract*: equal to the reward of the simulation in expectation for models whose noise is linear in eps.
    """
    p = nominal(model) if parameters is None else parameters
    stock = start(model, p, seed, episode, torch.float32)
    weight, total = torch.ones(len(episode)), torch.zeros(len(episode))
    noise = draw(seed, episode[None], torch.arange(model.n_years)[:, None], model.takes_noise)
    still = torch.stack([torch.zeros_like(noise[0]), torch.ones_like(noise[0])])  # mean, and mean plus deviation
    factor, mortal = 1.0, model.threshold > -float("inf")
    for t in range(model.n_years):
        year = torch.full_like(total, t)
        fraction = policy.fraction(see(model, stock, p), year)
        escaped, catch = take(model, stock, fraction, p)
        value = objective.utility(catch, fraction)
        if mortal:
            mean, moved = model.grow(escaped.expand(2, *escaped.shape), p, year, still)
            stock, lives = survive(mean, (moved - mean).abs(), model.threshold, noise[t])
            value = value - (1 - lives) * objective.death(year)
            total, weight = total + factor * weight * value, weight * lives
        else:
            stock = model.grow(escaped, p, year, noise[t])
            total = total + factor * value
        factor *= objective.discount
    return total


def worst_share(share: float) -> Goal:
    """Return the goal CVaR: the mean of the worst `share` of the episodes; 1 is the mean itself."""

    def goal(returns: Tensor) -> Tensor:
        return returns.sort().values[: max(1, round(share * len(returns)))].mean()

    return goal


def train(model: Model, policy: Policy, config: BpttConfig, seed: int, *, objective: Objective = CATCH,
          spread: float = 0.0, goal: Goal = torch.mean,
          checkpoint: Path | None = None) -> Iterator[FitState]:  # fmt: skip
    """Train a policy in place, yielding a state after every step.

    Parameters
    ----------
    spread : relative standard deviation of the parameters, drawn anew for every episode.
    goal : what is maximised of the returns of a step's episodes.
    checkpoint : folder from which a killed training goes on.

    *Contract*: the episodes are numbered beyond 2^31, where no evaluation goes.
    """

    def loss(module: nn.Module, generator: torch.Generator) -> Tensor:
        assert isinstance(module, Policy)
        first = int(torch.randint(MOST - config.n_episodes, (), generator=generator))
        episode = MOST + torch.arange(first, first + config.n_episodes)
        parameters = perturbed(model, spread, seed, episode) if spread else None
        return -goal(expected_returns(model, module, seed, episode, objective, parameters))

    optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
    options = FitOptions(cosine(config.n_steps), clip_norm=1.0, every=20, checkpoint=checkpoint)
    return fit(policy, loss, optimizer, n_steps=config.n_steps, seed=seed, options=options)


def trained(
    steps: Iterator[FitState], update: Callable[..., None] | None = None
) -> tuple[float, list[tuple[float, float]]]:
    """Exhaust a training and return its CPU seconds and its curve of (CPU seconds, return)."""
    began, curve = time.process_time(), list[tuple[float, float]]()
    for state in steps:
        curve.append((time.process_time() - began, -state.loss))
        if update is not None:
            update(state.step, f"return {-state.loss:.3g}")
    return time.process_time() - began, curve
