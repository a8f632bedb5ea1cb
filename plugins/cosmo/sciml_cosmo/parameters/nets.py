"""The networks of the parameter task: a perceptron on features, a graph network, and both in one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from sciml_kernels.edge_message import edge_message
from sciml_kernels.segment_reduce import segment_reduce
from torch import Tensor, nn

from sciml_cosmo.parameters.graphs import Graph

SCALARS, VECTORS, TENSORS = slice(0, 1), slice(1, 4), slice(4, 10)
LOW_STD, HIGH_STD = 0.02, 2.0  # of scaled parameters, in half widths of the prior


def perceptron(sizes: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Return linear layers of these sizes with SiLU, and dropout, between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes[:-1]):
        layers += [nn.Linear(n_in, n_out), nn.SiLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class Posterior(nn.Module):
    """The last layers: mean and standard deviation of every scaled parameter.

    The parameters are scaled so that the prior is [-1, 1]; the standard deviation lies between 0.02 and 2.
    """

    def __init__(self, n_in: int, hidden: Sequence[int], dropout: float, n_target: int = 2) -> None:
        super().__init__()
        self.body = perceptron((n_in, *hidden, 2 * n_target), dropout)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, feature) to mean and standard deviation (batch, target)."""
        mean, raw = self.body(features).chunk(2, -1)
        return mean, LOW_STD + (HIGH_STD - LOW_STD) * torch.sigmoid(raw - 1)


class FeatureNet(nn.Module):
    """A perceptron on standardised features of a cloud, such as its correlation function.

    Parameters
    ----------
    n_feature
        Features.
    hidden
        Neurons of the hidden layers.
    dropout
        Probability, in training.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, n_feature: int, hidden: Sequence[int] = (64, 64, 16), dropout: float = 0.2) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {"n_feature": n_feature, "hidden": list(hidden), "dropout": dropout}
        self.register_buffer("centre", torch.zeros(n_feature))
        self.register_buffer("scale", torch.ones(n_feature))
        self.head = Posterior(n_feature, hidden, dropout)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, feature) to mean and standard deviation (batch, target)."""
        return self.head((features - self.centre) / self.scale)


class Gate(nn.Module):
    """Messages: the feature of the other end times a perceptron of the edge, averaged over the edges into a node."""

    def __init__(self, n_radial: int, width: int, hidden: int = 16) -> None:
        super().__init__()
        self.send = nn.Linear(width, width)
        self.first, self.second, self.third = (
            nn.Linear(n_radial, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, width),
        )  # fmt: skip

    def forward(self, h: Tensor, graph: Graph) -> Tensor:
        """Map node features (node, feature) to messages (node, feature)."""
        return edge_message(
            self.send(h), graph.radial, self.first.weight, self.first.bias, self.second.weight, self.second.bias,
            self.third.weight, self.third.bias, graph.index, graph.pointer,
        )  # fmt: skip


class GraphNet(nn.Module):
    """A graph network whose answer depends on separations alone, not on their number, place or orientation.

    h_i = MLP(s_i, a_i . b_i, A_i : B_i), with s the scalars of the surroundings, a, b learned mixtures of their vectors
    and A, B of their tensors. Then, for every layer, h_i <- h_i + MLP(h_i, d_i mean_j m(r_ij) * U h_j), with the degree
    d_i over that of uniform nodes. Mean, deviation and attention over the nodes, and the features of the whole cloud
    where there are any, go into the posterior.

    The products are messages between edges that share a node: with psi, phi learned combinations of radial functions,
    a_i . b_i = sum_jk psi(r_ij) phi(r_ik) cos(theta_jik), and A_i : B_i the same with cos^2 - 1/3. The sums over all
    pairs of edges are of two sums over edges, by the addition theorem; the first of them hold no weights and are
    computed once for each cloud.

    Parameters
    ----------
    n_radial
        Radial functions.
    width
        Features of a node.
    n_layer
        Rounds of messages.
    edge_edge
        Whether edges at a node see one another.
    n_global
        Features of the whole cloud that the posterior also sees, standardised inside; 0 for none.
    dropout
        Probability in the posterior.

    *Contract*: invariant under shifts on the torus, rotations and reflections of its lattice, and permutations of the
    nodes; nothing is summed over the nodes of a cloud.

    *Source*: CosmoBench, arXiv 2507.03707, its parameter network (radius graph, edge-edge messages); Drautz, Phys. Rev.
    B 99 (2019) 014104 for sums over pairs of edges as products of sums over edges.

    *Departures*: no positions, no cosines to the cloud's centroid, no numbers of nodes and edges, no sum readout;
    Delaunay edge neighbours and their Hausdorff distances are left out: edges are neighbours where they share a node.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, n_radial: int, width: int = 32, n_layer: int = 1, edge_edge: bool = True, n_global: int = 0,
                 dropout: float = 0.1) -> None:  # fmt: skip
        super().__init__()
        self.settings: dict[str, Any] = {
            "n_radial": n_radial, "width": width, "n_layer": n_layer, "edge_edge": edge_edge, "n_global": n_global,
            "dropout": dropout,
        }  # fmt: skip
        self.edge_edge, n_product = edge_edge, 8 if edge_edge else 0
        self.mixtures = nn.ModuleList(nn.Linear(n_radial, 4 * n_product, bias=False) for _ in range(2 * edge_edge))
        self.first = perceptron((n_radial + 2 * n_product, width, width))
        self.gates = nn.ModuleList(Gate(n_radial, width) for _ in range(n_layer))
        self.updates = nn.ModuleList(perceptron((2 * width, width, width)) for _ in range(n_layer))
        self.attention = nn.Linear(width, 4)
        self.register_buffer("centre", torch.zeros(n_global))
        self.register_buffer("scale", torch.ones(n_global))
        self.head = Posterior(6 * width + n_global, (64, 32), dropout)

    def forward(self, graph: Graph, features: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map a graph of several clouds, and features (cloud, feature) of each, to mean and std (cloud, target)."""
        h = self.first(self._at_nodes(graph.surroundings))
        for gate, update in zip(self.gates, self.updates, strict=True):
            message = gate(h, graph) * graph.degree
            h = h + update(torch.cat([h, message], 1))
        whole = [
            segment_reduce(h, graph.start, "mean"),
            segment_reduce(h, graph.start, "std"),
            self._attended(h, graph),
        ]
        if features is not None:
            whole.append((features - self.centre) / self.scale)
        return self.head(torch.cat(whole, 1))

    def _at_nodes(self, surroundings: Tensor) -> Tensor:
        parts = [surroundings[:, :, 0]]
        for mixture, place in zip(self.mixtures, (VECTORS, TENSORS), strict=False):
            mixed = mixture(surroundings[:, :, place].transpose(1, 2))  # (node, component, channel)
            a, b = mixed.unflatten(2, (2, -1)).unbind(2)
            products = (a * b).sum(1).unflatten(1, (-1, 2)).sum(2)
            parts.append(torch.asinh(products))  # products have long tails
        return torch.asinh(torch.cat(parts, 1))

    def _attended(self, h: Tensor, graph: Graph) -> Tensor:
        """Return the means of the features over the nodes of a cloud, with four learned weights that sum to 1."""
        weights = torch.exp(5 * torch.tanh(self.attention(h) / 5))  # bounded: no maximum to subtract
        summed = segment_reduce(torch.cat([weights, *(h * w for w in weights.split(1, 1))], 1), graph.start, "sum")
        n_head = weights.shape[1]
        return (summed[:, n_head:].unflatten(1, (n_head, -1)) / summed[:, :n_head, None]).flatten(1)
