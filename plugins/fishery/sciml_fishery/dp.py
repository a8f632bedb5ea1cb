"""The optimum of small models: backward dynamic programming on a grid, expectations exact, no loop over actions.

    V_t(N) = max over s <= N of  u(N, s) + E[ discount V_{t+1}(N') 1(alive) - cost_t 1(lost) ]

With a utility linear in the catch, u = price . (N - s), the maximum over s is a running maximum of
G(s) = E[...] - price . s along the fished axes. V is multilinear between the grid points, and N' given s is normal and
independent over species, so that its expectation is a sum of products of one-dimensional integrals of hat functions,
which are known in closed form. Stocks beyond the grid count as its last point.

Source: Bellman's principle; the running maximum is the elementary remark that s <= N is a nested family of boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sciml_fishery.models import Model, Parameters, nominal
from sciml_fishery.objectives import CATCH, Objective
from sciml_fishery.policies import Policy

WIDE = 40  # times the threshold
CHUNK = 512  # points of the grid whose expectations are in memory at once


@dataclass(frozen=True)
class Optimum:
    """The value in the year 0 on the grid, and the policy that attains it.

    Parameters
    ----------
    value : (grid) expected reward from each stock in the year 0.
    policy : the controller.
    """

    value: Tensor
    policy: OptimalPolicy

    def at(self, stock: Sequence[float]) -> float:
        """Return the value of a stock in the year 0."""
        value = self.value
        for axis, n in zip(self.policy.grid(), stock, strict=True):
            cell, part = locate(axis, torch.tensor([float(n)], dtype=axis.dtype))
            value = value[cell[0]] + part[0] * (value[cell[0] + 1] - value[cell[0]])
        return float(value)


def axes_of(model: Model, n_points: Sequence[int]) -> list[list[float]]:
    """Return ascending stocks per species from the threshold to the top.

    Evenly spaced, but for species that nobody fishes and that span a wide range: of their points most lie near the
    threshold, where the manager can do least and the value falls steeply.
    """
    low = max(model.threshold, 1e-3)
    axes = []
    for i, (top, n) in enumerate(zip(model.top, n_points, strict=True)):
        wide = i not in model.fished and top > WIDE * low
        axis = low * (top / low) ** (np.linspace(0, 1, n) ** 1.25) if wide else np.linspace(low, top, n)
        axes.append(axis.tolist())
    return axes


def locate(axis: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cell of each value and the part of it that lies below the value, both clamped to the axis."""
    cell = (torch.searchsorted(axis, values.contiguous(), right=True) - 1).clamp(0, len(axis) - 2)
    return cell, ((values - axis[cell]) / (axis[cell + 1] - axis[cell])).clamp(0, 1)


def hat_weights(axis: Tensor, mean: Tensor, sd: Tensor, threshold: float) -> Tensor:
    """Return E[hat_i(N) 1(N > threshold)] for N normal (...,) and the hat functions of an axis: (..., axis).

    With I(g) = E[(g - N)^+] = (g - mean) Phi(z) + sd phi(z), the integral of a hat is a second difference of I. The
    last hat holds all that lies beyond; below the first point only N > threshold counts, as the first point.
    """
    sd = sd.clamp(min=1e-9)[..., None]

    def below(g: Tensor) -> Tensor:
        return torch.special.ndtr((g - mean[..., None]) / sd)

    z = (axis - mean[..., None]) / sd
    integral = (axis - mean[..., None]) * torch.special.ndtr(z) + sd * torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    slope = (integral[..., 1:] - integral[..., :-1]) / (axis[1:] - axis[:-1])
    bottom = below(axis.new_full((1,), threshold)) if math.isfinite(threshold) else torch.zeros_like(mean[..., None])
    ends = slope[..., :1] - bottom, 1 - slope[..., -1:]
    return torch.cat([ends[0], slope[..., 1:] - slope[..., :-1], ends[1]], -1)


