"""What one would write by hand: the paper's environment in plain NumPy; needs the extra `bench`."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Env, spaces
from numpy.typing import NDArray

from sciml_fishery.models import Model

Array = NDArray[Any]


class PlainEnv(Env[Array, Array]):
    """Model 2, 3 or 4 with NumPy scalars: observation N / 4, action in [0, 1], truncated after `n_years`."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (gymnasium's)

    def __init__(self, model: Model) -> None:
        if model.drift is None:
            raise ValueError(f"PlainEnv: expected M2, M3 or M4, got {model.name!r}; use FisheryEnv")
        self.model, self.values, self.drift = model, dict(model.parameters), model.drift
        self.observation_space = spaces.Box(0.0, np.inf, (3,), np.float32)
        self.action_space = spaces.Box(0.0, 1.0, (len(model.fished),), np.float32)
        self.stock, self.year = np.zeros(3), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self.stock = np.array(self.model.initial) + self.model.initial_sd * self.np_random.standard_normal(3)
        self.year = 0
        return (self.stock / 4).astype(np.float32), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Fish and grow for a year."""
        p, (x, y, z) = self.values, self.stock
        catch = 0.0
        for f, i in enumerate(self.model.fished):
            taken = min(max(float(action[f]), 0.0), 1.0) * self.stock[i]
            x, y = (x - taken, y) if i == 0 else (x, y - taken)
            catch += taken
        a, b, c = self.np_random.standard_normal(3)
        r_x = p["r_x"] * max(1 - self.drift[0] * self.year, self.drift[1])
        eaten_x, eaten_y = p["beta"] * z * x * x / (p["c"] ** 2 + x * x), p["beta"] * z * y * y / (p["c"] ** 2 + y * y)
        self.stock = np.array(
            [
                x + r_x * x * (1 - x / p["k_x"]) - eaten_x - p["c_xy"] * x * y + p["sigma_x"] * x * a,
                y + p["r_y"] * y * (1 - y / p["k_y"]) - p["d"] * eaten_y - p["c_xy"] * x * y + p["sigma_y"] * y * b,
                z + z * (p["b"] * (x + p["d"] * y) - p["d_z"]) + p["sigma_z"] * z * c,
            ]
        )
        lost = bool(self.stock.min() <= self.model.threshold)
        reward = catch - (100 / (self.year + 1) if lost else 0.0)
        self.year += 1
        truncated = self.year >= self.model.n_years and not lost
        return (self.stock / 4).astype(np.float32), reward, lost, truncated, {}
