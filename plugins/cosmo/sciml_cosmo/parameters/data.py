"""The boxes of the parameter task and their splits: made here, or read from files in the published layout."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from sciml_datasets.split import split_exactly

from sciml.experiment import Run
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.files import read_clouds
from sciml_cosmo.generate.boxes import make_boxes
from sciml_cosmo.parameters.config import ParametersConfig
from sciml_cosmo.parameters.train import Split

PARTS = ("train", "val", "test")
SHARE = 0.2  # of the boxes that are test boxes, and of the others that are validation boxes
SPLIT_SEED, DESIGN_SEED = 2507, 7  # test boxes and design are the same whatever the seed of the run


def load(config: ParametersConfig, run: Run) -> tuple[list[Cloud], list[Split]]:
    """Return clouds and one split for each seed; the test boxes are those of every split.

    A fifth of the simulations are test boxes, fixed; of the rest another fifth, drawn anew for each seed, are
    validation boxes. Files come with their own split, which every seed takes.
    """
    if config.files:
        parts = [_read(Path(config.files), part) for part in PARTS]
        ends = np.cumsum([0, *map(len, parts)])
        split = Split(*(np.arange(a, b) for a, b in pairwise(ends)))
        return [cloud for part in parts for cloud in part], [split] * config.n_seed
    clouds = make_boxes(config.boxes, DESIGN_SEED, progress=run.progress)
    seeds = range(run.seed, run.seed + config.n_seed)
    return clouds, [split_boxes(np.array([cloud.simulation for cloud in clouds]), seed) for seed in seeds]


def split_boxes(simulations: np.ndarray, seed: int) -> Split:
    """Return the split of clouds by their `simulations` (cloud,); `seed` draws the validation boxes.

    *Contract*: no simulation lies in two parts, and the test part is the same for every seed.

    Examples
    --------
    >>> split = split_boxes(np.arange(100), seed=7)
    >>> len(split.train), len(split.val), len(split.test)
    (64, 16, 20)
    """
    n_sim = len(np.unique(simulations))
    n_test = round(SHARE * n_sim)
    outer = split_exactly(simulations.tolist(), {"test": n_test, "rest": n_sim - n_test}, SPLIT_SEED)
    rest, n_val = outer["rest"], round(SHARE * (n_sim - n_test))
    counts = {"val": n_val, "train": n_sim - n_test - n_val}
    inner = split_exactly(simulations[rest].tolist(), counts, seed)
    return Split(rest[inner["train"]], rest[inner["val"]], outer["test"])


def _read(folder: Path, part: str) -> list[Cloud]:
    found = sorted(path for path in folder.glob("*.hdf5") if path.stem.endswith(part))
    if len(found) != 1:
        got = f"{len(found)} in {folder}"
        raise ValueError(f"files: expected one file of clouds whose name ends in {part}.hdf5, got {got}; leave one")
    return list(read_clouds(found[0]))
