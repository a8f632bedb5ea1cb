"""Stock models as pure batched steps: harvest first, growth from what escapes, an end when a species is lost.

A user's own model is one function ``grow(stock, parameters, year, noise) -> stock`` on tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sciml_fishery.noise import Purpose, draw

Parameters = Mapping[str, Tensor]
Grow = Callable[[Tensor, Parameters, Tensor, Tensor], Tensor]
Harvest = Callable[[Tensor, Tensor, Parameters], tuple[Tensor, Tensor]]
Observe = Callable[[Tensor, Parameters], Tensor]
Begin = Callable[[Tensor, Parameters], Tensor]


@dataclass(frozen=True)
class Model:
    """A stock, how it grows and what may be fished of it.

    Parameters
    ----------
    name : in reports and in every error.
    species : what the last axis of a stock holds.
    fished : the species that each fishery takes, by index.
    grow : (stock (..., species) after harvest, parameters (...), year (...), noise (..., noise)) -> next stock.
    parameters : nominal values by name.
    initial : stock in the year 0, to which noise of `initial_sd` is added.
    threshold : stock at which a species counts as lost; minus infinity for none.
    n_years : length of an episode.
    top : stock up to which grids and pictures reach, per species.
    n_noise : how many normals a year takes; one for each species where omitted.
    harvest, observe, begin : where they differ from "a fraction of each fished species", "the stock itself" and
        "the initial stock with noise".
    observed, caught : names of what a policy sees and of what a harvest yields, where they differ from the species.
    drift : of r_X per year and the share of it that stays, for models that the op `rollout` of the kernels computes.
    """

    name: str
    species: tuple[str, ...]
    fished: tuple[int, ...]
    grow: Grow
    parameters: Mapping[str, float]
    initial: tuple[float, ...]
    initial_sd: float = 0.02
    threshold: float = 0.05
    n_years: int = 200
    top: tuple[float, ...] = ()
    n_noise: int | None = None
    harvest: Harvest | None = None
    observe: Observe | None = None
    begin: Begin | None = None
    observed: tuple[str, ...] = ()
    caught: tuple[str, ...] = ()
    drift: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.fished or not set(self.fished) <= set(range(len(self.species))):
            got = f"{self.fished} of {self.species}"
            raise ValueError(f"model {self.name!r}, fished: expected indices of species, got {got}; name at least one")
        if len(self.initial) != len(self.species) or not min(self.initial) >= 0:
            wanted = f"{len(self.species)} stocks >= 0"
            raise ValueError(f"model {self.name!r}, initial: expected {wanted}, got {self.initial}; give one each")
        check_parameters(self, {name: torch.as_tensor(value) for name, value in self.parameters.items()})

    @property
    def sees(self) -> tuple[str, ...]:
        """Names of what a policy sees."""
        return self.observed or self.species

    @property
    def yields(self) -> tuple[str, ...]:
        """Names of the columns of a catch."""
        return self.caught or tuple(self.species[i] for i in self.fished)

    @property
    def takes_noise(self) -> int:
        """How many normals a year takes."""
        return len(self.species) if self.n_noise is None else self.n_noise


def check_parameters(model: Model, parameters: Parameters) -> None:
    """Refuse missing, unknown or non-finite parameters."""
    if odd := set(model.parameters) ^ set(parameters):
        wanted = ", ".join(model.parameters)
        raise ValueError(f"model {model.name!r}: expected the parameters {wanted}, got a difference of {sorted(odd)}")
    for name, value in parameters.items():
        if not bool(torch.isfinite(value).all()):
            where = f"model {model.name!r}, parameter {name!r}"
            raise ValueError(f"{where}: expected finite numbers, got {value.flatten()[:3].tolist()}; correct it")


def nominal(model: Model, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """Return the nominal parameters as scalars that broadcast over any batch."""
    return {name: torch.tensor(value, dtype=dtype, device=device) for name, value in model.parameters.items()}


def perturbed(model: Model, sd: float, seed: int, episode: Tensor, dtype: torch.dtype = torch.float32) -> Parameters:
    """Return parameters (episode,): each nominal value times N(1, sd^2), at least a twentieth of it.

    The draw of an episode depends on (seed, episode) and the order of the parameters alone.
    """
    factors = draw(seed, episode, torch.zeros_like(episode), len(model.parameters), Purpose.PARAMETERS).to(dtype)
    factors = (1 + sd * factors).clamp(min=0.05)
    values = zip(model.parameters.items(), factors.unbind(-1), strict=True)
    return {name: value * factor for (name, value), factor in values}


def start(model: Model, parameters: Parameters, seed: int, episode: Tensor, dtype: torch.dtype) -> Tensor:
    """Return stocks (episode, species) in the year 0."""
    noise = draw(seed, episode, torch.zeros_like(episode), len(model.species), Purpose.START).to(dtype)
    if model.begin is not None:
        return model.begin(noise, parameters)
    initial = torch.tensor(model.initial, dtype=dtype, device=episode.device)
    return (initial + model.initial_sd * noise).clamp(min=1e-6)


def take(model: Model, stock: Tensor, fraction: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
    """Return what escapes (..., species) and the catch (..., yield) at the fractions (..., fishery)."""
    if model.harvest is not None:
        return model.harvest(stock, fraction, parameters)
    columns = list(stock.unbind(-1))
    catch = [fraction[..., f] * columns[i] for f, i in enumerate(model.fished)]
    for i, c in zip(model.fished, catch, strict=True):
        columns[i] = columns[i] - c
    return torch.stack(columns).movedim(0, -1), torch.stack(catch).movedim(0, -1)


def see(model: Model, stock: Tensor, parameters: Parameters) -> Tensor:
    """Return what a policy sees of a stock, without observation error."""
    return stock if model.observe is None else model.observe(stock, parameters)


def check_decision(model: Model, year: int, stock: Tensor, fraction: Tensor) -> None:
    """Refuse, naming model, variable and step, stocks and fractions that no step may take."""
    where = f"model {model.name!r}, step {year}"
    if fraction.shape != (len(stock), len(model.fished)):
        wanted = f"({len(stock)}, {len(model.fished)})"
        raise ValueError(f"{where}, fraction: expected shape {wanted}, got {tuple(fraction.shape)}; one per fishery")
    if not bool(((fraction >= 0) & (fraction <= 1)).all()):
        got = f"{float(fraction.min()):.4g} to {float(fraction.max()):.4g}"
        raise ValueError(f"{where}, fraction: expected fractions in [0, 1], got {got}; squash or clip the policy")
    check_stock(model, stock, where)


def check_growth(model: Model, year: int, stock: Tensor, grown: Tensor) -> None:
    """Refuse a next stock of another shape than the stock."""
    if grown.shape != stock.shape:
        where, wanted = f"model {model.name!r}, step {year}", f"the shape {tuple(stock.shape)} of the stock"
        raise ValueError(f"{where}, grow: expected {wanted}, got {tuple(grown.shape)}; return one column per species")


def check_stock(model: Model, stock: Tensor, where: str) -> None:
    """Refuse stocks that are negative or no numbers, naming the species."""
    for name, column in zip(model.species, stock.unbind(-1), strict=True):
        if not bool((column >= 0).all()):
            got = float(column.min()) if bool(torch.isfinite(column).all()) else float("nan")
            raise ValueError(f"{where}, stock {name}: expected numbers >= 0, got {got:.4g}; correct the model's input")


# One species: harvest first, then growth from the escaped stock s, multiplicative noise -------------------------------


def _with_noise(name: str, growth: Callable[[Tensor, Parameters], Tensor], values: Mapping[str, float],
                **options: float) -> Model:  # fmt: skip
    def grow(stock: Tensor, p: Parameters, year: Tensor, noise: Tensor) -> Tensor:
        s = stock[..., 0]
        return (growth(s, p) + p["sigma"] * s * noise[..., 0]).clamp(min=0)[..., None]

    options = {"initial_sd": 0.0, "threshold": -float("inf"), "n_years": 100, **options}
    start_at, k = options.pop("initial", 0.75), values["k"]
    return Model(name, ("X",), (0,), grow, values, (start_at,), top=(1.6 * k,), **options)  # type: ignore[arg-type]


def logistic(r: float = 0.3, k: float = 1.0, sigma: float = 0.0) -> Model:
    """Return Gordon and Schaefer's model: X' = s + r s (1 - s / K) + sigma s eps; MSY = r K / 4 at s = K / 2."""
    return _with_noise("logistic", lambda s, p: s + p["r"] * s * (1 - s / p["k"]), {"r": r, "k": k, "sigma": sigma})


def allen(r: float = 0.3, k: float = 1.0, c: float = 0.5, sigma: float = 0.0) -> Model:
    """Return growth with an Allee effect below C: X' = s exp(r (1 - s / K) (s - C) / K)."""
    values = {"r": r, "k": k, "c": c, "sigma": sigma}
    return _with_noise("allen", lambda s, p: s * torch.exp(p["r"] * (1 - s / p["k"]) * (s - p["c"]) / p["k"]), values)


