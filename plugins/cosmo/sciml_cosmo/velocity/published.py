"""The velocity network of CosmoBench: as published, edge by edge, and in a fast form with the same outputs."""

from __future__ import annotations

from typing import Literal, get_args

from sciml_kernels.edge_message import edge_message
from torch import Tensor, nn

from sciml_cosmo.graph import Neighbours

Form = Literal["fast", "published"]


def perceptron(n_in: int, n_hidden: int, n_out: int) -> nn.Sequential:
    """Return three linear layers with rectifiers between them."""
    return nn.Sequential(
        nn.Linear(n_in, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_out)
    )


class EdgeConvolution(nn.Module):
    """The mean over neighbours of a perceptron of the neighbour times a perceptron of the edge.

    ``x_i' = mean_{j in N(i)} psi(x_j) * phi((x_j - x_i) / r_c)``

    Parameters
    ----------
    n_in, n_out : features of a node before and after; the perceptrons are `n_out` wide.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.of_node, self.of_edge = perceptron(n_in, n_out, n_out), perceptron(3, n_out, n_out)

    def forward(self, nodes: Tensor, edges: Tensor, graph: Neighbours, form: Form) -> Tensor:
        """Return (node, n_out) of `nodes` (node, n_in) and `edges` (edge, 3)."""
        source, target = graph.edge_index
        if form == "published":
            # seconds to import, and for the comparison only
            from torch_geometric.utils import scatter

            messages = self.of_node(nodes[source]) * self.of_edge(edges)
            return scatter(messages, target, dim=0, dim_size=len(nodes), reduce="mean")
        # What depends on the node alone is computed once for each, not once for each of its edges.
        (w1, b1), (w2, b2), (w3, b3) = ((m.weight, m.bias) for m in self.of_edge if isinstance(m, nn.Linear))
        return edge_message(self.of_node(nodes), edges, w1, b1, w2, b2, w3, b3, source, graph.pointer)


class VelocityGNN(nn.Module):
    """The published network: 126,787 numbers for 64 features and 6 layers.

    Nodes carry their positions, standardised as those of a uniform box; edges the separation over the radius.

    Parameters
    ----------
    n_feature : of nodes and messages.
    n_layer : edge convolutions.
    scale : km/s of an output of one.
    form : "published" evaluates the perceptron of the neighbour on every edge and keeps every message for the gradient;
        "fast" evaluates it once for each node and keeps no message.

    *Contract*: both forms return the same numbers to rounding. The published runs are in float64: `network.double()`.
    Absolute positions are inputs: the outputs change where the box is rotated, translated or cut elsewhere.

    *Source*: CosmoBench (arXiv 2507.03707), velocity task.

    Examples
    --------
    >>> sum(p.numel() for p in VelocityGNN().parameters())
    126787
    """

    def __init__(self, n_feature: int = 64, n_layer: int = 6, scale: float = 1.0, form: Form = "fast") -> None:
        super().__init__()
        if form not in get_args(Form):
            raise ValueError(f"VelocityGNN: expected form one of {', '.join(get_args(Form))}, got {form!r}; choose one")
        self.form, self.scale = form, scale
        sizes = [3] + [n_feature] * (n_layer - 1)
        self.layers = nn.ModuleList(EdgeConvolution(n_in, n_feature) for n_in in sizes)
        self.readout = nn.Sequential(nn.Linear(n_feature, n_feature), nn.ReLU(), nn.Linear(n_feature, 3))

    def forward(self, positions: Tensor, graph: Neighbours, box_size: float, radius: float) -> Tensor:
        """Return velocities (node, axis), km/s.

        Parameters
        ----------
        positions : (node, axis), in [0, box_size).
        graph : all pairs closer than `radius`.
        box_size, radius : in the unit of the positions.
        """
        nodes, edges = (positions / box_size - 0.5) * 12**0.5, graph.vectors / radius
        for layer in self.layers:
            nodes = layer(nodes, edges, graph, self.form)
        return self.scale * self.readout(nodes)
