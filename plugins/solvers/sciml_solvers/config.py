"""Settings of `sciml run solvers`; every field carries its help and unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sciml.config import setting
from sciml_solvers.gallery import NAMES


def _check(config: object, where: str, positive: tuple[str, ...], counts: tuple[str, ...]) -> None:
    """Refuse settings that are not positive, and counts below one; the sentence has the name that --set takes."""
    for name in (*positive, *counts):
        value = getattr(config, name)
        if not value > 0:
            kind = "a count of at least 1" if name in counts else "a positive number"
            raise ValueError(f"{where + '.' if where else ''}{name}: expected {kind}, got {value}; raise it")


def _check_names(names: tuple[str, ...], where: str, closed: tuple[str, ...] = ()) -> None:
    known = [name for name in NAMES if name not in closed]
    if not names or len(set(names)) < len(names) or not set(names) <= set(known):
        raise ValueError(f"{where}.names: expected different ones of {', '.join(known)}, got {','.join(names)}; choose")


@dataclass(frozen=True)
class MaskConfig:
    """The three-dimensional problems that conjugate gradients and multigrid are compared on."""

    names: tuple[str, ...] = setting(
        ("solids", "dam", "porous", "maze", "jumps", "neumann"), "problems of the gallery; the first one is pictured"
    )
    n: int = setting(64, "cells along every axis")
    n_repeats: int = setting(3, "how often a solve is timed; the shortest time counts")

    def __post_init__(self) -> None:
        _check(self, "masks", (), ("n_repeats",))
        _check_names(self.names, "masks")
        if self.n < 8:
            raise ValueError(f"masks.n: expected at least 8 cells along an axis, got {self.n}; raise it")


@dataclass(frozen=True)
class DirectionConfig:
    """The deep conjugate direction method in two dimensions: its training and the problems it has not seen."""

    n: int = setting(64, "cells along every axis")
    names: tuple[str, ...] = setting(
        ("empty", "smoke", "solids", "dam"), "problems to solve; the network is trained on the matrix of `empty` alone"
    )
    larger: tuple[int, ...] = setting((2,), "the empty box with so many times the cells is solved too, untrained for")
    n_vectors: int = setting(500, "Lanczos vectors that training residuals are combined from")
    n_steps: int = setting(2000, "optimization steps, of 5 residuals each")
    scaling: Literal["norm", "rms"] = setting(
        "rms", "residuals that the network sees have this size 1: their norm (as published) or their root mean square"
    )
    n_iterations: int = setting(400, "most iterations of the method")
    n_previous: int = setting(16, "previous directions that a new one is made conjugate to; 2 as published")

    def __post_init__(self) -> None:
        _check(self, "directions", (), ("n_vectors", "n_steps", "n_iterations", "n_previous"))
        _check_names(self.names, "directions", closed=("neumann", "two_components"))
        if self.n < 8:
            raise ValueError(f"directions.n: expected at least 8 cells along an axis, got {self.n}; raise it")
        if any(factor < 2 for factor in self.larger):
            raise ValueError(f"directions.larger: expected factors of at least 2, got {self.larger}; raise them")
        if self.n_vectors > self.n * (self.n - 1):
            most = f"at most {self.n * (self.n - 1)}, the unknowns of `empty`"
            raise ValueError(f"directions.n_vectors: expected {most}, got {self.n_vectors}; lower it")


@dataclass(frozen=True)
class CycleConfig:
    """The multigrid cycle whose parameters a network predicts."""

    n_steps: int = setting(1000, "optimization steps on random masks")
    n_masks: int = setting(64, "random masks that it is trained on")

    def __post_init__(self) -> None:
        _check(self, "cycle", (), ("n_steps", "n_masks"))


@dataclass(frozen=True)
class SolversConfig:
    """Pressure-like problems, the methods that solve them, and what is trained for them."""

    rtol: float = setting(1e-6, "residual norm at which a problem counts as solved, relative to the right-hand side")
    masks: MaskConfig = setting(MaskConfig(), "three-dimensional problems")
    cycle: CycleConfig = setting(CycleConfig(), "learned cycle")
    directions: DirectionConfig = setting(DirectionConfig(), "deep conjugate directions")
    n_bench: int = setting(128, "cells along every axis where `sciml bench` measures the peers")

    def __post_init__(self) -> None:
        _check(self, "", ("rtol",), ())
        if self.rtol >= 1 or self.n_bench < 16:
            got = f"{self.rtol:g} and {self.n_bench}"
            raise ValueError(f"solvers: expected rtol below 1 and n_bench of at least 16, got {got}; see sciml show")


PRESETS = {
    "default": SolversConfig(),
    "quick": SolversConfig(
        masks=MaskConfig(names=("solids", "dam", "porous"), n=32, n_repeats=1),
        cycle=CycleConfig(n_steps=40, n_masks=16),
        directions=DirectionConfig(n=32, names=("empty", "solids"), n_vectors=200, n_steps=300),
        n_bench=32,
    ),
    "long": SolversConfig(
        cycle=CycleConfig(n_steps=3000, n_masks=128),
        directions=DirectionConfig(larger=(2, 4), n_steps=8000, n_iterations=1000),
    ),
}
