"""Training of the tree models and their predictions over a forest, a few trees at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sciml.training import FitOptions, cosine, fit, seeded
from sciml_cosmo.forest import Forest
from sciml_cosmo.trees.batch import TreeBatch
from sciml_cosmo.trees.config import TrainingConfig
from sciml_cosmo.trees.model import Answer, TreeModel
from sciml_cosmo.trees.moments import QuadraticRidge

Curve = tuple[tuple[int, float, float], ...]
Loss = Callable[[nn.Module, torch.Generator], torch.Tensor]

N_AT_ONCE = 128  # trees of a forward pass without gradients
Splits = Mapping[str, NDArray[np.int64]]
Model = TypeVar("Model", bound=TreeModel)


@dataclass(frozen=True)
class Fitted:
    """A fitted model, its answers on the validation and test trees, and what it took.

    Parameters
    ----------
    model : with its standard deviations calibrated on the validation trees.
    validation, test : answers for the trees of those splits, in their order.
    cpu_s : CPU seconds of the fit.
    curve : (step, training loss, mean squared scaled error on the validation trees or NaN).
    """

    model: TreeModel
    validation: Answer
    test: Answer
    cpu_s: float
    curve: Curve = ()


def targets_of(forest: Forest, trees: NDArray[np.int64]) -> torch.Tensor:
    """Return the parameters of some of the trees, (tree, 2)."""
    return torch.from_numpy(forest.targets[trees]).float()


def predict(model: TreeModel, forest: Forest, trees: NDArray[np.int64]) -> Answer:
    """Return the answers for some of the trees."""
    model.eval()
    with torch.no_grad():
        parts = [model(TreeBatch.of(forest, trees[i : i + N_AT_ONCE])) for i in range(0, len(trees), N_AT_ONCE)]
    return Answer(torch.cat([part.mean for part in parts]), torch.cat([part.std for part in parts]))


def train(model: TreeModel, forest: Forest, splits: Splits, config: TrainingConfig, seed: int,
          checkpoint: Path | None = None, update: Callable[..., None] | None = None) -> Fitted:  # fmt: skip
    """Fit a network by AdamW and return it with its best weights on the validation trees.

    Parameters
    ----------
    splits : places of the trees: "train", "val" and "test".
    seed : of the trees drawn in each step.
    checkpoint : folder from which a killed training goes on.
    update : told of every step.

    *Source*: AdamW with learning rate 5e-3 as CosmoBench. *Departures*: a cosine takes the rate to zero, gradients are
    clipped, and a step sees fewer trees.
    """
    began = time.process_time()
    known, held_out = splits["train"], splits["val"]
    prepare(model, forest, known)

    def loss(module: nn.Module, generator: torch.Generator) -> torch.Tensor:
        assert isinstance(module, TreeModel)
        chosen = known[torch.randint(len(known), (config.n_tree,), generator=generator).numpy()]
        return module.loss(TreeBatch.of(forest, chosen), targets_of(forest, chosen))

    def validate(module: nn.Module) -> float:
        assert isinstance(module, TreeModel)
        residual = predict(module, forest, held_out).mean - targets_of(forest, held_out)
        return float((residual / module.target_spread).square().mean())

    curve = descend(model, loss, validate, config, seed, checkpoint, update)
    return finish(model, forest, splits, time.process_time() - began, curve)


def descend(model: nn.Module, loss: Loss, validate: Callable[[nn.Module], float], config: TrainingConfig, seed: int,
            checkpoint: Path | None = None, update: Callable[..., None] | None = None) -> Curve:  # fmt: skip
    """Fit a network in place by AdamW, keep its best weights, and return (step, loss, validation or NaN) of each step.

    Parameters
    ----------
    loss : of the network and a generator that draws the trees of the step.
    validate : of the network; smaller is better.
    checkpoint, update : as in `train`.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    options = FitOptions(cosine(config.n_steps, config.n_steps // 20), 1.0, validate, config.every, None, checkpoint)
    curve = []
    for state in fit(model, loss, optimizer, n_steps=config.n_steps, seed=seed, options=options):
        curve.append((state.step, state.loss, float("nan") if state.validation is None else state.validation))
        if update is not None:
            update(state.step, f"loss {state.loss:.3g}")
    return tuple(curve)


def prepare(model: TreeModel, forest: Forest, trees: NDArray[np.int64]) -> None:
    """Take the scales of a model from training trees."""
    part = forest.take(trees.tolist())
    model.fit_scale(torch.from_numpy(part.features), torch.from_numpy(part.targets))


def finish(model: TreeModel, forest: Forest, splits: Splits, cpu_s: float,
           curve: Curve = ()) -> Fitted:  # fmt: skip
    """Calibrate the standard deviations on the validation trees and answer for them and for the test trees."""
    model.calibrate(predict(model, forest, splits["val"]), targets_of(forest, splits["val"]))
    validation, test = (predict(model, forest, splits[name]) for name in ("val", "test"))
    return Fitted(model, validation, test, cpu_s, curve)


def least_squares(model: QuadraticRidge, forest: Forest, splits: Splits) -> Fitted:
    """Fit the ridge, its penalty on the validation trees."""
    began = time.process_time()
    prepare(model, forest, splits["train"])
    pairs = [(summaries(model, forest, splits[name]), targets_of(forest, splits[name])) for name in ("train", "val")]
    model.fit(*pairs)
    return finish(model, forest, splits, time.process_time() - began)


def summaries(model: QuadraticRidge, forest: Forest, trees: NDArray[np.int64]) -> torch.Tensor:
    """Return what the ridge sees of some of the trees, (tree, summary)."""
    chunks = (trees[i : i + N_AT_ONCE] for i in range(0, len(trees), N_AT_ONCE))
    return torch.cat([model.summaries(TreeBatch.of(forest, chunk)) for chunk in chunks])


def fresh(kind: type[Model], seed: int, **settings: int) -> Model:
    """Return an untrained model whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeded(seed).initial_seed() % 2**63)
        return kind(**settings)
