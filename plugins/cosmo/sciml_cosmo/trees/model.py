"""What every model of a tree's parameters shares: scales that are saved with it, a Gaussian answer, and the loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sciml_cosmo.forest import FEATURES, TARGETS
from sciml_cosmo.trees.batch import TreeBatch


class Answer(NamedTuple):
    """Mean and standard deviation of the parameters, each (tree, 2), columns `sciml_cosmo.forest.TARGETS`."""

    mean: Tensor
    std: Tensor


class TreeModel(nn.Module, ABC):
    """A map from trees to parameters that knows the scales of both; to write: `outputs`.

    Parameters
    ----------
    config : constructor arguments as plain values; ``n_out`` among them: 2 outputs are scaled means, 4 are scaled means
        and logarithms of scaled standard deviations.

    *Contract*: `fit_scale` first; `widening` multiplies the standard deviations, and for a model of means alone it is
    the standard deviation itself, in units of the spread of the targets; `calibrate` sets it on held-out trees.
    """

    centre: Tensor
    spread: Tensor
    target_centre: Tensor
    target_spread: Tensor
    widening: Tensor

    def __init__(self, **config: Any) -> None:
        super().__init__()
        if config["n_out"] not in (len(TARGETS), 2 * len(TARGETS)):
            raise ValueError(f"{type(self).__name__}: expected n_out 2 or 4, got {config['n_out']}; choose one")
        self.config = config
        for name, value in (("centre", 0.0), ("spread", 1.0)):
            self.register_buffer(name, torch.full((len(FEATURES),), value))
            self.register_buffer(f"target_{name}", torch.full((len(TARGETS),), value))
        self.register_buffer("widening", torch.ones(len(TARGETS)))

    @abstractmethod
    def outputs(self, batch: TreeBatch) -> Tensor:
        """Return scaled outputs (tree, n_out)."""

    def scaled(self, features: Tensor) -> Tensor:
        """Return the features with the mean and spread of the training nodes taken out."""
        return (features - self.centre) / self.spread

    def fit_scale(self, features: Tensor, targets: Tensor) -> None:
        """Take the scales from training nodes (node, 4) and targets (tree, 2)."""
        for name, values in (("", features), ("target_", targets)):
            spread, centre = torch.std_mean(values.double(), 0, correction=0)
            getattr(self, f"{name}centre").copy_(centre)
            getattr(self, f"{name}spread").copy_(torch.where(spread > 0, spread, 1.0))

    def forward(self, batch: TreeBatch) -> Answer:
        """Return mean and standard deviation of the parameters of each tree."""
        mean, *log_std = self.outputs(batch).split(len(TARGETS), -1)
        std = log_std[0].clamp(-7, 2).exp() if log_std else torch.ones_like(mean)
        return Answer(self.target_centre + self.target_spread * mean, self.target_spread * self.widening * std)

    def loss(self, batch: TreeBatch, targets: Tensor) -> Tensor:
        """Return the mean of e^2 and, with a Gaussian head, of e^2 / (2 s^2) + log s, e being the scaled residual.

        The second part moves the standard deviations s alone. Were it to move the means too, the parameter that is
        found first, by a factor of tens here, would take all of the gradient. *Source*: Jeffrey & Wandelt, moment
        networks (arXiv 2011.05991), with the likelihood of the residuals for their square.
        """
        goal = (targets - self.target_centre) / self.target_spread
        mean, *log_std = self.outputs(batch).split(len(TARGETS), -1)
        square = (mean - goal).square()
        if not log_std:
            return square.mean()
        spread = log_std[0].clamp(-7, 2)
        return (square + square.detach() * (-2 * spread).exp() / 2 + spread).mean()

    @torch.no_grad()
    def calibrate(self, answer: Answer, targets: Tensor) -> None:
        """Scale the standard deviations so that the mean of z^2 over held-out trees is 1 for each parameter."""
        z = (targets - answer.mean) / answer.std
        self.widening.mul_(z.square().mean(0).sqrt())


def perceptron(*widths: int) -> nn.Sequential:
    """Return linear layers of these widths with ReLU between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
