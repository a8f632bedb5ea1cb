"""Boxes of haloes over a design of cosmologies: simulated once, kept on disk, the same in every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sciml_datasets.cache import cache_root

from sciml.config import setting
from sciml.executor import sweep
from sciml.progress import Progress
from sciml.threads import one_core
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.generate.design import cosmologies
from sciml_cosmo.generate.friends import Haloes, haloes
from sciml_cosmo.generate.linking import friends_of_friends
from sciml_cosmo.generate.particle_mesh import Particles, begin, evolve, gaussian_field, velocities
from sciml_cosmo.generate.power import CRITICAL_DENSITY, Universe, colossus

VERSION = 2
"""Raise it when a box changes, so that kept boxes are made anew."""


@dataclass(frozen=True)
class SimulationConfig:
    """One box: its size, its particles and its haloes."""

    box_size: float = setting(100.0, "side of the periodic box", "Mpc/h")
    n_particle: int = setting(64, "particles along an axis")
    n_mesh: int = setting(128, "cells of the force mesh along an axis")
    n_step: int = setting(12, "steps, even in the scale factor")
    start: float = setting(0.1, "scale factor of the second-order start")
    link: float = setting(0.2, "linking length of haloes, in mean distances of particles")
    least: int = setting(10, "particles of the smallest halo")
    device: str = setting("cpu", "where particles are moved: cpu or cuda")

    def __post_init__(self) -> None:
        whole = min(self.n_particle // 4, self.n_step, self.least) >= 1 and self.n_mesh >= self.n_particle
        if not (whole and self.box_size > 0 and 0 < self.start < 1 and 0 < self.link < 1):
            wanted = "a box, n_particle >= 4, n_mesh >= n_particle, steps, least >= 1, start and link in (0, 1)"
            raise ValueError(f"SimulationConfig: expected {wanted}, got {self}; correct them")


@dataclass(frozen=True)
class BoxesConfig:
    """A design of cosmologies, one box for each."""

    n_box: int = setting(144, "boxes; those of fewer are the first of more")
    simulation: SimulationConfig = setting(SimulationConfig(), "each box")

    def __post_init__(self) -> None:
        if self.n_box < 1:
            raise ValueError(f"n_box: expected at least one box, got {self.n_box}; raise it")


@dataclass(frozen=True)
class Task:
    """One box of a design: `seed` and `number` fix its initial density."""

    omega_m: float
    sigma_8: float
    seed: int
    number: int
    simulation: SimulationConfig


def particle_mass(omega_m: float, config: SimulationConfig) -> float:
    """Return the mass of a particle, Msun/h."""
    return CRITICAL_DENSITY * omega_m * (config.box_size / config.n_particle) ** 3


def simulate(task: Task) -> tuple[Particles, Haloes]:
    """Return the particles at a = 1 and their haloes, positions in Mpc/h and velocities in km/s."""
    config, universe = task.simulation, Universe(task.omega_m, task.sigma_8)
    spacing, cell = config.box_size / config.n_particle, config.box_size / config.n_mesh
    density = gaussian_field(universe.power, config.n_particle, spacing, [task.seed, task.number], config.device)
    steps = np.linspace(config.start, 1, config.n_step + 1)
    found = evolve(universe, begin(universe, density, config.start, config.n_mesh), steps, config.n_mesh)
    x, v = (found.positions * cell).double().cpu().numpy(), velocities(found, cell).double().cpu().numpy()
    x[x >= config.box_size] = 0.0  # rounded up to the side itself
    group = friends_of_friends(x, config.box_size, config.link * spacing)
    return found, haloes(x, v, group, config.box_size, config.least)


def make_haloes(task: Task) -> dict[str, NDArray[Any]]:
    """Return the haloes of one box; for sweeps. On one thread: the answer does not depend on how many there are."""
    with one_core():
        found = simulate(task)[1]
    return {"positions": found.positions, "velocities": found.velocities, "counts": found.counts}


def tasks(config: BoxesConfig, seed: int) -> list[Task]:
    """Return the boxes of a design; those of a smaller one are the first."""
    design = cosmologies(config.n_box, seed).tolist()
    return [Task(omega_m, sigma_8, seed, i, config.simulation) for i, (omega_m, sigma_8) in enumerate(design)]


def make_boxes(config: BoxesConfig, seed: int, folder: str | Path | None = None, progress: Progress | None = None,
               n_worker: int | None = None) -> list[Cloud]:  # fmt: skip
    """Return the haloes of every box of a design, heaviest first in each; box i is the simulation i.

    Parameters
    ----------
    config
        Boxes and what each is made with.
    seed
        Of the design and, with the number of a box, of its initial density.
    folder
        Where boxes are kept as each is finished, so that a killed sweep goes on; by default ``boxes`` in SCIML_CACHE or
        ~/.cache/sciml.
    progress
        Where it is shown; by default nowhere.
    n_worker
        Processes, each of one thread; by default the cores this process may use. One works in this process.

    *Contract*: the same boxes for any number of workers; with fewer boxes, the first ones of more.
    """
    wanted = tasks(config, seed)
    colossus()  # its absence is told before anything is started
    executor: Any = "serial" if n_worker == 1 else "processes"
    outcomes = sweep(
        make_haloes, wanted, executor=executor, n_workers=n_worker, folder=folder or cache_root() / "boxes",
        progress=progress, version=VERSION,
    )  # fmt: skip
    failures = [f"box {task.number}: {o.failure}" for task, o in zip(wanted, outcomes, strict=True) if o.failure]
    if failures:
        raise RuntimeError(f"make_boxes: expected {len(wanted)} boxes, got {len(failures)} failures; {failures[0]}")
    return _clouds(wanted, [outcome.values for outcome in outcomes])


def _clouds(made: Sequence[Task], values: Sequence[Any]) -> list[Cloud]:
    clouds = []
    for task, found in zip(made, values, strict=True):
        if not len(found["counts"]):
            least = task.simulation.least
            wanted = f"haloes of at least {least} particles"
            raise ValueError(f"box {task.number}: expected {wanted}, got none; use more particles or a smaller box")
        masses = found["counts"] * particle_mass(task.omega_m, task.simulation)
        truth = {"Omega_m": task.omega_m, "sigma_8": task.sigma_8}
        clouds.append(
            Cloud(found["positions"], found["velocities"], task.simulation.box_size, masses, truth, 0.0, task.number)
        )
    return clouds
