"""Environments of one model as one tensor: what a learner steps that decides year by year."""

from __future__ import annotations

import torch
from torch import Tensor

from sciml_fishery.models import Model, nominal, see, start, take
from sciml_fishery.noise import draw
from sciml_fishery.objectives import CATCH, Objective


class Batch:
    """Environments that step together; environment i runs the episodes first + i, first + i + n, ...

    Parameters
    ----------
    n_envs : environments.
    seed : of the noise; an episode is the one that `rollout.simulate` runs under this seed and number.
    first : number of the first episode.

    *Contract*: an environment does not depend on the others.
    """

    def __init__(self, model: Model, n_envs: int, seed: int, first: int = 0, objective: Objective = CATCH) -> None:
        self.model, self.seed, self.objective = model, seed, objective
        self.p, self.n_envs = nominal(model), n_envs
        self.episode = first + torch.arange(n_envs)
        self.year = torch.zeros(n_envs)
        self.stock = start(model, self.p, seed, self.episode, torch.float32)

    def seen(self) -> Tensor:
        """Return what a policy sees (environment, seen)."""
        return see(self.model, self.stock, self.p)

    def step(self, fraction: Tensor) -> tuple[Tensor, Tensor]:
        """Fish and grow for a year; return the rewards and which environments lost a species."""
        escaped, catch = take(self.model, self.stock, fraction, self.p)
        noise = draw(self.seed, self.episode, self.year.long(), self.model.takes_noise)
        self.stock = self.model.grow(escaped, self.p, self.year, noise)
        lost = self.stock.amin(-1) <= self.model.threshold
        reward = self.objective.utility(catch, fraction) - lost * self.objective.death(self.year)
        self.year = self.year + 1
        return reward, lost

    def restart(self, which: Tensor) -> None:
        """Begin the next episode in the environments of a mask."""
        if not bool(which.any()):
            return
        index = which.nonzero()[:, 0]
        following = self.episode[index] + self.n_envs
        fresh = start(self.model, self.p, self.seed, following, torch.float32)
        # new tensors: whoever holds the old ones keeps them
        self.episode = self.episode.index_put((index,), following)
        self.year = self.year.index_fill(0, index, 0.0)
        self.stock = self.stock.index_put((index,), fresh)
