"""Two competing prey X, Y and a predator Z: the paper's models M1 to M4, its variants, and every reading of it.

    X' = X + r_X X (1 - X / K_X) - beta Z X^2 / (c^2 + X^2) - c_XY X Y + sigma_X X eps_X
    Y' = Y + r_Y Y (1 - Y / K_Y) - D beta Z Y^2 / (c^2 + Y^2) - c_XY X Y + sigma_Y Y eps_Y
    Z' = Z + Z (b (X + D Y) - d_Z) + sigma_Z Z eps_Z

from the stock after harvest. Source: Montealegre-Mora et al., "Pretty darn good control", Bull. Math. Biol. 85 (2023),
arXiv 2308.13654, sections 2 and 3, and the code it points to (boettiger-lab/approx-model-or-approx-soln).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sciml_fishery.models import Grow, Model, Parameters, may

NOMINAL = {
    "r_x": 1.0, "r_y": 1.0, "k_x": 1.0, "k_y": 1.0, "beta": 0.3, "c": 0.3, "d": 1.1, "c_xy": 0.1, "b": 0.1, "d_z": 0.1,
    "sigma_x": 0.1, "sigma_y": 0.1, "sigma_z": 0.1,
}  # fmt: skip
PERIOD, AMPLITUDE = 50, 0.1
Change = Callable[[Parameters, Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Reading:
    """What to do where the paper and its code say different things; the defaults give the published numbers.

    Parameters
    ----------
    noise : "code": sigma multiplies the stock. "paper": the text's variance 0.05, that is sigma = 0.05^(1/2).
    one_species : "published": beta 0.25 and sigma 0.05, which give the published numbers of M1. "workflow": beta 0.23
        and sigma 0.1, as in the workflow kept with the code.
    beta_drift : "intended": beta (1 + t / 100). "code": computed and never used, so that BETADRIFT is DEFAULT.
    holling_3 : "mended": Z' = Z + .... "code": Z' = 2 Z + ..., as the line adds Z to itself.
    """

    noise: Literal["code", "paper"] = "code"
    one_species: Literal["published", "workflow"] = "published"
    beta_drift: Literal["intended", "code"] = "intended"
    holling_3: Literal["mended", "code"] = "mended"


CODE = Reading()


def _sin(year: Tensor) -> Tensor:
    return torch.sin(2 * math.pi * year / PERIOD)


CHANGES: dict[str, Change] = {
    "DEFAULT": lambda p, t: {},
    "RXDRIFT": lambda p, t: {"r_x": p["r_x"] * (1 - t / 200).clamp(min=0.5)},
    "V0DRIFT": lambda p, t: {"c": p["c"] * (1 - t / 150).clamp(min=1 / 3)},
    "DDRIFT": lambda p, t: {"d": p["d"] - t * (p["d"] - 1).abs() / 100},
    "CVDRIFT": lambda p, t: {"c_xy": p["c_xy"] * (1 + t / 100).clamp(max=2)},
    "BETADRIFT": lambda p, t: {"beta": p["beta"] * (1 + t / 100)},
    "COUPLFLUC": lambda p, t: {"c": p["c"] * (1 + AMPLITUDE * _sin(t)).sqrt()},
    "COMPFLUC": lambda p, t: {"c_xy": p["c_xy"] * (1 + AMPLITUDE * _sin(t))},
    "KFLUC": lambda p, t: {"k_x": p["k_x"] * (1 + AMPLITUDE * _sin(t))},
}


def three_species(change: Change | None = None, competition: str = "loss") -> Grow:
    """Return the growth with parameters that `change` with the year.

    Parameters
    ----------
    change : (parameters, year) -> those that differ in that year.
    competition : "loss" for - c_XY X Y, "capacity" for K_X - c_XY Y in place of K_X, as in KLIMIT.
    """

    def grow(stock: Tensor, parameters: Parameters, year: Tensor, noise: Tensor) -> Tensor:
        p = {**parameters, **change(parameters, year)} if change else parameters
        x, y, z = stock.unbind(-1)
        inside = competition == "capacity"
        room_x, room_y = (p["k_x"] - p["c_xy"] * y, p["k_y"] - p["c_xy"] * x) if inside else (p["k_x"], p["k_y"])
        lost = 0 if inside else p["c_xy"] * x * y
        hunger, c_2 = p["beta"] * z, p["c"] * p["c"]
        eaten_x, eaten_y = (hunger * m / (c_2 + m) for m in (x * x, y * y))
        next_x = x + p["r_x"] * x * (1 - x / room_x) - eaten_x - lost + p["sigma_x"] * x * noise[..., 0]
        next_y = y + p["r_y"] * y * (1 - y / room_y) - p["d"] * eaten_y - lost + p["sigma_y"] * y * noise[..., 1]
        next_z = z + z * (p["b"] * (x + p["d"] * y) - p["d_z"]) + p["sigma_z"] * z * noise[..., 2]
        return torch.stack([next_x, next_y, next_z]).movedim(0, -1)  # columns lie together: the next step is faster

    return grow


def _y_abiotic(stock: Tensor, p: Parameters, year: Tensor, noise: Tensor) -> Tensor:
    x, _, z = three_species()(stock, p, year, noise).unbind(-1)
    return torch.stack([x, (0.4 + 0.4 * _sin(year)).expand_as(x), z], -1)


def _z_abiotic(stock: Tensor, p: Parameters, year: Tensor, noise: Tensor) -> Tensor:
    x, y, _ = three_species()(stock, p, year, noise).unbind(-1)
    return torch.stack([x, y, stock[..., 2] * (1 + 0.02 * torch.cos(2 * math.pi * year / PERIOD))], -1)


def _holling_3(doubled: bool) -> Grow:
    def grow(stock: Tensor, p: Parameters, year: Tensor, noise: Tensor) -> Tensor:
        prey = three_species()(stock, p, year, noise)
        x, y, z = stock.unbind(-1)
        meals = [n**2 / (p["c"] ** 2 + n**2) for n in (x, y)]
        change = z * (p["b"] * (meals[0] + p["d"] * meals[1]) - p["d_z"]) + p["sigma_z"] * z * noise[..., 2]
        return torch.stack([prey[..., 0], prey[..., 1], (2 if doubled else 1) * z + p["alpha"] * change], -1)

    return grow


def _rock_paper_scissors(stock: Tensor, p: Parameters, year: Tensor, noise: Tensor) -> Tensor:
    n, eaten, prey = stock, stock.roll(1, -1), stock.roll(-1, -1)
    return n + p["r"] * n * (1 - n) + p["gain"] * n * prey - p["loss"] * n * eaten + p["sigma"] * n * noise


HOLLING_3 = {**NOMINAL, "c": 0.1, "c_xy": 0.5, "b": 0.25, "d_z": 0.2, "alpha": 0.3} | dict.fromkeys(
    ("sigma_x", "sigma_y", "sigma_z"), 0.05
)
CYCLIC = {"r": 0.3, "gain": 0.3, "loss": 0.3, "sigma": 0.0}
ABIOTIC: dict[str, Grow] = {"YABIOTIC": _y_abiotic, "ZABIOTIC": _z_abiotic}
VARIANTS = (*CHANGES, "KLIMIT", "KLIMIT_RXDRIFT", *ABIOTIC, "HOLL3", "rockPaperScissors")


def variant(name: str, n_fisheries: int = 2, reading: Reading = CODE) -> Model:
    """Return a three-species model by the name it has in the paper's data.

    Parameters
    ----------
    name : one of `VARIANTS`.
    n_fisheries : 1 takes X, 2 take X and Y.
    reading : what to do where the paper and its code differ.
    """
    if name not in VARIANTS or n_fisheries not in (1, 2):
        wanted = f"one of {', '.join(VARIANTS)} with 1 or 2 fisheries"
        raise ValueError(f"variant: expected {wanted}, got {name!r} with {n_fisheries}; choose one")
    parameters, grow = dict(NOMINAL), ABIOTIC.get(name)
    if name == "HOLL3":
        parameters, grow = dict(HOLLING_3), _holling_3(reading.holling_3 == "code")
    elif name == "rockPaperScissors":
        parameters, grow = dict(CYCLIC), _rock_paper_scissors
    elif grow is None:
        applied = not (name == "BETADRIFT" and reading.beta_drift == "code")
        change = CHANGES[name.removeprefix("KLIMIT_")] if name != "KLIMIT" and applied else None
        grow = three_species(change, "capacity" if name.startswith("KLIMIT") else "loss")
    if reading.noise == "paper":
        parameters |= {key: math.sqrt(0.05) for key in parameters if key.startswith("sigma")}
    fished = tuple(range(n_fisheries))
    title = f"{name}, {n_fisheries} {'fishery' if n_fisheries == 1 else 'fisheries'}"
    drift = {"DEFAULT": (0.0, 1.0), "RXDRIFT": (1 / 200, 0.5)}.get(name)
    return Model(title, ("X", "Y", "Z"), fished, grow, parameters, (0.5, 0.5, 0.7), top=(1.6, 1.6, 2.5), drift=drift)


def published(name: str, reading: Reading = CODE) -> Model:
    """Return M1 (one species), M2 (X fished), M3 (X and Y fished) or M4 (M3 with r_X falling to half by year 100).

    Examples
    --------
    >>> published("M4").fished
    (0, 1)
    """
    if name == "M1":
        sigma, beta = (0.05, 0.25) if reading.one_species == "published" else (0.1, 0.23)
        model = may(math.sqrt(0.05) if reading.noise == "paper" else sigma, beta)
    elif name in ("M2", "M3", "M4"):
        model = variant("RXDRIFT" if name == "M4" else "DEFAULT", 1 if name == "M2" else 2, reading)
    else:
        raise ValueError(f"model: expected M1, M2, M3 or M4, got {name!r}; see sciml_fishery.three_species.variant")
    return Model(**{**vars(model), "name": name})
