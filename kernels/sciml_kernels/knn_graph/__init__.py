"""The k nearest points of every point of a periodic box, as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sciml_kernels.knn_graph.reference import reference
from sciml_kernels.pattern import define
from sciml_kernels.radius_graph import backward, save
from sciml_kernels.radius_graph.points import check_points

LAUNCHERS = {
    "numba": "sciml_kernels.knn_graph.numba_kernel:launch",
    "triton": "sciml_kernels.knn_graph.triton_kernel:launch",
}


def knn_graph(
    positions: Tensor, box: float | Sequence[float], k: int, pointer: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Find the k nodes of the same cloud whose nearest periodic images are closest to each node.

    Parameters
    ----------
    positions : (node, 3)
        In the unit of `box`; wrapped into the box, wherever they are.
    box
        Side, or three sides.
    k
        Neighbours of each node, one or more; every cloud holds more nodes than that, or none.
    pointer : (batch + 1,), optional
        int64; cloud b holds the nodes ``pointer[b]`` up to ``pointer[b + 1]``. One cloud without it.

    Returns
    -------
    vectors : (node k, 3)
        From target to source, ``x_source - x_target`` less whole sides, of the type of `positions`; differentiable
        by them as often as wanted.
    edges : (2, node k)
        int64: the neighbour (source) above the node that it is a neighbour of (target). The k edges of a target
        stand together, nearest first.

    *Contract*: of nodes at equal distances the smaller number comes first, in and among the k. Distances are computed
    in float64 whatever the type, so that every implementation returns the same edges to the last one.

    Examples
    --------
    >>> positions = torch.tensor([[0.5, 0.0, 0.0], [9.5, 0.0, 0.0], [3.0, 0.0, 0.0]])
    >>> vectors, edges = knn_graph(positions, 10.0, 1)
    >>> edges.tolist(), vectors[:, 0].tolist()
    ([[1, 0, 0], [0, 1, 2]], [-1.0, 1.0, -2.5])
    """
    where = "knn_graph"
    sides, pointer = check_points(where, positions, box, pointer)
    if k < 1:
        raise ValueError(f"{where}: expected k of one or more, got {k}; ask for a neighbour")
    if not torch.compiler.is_compiling():
        n_nodes = pointer.diff()
        least = int(n_nodes[n_nodes > 0].min()) if len(positions) else k + 1
        if least <= k:
            raise ValueError(
                f"{where}: expected more than k={k} nodes in every cloud, got one of {least}; choose a smaller k"
            )
    found: tuple[Tensor, Tensor] = torch.ops.sciml.knn_graph(positions, sides, k, pointer)
    return found


def _fake(positions: Tensor, box: Sequence[float], k: int, pointer: Tensor) -> tuple[Tensor, Tensor]:
    n_edge = len(positions) * k
    return positions.new_empty(n_edge, 3), positions.new_empty(2, n_edge, dtype=torch.int64)


_op: Any = define(
    "knn_graph(Tensor positions, float[] box, int k, Tensor pointer) -> (Tensor, Tensor)", reference, _fake, LAUNCHERS
)
_op.register_autograd(backward, setup_context=save)
