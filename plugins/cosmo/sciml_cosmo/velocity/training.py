"""The two networks of the velocity task, trained by the loop of the core on whole boxes, one a step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sciml import Run, fit
from sciml.training import FitOptions, cosine, count_parameters
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.graph import Neighbours, periodic_radius_graph
from sciml_cosmo.metrics import r2
from sciml_cosmo.velocity.baselines import Row, Seen
from sciml_cosmo.velocity.config import EquivariantConfig, PublishedConfig
from sciml_cosmo.velocity.data import Split
from sciml_cosmo.velocity.equivariant import EquivariantVelocity
from sciml_cosmo.velocity.features import View
from sciml_cosmo.velocity.published import VelocityGNN

DECAY = 1e-3
Apply = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Parameters
    ----------
    name : of its checkpoint and of the bar that is shown.
    n_epoch : passes over the training boxes.
    learning_rate : at the start, with cosine decay.
    decay : of the weights.
    """

    name: str
    n_epoch: int
    learning_rate: float
    decay: float = 0.0


def train(network: nn.Module, apply: Apply, train_on: Sequence[Any], choose_on: Sequence[Any], recipe: Recipe,
          run: Run) -> float:  # fmt: skip
    """Minimise the mean of 1 - R^2 of a box, keep the weights that are best on the validation boxes, and return CPU s.

    Parameters
    ----------
    network, apply : `apply(network, item)` returns the velocities (node, axis) of an item.
    train_on, choose_on : items with the `velocities` (node, axis) of a cloud.
    recipe : how long and how fast.
    run : seed, progress and place of the checkpoint.
    """
    scale = [1 / one.velocities.var(unbiased=False) for one in train_on]

    def loss(module: nn.Module, generator: torch.Generator) -> Tensor:
        chosen = int(torch.randint(len(train_on), (1,), generator=generator))
        return (apply(module, train_on[chosen]) - train_on[chosen].velocities).square().mean() * scale[chosen]

    def validate(module: nn.Module) -> float:
        return 1 - r2([one.velocities.numpy() for one in choose_on], [apply(module, one).numpy() for one in choose_on])

    start, n_steps = time.process_time(), recipe.n_epoch * len(train_on)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.decay)
    options = FitOptions(
        schedule=cosine(n_steps, min(20, n_steps // 4)), clip_norm=1.0, validate=validate, every=len(train_on),
        checkpoint=run.checkpoint(recipe.name),
    )  # fmt: skip
    with run.progress.track(n_steps, recipe.name) as update:
        for state in fit(network, loss, optimizer, n_steps=n_steps, seed=run.seed, options=options):
            update(state.step, "" if state.best is None else f"validation R² {1 - state.best:.3f}")
    network.eval()
    return time.process_time() - start


def fresh(build: Callable[[], Any], seed: int) -> Any:
    """Build a network whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def judged(title: str, network: nn.Module, apply: Apply, parts: Sequence[Sequence[Any]], about: dict[str, Any]) -> Row:
    """Return the row of a trained network; `parts` are the items to choose with and those to judge with."""
    with torch.no_grad():
        val, test = ([apply(network, one).double().numpy() for one in part] for part in parts)
    validation = r2([one.velocities.double().numpy() for one in parts[0]], val)
    return Row(title, "network", test, validation, {"n_fitted": count_parameters(network), **about})


def see(view: View, cloud: Cloud) -> Seen:
    """Return a cloud as the equivariant network sees it, in float32."""
    positions = torch.as_tensor(cloud.positions, dtype=torch.float32) % cloud.box_size
    masses = torch.as_tensor(cloud.masses, dtype=torch.float32) if view.sees_mass else None
    with torch.no_grad():
        features = view.look(positions, masses, cloud.box_size)
    return Seen(cloud, features, torch.as_tensor(cloud.velocities, dtype=torch.float32))


def equivariant(config: EquivariantConfig, parts: Sequence[Sequence[Seen]], view: View, flow_weights: Tensor, name: str,
                run: Run) -> tuple[EquivariantVelocity, Row]:  # fmt: skip
    """Train the equivariant network on clouds as it sees them, from linear theory with a fitted filter on."""
    network: EquivariantVelocity = fresh(
        lambda: EquivariantVelocity(
            config.n_hidden, config.n_layer, view.radius, view.smoothing, view.powers, view.betas
        ),
        run.seed,
    )
    network.start_from([one.features for one in parts[0]], flow_weights.float())
    recipe = Recipe(name, config.n_epoch, config.learning_rate, DECAY)
    spent = train(network, _flow, parts[0], parts[1], recipe, run)
    note = f"{config.n_epoch} passes, graph of {view.radius:g} Mpc/h"
    title = f"equivariant network, {'positions and masses' if view.sees_mass else 'positions'}"
    return network, judged(title, network, _flow, parts[1:], {"cpu_s": spent, "note": note})


def _flow(network: EquivariantVelocity, one: Seen) -> Tensor:
    return network.velocities(one.features)


@dataclass(frozen=True, eq=False)
class Linked:
    """A cloud with its graph, as the published network takes it."""

    positions: Tensor
    graph: Neighbours
    box_size: float
    radius: float
    velocities: Tensor


def link(cloud: Cloud, radius: float, dtype: torch.dtype) -> Linked:
    """Return a cloud with the graph of all pairs within `radius` sides of the box."""
    positions, velocities = (torch.as_tensor(array, dtype=dtype) for array in (cloud.positions, cloud.velocities))
    graph = periodic_radius_graph(positions, cloud.box_size, radius * cloud.box_size)
    return Linked(positions, graph, cloud.box_size, radius * cloud.box_size, velocities)


def published(config: PublishedConfig, split: Split, name: str, run: Run) -> tuple[VelocityGNN, Row]:
    """Train the published network on positions alone."""
    dtype = {"float32": torch.float32, "float64": torch.float64}[config.precision]
    parts = [[link(cloud, config.radius, dtype) for cloud in part] for part in split.parts]
    scale = float(torch.stack([one.velocities.std() for one in parts[0]]).mean())
    network: VelocityGNN = fresh(
        lambda: VelocityGNN(config.n_feature, config.n_layer, scale, config.form).to(dtype), run.seed
    )
    recipe = Recipe(name, config.n_epoch, config.learning_rate)
    spent = train(network, _gnn, parts[0], parts[1], recipe, run)
    note = f"{config.n_epoch} passes, {config.precision}"
    return network, judged("velocity network as published", network, _gnn, parts[1:], {"cpu_s": spent, "note": note})


def _gnn(network: VelocityGNN, one: Linked) -> Tensor:
    return network(one.positions, one.graph, one.box_size, one.radius)
