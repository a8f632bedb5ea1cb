"""Cosine frame: smooth band-limited functions on any room, from scattered nodes, without a mesh."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]


class CosineFrame(torch.nn.Module):
    """Products of cosines on the room's bounding box widened by a margin, up to a wave number.

        F_m(x) = prod_i cos(pi m_i (x_i - l_i) / L_i),   sum_i (pi m_i / L_i)^2 <= k_max^2

    On the room itself the functions are no basis but a frame: redundant, yet a regularised least-squares fit represents
    any field with wave numbers below k_max, walls and corners included, to spectral accuracy.

    Parameters
    ----------
    low, high : corners of the bounding box, m.
    k_max : largest wave number, rad/m.
    margin : widening on each side, m.

    *Source*: Fourier extension, e.g. Adcock, Huybrechs, Martin-Vaquero, Found. Comput. Math. 14 (2014).
    """

    orders: torch.Tensor
    scale: torch.Tensor
    origin: torch.Tensor

    def __init__(self, low: Sequence[float], high: Sequence[float], k_max: float, margin: float = 0.2) -> None:
        super().__init__()
        lengths = [b - a + 2.0 * margin for a, b in zip(low, high, strict=True)]
        counts = [int(k_max * length / math.pi) + 1 for length in lengths]
        grid = np.array(list(itertools.product(*(range(count) for count in counts))), dtype=np.int64)
        inside = ((grid * math.pi / np.array(lengths)) ** 2).sum(1) <= k_max**2
        self.counts = counts
        self.register_buffer("orders", torch.as_tensor(grid[inside].T.copy()), persistent=False)
        self.register_buffer("scale", math.pi / torch.tensor(lengths, dtype=torch.float64), persistent=False)
        self.register_buffer("origin", torch.tensor(low, dtype=torch.float64) - margin, persistent=False)

    @property
    def n_features(self) -> int:
        """Number of functions."""
        return int(self.orders.shape[1])

    def forward(self, position: torch.Tensor) -> torch.Tensor:
        """Return the functions (receiver, feature) at `position` (receiver, axis), m."""
        return self._product(position, None)

    def gradient(self, position: torch.Tensor) -> torch.Tensor:
        """Return the derivatives (axis, receiver, feature) of the functions, 1/m."""
        return torch.stack([self._product(position, axis) for axis in range(len(self.orders))])

    def _product(self, position: torch.Tensor, derived: int | None) -> torch.Tensor:
        """Multiply the cosines of all axes; along the axis `derived`, the derivative of the cosine."""
        product = torch.ones((), dtype=position.dtype, device=position.device)
        for axis, (order, count) in enumerate(zip(self.orders, self.counts, strict=True)):
            wave_number = self.scale[axis].to(position) * torch.arange(count).to(position)
            phase = (position[:, axis, None] - self.origin[axis].to(position)) * wave_number
            values = torch.cos(phase) if axis != derived else -wave_number * torch.sin(phase)
            product = product * values[:, order]
        return product


def weighted_fit(features: Array, targets: Array, weights: Array, cutoff: float = 1e-6) -> Array:
    """Return C (feature, column) that minimises sum_n w_n |features_n C - targets_n|^2, small singular values dropped.

    Parameters
    ----------
    features : (node, feature).
    targets : (node, column).
    weights : (node,), positive.
    cutoff : singular values below `cutoff` times the largest are left out.
    """
    root = np.sqrt(weights)[:, None]
    solution: Any = np.linalg.lstsq(features * root, targets * root, rcond=cutoff)[0]
    return np.asarray(solution)
