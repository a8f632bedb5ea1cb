"""The forest that a task on trees works on, grown here or read from files, and its splits by simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sciml_datasets.split import split_exactly

from sciml import Run
from sciml.experiment import content_hash
from sciml_cosmo.files import read_forest
from sciml_cosmo.forest import Forest
from sciml_cosmo.generate.merger_trees import TreesConfig, make_forest
from sciml_cosmo.trees.transforms import select

PARTS = ("train", "val", "test")
Splits = dict[str, NDArray[np.int64]]


def open_forest(files: str, config: TreesConfig, run: Run) -> tuple[Forest, Splits]:
    """Return the forest and the places of its trees by split.

    Parameters
    ----------
    files : folder with one file for each of train, val and test; empty: trees are grown.
    config : of the trees that are grown; 60, 20 and 20 % of their simulations form the splits.
    run : its seed is that of the trees and the splits.
    """
    if files:
        forests = [read_forest(_file(Path(files), part)) for part in PARTS]
        forest = joined(forests)
        edges = np.cumsum([0, *(one.n_tree for one in forests)])
        splits = {part: np.arange(a, b) for part, a, b in zip(PARTS, edges, edges[1:], strict=False)}
        _check_apart(forest, splits)
    else:
        folder = run.checkpoint("forest")
        forest = make_forest(config, run.seed, progress=run.progress, folder=folder)
        n_held_out = max(1, round(0.2 * config.n_cosmology))
        counts = dict(zip(PARTS, (config.n_cosmology - 2 * n_held_out, n_held_out, n_held_out), strict=True))
        splits = split_exactly(forest.simulation.tolist(), counts, run.seed)
    run.record(data_hash=content_hash(forest.features, forest.descendant, forest.targets))
    return forest, splits


def _file(folder: Path, part: str) -> Path:
    found = sorted(path for path in folder.glob(f"*{part}*") if path.is_file())
    if len(found) != 1:
        got = ", ".join(path.name for path in found) or "none"
        raise ValueError(f"{folder}: expected one file with {part!r} in its name, got {got}; rename or move the others")
    return found[0]


def _check_apart(forest: Forest, splits: Splits) -> None:
    seen: set[int] = set()
    for part, trees in splits.items():
        own = set(forest.simulation[trees].tolist())
        if own & seen:
            wanted = "simulations that lie in one split each"
            raise ValueError(f"trees: expected {wanted}, got {min(own & seen)} in {part} too; split by simulation")
        seen |= own


def joined(forests: Sequence[Forest]) -> Forest:
    """Return the trees of several forests as one, with the extra arrays that all of them have."""
    shift = np.cumsum([0, *(len(one.features) for one in forests)])
    descendant = [np.where(one.descendant < 0, -1, one.descendant + k) for one, k in zip(forests, shift, strict=False)]
    start = [one.start[:-1] + k for one, k in zip(forests, shift, strict=False)]
    names = set.intersection(*(set(one.extra) for one in forests))
    return Forest(
        np.concatenate([one.features for one in forests]),
        np.concatenate(descendant),
        np.concatenate([*start, shift[-1:]]),
        np.concatenate([one.targets for one in forests]),
        np.concatenate([one.simulation for one in forests]),
        {name: np.concatenate([one.extra[name] for one in forests]) for name in sorted(names)},
    )


def mass_and_time(forest: Forest) -> Forest:
    """Return the forest with concentrations and speeds set to zero."""
    features = forest.features.copy()
    features[:, 1:3] = 0
    return replace(forest, features=features)


def uneven(forest: Forest, n_output: int, seed: int) -> Forest:
    """Return the trees at `n_output` of their snapshots: the root's and others drawn at random, the same for all trees.

    Simulations write their outputs at uneven times. Of snapshots that are even in the logarithm of the scale factor a
    merger falls into the one or the other of two intervals with equal chances, and time says nothing.
    """
    snapshot = forest.extra["snapshot"]
    n_snapshot = int(snapshot.max()) + 1
    chosen = 1 + np.random.default_rng(seed).choice(n_snapshot - 1, min(n_output, n_snapshot) - 1, replace=False)
    kept = np.zeros(n_snapshot, dtype=bool)
    kept[[0, *chosen]] = True
    number = np.cumsum(kept) - 1
    coarse = select(forest, kept[snapshot])
    return replace(coarse, extra={**coarse.extra, "snapshot": number[coarse.extra["snapshot"]]})
