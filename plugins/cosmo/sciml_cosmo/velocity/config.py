"""Settings of the velocity task; every field carries its help and unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sciml.config import setting
from sciml_cosmo.generate.boxes import BoxesConfig
from sciml_cosmo.velocity.published import Form


def _positive(config: object, where: str, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise ValueError(f"{where}{name}: expected a number above zero, got {value}; raise it")


@dataclass(frozen=True)
class LinearConfig:
    """Linear theory on a mesh."""

    n_mesh: int = setting(64, "mesh points along an axis")
    smoothing: tuple[float, ...] = setting((2.0, 3.0, 4.0, 6.0, 8.0), "lengths to choose from", "Mpc/h")
    betas: tuple[float, ...] = setting((0.0, 0.3, 0.6), "strengths of Kaiser's factor to choose from in redshift space")

    def __post_init__(self) -> None:
        if self.n_mesh < 4 or min(self.smoothing, default=0) <= 0 or min(self.betas, default=-1) < 0:
            raise ValueError(f"linear: expected n_mesh >= 4, lengths above 0 and betas >= 0, got {self}; correct them")


@dataclass(frozen=True)
class LeastSquaresConfig:
    """Least squares with inverse-power Fourier pair features; a smaller basis is chosen on the validation boxes."""

    n_wave: int = setting(25, "most waves, K")
    n_power: int = setting(3, "most powers, P")
    shrink: float = setting(0.4, "factor of separations along the line of sight in redshift space")


@dataclass(frozen=True)
class PublishedConfig:
    """The velocity network as published: 64 features, 6 layers, a tenth of the box."""

    n_feature: int = setting(64, "features of a node")
    n_layer: int = setting(6, "edge convolutions")
    radius: float = setting(0.1, "radius of the graph, in sides of the box")
    n_epoch: int = setting(6, "passes over the training boxes, one box a step; published: 100")
    learning_rate: float = setting(1e-3, "of Adam")
    precision: Literal["float32", "float64"] = setting("float32", "of the numbers; published: float64")
    form: Form = setting("fast", "fast, or published: evaluated edge by edge; the same outputs")

    def __post_init__(self) -> None:
        _positive(self, "published.", ("n_feature", "n_layer", "radius", "n_epoch", "learning_rate"))


@dataclass(frozen=True)
class EquivariantConfig:
    """The equivariant network on top of linear theory."""

    n_hidden: int = setting(32, "scalars and vectors of a node")
    n_layer: int = setting(2, "rounds of messages")
    radius: float = setting(10.0, "of the graph", "Mpc/h")
    smoothing: tuple[float, ...] = setting((2.0, 4.0, 8.0, 16.0), "of the painted fields", "Mpc/h")
    n_epoch: int = setting(10, "passes over the training boxes, one box a step")
    learning_rate: float = setting(3e-3, "of AdamW at the start, with cosine decay")

    def __post_init__(self) -> None:
        _positive(self, "equivariant.", ("n_hidden", "n_layer", "radius", "n_epoch", "learning_rate"))
        if min(self.smoothing, default=0) <= 0:
            raise ValueError(f"equivariant.smoothing: expected lengths above 0, got {self.smoothing}; correct them")


@dataclass(frozen=True)
class VelocityConfig:
    """Velocities of haloes from where they are, and how heavy."""

    boxes: BoxesConfig = setting(BoxesConfig(64), "universes that are made where no files are given")
    design: int = setting(7, "seed of the design of universes; other tasks share the boxes of the same one")
    files: str = setting("", "folder with *_train.hdf5, *_val.hdf5 and *_test.hdf5 in the layout of CosmoBench")
    heaviest: int = setting(0, "nodes of a cloud to keep, the heaviest; 0 keeps all")
    redshift_space: bool = setting(True, "whether everything is done in redshift space too")
    linear: LinearConfig = setting(LinearConfig(), "linear theory")
    least_squares: LeastSquaresConfig = setting(LeastSquaresConfig(), "least squares")
    published: PublishedConfig = setting(PublishedConfig(), "the network as published")
    equivariant: EquivariantConfig = setting(EquivariantConfig(), "the equivariant network")

    def __post_init__(self) -> None:
        if self.heaviest < 0 or self.boxes.n_box < 5:
            got = f"{self.heaviest} and {self.boxes.n_box}"
            raise ValueError(f"velocity: expected heaviest >= 0 and n_box >= 5, got {got}; correct them")