class OptimalPolicy(Policy):
    """What dynamic programming prescribes: the escapement s <= N with the largest stored G(s) of the year.

    Parameters
    ----------
    axes : the grid, per species.
    n_years : years that G is stored for; later ones act as the last.
    frozen_at : act in every year as in this one: a reference that does not see the time; negative for none.
    """

    registered: ClassVar[str] = "fishery.optimal"
    supports: ClassVar[frozenset[str]] = frozenset()
    gain: Tensor

    def __init__(self, sees: Sequence[str], fisheries: Sequence[str], axes: Sequence[Sequence[float]], n_years: int,
                 frozen_at: int = -1) -> None:  # fmt: skip
        super().__init__(sees, fisheries, axes=[list(axis) for axis in axes], n_years=n_years, frozen_at=frozen_at)
        self.frozen_at = frozen_at
        self.register_buffer("gain", torch.zeros(n_years, *map(len, axes)))

    def grid(self) -> list[Tensor]:
        """Return the axes as tensors."""
        return [torch.tensor(axis, dtype=self.gain.dtype, device=self.gain.device) for axis in self._config["axes"]]

    def frozen(self, year: int) -> OptimalPolicy:
        """Return the policy that acts in every year as this one does in `year`."""
        policy = OptimalPolicy(**{**self.config, "n_years": 1, "frozen_at": 0})
        policy.gain.copy_(self.gain[year : year + 1])
        return policy

    def fraction(self, stock: Tensor, year: Tensor) -> Tensor:
        """Return the fractions that lead to the best escapement at or below the stock."""
        gain = self._gain_at(stock, year)
        escaped = torch.stack(self._best(gain, stock), -1)
        return (1 - escaped / stock[:, self.at].clamp(min=1e-9)).clamp(0, 1)

    def _gain_at(self, stock: Tensor, year: Tensor) -> Tensor:
        """Return G over the fished axes, interpolated in the others: (episode, fished...)."""
        last = len(self.gain) - 1
        when = year.long().clamp(0, last) if self.frozen_at < 0 else torch.full_like(year, self.frozen_at).long()
        grid, at = self.grid(), self.at
        free = [i for i in range(len(grid)) if i not in at]
        weight = torch.ones_like(stock[:, :1]).to(self.gain)  # (episode, cell of the free axes)
        for i in free:
            cell, part = locate(grid[i], stock[:, i].to(self.gain))
            hat = torch.zeros(len(stock), len(grid[i])).to(self.gain)
            hat = hat.scatter(1, cell[:, None], (1 - part)[:, None]).scatter(1, cell[:, None] + 1, part[:, None])
            weight = (weight[:, :, None] * hat[:, None]).flatten(1)
        shape = [len(grid[i]) for i in at]
        found = weight.new_empty(len(stock), math.prod(shape))
        for t in when.unique().tolist():  # one product for episodes of the same year, which mostly are all
            now = when == t
            found[now] = weight[now] @ self.gain[t].permute(*free, *at).reshape(weight.shape[1], -1)
        return found.reshape(-1, *shape)

    def _best(self, gain: Tensor, stock: Tensor) -> list[Tensor]:
        """Return the escapement of each fishery: the best of the grid points below the stock, and the stock itself."""
        reached = []
        for k, i in enumerate(self.at):  # over the fished axes
            axis, n = self.grid()[i], stock[:, i].to(self.gain)
            cell, part = locate(axis, n)
            moved = gain.movedim(1 + k, 1)
            rows = torch.arange(len(stock), device=stock.device)
            shape = (-1, *[1] * (moved.dim() - 2))
            here = moved[rows, cell] * (1 - part.reshape(shape)) + moved[rows, cell + 1] * part.reshape(shape)
            above = axis[None] > n[:, None]
            moved = torch.where(above.reshape(*above.shape, *[1] * (moved.dim() - 2)), here[:, None], moved)
            gain = moved.movedim(1, 1 + k)
            reached.append(torch.minimum(axis[None], n[:, None]))
        best = gain.flatten(1).argmax(1)
        index = torch.unravel_index(best, gain.shape[1:])
        return [points.gather(1, place[:, None])[:, 0] for points, place in zip(reached, index, strict=True)]