def beverton_holt(r: float = 0.3, k: float = 1.0, sigma: float = 0.0) -> Model:
    """Return Beverton and Holt's model: X' = (1 + r) s / (1 + r s / K)."""
    values = {"r": r, "k": k, "sigma": sigma}
    return _with_noise("beverton_holt", lambda s, p: (1 + p["r"]) * s / (1 + p["r"] * s / p["k"]), values)


def ricker(r: float = 0.3, k: float = 1.0, sigma: float = 0.0) -> Model:
    """Return Ricker's model: X' = s exp(r (1 - s / K))."""
    return _with_noise(
        "ricker", lambda s, p: s * torch.exp(p["r"] * (1 - s / p["k"])), {"r": r, "k": k, "sigma": sigma}
    )


def myers(r: float = 1.0, k: float = 1.0, theta: float = 3.0, sigma: float = 0.0) -> Model:
    """Return Myers's depensatory model: X' = (1 + r) s^theta / (1 + r s^theta / K^theta) K^(1 - theta)."""

    def growth(s: Tensor, p: Parameters) -> Tensor:
        share = (s / p["k"]).clamp(min=0) ** p["theta"]
        return p["k"] * (1 + p["r"]) * share / (1 + p["r"] * share)

    return _with_noise("myers", growth, {"r": r, "k": k, "theta": theta, "sigma": sigma})


