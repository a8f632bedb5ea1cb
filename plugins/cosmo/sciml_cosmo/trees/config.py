"""Settings of the tasks on merger trees; every field carries its help and unit."""

from __future__ import annotations

from dataclasses import dataclass

from sciml.config import setting
from sciml_cosmo.generate.merger_trees import TreesConfig


@dataclass(frozen=True)
class TrainingConfig:
    """How a network of trees is trained."""

    n_steps: int = setting(300, "optimization steps")
    n_tree: int = setting(32, "trees in each step; published: 128")
    learning_rate: float = setting(5e-3, "of AdamW at its highest; a cosine takes it to zero")
    weight_decay: float = setting(0.01, "of AdamW")
    every: int = setting(25, "steps between validations; the best weights are kept")

    def __post_init__(self) -> None:
        if min(self.n_steps, self.n_tree, self.every) < 1 or not self.learning_rate > 0 or self.weight_decay < 0:
            raise ValueError(f"training: expected numbers above zero and weight_decay >= 0, got {self}; raise them")


@dataclass(frozen=True)
class TreesTaskConfig:
    """Omega_m and sigma_8 from merger trees."""

    files: str = setting("", "folder with forests named train, val and test; empty: trees grown here")
    forest: TreesConfig = setting(TreesConfig(), "trees that are grown where there are no files")
    training: TrainingConfig = setting(TrainingConfig(), "training of every network")
    n_mean: int = setting(5, "trees of one cosmology that are averaged over")
    width: int = setting(16, "channels of every network; the published parameter counts are those of 16")
    n_scan: int = setting(2, "layers of the tree scan")

    def __post_init__(self) -> None:
        if min(self.n_mean, self.width, self.n_scan) < 1:
            raise ValueError(f"trees: expected n_mean, width and n_scan of at least 1, got {self}; raise them")
        if not self.files and self.forest.n_cosmology < 20:
            raise ValueError(
                f"trees: expected forest.n_cosmology >= 20 to split, got {self.forest.n_cosmology}; raise it"
            )


@dataclass(frozen=True)
class InfillTaskConfig:
    """Mergers that coarse trees have lost."""

    files: str = setting("", "folder with forests named train, val and test; empty: trees grown here")
    forest: TreesConfig = setting(TreesConfig(150, 3, n_snapshot=200), "trees that are grown where there are no files")
    n_output: int = setting(60, "snapshots that are kept of those grown, at uneven times as simulations have them")
    training: TrainingConfig = setting(TrainingConfig(600, 16, 5e-3), "training of the networks")
    width: int = setting(16, "channels; the published parameter count is that of 16 and 4 layers")
    n_layer: int = setting(4, "tree convolutions")

    def __post_init__(self) -> None:
        if min(self.width, self.n_layer) < 1 or self.n_output < 4:
            raise ValueError(f"infill: expected width and n_layer >= 1 and n_output >= 4, got {self}; raise them")
        if not self.files and (self.forest.n_cosmology < 10 or self.n_output > self.forest.n_snapshot):
            wanted = "forest.n_cosmology >= 10 to split and n_output <= forest.n_snapshot"
            raise ValueError(f"infill: expected {wanted}, got {self}; correct them")


QUICK_TREES = TreesTaskConfig(forest=TreesConfig(30, 2, n_snapshot=20), training=TrainingConfig(12, 8, every=6))
QUICK_INFILL = InfillTaskConfig(
    forest=TreesConfig(20, 1, n_snapshot=40), n_output=20, training=TrainingConfig(12, 4, every=6)
)
