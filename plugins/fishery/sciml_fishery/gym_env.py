"""The stock as a gymnasium environment, one or many at once; needs the extra `fishery`.

Importing this module registers ``sciml/Fishery-v0``; ``gymnasium.make("sciml_fishery.gym_env:sciml/Fishery-v0")`` does
both.

Departures from the paper's environment: the seed is obeyed, an episode is truncated after `n_years` (``endless=True``
is the paper's), and the observation is the stock in carrying capacities.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from gymnasium import Env, register, registry, spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from sciml_fishery.batch import Batch
from sciml_fishery.config import FisheryConfig
from sciml_fishery.models import Model
from sciml_fishery.objectives import CATCH, Objective

Array = NDArray[Any]
NAME = "sciml/Fishery-v0"


def stock_of(model: str | Model) -> Model:
    """Return a model by its name in the paper or its data, or the model itself."""
    return FisheryConfig(model=model).stock() if isinstance(model, str) else model


def spaces_of(model: Model, symmetric: bool) -> tuple[spaces.Box, spaces.Box]:
    """Return the spaces of observations and actions: fractions in [0, 1], or in [-1, 1] where `symmetric`."""
    seen = spaces.Box(0.0, np.inf, (len(model.sees),), np.float32)
    return seen, spaces.Box(-1.0 if symmetric else 0.0, 1.0, (len(model.fished),), np.float32)


def fractions(action: Any, symmetric: bool) -> torch.Tensor:
    """Return fractions in [0, 1] from actions of the space; what leaves it is clipped, what is no number refused."""
    values = torch.as_tensor(np.asarray(action, np.float32))
    if not math.isfinite(float(values.sum())):
        raise ValueError(f"action: expected finite numbers, got {values.flatten()[:4].tolist()}; check the policy")
    return ((values + 1) / 2 if symmetric else values).clamp(0, 1)


class FisheryEnv(Env[Array, Array]):
    """One stock, a fraction of each fished species per year as action, the catch as reward.

    Parameters
    ----------
    model : a name such as "M4", or a `Model`.
    objective : what a year is worth.
    symmetric : actions in [-1, 1] instead of [0, 1], as some learners want.
    endless : never truncate, as the paper trains.
    render_mode : None; there is nothing to see.

    *Contract*: after ``reset(seed=s)`` the n-th episode is the one that every other environment with that seed runs.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (gymnasium's)

    def __init__(self, model: str | Model = "M4", objective: Objective = CATCH, symmetric: bool = False,
                 endless: bool = False, render_mode: str | None = None) -> None:  # fmt: skip
        self.model, self.objective = stock_of(model), objective
        self.symmetric, self.endless, self.render_mode = symmetric, endless, render_mode
        self.observation_space, self.action_space = spaces_of(self.model, symmetric)
        self.batch: Batch | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin the next episode, or the first one of a seed."""
        super().reset(seed=seed)
        if seed is not None or self.batch is None:
            own = int(self.np_random.integers(2**62))
            self.batch = Batch(self.model, 1, own, objective=self.objective)
        else:
            self.batch.restart(torch.ones(1, dtype=torch.bool))
        return self.batch.seen()[0].numpy().copy(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Fish and grow for a year."""
        if self.batch is None:
            raise RuntimeError("FisheryEnv.step: expected reset() before the first step, got none; call it")
        reward, lost = self.batch.step(fractions(action, self.symmetric)[None])
        over = not self.endless and bool(self.batch.year[0] >= self.model.n_years) and not bool(lost[0])
        return self.batch.seen()[0].numpy().copy(), float(reward[0]), bool(lost[0]), over, {}


class FisheryVectorEnv(VectorEnv[Array, Array, Array]):
    """Many environments as one tensor.

    Parameters
    ----------
    num_envs : how many.
    model, objective, symmetric : as those of `FisheryEnv`.
    autoreset_mode : NEXT_STEP (the step after the end begins anew and ignores its action) or SAME_STEP (the step of
        the end returns the new observation, and the last one as ``info["final_obs"]``).
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 (gymnasium's)

    def __init__(self, num_envs: int = 1, model: str | Model = "M4", objective: Objective = CATCH,
                 symmetric: bool = False, autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> None:  # fmt: skip
        mode = AutoresetMode(autoreset_mode)
        if mode == AutoresetMode.DISABLED:
            raise ValueError("FisheryVectorEnv: expected NEXT_STEP or SAME_STEP, got DISABLED; choose one")
        self.model, self.objective, self.symmetric, self.num_envs = stock_of(model), objective, symmetric, num_envs
        self.metadata = {"render_modes": [], "autoreset_mode": mode}
        self.same_step = mode == AutoresetMode.SAME_STEP
        self.single_observation_space, self.single_action_space = spaces_of(self.model, symmetric)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.batch: Batch | None = None
        self.over = torch.zeros(num_envs, dtype=torch.bool)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin the next episodes, or the first ones of a seed."""
        super().reset(seed=seed)
        if seed is not None or self.batch is None:
            own = int(self.np_random.integers(2**62))
            self.batch = Batch(self.model, self.num_envs, own, objective=self.objective)
        else:
            self.batch.restart(torch.ones(self.num_envs, dtype=torch.bool))
        self.over = torch.zeros(self.num_envs, dtype=torch.bool)
        return self.batch.seen().numpy().copy(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Fish and grow for a year in every environment, or begin anew where an episode was over."""
        if self.batch is None:
            raise RuntimeError("FisheryVectorEnv.step: expected reset() before the first step, got none; call it")
        batch, before = self.batch, self.over
        reward, lost = batch.step(fractions(actions, self.symmetric))
        if not self.same_step and bool(before.any()):
            batch.restart(before)
            reward, lost = torch.where(before, 0.0, reward), lost & ~before
        truncated = (batch.year >= self.model.n_years) & ~lost
        over, info = lost | truncated, {}
        if self.same_step and bool(over.any()):
            final = np.empty(self.num_envs, dtype=object)
            index = over.nonzero()[:, 0].numpy()
            final[index] = list(batch.seen()[over].numpy().copy())
            info = {"final_obs": final, "_final_obs": over.numpy(), "final_info": {}, "_final_info": over.numpy()}
            batch.restart(over)
        self.over = over
        return batch.seen().numpy().copy(), reward.double().numpy(), lost.numpy(), truncated.numpy(), info


if NAME not in registry:
    home = "sciml_fishery.gym_env"
    register(NAME, entry_point=f"{home}:FisheryEnv", vector_entry_point=f"{home}:FisheryVectorEnv")
