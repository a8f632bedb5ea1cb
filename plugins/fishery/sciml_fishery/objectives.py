"""What a year of fishing is worth, and what a manager imposes between a policy and the sea."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """Utility of a year, and the cost of losing a species.

        u = (sum_i price_i h_i - cost_i f_i - stock_cost_i ln(N_i / s_i))^exponent,   discounted by discount^t

    with the catch h, the fraction f, the stock N before and s after the harvest. The loss of a species in the year t
    costs ``death_penalty / max(t + death_clock, 1) + death_cost``.

    Parameters
    ----------
    price : of a unit of each catch; the last one holds for those that follow.
    cost : of fishing a whole stock, per fishery; the last one holds for those that follow.
    stock_cost : of a unit of catch at the stock 1; a unit costs stock_cost / N, more the fewer there are.
    exponent : below 1 for a diminishing utility of catch (HARA); a negative profit stays as it is.
    discount : factor of a year.
    death_penalty, death_clock : of the paper's code, 100 / (t + 1); the text's 100 / t has the clock 0.
    death_cost : further cost of a loss, whenever it happens.
    """

    price: tuple[float, ...] = (1.0,)
    cost: tuple[float, ...] = (0.0,)
    stock_cost: float = 0.0
    exponent: float = 1.0
    discount: float = 1.0
    death_penalty: float = 100.0
    death_clock: int = 1
    death_cost: float = 0.0

    def __post_init__(self) -> None:
        bad = not (0 < self.discount <= 1 and 0 < self.exponent <= 1 and self.death_penalty >= 0)
        if bad or not self.price or not self.cost or min(*self.cost, self.stock_cost, self.death_cost, 0) < 0:
            wanted = "0 < discount <= 1, 0 < exponent <= 1 and costs >= 0"
            raise ValueError(f"Objective: expected {wanted}, got {self}; correct it")

    @property
    def linear(self) -> bool:
        """Whether a year is worth a linear function of the catch alone."""
        return self.exponent == 1 and not any(self.cost) and self.stock_cost == 0

    def prices(self, n: int, like: Tensor) -> Tensor:
        """Return the price of each of `n` catches."""
        return _padded(self.price, n, like)

    def utility(self, catch: Tensor, fraction: Tensor) -> Tensor:
        """Return what a year is worth (...,), before discount, from catch (..., yield) and fraction (..., fishery)."""
        value = catch @ self.prices(catch.shape[-1], catch)
        if any(self.cost):
            value = value - (fraction * _padded(self.cost, fraction.shape[-1], fraction)).sum(-1)
        if self.stock_cost:
            value = value + self.stock_cost * torch.log1p(-fraction.clamp(max=1 - 1e-6)).sum(-1)
        if self.exponent != 1:
            # a power of zero has an infinite slope
            value = torch.where(value > 0, value.clamp(min=1e-9) ** self.exponent, value)
        return value

    def death(self, year: Tensor) -> Tensor:
        """Return what the loss of a species in that year costs."""
        return self.death_penalty / (year + self.death_clock).clamp(min=1) + self.death_cost


def _padded(values: tuple[float, ...], n: int, like: Tensor) -> Tensor:
    return torch.tensor((*values, *(values[-1:] * n))[:n], dtype=like.dtype, device=like.device)


@dataclass(frozen=True)
class Management:
    """What stands between a policy and the sea; nothing by default.

    Parameters
    ----------
    observation_sd : relative error of the stock that the policy sees.
    implementation_sd : relative error of the fraction that is fished.
    survey_every : years between surveys; the policy sees the last one.
    quota : largest catch of each fishery in a year.
    tac_change : lowest and highest catch relative to that of the year before, as (0.8, 1.2).
    shares : fleet x fishery, the part of each catch that a fleet takes; columns sum to one.

    *Contract*: a catch never exceeds its quota, whatever the errors; fleets share what is caught.
    """

    observation_sd: float = 0.0
    implementation_sd: float = 0.0
    survey_every: int = 1
    quota: tuple[float, ...] | None = None
    tac_change: tuple[float, float] | None = None
    shares: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        if min(self.observation_sd, self.implementation_sd) < 0 or self.survey_every < 1:
            raise ValueError(f"Management: expected errors >= 0 and survey_every >= 1, got {self}; correct it")
        if self.tac_change is not None and not 0 <= self.tac_change[0] <= 1 <= self.tac_change[1]:
            raise ValueError(f"Management: expected tac_change around 1, got {self.tac_change}; as (0.8, 1.2)")
        sums = [sum(column) for column in zip(*self.shares, strict=True)]
        if any(abs(total - 1) > 1e-6 for total in sums) or min((min(row) for row in self.shares), default=0) < 0:
            raise ValueError(f"Management: expected shares >= 0 that sum to one per fishery, got {sums}; correct them")

    def seen(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Return the observation with its error, never negative."""
        return (observation * (1 + self.observation_sd * noise)).clamp(min=0) if self.observation_sd else observation

    def imposed(self, fraction: Tensor, fished: Tensor, last: Tensor | None, noise: Tensor) -> Tensor:
        """Return the fraction that is fished (..., fishery) from the one asked for and the stock `fished`.

        The total allowable catch is bounded by its change from `last`, the catch of the year before; then comes the
        error of implementation, then the quota.
        """
        if self.tac_change is not None and last is not None:
            low, high = (bound * last / fished.clamp(min=1e-9) for bound in self.tac_change)
            fraction = torch.minimum(torch.maximum(fraction, low), high).clamp(0, 1)
        if self.implementation_sd:
            fraction = (fraction * (1 + self.implementation_sd * noise)).clamp(0, 1)
        if self.quota is not None:
            most = torch.tensor(self.quota, dtype=fished.dtype, device=fished.device) / fished.clamp(min=1e-9)
            fraction = torch.minimum(fraction, most)
        return fraction

    def by_fleet(self, catch: Tensor) -> Tensor:
        """Return the catch of each fleet (..., fleet, fishery)."""
        shares = torch.tensor(self.shares or ((1.0,) * catch.shape[-1],), dtype=catch.dtype, device=catch.device)
        return catch[..., None, :] * shares


CATCH, UNMANAGED = Objective(), Management()  # the paper's: the catch is what counts, and nothing is imposed
