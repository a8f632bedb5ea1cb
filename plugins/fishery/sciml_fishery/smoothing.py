"""A policy smoothed by a Gaussian process, as the paper smooths its network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from sciml_fishery.policies import Policy


class SmoothedPolicy(Policy):
    """The posterior mean of a Gaussian process through another policy's decisions: m + k(log N, points) weights.

    k(a, b) = exp(-|a - b|^2 / (2 length^2)), in log stocks.

    Parameters
    ----------
    n_points : decisions that it goes through.
    length : of the kernel, per species, in units of the logarithm.

    Source: the paper smooths its network's decisions the same way ("PPO+GP"), in stocks instead of their logarithms.
    """

    registered: ClassVar[str] = "fishery.smoothed"
    points: Tensor
    weights: Tensor
    mean: Tensor

    def __init__(self, sees: Sequence[str], fisheries: Sequence[str], n_points: int, length: Sequence[float]) -> None:
        super().__init__(sees, fisheries, n_points=n_points, length=list(map(float, length)))
        self.register_buffer("points", torch.zeros(n_points, len(sees)))
        self.register_buffer("weights", torch.zeros(n_points, len(fisheries)))
        self.mean = nn.Parameter(torch.zeros(len(fisheries)))

    def scaled(self, stock: Tensor) -> Tensor:
        """Return log stocks in units of the kernel's length."""
        return stock.clamp(min=1e-3).log() / torch.tensor(self._config["length"], dtype=stock.dtype)

    def fraction(self, stock: Tensor, year: Tensor) -> Tensor:
        """Return the posterior mean, clipped."""
        distance = torch.cdist(self.scaled(stock), self.points, compute_mode="donot_use_mm_for_euclid_dist")
        return (self.mean + torch.exp(-(distance**2) / 2) @ self.weights).clamp(0, 1)


def smooth(policy: Policy, stock: Tensor, length: Sequence[float], noise: float = 0.1) -> SmoothedPolicy:
    """Return a policy's decisions at `stock` (point, species), smoothed by a Gaussian process with relative `noise`.

    The weights solve (K + noise^2 I) w = decisions - mean, in float64.
    """
    smoothed = SmoothedPolicy(policy.sees, policy.fisheries, len(stock), length)
    with torch.no_grad():
        decisions = policy.fraction(stock, torch.zeros(len(stock))).double()
        points = smoothed.scaled(stock.double())
        kernel = torch.exp(-(torch.cdist(points, points) ** 2) / 2)
        kernel += noise**2 * torch.eye(len(stock), dtype=torch.float64)
        smoothed.mean.copy_(decisions.mean(0))
        smoothed.weights.copy_(torch.linalg.solve(kernel, decisions - decisions.mean(0)))
        smoothed.points.copy_(points)
    return smoothed
