"""Clouds as graphs for the parameter network: what does not depend on weights is computed once for each cloud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from sciml_cosmo.graph import periodic_radius_graph
from sciml_cosmo.parameters.linear import Array


@dataclass(frozen=True)
class Surroundings:
    """How far a node sees, as fractions of the side of the box.

    Parameters
    ----------
    nearest, farthest
        Range of the radial functions of a node's surroundings.
    linked
        Cut-off of the graph on which messages travel; at most `farthest`.
    n_radial
        Radial functions.
    """

    nearest: float = 0.015
    farthest: float = 0.3
    linked: float = 0.12
    n_radial: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.nearest < self.linked <= self.farthest <= 0.5 or self.n_radial < 2:
            wanted = "0 < nearest < linked <= farthest <= 0.5 and at least 2 radial functions"
            raise ValueError(f"Surroundings: expected {wanted}, got {self}; correct them")

    def hats(self, distance: Tensor) -> Tensor:
        """Return the radial functions (edge, radial) at distances (edge,) over the side.

        They are linear between knots equal in log r, sum to 1 up to the last knot but one, and fall to 0 at `farthest`.
        """
        span = np.log(self.farthest / self.nearest) / self.n_radial
        place = (distance.clamp(min=1e-9).log() - np.log(self.nearest)) / span
        knots = torch.arange(self.n_radial, dtype=place.dtype, device=place.device)
        return (1 - (place.clamp(min=0)[..., None] - knots).abs()).clamp(min=0)

    def expected(self, n_node: int) -> Tensor:
        """Return the sums (radial,) of the radial functions that a node has on average among uniform nodes.

        e_k = (N - 1) int B_k(r) 4 pi r^2 dr, with r over the side of the box.
        """
        r = torch.linspace(0, self.farthest, 20_001, dtype=torch.float64)
        return (n_node - 1) * torch.trapezoid(self.hats(r) * (4 * np.pi * r**2)[:, None], r, dim=0)


@dataclass(frozen=True)
class Graph:
    """One cloud, or several one after the other, ready for message passing.

    Parameters
    ----------
    index, pointer : (edge,) and (node + 1,)
        Source of every edge, the edges into a node next to each other, and the first edge into every node.
    radial : (edge, radial)
        Radial functions of the distances along the edges.
    surroundings : (node, radial, 10)
        Sums over all nodes around a node of the radial functions times 1, the unit separation (3) and its traceless
        tensor product (6, the mixed entries times sqrt 2), as excess over uniform nodes in units of sqrt(1 + e_k).
    start : (cloud + 1,)
        First node of every cloud.
    degree : (node, 1)
        Edges into a node over what uniform nodes have on average.
    """

    index: Tensor
    pointer: Tensor
    radial: Tensor
    surroundings: Tensor
    start: Tensor
    degree: Tensor

    def to(self, like: Tensor) -> Graph:
        """Return the graph on the device of a tensor, its numbers in the tensor's type."""
        moved = (getattr(self, one.name) for one in fields(self))
        return Graph(*(part.to(like) if part.is_floating_point() else part.to(like.device) for part in moved))


def make_graph(positions: Array, box_size: float, around: Surroundings) -> Graph:
    """Return the graph of one cloud of nodes (node, axis), Mpc/h, in a box of side `box_size`.

    *Contract*: nothing in it changes under shifts on the torus but the last bits; it turns and reflects with the cloud:
    scalars stay, vectors and tensors turn. The mean of every sum over uniform nodes is 0, whatever their number.

    Examples
    --------
    >>> nodes = np.random.default_rng(3).uniform(0, 50, (60, 3))
    >>> graph = make_graph(nodes, 50.0, Surroundings(n_radial=4))
    >>> tuple(graph.surroundings.shape), graph.start.tolist()
    ((60, 4, 10), [0, 60])
    """
    n_node = len(positions)
    found = periodic_radius_graph(torch.as_tensor(positions / box_size), 1.0, around.farthest)
    (source, target), vector = found.edge_index, found.vectors
    distance = torch.linalg.norm(vector, dim=1)
    unit = vector / distance.clamp(min=1e-12)[:, None]
    x, y, z = unit.unbind(1)
    mixed = 2**0.5 * torch.stack([x * y, y * z, z * x], 1)
    angular = torch.cat([torch.ones_like(x)[:, None], unit, unit**2 - 1 / 3, mixed], 1)
    hats = around.hats(distance)
    sums = torch.zeros(n_node, around.n_radial * 10, dtype=hats.dtype)
    sums.index_add_(0, target, (hats[:, :, None] * angular[:, None]).flatten(1))
    sums = sums.view(n_node, around.n_radial, 10)
    expected = around.expected(n_node)[:, None]
    sums[:, :, :1] -= expected
    near = distance <= around.linked
    degree = torch.bincount(target[near], minlength=n_node)
    pointer = torch.cat([torch.zeros(1, dtype=torch.int64), degree.cumsum(0)])
    uniform = (n_node - 1) * 4 / 3 * np.pi * around.linked**3
    return Graph(
        source[near], pointer, hats[near].float(), (sums / (1 + expected).sqrt()).float(),
        torch.tensor([0, n_node]), (degree[:, None] / uniform).float(),
    )  # fmt: skip


def join(graphs: Sequence[Graph]) -> Graph:
    """Return one graph of several, their nodes one after the other."""
    n_node = np.cumsum([0, *(len(graph.pointer) - 1 for graph in graphs)]).tolist()
    n_edge = np.cumsum([0, *(len(graph.index) for graph in graphs)]).tolist()
    pointers = [graph.pointer[:-1] + first for graph, first in zip(graphs, n_edge, strict=False)]
    starts = [graph.start[:-1] + first for graph, first in zip(graphs, n_node, strict=False)]
    return Graph(
        torch.cat([graph.index + first for graph, first in zip(graphs, n_node, strict=False)]),
        torch.cat([*pointers, torch.tensor(n_edge[-1:])]),
        torch.cat([graph.radial for graph in graphs]),
        torch.cat([graph.surroundings for graph in graphs]),
        torch.cat([*starts, torch.tensor(n_node[-1:])]),
        torch.cat([graph.degree for graph in graphs]),
    )
