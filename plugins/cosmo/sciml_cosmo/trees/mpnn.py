"""Message passing from progenitors to descendants, as published, and with a virtual node that joins each tree."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from sciml_cosmo.trees.batch import Edges, TreeBatch
from sciml_cosmo.trees.model import TreeModel, perceptron


class TreeConvolution(nn.Module):
    """A node and its progenitors, summed and mapped: x_v <- MLP(x_v + sum over progenitors u of x_u).

    Parameters
    ----------
    n_in, n_out : features before and after.

    *Source*: the graph isomorphism network (Xu et al., ICLR 2019) with epsilon = 0, on edges that run to the root.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.body = perceptron(n_in, n_out, n_out)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """Map node features (node, n_in) to (node, n_out)."""
        return self.body(x + edges.sum(x))


class TreeMpnn(TreeModel):
    """Tree convolutions, the mean over the nodes, and a perceptron.

    Parameters
    ----------
    width, n_layer : channels and convolutions.
    n_out : outputs, see `TreeModel`.

    *Source*: the tree network of CosmoBench (arXiv 2507.03707): width 16, 5 layers, 2,834 parameters.
    *Departures*: scaled as in `DeepSets`.

    Examples
    --------
    >>> from sciml.training import count_parameters
    >>> count_parameters(TreeMpnn())
    2834
    """

    def __init__(self, width: int = 16, n_layer: int = 5, n_out: int = 2) -> None:
        super().__init__(width=width, n_layer=n_layer, n_out=n_out)
        widths = [4, *[width] * n_layer]
        self.layers = nn.ModuleList(TreeConvolution(a, b) for a, b in pairwise(widths))
        self.head = perceptron(width, width, n_out)

    def outputs(self, batch: TreeBatch) -> Tensor:
        """Return scaled outputs (tree, n_out)."""
        x = self.scaled(batch.features)
        for layer in self.layers:
            x = layer(x, batch.edges)
        return self.head(batch.mean_nodes(x))


class VirtualNodeMpnn(TreeModel):
    """Tree convolutions with a node that every node of its tree talks to, and a Gaussian head on that node.

    x <- x + MLP(x + z[tree], mean over progenitors of x);  z <- z + MLP(z, mean over nodes of x, x_root).

    Parameters
    ----------
    width, n_layer : channels and rounds.
    n_out : outputs, see `TreeModel`.

    *Source*: Cai et al., arXiv 2301.11956. *Departures*: residual updates and means for sums, so that no batch
    normalisation is needed; the root, which the parameters are asked of, speaks to the virtual node directly.
    """

    def __init__(self, width: int = 16, n_layer: int = 3, n_out: int = 4) -> None:
        super().__init__(width=width, n_layer=n_layer, n_out=n_out)
        self.encode = perceptron(4, width, width)
        self.nodes = nn.ModuleList(perceptron(2 * width, width, width) for _ in range(n_layer))
        self.virtual = nn.ModuleList(perceptron(3 * width, width, width) for _ in range(n_layer))
        self.head = perceptron(width, width, n_out)

    def outputs(self, batch: TreeBatch) -> Tensor:
        """Return scaled outputs (tree, n_out)."""
        x = self.encode(self.scaled(batch.features))
        z = x.new_zeros(batch.n_tree, x.shape[1])
        for node, virtual in zip(self.nodes, self.virtual, strict=True):
            near = batch.edges.mean(x)
            x = x + node(torch.cat([x + z.index_select(0, batch.tree), near], -1))
            z = z + virtual(torch.cat([z, batch.mean_nodes(x), x[batch.start[:-1]]], -1))
        return self.head(z)
