"""Settings of `sciml run cosmo`; every field carries its help and unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sciml.config import setting
from sciml_cosmo.generate.boxes import BoxesConfig, SimulationConfig
from sciml_cosmo.parameters.config import DEFAULT_PARAMS, QUICK_PARAMS, ParametersConfig
from sciml_cosmo.trees.config import QUICK_INFILL, QUICK_TREES, InfillTaskConfig, TreesTaskConfig
from sciml_cosmo.velocity.config import EquivariantConfig, LeastSquaresConfig, PublishedConfig, VelocityConfig

TASKS = ("velocity", "parameters", "trees", "infill")


@dataclass(frozen=True)
class CosmoConfig:
    """CosmoBench: what is asked of haloes, galaxies and merger trees."""

    task: Literal["velocity", "parameters", "trees", "infill"] = setting("velocity", ", ".join(TASKS))
    velocity: VelocityConfig = setting(VelocityConfig(), "velocities of haloes from where they are")
    parameters: ParametersConfig = setting(ParametersConfig(), "Omega_m and sigma_8 from point clouds")
    trees: TreesTaskConfig = setting(TreesTaskConfig(), "Omega_m and sigma_8 from merger trees")
    infill: InfillTaskConfig = setting(InfillTaskConfig(), "mergers that coarse trees have lost")
    bench: tuple[str, ...] = setting(TASKS, "tasks whose results `sciml bench cosmo` measures beside the kernels")

    def __post_init__(self) -> None:
        if len(set(self.bench)) < len(self.bench) or not set(self.bench) <= set(TASKS):
            raise ValueError(f"bench: expected different ones of {', '.join(TASKS)}, got {self.bench}; choose")


QUICK_VELOCITY = VelocityConfig(
    boxes=BoxesConfig(12, SimulationConfig(n_particle=32, n_mesh=64)),
    least_squares=LeastSquaresConfig(n_wave=6),
    published=PublishedConfig(n_epoch=1),
    equivariant=EquivariantConfig(n_epoch=2),
)
PRESETS = {
    "default": CosmoConfig(),
    "quick": CosmoConfig(velocity=QUICK_VELOCITY, parameters=QUICK_PARAMS, trees=QUICK_TREES, infill=QUICK_INFILL),
    "default-params": CosmoConfig("parameters", parameters=DEFAULT_PARAMS),
}
