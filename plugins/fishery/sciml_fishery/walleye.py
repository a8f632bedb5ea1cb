"""An age-structured stock, walleye: twenty ages, rare strong year classes, and three ideas of what fishing is for.

Each year: harvest of the vulnerable, survival, spawning by what is left, ageing; the oldest age keeps its fish.

    u = fraction,  C_a = u v_a N_a,  N_a <- s (1 - u v_a) N_a,  R = alpha B / (1 + beta B) w,  B = sum m_a W_a N_a

with vulnerability v, maturity m, weight W at age, and a recruitment multiplier w: uniform on (10, 30) with probability
0.0488, in the other years lognormal. The code has two versions of those: lognormal(0, 0.3) as it is, which gives the
published table, and a quarter of its mean, which gives the table of a notebook. The multiplier's mean is 1.97 and 1.21,
and not the 1 it is said to be.

Source: F. Montealegre-Mora, C. Boettiger, C. J. Walters, C. L. Cahill, "Using machine learning to inform harvest
control rule design in complex fishery settings", arXiv 2412.12400, and its code (boettiger-lab/rl4fisheries): the
published table is that of the branch without rescaling.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sciml_fishery.models import Model, Parameters
from sciml_fishery.objectives import Objective

N_AGES, TROPHIES = 20, 10
AGES = np.arange(1, N_AGES + 1)
VULNERABLE = 1 / (1 + np.exp(-(AGES - 5) / 0.5))  # to harvest; the 0.5 is a slope at maturity and a width here
SURVEYED = 41.08 / 57.57 * (1 - np.exp(-0.23 * AGES)) ** 2.02
MATURE = 1 / (1 + np.exp(-0.5 * (AGES - 6)))
WEIGHT = (1 - np.exp(-0.23 * AGES)) ** 3
P_STRONG = 2 * 0.025 * 0.975  # exactly one success of Binomial(2, 0.025)
UTILITIES = {
    "UM1": Objective(price=(1.0, 0.0)),
    "UM2": Objective(price=(1.0, 0.0), exponent=0.6),
    "UM3": Objective(price=(0.0, 1.0)),
}


def _survivorship(survival: float) -> np.ndarray:
    ladder = survival ** np.arange(N_AGES, dtype=float)
    ladder[-1] /= 1 - survival
    return ladder


PARAMETERS = {"survival": 0.86, "compensation": 6.0, "unfished_recruits": 1.0, "deviation": 0.3, "usual": 1.0}
SPAWNERS_PER_RECRUIT = float((_survivorship(0.86) * MATURE * WEIGHT).sum())


def _at_age(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)


def harvest(stock: Tensor, fraction: Tensor, p: Parameters) -> tuple[Tensor, Tensor]:
    """Return the fish that are left, and the yield: weight of the catch and number of trophies in it."""
    caught = fraction * _at_age(VULNERABLE, stock) * stock
    trophies = caught[..., -TROPHIES:].sum(-1)
    return stock - caught, torch.stack([caught @ _at_age(WEIGHT, stock), trophies], -1)


def recruitment(noise: Tensor, p: Parameters) -> Tensor:
    """Return the multiplier w (...) from three normals (..., 3): the size, whether it is a strong year, how strong."""
    chance, share = torch.special.ndtr(noise[..., 1]), torch.special.ndtr(noise[..., 2])
    usual = p["usual"] * torch.exp(p["deviation"] * noise[..., 0])
    return torch.where(chance < P_STRONG, 10 + 20 * share, usual)


def grow(stock: Tensor, p: Parameters, year: Tensor, noise: Tensor) -> Tensor:
    """Return the next year's stock (..., age) from what harvest left."""
    left = p["survival"][..., None] * stock
    spawners = left @ _at_age(MATURE * WEIGHT, stock)
    alpha = p["compensation"] / SPAWNERS_PER_RECRUIT
    beta = (p["compensation"] - 1) / (p["unfished_recruits"] * SPAWNERS_PER_RECRUIT)
    recruits = alpha * spawners / (1 + beta * spawners) * recruitment(noise, p)
    oldest = left[..., -1] + left[..., -2]
    return torch.cat([recruits[..., None], left[..., :-2], oldest[..., None]], -1)


def see_biomass(stock: Tensor, p: Parameters) -> Tensor:
    """Return the biomass (..., 1) as a survey sees it."""
    return (stock @ _at_age(SURVEYED * WEIGHT, stock))[..., None]


def see_both(stock: Tensor, p: Parameters) -> Tensor:
    """Return biomass and mean weight (..., 2) as a survey sees them."""
    biomass, number = see_biomass(stock, p)[..., 0], stock @ _at_age(SURVEYED, stock)
    return torch.stack([biomass, biomass / number.clamp(min=1e-9)], -1)


def begin(noise: Tensor, p: Parameters) -> Tensor:
    """Return the unfished stock times a uniform number between 0.1 and 1."""
    return _at_age(_survivorship(0.86), noise) * (0.1 + 0.9 * torch.special.ndtr(noise[..., :1]))


def walleye(sees_weight: bool = False, n_years: int = 1000, rescaled: bool = False) -> Model:
    """Return the model; its policies see the surveyed biomass, and with `sees_weight` the mean weight too.

    Parameters
    ----------
    sees_weight : see the mean weight beside the biomass.
    n_years : length of an episode.
    rescaled : recruitment in usual years is a quarter of the lognormal's mean, as in one version of the code.
    """
    quarter = math.exp(-(PARAMETERS["deviation"] ** 2) / 2) / 4
    parameters = {**PARAMETERS, "usual": quarter if rescaled else PARAMETERS["usual"]}
    names = ("biomass", "mean_weight") if sees_weight else ("biomass",)
    return Model(
        "walleye", tuple(f"age_{a}" for a in AGES), (N_AGES - 1,), grow, parameters, tuple(_survivorship(0.86)),
        threshold=-math.inf, n_years=n_years, n_noise=3, harvest=harvest, begin=begin, observed=names,
        observe=see_both if sees_weight else see_biomass, caught=("weight", "trophies"),
    )  # fmt: skip