def may(sigma: float = 0.05, beta: float = 0.25, c: float = 0.1, r: float = 1.0, k: float = 1.0) -> Model:
    """Return May's tipping model: X' = s + r s (1 - s / K) - beta s^2 / (c^2 + s^2) + sigma s eps, M1 of the paper."""

    def growth(s: Tensor, p: Parameters) -> Tensor:
        return s + p["r"] * s * (1 - s / p["k"]) - p["beta"] * s**2 / (p["c"] ** 2 + s**2)

    values = {"r": r, "k": k, "beta": beta, "c": c, "sigma": sigma}
    return _with_noise("may", growth, values, initial=0.7, initial_sd=0.02, threshold=0.05, n_years=200)


@dataclass(frozen=True)
class Bounds:
    """Analytic reference points of the logistic model in this order of a step, harvest before growth.

    MSY = r K / 4 at the escapement S = K / 2; the fraction that takes it is r / (2 + r). With a discount factor the
    escapement is the root of d (1 + r - 2 r S / K) = 1.

    Source: C. W. Clark, *Mathematical Bioeconomics*, chapters 1 and 2.
    """

    r: float
    k: float
    discount: float = field(default=1.0)

    @property
    def msy(self) -> float:
        """Largest sustainable catch in a year."""
        return self.r * self.k / 4

    @property
    def escapement(self) -> float:
        """Stock to leave behind."""
        return self.k / 2 * (1 - (1 / self.discount - 1) / self.r)

    @property
    def fraction(self) -> float:
        """Fraction of the stock that takes the largest sustainable catch."""
        return self.r / (2 + self.r)
