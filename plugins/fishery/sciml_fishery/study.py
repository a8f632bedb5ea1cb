"""The robustness study of a report: parameters drawn around the nominal ones, other worlds, one species for three."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sciml.config import setting
from sciml_fishery.models import Model, may
from sciml_fishery.robust import Stability, regret, stability, transfer
from sciml_fishery.rollout import Decide
from sciml_fishery.three_species import variant

WORLDS = ("DEFAULT", "CVDRIFT", "DDRIFT", "KLIMIT", "V0DRIFT", "ZABIOTIC")
BASE = "escapement"  # what the paper's study compares with


@dataclass(frozen=True)
class StudyConfig:
    """How thoroughly policies are tried where the world is not the one they were made for."""

    spreads: tuple[float, ...] = setting((0.04, 0.08, 0.12, 0.16, 0.2), "relative deviations of every parameter")
    n_draws: int = setting(30, "drawn worlds for each deviation in `sciml run`")
    n_draws_bench: int = setting(100, "drawn worlds for each deviation in `sciml bench`")
    n_episodes: int = setting(10, "episodes in each drawn world")
    n_elsewhere: int = setting(300, "episodes in each other model")

    def __post_init__(self) -> None:
        counts = self.n_draws, self.n_draws_bench, self.n_episodes, self.n_elsewhere
        if min(counts) < 1 or min(self.spreads, default=0) < 0:
            raise ValueError(f"study: expected counts >= 1 and spreads >= 0, got {self}; correct them")


@dataclass(frozen=True)
class Study:
    """What policies earn where the world is not the one they were made for.

    Parameters
    ----------
    noise : relative deviation of the parameters -> rewards in the drawn worlds.
    elsewhere : world -> policy -> mean reward, the policies' own world first.
    alone : one-species model -> share of the optimal reward that its optimal policies lose; none without an optimum.
    """

    noise: Mapping[float, Stability]
    elsewhere: Mapping[str, Mapping[str, float]]
    alone: Mapping[str, float]


def other_worlds(model: Model) -> dict[str, Model]:
    """Return the model and others with its species and fisheries, by name."""
    known = model.name.split(",")[0]
    found = {known: model}
    if known == "M1":
        found |= {"M1, beta 0.23": may(beta=0.23), "M1, sigma 0.1": may(sigma=0.1)}
    elif model.species == ("X", "Y", "Z"):
        same = {known, "DEFAULT" if known in ("M2", "M3") else ""}
        found |= {name: variant(name, len(model.fished)) for name in WORLDS if name not in same}
    return found


def one_species(world: Model) -> dict[str, Model]:
    """Return models of the prey X alone, its predator absent or held at a level; none for worlds of another kind."""
    p = world.parameters
    if len(world.species) != 3 or "beta" not in p:
        return {}
    levels = {"no predator": 0.0, "the predator held at its start": world.initial[2], "the predator held at 0.3": 0.3}
    return {name: may(p["sigma_x"], p["beta"] * z, p["c"], p["r_x"], p["k_x"]) for name, z in levels.items()}


def study(config: StudyConfig, model: Model, policies: Mapping[str, Decide], seed: int, optimum: float | None = None,
          *, full: bool = False, update: Callable[..., None] = print) -> Study:  # fmt: skip
    """Try policies in drawn worlds and in other ones, and the optimal policies of one-species models in this one.

    Parameters
    ----------
    policies : by name.
    optimum : reward of the optimal policy; without it `alone` stays empty.
    full : draw as many worlds as `sciml bench` does.
    update : told how many deviations are done.
    """
    noise = {}
    n_draws = config.n_draws_bench if full else config.n_draws
    for done, spread in enumerate(config.spreads, 1):
        noise[spread] = stability(model, policies, spread, seed, n_draws=n_draws, n_episodes=config.n_episodes)
        update(done, f"deviation {spread:g}")
    elsewhere = transfer(other_worlds(model), policies, seed, config.n_elsewhere)
    simple = {} if optimum is None else one_species(model)
    return Study(noise, elsewhere, regret(model, simple, optimum or 1.0, seed))
