"""Settings of the tasks on merger trees; every field carries its help and unit."""

from __future__ import annotations

from dataclasses import dataclass

from sciml.config import setting


@dataclass(frozen=True)
class TrainingConfig:
    """How a network of trees is trained."""

    n_steps: int = setting(300, "optimization steps")
    n_tree: int = setting(64, "trees in each step")
    learning_rate: float = setting(5e-3, "of AdamW at its highest; a cosine takes it to zero")
    weight_decay: float = setting(0.01, "of AdamW")
    every: int = setting(25, "steps between validations; the best weights are kept")

    def __post_init__(self) -> None:
        if min(self.n_steps, self.n_tree, self.every) < 1 or not self.learning_rate > 0 or self.weight_decay < 0:
            raise ValueError(f"training: expected numbers above zero and weight_decay >= 0, got {self}; raise them")
