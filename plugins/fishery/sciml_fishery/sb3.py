"""stable-baselines3 on the batched environments, and its learners beside ours; needs the extra `bench`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from sciml_fishery.gym_env import FisheryVectorEnv
from sciml_fishery.models import Model
from sciml_fishery.rollout import Decide

Array = NDArray[Any]


class FisheryVecEnv(VecEnv):
    """The batched environments as stable-baselines3 wants them: actions in [-1, 1], a list of infos."""

    def __init__(self, model: str | Model, n_envs: int) -> None:
        self.inner = FisheryVectorEnv(n_envs, model, symmetric=True, autoreset_mode=AutoresetMode.SAME_STEP)
        super().__init__(n_envs, self.inner.single_observation_space, self.inner.single_action_space)
        self.actions: Array | None = None

    def reset(self) -> Array:
        """Begin new episodes; a seed given by `seed` counts once."""
        seeds = [seed for seed in self._seeds if seed is not None]
        observation, _ = self.inner.reset(seed=seeds[0] if seeds else None)
        self._reset_seeds()
        return observation

    def step_async(self, actions: Array) -> None:
        """Keep the actions."""
        self.actions = actions

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """Return observations, rewards, ends and infos."""
        assert self.actions is not None
        seen, reward, lost, truncated, info = self.inner.step(self.actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]  # one dict each is the interface
        for i in (lost | truncated).nonzero()[0]:
            ends = {"terminal_observation": info["final_obs"][i], "TimeLimit.truncated": bool(truncated[i])}
            infos[i] = ends
        return seen, reward.astype(np.float32), lost | truncated, infos

    def close(self) -> None:
        """Do nothing: there are no processes."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the batch, once for each environment asked for."""
        return [getattr(self.inner, attr_name, None) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the whole batch."""
        setattr(self.inner, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of the batch, once for each environment asked for."""
        return [getattr(self.inner, method_name)(*args, **kwargs) for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Say that nothing is wrapped."""
        return [False for _ in self._get_indices(indices)]


def policy_of(learner: Any, symmetric: bool = True, scale: float = 1.0) -> Decide:
    """Return a trained learner as a policy (observation, year) -> fraction, without exploration.

    Parameters
    ----------
    symmetric : whether it acts in [-1, 1].
    scale : stock at which its observation is one.
    """

    def decide(stock: torch.Tensor, year: torch.Tensor) -> torch.Tensor:
        action = torch.as_tensor(learner.predict(stock.numpy() / np.float32(scale), deterministic=True)[0])
        return ((action + 1) / 2 if symmetric else action).clamp(0, 1)

    return decide


class Watch(BaseCallback):
    """Calls `judge` after every `every` steps, and stops when it returns True; judging does not count.

    Parameters
    ----------
    judge : (learner, CPU seconds of training so far) -> whether to stop.
    every : environment steps between calls.
    """

    def __init__(self, judge: Callable[[Any, float], bool], every: int) -> None:
        super().__init__()
        self.judge, self.every = judge, every
        self.next, self.spent, self.began = every, 0.0, time.process_time()

    def _on_step(self) -> bool:
        if self.num_timesteps < self.next:
            return True
        self.spent += time.process_time() - self.began
        self.next += self.every
        stop = self.judge(self.model, self.spent)
        self.began = time.process_time()
        return not stop


def learner(name: str, env: Any, seed: int) -> Any:
    """Return a learner with the library's defaults: "PPO", "TQC" or "RecurrentPPO"."""
    if name == "PPO":
        from stable_baselines3 import PPO

        return PPO("MlpPolicy", env, seed=seed, device="cpu")
    import sb3_contrib

    kinds: dict[str, Sequence[Any]] = {
        "TQC": (sb3_contrib.TQC, "MlpPolicy"),
        "RecurrentPPO": (sb3_contrib.RecurrentPPO, "MlpLstmPolicy"),
    }
    if name not in kinds:
        raise ValueError(f"sb3: expected PPO, {', '.join(kinds)}, got {name!r}; choose one")
    kind, policy = kinds[name]
    return kind(policy, env, seed=seed, device="cpu")
