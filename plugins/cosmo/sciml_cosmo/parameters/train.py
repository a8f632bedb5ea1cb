"""Training of the networks of the parameter task: losses of posteriors, early stop on validation boxes, calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sciml.config import setting
from sciml.training import FitOptions, FitState, cosine, fit
from sciml_cosmo.parameters.features import Features, scaled, shaped
from sciml_cosmo.parameters.graphs import join
from sciml_cosmo.parameters.linear import Array
from sciml_cosmo.parameters.nets import FeatureNet, GraphNet

Answer = tuple[Tensor, Tensor]
LOSSES = ("gaussian", "moments")


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained."""

    n_epoch: int = setting(15, "passes over the training boxes")
    n_batch: int = setting(16, "boxes of one step")
    learning_rate: float = setting(4e-3, "of AdamW at the start")
    weight_decay: float = setting(0.1, "of AdamW")
    dropout: float = setting(0.2, "probability in the last layers")
    loss: str = setting("gaussian", f"of the posterior: {' or '.join(LOSSES)}")

    def __post_init__(self) -> None:
        if min(self.n_epoch, self.n_batch) < 1 or not self.learning_rate > 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"train: expected epochs, batch and rate above 0 and dropout below 1, got {self}")
        if self.loss not in LOSSES:
            raise ValueError(f"train.loss: expected one of {', '.join(LOSSES)}, got {self.loss!r}; choose one")


@dataclass(frozen=True)
class Split:
    """Boxes of each part, as indices.

    Parameters
    ----------
    train, val, test : (batch,)
        No simulation lies in two of them.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


@dataclass
class Trained:
    """A network, what it says of all boxes, and how its training went.

    Parameters
    ----------
    network
        With its best weights.
    mean, std : (batch, target)
        Of all boxes, in the scale of the prior [-1, 1]; std is calibrated on the validation boxes.
    curve
        Step, training loss and validation loss.
    """

    network: nn.Module
    mean: Array
    std: Array
    curve: list[tuple[int, float, float]] = field(default_factory=list)


def posterior_loss(name: str, answer: Answer, truth: Tensor) -> Tensor:
    """Return the loss of mean and standard deviation (batch, target) against the truth.

    "gaussian": mean of (y - m)^2 / (2 s^2) + log s; "moments": the sum over the targets of log mean (y - m)^2 and
    log mean ((y - m)^2 - s^2)^2, which is stationary at mean and variance of the posterior, whatever its shape.

    *Source*: Jeffrey & Wandelt, arXiv 2011.05991 (moment networks), with the logarithms of the CAMELS papers, such as
    Villanueva-Domingo & Villaescusa-Navarro, Astrophys. J. 937 (2022).

    *Departures*: the second term moves the standard deviation alone; it would draw the mean of a skewed law aside.
    """
    mean, std = answer
    squared = (truth - mean) ** 2
    if name == "gaussian":
        return (squared / (2 * std**2) + std.log()).mean()
    spread = ((squared.detach() - std**2) ** 2).mean(0)
    return (squared.mean(0).log() + spread.log()).sum()


def train_features(features: Array, targets: Array, split: Split, config: TrainConfig, seed: int,
                   hidden: Sequence[int] = (64, 64, 16)) -> Trained:  # fmt: skip
    """Train a perceptron on features (batch, feature); `targets` (batch, target) are parameters.

    `config` says how, `seed` draws initial weights and batches, `hidden` are the layers.
    """
    x, y = torch.as_tensor(features, dtype=torch.float32), torch.as_tensor(scaled(targets), dtype=torch.float32)
    network = _made(lambda: FeatureNet(x.shape[1], hidden, config.dropout), seed)
    standardise(network, features[split.train])
    return _trained(network, lambda module, index: module(x[index]), y, split, (config, seed, None))


def train_graphs(data: Features, form: str | None, split: Split, config: TrainConfig, seed: int,
                 make: Callable[..., GraphNet], checkpoint: Path | None = None) -> Trained:  # fmt: skip
    """Train a graph network; where `form` is given, it also sees the correlation function in that form.

    `make(n_global=...)` builds the network of `data`; `split`, `config` and `seed` as in
    :func:`train_features`; `checkpoint` is the folder of a fit that a resumed run continues.
    """
    x = torch.as_tensor(shaped(data.xi, form) if form else data.xi[:, :0], dtype=torch.float32)
    y = torch.as_tensor(scaled(data.targets), dtype=torch.float32)
    network = _made(lambda: make(n_global=x.shape[1]), seed)
    standardise(network, x[split.train].numpy())

    def answer(module: nn.Module, index: np.ndarray) -> Answer:
        found: Answer = module(join([data.graphs[i] for i in index]), x[index] if form else None)
        return found

    return _trained(network, answer, y, split, (config, seed, checkpoint))


def standardise(network: nn.Module, features: Array) -> None:
    """Set centre and scale of the network's features from those (batch, feature) of the training boxes."""
    assert isinstance(network.centre, Tensor)
    assert isinstance(network.scale, Tensor)
    network.centre.copy_(torch.as_tensor(features.mean(0)))
    network.scale.copy_(torch.as_tensor(features.std(0) + 1e-6))


def widening(truth: Array, mean: Array, std: Array) -> Array:
    """Return the factors (target,) that make z = (truth - mean) / std of unit mean square."""
    return np.asarray(np.sqrt((((truth - mean) / std) ** 2).mean(0)))


def _made(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def _trained(network: nn.Module, answer: Callable[[nn.Module, np.ndarray], Answer], y: Tensor, split: Split,
             how: tuple[TrainConfig, int, Path | None]) -> Trained:  # fmt: skip
    config, seed, checkpoint = how
    n_batch = min(config.n_batch, len(split.train))
    per_epoch = -(-len(split.train) // n_batch)
    n_steps = config.n_epoch * per_epoch

    def loss(module: nn.Module, generator: torch.Generator) -> Tensor:
        index = split.train[torch.randperm(len(split.train), generator=generator)[:n_batch].numpy()]
        with torch.random.fork_rng(devices=[]):  # the seed of dropout
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            return posterior_loss(config.loss, answer(module, index), y[index])

    def validate(module: nn.Module) -> float:
        mean, std = _everywhere(module, answer, split.val, n_batch)
        return float(posterior_loss("gaussian", (mean, std), y[split.val]))

    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    options = FitOptions(cosine(n_steps, per_epoch), 1.0, validate, 2 * per_epoch, checkpoint=checkpoint)
    curve = list(_curve(fit(network, loss, optimizer, n_steps=n_steps, seed=seed, options=options)))
    with torch.no_grad():
        found = _everywhere(network.eval(), answer, np.arange(len(y)), n_batch)
    mean, std = (tensor.double().numpy() for tensor in found)
    factor = widening(y[split.val].double().numpy(), mean[split.val], std[split.val])
    return Trained(network, mean, std * factor, curve)


def _everywhere(module: nn.Module, answer: Callable[[nn.Module, np.ndarray], Answer], index: np.ndarray,
                n_batch: int) -> Answer:  # fmt: skip
    parts = [answer(module, index[i : i + 4 * n_batch]) for i in range(0, len(index), 4 * n_batch)]
    mean, std = zip(*parts, strict=True)
    return torch.cat(mean), torch.cat(std)


def _curve(states: Iterator[FitState]) -> Iterator[tuple[int, float, float]]:
    for state in states:
        if state.validation is not None:
            yield state.step, state.loss, state.validation
