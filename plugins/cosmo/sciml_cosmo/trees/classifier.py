"""Which remaining merger node hides a merger that was dropped: message passing with an answer at every node."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from sciml_cosmo.trees.batch import Edges
from sciml_cosmo.trees.model import perceptron
from sciml_cosmo.trees.mpnn import TreeConvolution


class MergerClassifier(nn.Module):
    """Tree convolutions and a perceptron at every node; two logits: no merger was dropped there, or one was.

    Parameters
    ----------
    width, n_layer : channels and convolutions.
    n_in : features of a node.

    *Source*: the classifier of CosmoBench (arXiv 2507.03707): width 16, 4 layers, 2,290 parameters. *Departures*:
    features are scaled by the training set.

    Examples
    --------
    >>> from sciml.training import count_parameters
    >>> count_parameters(MergerClassifier())
    2290
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, width: int = 16, n_layer: int = 4, n_in: int = 4) -> None:
        super().__init__()
        widths = [n_in, *[width] * n_layer]
        self.layers = nn.ModuleList(TreeConvolution(a, b) for a, b in pairwise(widths))
        self.head = perceptron(width, width, 2)
        self.register_buffer("centre", torch.zeros(n_in))
        self.register_buffer("spread", torch.ones(n_in))

    def fit_scale(self, features: Tensor) -> None:
        """Take the scales from training nodes (node, n_in)."""
        spread, centre = torch.std_mean(features.double(), 0, correction=0)
        self.centre.copy_(centre)
        self.spread.copy_(torch.where(spread > 0, spread, 1.0))

    def forward(self, features: Tensor, edges: Edges) -> Tensor:
        """Return logits (node, 2) from features (node, n_in)."""
        x = (features - self.centre) / self.spread
        for layer in self.layers:
            x = layer(x, edges)
        return self.head(x)
