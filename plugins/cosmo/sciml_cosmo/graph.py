"""Graphs of neighbours in a periodic box, in the form that torch-geometric takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sciml_kernels.knn_graph import knn_graph
from sciml_kernels.radius_graph import radius_graph
from torch import Tensor

Box = float | Sequence[float] | Tensor


@dataclass(frozen=True)
class Neighbours:
    """A graph in compressed rows; an edge leads from the neighbour (source) to the node it is a neighbour of (target).

    This is the direction of torch-geometric's ``flow="source_to_target"``: messages of the edges of a row are summed
    at the node of that row.

    Parameters
    ----------
    edge_index : (2, edge)
        int64; sources above targets, by target.
    pointer : (node + 1,)
        int64; the edges into node i are ``pointer[i]`` up to ``pointer[i + 1]``.
    vectors : (edge, 3)
        ``x_source - x_target`` to the nearest image, in the unit and type of the positions; differentiable by them.
    """

    edge_index: Tensor
    pointer: Tensor
    vectors: Tensor

    @property
    def degree(self) -> Tensor:
        """Neighbours of each node, (node,)."""
        return self.pointer.diff()


def periodic_radius_graph(
    positions: Tensor, box: Box, radius: float, batch: Tensor | None = None, loop: bool = False
) -> Neighbours:
    """Find all pairs of nodes of the same cloud whose nearest periodic images are at most `radius` apart.

    ``edges(i) = {j != i: |x_j - x_i - L n| <= radius}``, n the integers that make the distance least.

    Parameters
    ----------
    positions : (node, 3)
        Such as Mpc/h; wrapped into the box, wherever they are.
    box
        Side, or three sides, in the same unit.
    radius
        Above zero, at most half the shortest side.
    batch : (node,), optional
        int64, rising: the number of the cloud of each node, as torch-geometric batches. One cloud without it.
    loop
        Whether every node is also its own neighbour.

    Returns
    -------
    Neighbours
        In each row by source.

    *Contract*: all of them, however many, each pair in both directions; nodes at the same place are neighbours.
    Permuting the nodes permutes the graph; moving all of them, through the faces too, leaves it as it is.

    *Departures* from torch-geometric's ``radius_graph``: the box is periodic, there is no ``max_num_neighbors``, a
    distance equal to the radius counts, and an unsorted batch is refused.

    Examples
    --------
    >>> positions = torch.tensor([[0.5, 0.0, 0.0], [9.5, 0.0, 0.0], [5.0, 0.0, 0.0]])
    >>> graph = periodic_radius_graph(positions, 10.0, 2.0)
    >>> graph.edge_index.tolist(), graph.vectors[:, 0].tolist(), graph.degree.tolist()
    ([[1, 0], [0, 1]], [-1.0, 1.0], [1, 1, 0])
    """
    pointer = pointer_of("periodic_radius_graph", batch, positions)
    vectors, edges, rows = radius_graph(positions, sides_of(box), radius, pointer, loop)
    return Neighbours(edges, rows, vectors)


def periodic_knn_graph(positions: Tensor, box: Box, k: int, batch: Tensor | None = None) -> Neighbours:
    """Find the k nodes of the same cloud whose nearest periodic images are closest to each node.

    Parameters
    ----------
    positions : (node, 3)
        Such as Mpc/h; wrapped into the box, wherever they are.
    box
        Side, or three sides, in the same unit.
    k
        Neighbours of each node; every cloud holds more nodes than that.
    batch : (node,), optional
        int64, rising: the number of the cloud of each node, as torch-geometric batches. One cloud without it.

    Returns
    -------
    Neighbours
        In each row nearest first; of equal distances the smaller number is the nearer one.

    *Departures* from torch-geometric's ``knn_graph``: the box is periodic, ties have an order, a cloud of k nodes or
    fewer and an unsorted batch are refused.

    Examples
    --------
    >>> positions = torch.tensor([[0.5, 0.0, 0.0], [9.5, 0.0, 0.0], [3.0, 0.0, 0.0]])
    >>> periodic_knn_graph(positions, 10.0, 2).edge_index.tolist()
    [[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]]
    """
    pointer = pointer_of("periodic_knn_graph", batch, positions)
    vectors, edges = knn_graph(positions, sides_of(box), k, pointer)
    return Neighbours(edges, torch.arange(len(positions) + 1, device=positions.device) * k, vectors)


def pointer_of(where: str, batch: Tensor | None, positions: Tensor) -> Tensor | None:
    """Return where each cloud begins, (batch + 1,), or raise unless `batch` numbers the nodes' clouds in order."""
    if batch is None or not isinstance(positions, Tensor):
        return None
    if not isinstance(batch, Tensor) or batch.dtype != torch.int64 or batch.shape != positions.shape[:1]:
        got = f"{batch.dtype} {tuple(batch.shape)}" if isinstance(batch, Tensor) else type(batch).__name__
        wanted = f"int64 of shape (node={len(positions)},)"
        raise TypeError(f"{where}: expected batch as {wanted}, got {got}; number the cloud of each node")
    falls = (batch[1:] < batch[:-1]).nonzero()
    if len(falls):
        at = int(falls[0, 0])
        raise ValueError(
            f"{where}: expected batch in rising order, got {int(batch[at])} before {int(batch[at + 1])} "
            f"at node {at + 1}; sort the nodes by cloud"
        )
    if len(batch) and batch[0] < 0:
        raise ValueError(f"{where}: expected batch from 0 on, got {int(batch[0])}; number the clouds from 0")
    n_batch = int(batch[-1]) + 1 if len(batch) else 0
    return torch.searchsorted(batch.contiguous(), torch.arange(n_batch + 1, device=batch.device))


def sides_of(box: Box) -> float | Sequence[float]:
    """Return the box as numbers."""
    return box.tolist() if isinstance(box, Tensor) else box
