"""Settings of `sciml run fishery`; every field carries its help and unit."""

from __future__ import annotations

from dataclasses import dataclass

from sciml.config import setting
from sciml_fishery.bptt import BpttConfig
from sciml_fishery.models import Model
from sciml_fishery.ppo import PpoConfig
from sciml_fishery.sell_out import SellOutConfig
from sciml_fishery.study import StudyConfig
from sciml_fishery.three_species import CODE, VARIANTS, Reading, published, variant

MODELS = ("M1", "M2", "M3", "M4")


def _positive(config: object, where: str, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise ValueError(f"{where}{name}: expected a number above zero, got {value}; raise it")


@dataclass(frozen=True)
class SearchConfig:
    """The constant policies, found on a grid."""

    n_points: int = setting(51, "levels of each fishery")
    n_episodes: int = setting(100, "episodes that every rule is tried on")

    def __post_init__(self) -> None:
        _positive(self, "search.", ("n_points", "n_episodes"))


@dataclass(frozen=True)
class OptimumConfig:
    """The optimum by dynamic programming."""

    n_points: int = setting(25, "grid points of each fished species and of prey")
    n_predator: int = setting(33, "grid points of the last species")
    front: tuple[float, ...] = setting((5.0, 20.0, 60.0), "further costs of a loss that the Pareto front is made of")
    n_front: int = setting(17, "grid points of each species for the front")

    def __post_init__(self) -> None:
        _positive(self, "optimum.", ("n_points", "n_predator", "n_front"))
        if min(self.n_points, self.n_predator, self.n_front) < 5 or min(self.front, default=0) < 0:
            raise ValueError(f"optimum: expected at least 5 points and costs >= 0, got {self}; raise them")


@dataclass(frozen=True)
class RobustConfig:
    """Training on parameters that differ from episode to episode, and caution about losses."""

    spread: float = setting(0.1, "relative standard deviation of every parameter")
    n_steps: int = setting(20, "optimization steps, from the nominal policy on")
    learning_rate: float = setting(0.02, "of Adam at the start")
    worst_share: float = setting(0.7, "share of the worst episodes whose mean is maximised; 1 is the plain mean")
    death_cost: float = setting(20.0, "further cost of a loss that the cautious rule is trained with")

    def __post_init__(self) -> None:
        _positive(self, "robust.", ("n_steps", "learning_rate"))
        if self.spread < 0 or self.death_cost < 0 or not 0 < self.worst_share <= 1:
            wanted = "spread and death_cost >= 0 and a share in (0, 1]"
            raise ValueError(f"robust: expected {wanted}, got {self}; correct them")


@dataclass(frozen=True)
class FisheryConfig:
    """One stock model, the policies that are found for it, and how they are judged."""

    model: str = setting("M4", f"M1 to M4 of the paper, or one of its variants: {', '.join(VARIANTS)}")
    n_fisheries: int = setting(2, "fisheries of a variant: 1 takes X, 2 take X and Y; M1 to M4 have their own")
    n_test: int = setting(1500, "fresh episodes that every policy is judged on")
    search: SearchConfig = setting(SearchConfig(), "constant policies")
    optimum: OptimumConfig = setting(OptimumConfig(), "dynamic programming")
    network: BpttConfig = setting(BpttConfig(48), "training of the network")
    rule: BpttConfig = setting(BpttConfig(40, learning_rate=0.02), "training of the readable rule")
    sell_out: SellOutConfig = setting(SellOutConfig(), "search for a giving-up threshold and a sell-out year")
    robust: RobustConfig = setting(RobustConfig(), "robust and cautious training")
    study: StudyConfig = setting(StudyConfig(), "robustness study of the report")
    ppo: PpoConfig = setting(PpoConfig(n_updates=30), "reinforcement learning, which does not know the equations")
    sb3_steps: int = setting(1_200_000, "most environment steps of stable-baselines3 in `sciml bench`")

    def __post_init__(self) -> None:
        _positive(self, "", ("n_test", "sb3_steps"))
        if self.model not in (*MODELS, *VARIANTS) or self.n_fisheries not in (1, 2):
            wanted = f"one of {', '.join((*MODELS, *VARIANTS))} with 1 or 2 fisheries"
            raise ValueError(f"model: expected {wanted}, got {self.model!r} with {self.n_fisheries}; choose one")

    def stock(self, reading: Reading = CODE) -> Model:
        """Return the model."""
        known = self.model in MODELS
        return published(self.model, reading) if known else variant(self.model, self.n_fisheries, reading)


PRESETS = {
    "default": FisheryConfig(),
    "quick": FisheryConfig(
        n_test=200,
        search=SearchConfig(11, 40),
        optimum=OptimumConfig(11, 15, (20.0,), 9),
        network=BpttConfig(6, 64, 0.01),
        rule=BpttConfig(8, 64, 0.04),
        sell_out=SellOutConfig(2, 8, 16, 2),
        robust=RobustConfig(n_steps=4),
        study=StudyConfig((0.1,), 4, 4, 5, 20),
        ppo=PpoConfig(n_updates=2, n_envs=64),
        sb3_steps=4096,
    ),
    "long": FisheryConfig(
        n_test=10_000,
        optimum=OptimumConfig(37, 49, (5.0, 20.0, 60.0), 25),
        network=BpttConfig(300, 512),
        rule=BpttConfig(150, 512, 0.02),
        sell_out=SellOutConfig(20, 128, 512, 16),
        robust=RobustConfig(n_steps=150),
        study=StudyConfig(n_draws=100, n_episodes=20, n_elsewhere=2000),
        ppo=PpoConfig(n_updates=300),
    ),
}
