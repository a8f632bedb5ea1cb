"""All pairs of points of a periodic box that are closer than a radius, as a graph in compressed rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sciml_kernels.pattern import define
from sciml_kernels.radius_graph.points import check_points, check_radius
from sciml_kernels.radius_graph.reference import reference

LAUNCHERS = {
    "numba": "sciml_kernels.radius_graph.numba_kernel:launch",
    "triton": "sciml_kernels.radius_graph.triton_kernel:launch",
}


def radius_graph(
    positions: Tensor,
    box: float | Sequence[float],
    radius: float,
    pointer: Tensor | None = None,
    loop: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Find every pair of nodes of the same cloud whose nearest periodic images are at most `radius` apart.

    ``edges(i) = {j != i: |x_j - x_i - L n| <= radius}``, n the integers that make the distance least.

    Parameters
    ----------
    positions : (node, 3)
        In the unit of `box`; wrapped into the box, wherever they are.
    box
        Side, or three sides.
    radius
        Above zero, at most half the shortest side.
    pointer : (batch + 1,), optional
        int64; cloud b holds the nodes ``pointer[b]`` up to ``pointer[b + 1]``. One cloud without it.
    loop
        Whether every node is also its own neighbour, with a vector of zeros.

    Returns
    -------
    vectors : (edge, 3)
        From target to source, ``x_source - x_target`` less whole sides, of the type of `positions`; differentiable
        by them as often as wanted.
    edges : (2, edge)
        int64: the neighbour (source) above the node that it is a neighbour of (target); by target, then by source.
    pointer : (node + 1,)
        int64: the edges of target i are ``pointer[i]`` up to ``pointer[i + 1]``.

    *Contract*: all pairs, however many, and each in both directions; nodes at the same place are neighbours. Distances
    are computed in float64 whatever the type, so that every implementation returns the same edges to the last one;
    permuting the nodes permutes the graph.

    Examples
    --------
    >>> positions = torch.tensor([[0.5, 0.0, 0.0], [9.5, 0.0, 0.0], [5.0, 0.0, 0.0]])
    >>> vectors, edges, pointer = radius_graph(positions, 10.0, 2.0)
    >>> edges.tolist(), pointer.tolist(), vectors[:, 0].tolist()
    ([[1, 0], [0, 1]], [0, 1, 2, 2], [-1.0, 1.0])
    """
    sides, pointer = check_points("radius_graph", positions, box, pointer)
    radius = check_radius("radius_graph", "radius", radius, sides)
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.sciml.radius_graph(positions, sides, radius, pointer, loop)
    return found


def _fake(positions: Tensor, *_others: Any) -> tuple[Tensor, Tensor, Tensor]:
    n_edge, n_node = torch.library.get_ctx().new_dynamic_size(), len(positions)
    edges = positions.new_empty(2, n_edge, dtype=torch.int64)
    return positions.new_empty(n_edge, 3), edges, positions.new_empty(n_node + 1, dtype=torch.int64)


def save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Keep the edges for `backward`: the vectors are linear in the positions, and need nothing else."""
    ctx.save_for_backward(output[1])
    ctx.n_node = len(inputs[0])
    ctx.n_rest = len(inputs) - 1


def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    """Add the gradient of every vector to its source and take it from its target; plain torch, in float64."""
    source, target = ctx.saved_tensors[0]
    wide = grads[0].double()
    found = wide.new_zeros(ctx.n_node, 3).index_add(0, source, wide).index_add(0, target, -wide)
    return (found.to(grads[0].dtype), *(None,) * ctx.n_rest)


_op = define(
    "radius_graph(Tensor positions, float[] box, float radius, Tensor pointer, bool loop) -> (Tensor, Tensor, Tensor)",
    reference,
    _fake,
    LAUNCHERS,
)
_op.register_autograd(backward, setup_context=save)
