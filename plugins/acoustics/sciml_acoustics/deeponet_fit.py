"""Training of the DeepONet as published: mean squared error at random points, AdamW, clipped gradients.

*Source*: dtu-act/deeponet-acoustic-wave-prop (MIT), `models/deeponet.py`, `models/loss_functions.py` and
`datahandlers/datagenerators.py`. *Departures*: the sources of a step are drawn anew without replacement instead of in
epochs, and coordinates with replacement (200 of some 10^5 rarely repeat).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sciml_kernels.branch_trunk import branch_trunk
from torch import Tensor, nn

from sciml.config import setting
from sciml.training import FitOptions, FitState, cosine, exponential, fit
from sciml_acoustics.data import Waves
from sciml_acoustics.deeponet import DeepONet, DeepONetOptions, check_fixes

FIT_FIXES = ("shared_coordinates", "unit_variance", "no_clip", "cosine")
OPTIMIZERS = ("adamw", "adam")


@dataclass(frozen=True)
class DeepONetFit:
    """How to train; the defaults are the published 2-D ones, for 3-D they are 1000 coordinates."""

    n_steps: int = setting(80_000, "optimization steps")
    budget_cpu_s: float | None = setting(None, "stop after this much CPU time", unit="s")
    n_sources: int | None = setting(64, "sources of a step; none: all")
    n_coordinates: int = setting(200, "points in space and time of a step, for each source or shared by all")
    optimizer: str = setting("adamw", "adamw (weight decay 1e-4) or adam")
    learning_rate: float = setting(1e-3, "learning rate of the first step")
    decay_rate: float = setting(0.9, "factor of the learning rate after each decay_steps")
    decay_steps: int = setting(2000, "steps over which the learning rate falls by decay_rate")
    clip_norm: float = setting(0.01, "limit of the global gradient norm")
    every: int = setting(1000, "steps between checkpoints and entries of the history")
    fixes: tuple[str, ...] = setting(
        (), "departures from the paper: shared_coordinates, unit_variance, no_clip, cosine"
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "fixes", tuple(self.fixes))
        check_fixes("DeepONetFit", self.fixes, FIT_FIXES)
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"DeepONetFit: expected optimizer {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")
        counts = (self.n_steps, self.n_coordinates, self.decay_steps, self.every)
        if min(counts) < 1 or (self.n_sources is not None and self.n_sources < 1):
            raise ValueError(f"DeepONetFit: expected counts of at least 1, got {self}; raise them")
        if min(self.learning_rate, self.decay_rate, self.clip_norm) <= 0.0:
            raise ValueError(
                f"DeepONetFit: expected positive rates and clip_norm, got {self}; the fix no_clip lifts it"
            )


class Samples:
    """Training data as tensors ready for gathers, and the mean squared error at randomly drawn points.

    Parameters
    ----------
    network : its sensors, scaling and `pressure_scale` define branch and trunk inputs and the target ``p / s``.
    waves : the simulated pressure.

    A point q of the field counts nodes first: node ``q % n_node`` at time ``q // n_node``.
    """

    def __init__(self, network: DeepONet, waves: Waves) -> None:
        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(np.asarray(array, dtype=np.float32), device=network.pressure_scale.device)

        self.pressure = tensor(waves.pressure).flatten(1) / network.pressure_scale
        self.n_sources, self.n_points = self.pressure.shape
        self.node, self.time = tensor(waves.node_position), tensor(waves.time)
        self.pulses = network.pulses(tensor(waves.source_position))

    def draw(self, generator: torch.Generator, fit_options: DeepONetFit) -> tuple[Tensor, Tensor]:
        """Return random sources (source,) and points (source, point), or (point,) with "shared_coordinates"."""
        n_sources = min(fit_options.n_sources or self.n_sources, self.n_sources)
        source = torch.randperm(self.n_sources, generator=generator)[:n_sources]
        shared = "shared_coordinates" in fit_options.fixes
        shape = (fit_options.n_coordinates,) if shared else (n_sources, fit_options.n_coordinates)
        point = torch.randint(self.n_points, shape, generator=generator)
        return source.to(self.node.device), point.to(self.node.device)

    def error(self, network: DeepONet, source: Tensor, point: Tensor) -> Tensor:
        """Return the mean squared error at sources (source,) and points (point,) or (source, point).

        *Contract*: both forms give the same value for the same points; points of one row (point,) cost one evaluation
        of the trunk instead of one for each source.
        """
        node = point % len(self.node)
        functions = network.trunk_functions(network.scaled(self.node[node], self.time[point // len(self.node)]))
        coefficients = network.coefficients(self.pulses[source])
        if point.ndim == 1:
            predicted = branch_trunk(coefficients, functions, offset=network.offset)[..., 0]
        else:
            predicted = torch.bmm(functions, coefficients[..., None])[..., 0]
            predicted = predicted if network.offset is None else predicted + network.offset
        return (predicted - self.pressure[source[:, None], point]).square().mean()


def fit_deeponet(
    waves: Waves,
    options: DeepONetOptions,
    fit_options: DeepONetFit,
    seed: int,
    checkpoint: str | Path | None = None,
    on_state: Callable[[FitState], None] | None = None,
    *,
    boxes: Sequence[Sequence[Sequence[float]]] | None = None,
    device: str | torch.device = "cpu",
) -> tuple[DeepONet, list[FitState]]:
    """Train a DeepONet on simulated waves, minimising the mean of ``(p_net - p)^2 / s^2`` at random points.

    s is 1 Pa, or the root mean square of the training pressure with "unit_variance".

    Parameters
    ----------
    waves : training data; all of its sources are used.
    options, fit_options : what to train and how.
    seed : of initial weights and samples.
    checkpoint : folder from which a killed fit resumes.
    on_state : called after every step.
    boxes : the room; the bounding box of the nodes where omitted.
    device : where to train; random numbers come from the CPU wherever that is.

    Returns
    -------
    network : in evaluation mode.
    history : states after every `every` steps and the last one; of a resumed fit, from where it resumed.

    *Contract*: resumed, bit-equal to uninterrupted (without `budget_cpu_s`).
    """
    nodes = np.asarray(waves.node_position)
    room = boxes if boxes is not None else [[nodes.min(axis=0).tolist(), nodes.max(axis=0).tolist()]]
    network = DeepONet(room, waves.medium, options, seed).to(device)
    if network.region.n_dims != waves.n_axis:
        got = f"expected boxes of {waves.n_axis} dimensions as the nodes, got {network.region.n_dims}"
        raise ValueError(f"fit_deeponet: {got}; give the boxes of the room that the waves were simulated in")
    if "unit_variance" in fit_options.fixes:
        network.pressure_scale.fill_(_root_mean_square(waves))
    samples = Samples(network, waves)

    def loss(_module: nn.Module, generator: torch.Generator) -> Tensor:
        return samples.error(network, *samples.draw(generator, fit_options))

    history = []
    states = fit(network, loss, _optimizer(network, fit_options), n_steps=fit_options.n_steps, seed=seed,
                 budget_cpu_s=fit_options.budget_cpu_s, options=_core_options(fit_options, checkpoint))  # fmt: skip
    state = None
    for state in states:
        if on_state is not None:
            on_state(state)
        if state.step % fit_options.every == 0:
            history.append(state)
    if state is not None and history[-1:] != [state]:
        history.append(state)
    return network.eval(), history


def _root_mean_square(waves: Waves) -> float:
    value = float(np.sqrt(np.mean(np.square(waves.pressure, dtype=np.float32), dtype=np.float64)))
    if not value > 0.0:
        raise ValueError("fit_deeponet: expected pressure that is not zero everywhere, got zeros; check the data")
    return value


def _optimizer(network: DeepONet, fit_options: DeepONetFit) -> torch.optim.Optimizer:
    if fit_options.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), lr=fit_options.learning_rate)
    return torch.optim.AdamW(network.parameters(), lr=fit_options.learning_rate, weight_decay=1e-4)


def _core_options(fit_options: DeepONetFit, checkpoint: str | Path | None) -> FitOptions:
    published = exponential(fit_options.decay_rate, fit_options.decay_steps)
    return FitOptions(
        schedule=cosine(fit_options.n_steps) if "cosine" in fit_options.fixes else published,
        clip_norm=None if "no_clip" in fit_options.fixes else fit_options.clip_norm,
        every=fit_options.every,
        checkpoint=checkpoint,
    )
