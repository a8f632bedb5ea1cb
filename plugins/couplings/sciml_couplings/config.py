"""Settings of `sciml run couplings`; every field carries its help and unit."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from sciml.config import setting


@dataclass(frozen=True)
class CouplingsConfig:
    """The surrogate that is exported, and how long its callers are measured."""

    n_neuron: int = setting(64, "neurons of the surrogate")
    n_train: int = setting(2000, "samples of the rule that it learns")
    batches: tuple[int, ...] = setting((1, 10, 100, 1000), "samples in a call whose time is measured")
    n_round: int = setting(9, "rounds whose median is the time of a call")
    n_call: int = setting(300, "calls in a round")
    n_request: int = setting(10_000, "UM-Bridge requests of all clients together")
    n_client: int = setting(8, "UM-Bridge clients that ask at once")

    def __post_init__(self) -> None:
        for name in ("n_neuron", "n_round", "n_call", "n_request", "n_client"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}; raise it")
        if self.n_train <= self.n_neuron:
            got = f"{self.n_train} for {self.n_neuron}"
            raise ValueError(f"n_train: expected more samples than neurons, got {got}; raise it")
        if not self.batches or min(self.batches) != 1 or len(set(self.batches)) < len(self.batches):
            raise ValueError(f"batches: expected different numbers, 1 among them, got {self.batches}; correct them")


PRESETS = MappingProxyType(
    {
        "default": CouplingsConfig(),
        "quick": CouplingsConfig(batches=(1, 100), n_round=3, n_call=100, n_request=800),
    }
)