def solve(model: Model, n_points: Sequence[int], objective: Objective = CATCH,
          parameters: dict[str, Any] | None = None) -> Optimum:  # fmt: skip
    """Compute the optimal value and policy of a model with at most three species.

    Parameters
    ----------
    n_points : grid points per species.
    objective : of any form; one that is linear in the catch needs no loop over escapements.
    parameters : nominal where omitted; one set, no batch.

    *Contract*: the noise of a model must be linear in eps and independent over species, as all of this plugin are; at
    most one species may be unfished.
    """
    free = [i for i in range(len(model.species)) if i not in model.fished]
    if len(model.species) > 3 or len(free) > 2 or model.harvest is not None:
        wanted = "at most three species that are fished by fractions"
        raise ValueError(f"dp: expected a model with {wanted}, got {model.name!r}; use bptt or ppo")
    p = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in (parameters or nominal(model)).items()}
    axes = axes_of(model, n_points)
    policy = OptimalPolicy(model.sees, [model.species[i] for i in model.fished], axes, model.n_years)
    grid = policy.grid()
    points = torch.cartesian_prod(*grid).reshape(-1, len(grid))
    prices = objective.prices(len(model.fished), points)
    worth = sum(price * points[:, i] for price, i in zip(prices, model.fished, strict=True))
    shape, value = tuple(map(len, grid)), torch.zeros(tuple(map(len, grid)))
    known: tuple[Tensor, Tensor, list[Tensor]] | None = None
    for t in reversed(range(model.n_years)):
        year = torch.tensor(float(t))
        mean, sd = _moments(model, points, p, year)
        if known is None or not (torch.equal(known[0], mean) and torch.equal(known[1], sd)):
            weights = [hat_weights(a, mean[:, i], sd[:, i], model.threshold) for i, a in enumerate(grid)]
            known = mean, sd, weights
        alive = math.prod(w.sum(-1) for w in known[2])
        ahead = objective.discount * expectation(value, known[2]) - (1 - alive) * objective.death(year)
        gain = (ahead - worth).reshape(shape) if objective.linear else ahead.reshape(shape)
        policy.gain[t] = gain
        value = (
            _running_maximum(gain, worth, model) if objective.linear else _by_actions(gain, points, model, objective)
        )
    return Optimum(value, policy)


def _moments(model: Model, points: Tensor, p: Parameters, year: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the next stock."""
    rest = torch.zeros(len(points), model.takes_noise)
    mean = model.grow(points, p, year, rest)
    return mean, (model.grow(points, p, year, rest + 1) - mean).abs()


def expectation(value: Tensor, weights: list[Tensor]) -> Tensor:
    """Return sum_ijk w1_i w2_j w3_k V_ijk for every point: weights (point, axis) per species."""
    parts = []
    for piece in zip(*(w.split(CHUNK) for w in weights), strict=True):
        left = piece[0] @ value.flatten(1) if value.dim() > 1 else (piece[0] @ value)
        for i, w in enumerate(piece[1:], 1):
            left = torch.bmm(w[:, None], left.reshape(len(w), value.shape[i], -1)).flatten(1)
        parts.append(left.reshape(len(piece[0])))
    return torch.cat(parts)


def _running_maximum(gain: Tensor, worth: Tensor, model: Model) -> Tensor:
    for i in model.fished:
        gain = gain.cummax(i).values
    return worth.reshape(gain.shape) + gain


def _by_actions(gain: Tensor, points: Tensor, model: Model, objective: Objective) -> Tensor:
    """Return the maximum over the escapements of the grid, one after the other, for any utility."""
    shape, fished = gain.shape, list(model.fished)
    stock = points.reshape(*shape, -1)[..., fished]
    best = torch.full(shape, -math.inf)
    for index in np.ndindex(*(shape[i] for i in fished)):
        place: list[Any] = [slice(None)] * len(shape)
        for i, k in zip(fished, index, strict=True):
            place[i] = slice(k, k + 1)
        catch = stock - stock[tuple(place)]
        value = objective.utility(catch.clamp(min=0), catch.clamp(min=0) / stock) + gain[tuple(place)]
        best = torch.maximum(best, torch.where((catch >= 0).all(-1), value, -math.inf))
    return best
