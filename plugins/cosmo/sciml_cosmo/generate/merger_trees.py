"""Forests of merger trees made here, over a design of cosmologies: what the tasks on trees train on without files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciml.config import setting
from sciml.executor import sweep
from sciml.progress import Progress
from sciml_cosmo.forest import Forest
from sciml_cosmo.generate.branching import Tables, grow, tables_of
from sciml_cosmo.generate.design import cosmologies
from sciml_cosmo.generate.halo_structure import EARLY, concentration, fastest, formation
from sciml_cosmo.generate.power import Array, Universe, colossus
from sciml_cosmo.generate.press_schechter import FITTED, Theory, tabulate
from sciml_cosmo.trees.transforms import trim

VERSION = 1  # of the trees; raise it when they change


@dataclass(frozen=True)
class TreesConfig:
    """How many merger trees, of which haloes, how finely."""

    n_cosmology: int = setting(256, "cosmologies, a Sobol design over Omega_m 0.1-0.5 and sigma_8 0.6-1.0")
    n_tree_each: int = setting(5, "trees of each cosmology")
    n_snapshot: int = setting(60, "snapshots, evenly spaced in the logarithm of the scale factor")
    earliest: float = setting(10.0, "redshift of the first snapshot; the last is at 0")
    resolution: float = setting(3e10, "mass of the lightest nodes", "Msun/h")
    margin: float = setting(2.0, "how far below the resolution branches are followed before they are trimmed")
    least_root: float = setting(1e13, "least mass of a root", "Msun/h")
    greatest_root: float = setting(1e14, "greatest mass of a root; roots are even in the logarithm", "Msun/h")
    scatter: float = setting(0.1, "scatter of the concentration at one history, beside that of histories", "dex")

    def __post_init__(self) -> None:
        if min(self.n_cosmology, self.n_tree_each) < 1 or self.n_snapshot < 2 or not 0 < self.earliest <= 50:
            wanted = "at least one cosmology and tree, two snapshots, and a first redshift in (0, 50]"
            raise ValueError(f"trees: expected {wanted}, got {self}; correct them")
        ordered = 0 < self.resolution < self.least_root <= self.greatest_root
        if not ordered or self.margin < 1 or self.scatter < 0:
            wanted = "0 < resolution < least_root <= greatest_root, margin >= 1 and scatter >= 0"
            raise ValueError(f"trees: expected {wanted}, got {self}; correct them")


@dataclass(frozen=True)
class Simulation:
    """One cosmology whose trees are grown together; a tree depends on the seed, `number` and its place only."""

    number: int
    omega_m: float
    sigma_8: float
    seed: int
    config: TreesConfig


def make_forest(config: TreesConfig, seed: int, *, progress: Progress | None = None, n_worker: int | None = None,
                folder: str | Path | None = None) -> Forest:  # fmt: skip
    """Grow merger trees in universes of different Omega_m and sigma_8.

    Roots are drawn evenly in ln M, progenitors by the binary splits of Parkinson, Cole and Helly; concentrations follow
    from when the main progenitor had 4 % of the mass, largest speeds from the profile of Navarro, Frenk and White.

    Parameters
    ----------
    config
        How many trees, of which haloes.
    seed
        Of the design and of the trees.
    progress
        Where it is shown; by default nowhere.
    n_worker
        Processes; by default the trees are grown in this one.
    folder
        Where cosmologies are stored as they finish and found again; by default they are not stored.

    Returns
    -------
    Forest
        `simulation` is the number of the cosmology; `extra` holds ``main_branch`` (bool), ``snapshot`` (0: the root's)
        and ``path_length`` (snapshots to the descendant; 0 for a root).

    *Contract*: equal for equal seeds, whatever `n_worker`; more cosmologies or trees leave the others as they are; no
    progenitors weigh more than their descendant together.

    *Source*: Parkinson, Cole and Helly 2008 (MNRAS 383, 557), appendix A; `concentration`, `fastest`, `formation`.

    *Departures*: from CS-Trees: masses never fall with time, so that trimming the subtrees that never reach the
    resolution leaves no lighter node, and none to prune. From the paper: branches are followed below the resolution
    and then trimmed, as there would be too few haloes just above it. Largest speeds have no scatter of their own, so
    that the four features of a halo together tell Omega_m: look at mass and time alone too.

    Examples
    --------
    >>> forest = make_forest(TreesConfig(n_cosmology=1, n_tree_each=2), seed=7)
    >>> forest.n_tree, forest.features.shape[1], bool(forest.extra["main_branch"][0])
    (2, 4, True)
    """
    colossus()  # what is missing is said here, not by every cosmology
    design = cosmologies(config.n_cosmology, seed)
    one = replace(config, n_cosmology=1)
    tasks = [Simulation(i, float(om), float(s8), seed, one) for i, (om, s8) in enumerate(design)]
    executor: Any = "serial" if n_worker is None else "processes"
    ends = sweep(
        grow_simulation, tasks, executor=executor, n_workers=n_worker, folder=folder, progress=progress, version=VERSION
    )
    failed = [end for end in ends if end.failure]
    if failed:
        raise RuntimeError(f"make_forest: {len(failed)} of {len(ends)} cosmologies failed; {failed[0].failure}")
    return _joined([end.values for end in ends], design)


def grow_simulation(task: Simulation) -> dict[str, NDArray]:
    """Return the trees of one cosmology, as the arrays of a forest by name."""
    config = task.config
    floor = config.resolution / config.margin
    universe = Universe(task.omega_m, task.sigma_8)
    theory = tabulate(universe, 0.9 * EARLY * floor, 1.1 * config.greatest_root)
    tables = tables_of(theory, FITTED, floor)
    trees = [_tree(task, theory, tables, number) for number in range(config.n_tree_each)]
    start = np.cumsum([0, *(len(tree["descendant"]) for tree in trees)])
    whole = _stacked(trees, start)
    targets = np.tile([task.omega_m, task.sigma_8], (len(trees), 1))
    extra = {name: whole[name] for name in ("main_branch", "snapshot", "path_length")}
    simulation = np.full(len(trees), task.number)
    forest = Forest(whole["features"], whole["descendant"], start, targets, simulation, extra)
    forest = trim(forest, config.resolution)
    return {"features": forest.features, "descendant": forest.descendant, "start": forest.start, **forest.extra}


def _tree(task: Simulation, theory: Theory, tables: Tables, number: int) -> dict[str, NDArray]:
    rng, config = np.random.default_rng((task.seed, task.number, number)), task.config
    root = config.least_root * (config.greatest_root / config.least_root) ** rng.random()
    scale_factor = np.geomspace(1, 1 / (1 + config.earliest), config.n_snapshot)
    barrier = theory.barrier_at(scale_factor)
    mass, descendant, snapshot = grow(root, barrier, tables, rng)
    first = np.full(len(mass), -1)
    first[descendant[:0:-1]] = np.arange(len(mass) - 1, 0, -1)  # of the progenitors of a node, the first one stays
    a = scale_factor[snapshot]
    formed = theory.scale_factor_at(formation(mass, first, barrier[snapshot], 1 - rng.random(len(mass)), tables))
    c = concentration(theory.universe.omega_m, a, formed) * 10 ** (config.scatter * rng.standard_normal(len(mass)))
    features = np.stack([np.log10(mass), np.log10(c), np.log10(fastest(theory.universe, a, mass, c)), a], 1)
    main_branch, node = np.zeros(len(mass), bool), 0
    while node >= 0:
        main_branch[node], node = True, first[node]
    extra = {"main_branch": main_branch, "snapshot": snapshot, "path_length": np.minimum(snapshot, 1)}
    return {"features": features.astype(np.float32), "descendant": descendant, **extra}


def _stacked(trees: Sequence[Mapping[str, NDArray]], start: NDArray[np.int64]) -> dict[str, NDArray]:
    """Return the arrays of trees one after the other, descendants counted along all."""
    whole = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0] if name != "start"}
    shift = np.repeat(start[:-1], np.diff(start))
    return {**whole, "descendant": np.where(whole["descendant"] < 0, -1, whole["descendant"] + shift)}


def _joined(parts: Sequence[Mapping[str, NDArray]], design: Array) -> Forest:
    whole = _stacked(parts, np.cumsum([0, *(len(part["descendant"]) for part in parts)]))
    lengths = np.concatenate([np.diff(part["start"]) for part in parts])
    simulation = np.repeat(np.arange(len(parts)), [len(part["start"]) - 1 for part in parts])
    extra = {name: whole[name] for name in ("main_branch", "snapshot", "path_length")}
    start = np.cumsum([0, *lengths])
    return Forest(whole["features"], whole["descendant"], start, design[simulation], simulation, extra)
