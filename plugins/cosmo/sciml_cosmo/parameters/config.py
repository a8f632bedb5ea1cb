"""Settings of the parameter task; every field carries its help and unit."""

from __future__ import annotations

from dataclasses import dataclass

from sciml.config import setting
from sciml_cosmo.clustering.two_point import PAPER, SHIPPED
from sciml_cosmo.generate.boxes import BoxesConfig
from sciml_cosmo.parameters.train import TrainConfig


@dataclass(frozen=True)
class GraphConfig:
    """The graph network and its training."""

    width: int = setting(32, "features of a node")
    n_layer: int = setting(1, "rounds of messages")
    farthest: float = setting(0.3, "reach of a node's surroundings", "sides of the box")
    linked: float = setting(0.12, "cut-off of the graph that messages travel on", "sides of the box")
    train: TrainConfig = setting(TrainConfig(), "training")

    def __post_init__(self) -> None:
        if min(self.width, self.n_layer) < 1:
            raise ValueError(f"graph: expected width and n_layer of at least 1, got {self.width} and {self.n_layer}")


@dataclass(frozen=True)
class ParametersConfig:
    """Omega_m and sigma_8 from the positions of a fixed number of haloes."""

    files: str = setting("", "folder with files of clouds named train, val and test; empty: boxes made here")
    boxes: BoxesConfig = setting(BoxesConfig(96), "boxes that are made where there are no files")
    n_node: int = setting(512, "nodes kept of every box, so that their number says nothing")
    sample: str = setting("heaviest", "which nodes: heaviest, or a random subset of all")
    suite: str = setting("camels-sam", f"bins of separation of: {', '.join(SHIPPED)}")
    binning: str = setting("shipped", "bins of the scripts (shipped) or of the paper")
    n_cut: int = setting(12, "cut-offs of the least squares with pair statistics")
    n_search: int = setting(3, "perceptrons on the correlation function tried on validation boxes")
    n_seed: int = setting(1, "trainings with other seeds and other validation boxes, the same test boxes")
    perceptron: TrainConfig = setting(TrainConfig(80, 32, 3e-3, 0.2, 0.3), "training on the correlation function")
    graph: GraphConfig = setting(GraphConfig(), "graph network")

    def __post_init__(self) -> None:
        if min(self.n_cut, self.n_search, self.n_seed) < 1 or self.n_node < 2:
            raise ValueError(f"parameters: expected counts of at least 1 and two nodes, got {self}; raise them")
        if self.sample not in ("heaviest", "random"):
            raise ValueError(f"sample: expected heaviest or random, got {self.sample!r}; choose one")
        if self.suite not in SHIPPED or self.binning not in ("shipped", "paper"):
            wanted = f"one of {', '.join(PAPER)} and shipped or paper"
            raise ValueError(f"suite, binning: expected {wanted}, got {self.suite!r} and {self.binning!r}; choose")
        if not self.files and self.boxes.n_box < 20:
            raise ValueError(f"boxes.n_box: expected at least 20 to split, got {self.boxes.n_box}; raise it")


QUICK_PARAMS = ParametersConfig(
    boxes=BoxesConfig(24),
    n_search=1,
    perceptron=TrainConfig(20, 8, 3e-3, 0.02, 0.2),
    graph=GraphConfig(width=8, train=TrainConfig(3, 8)),
)
DEFAULT_PARAMS = ParametersConfig(boxes=BoxesConfig(512), n_seed=3)
