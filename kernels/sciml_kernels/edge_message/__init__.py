"""Mean over the edges into a node of the feature of the other end, gated by a perceptron of the edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sciml_kernels.by_reference import use_autograd
from sciml_kernels.checks import check_alike, check_index, check_pointer, check_rank, check_shape
from sciml_kernels.edge_message.reference import backward_reference, reference
from sciml_kernels.pattern import define

LAUNCHERS = {
    "numba": "sciml_kernels.edge_message.numba_kernel:launch",
    "triton": "sciml_kernels.edge_message.triton_kernel:launch",
}
BACKWARD_LAUNCHERS = {
    "numba": "sciml_kernels.edge_message.numba_kernel:launch_backward",
    "triton": "sciml_kernels.edge_message.triton_kernel:launch_backward",
}
# Columns of a layer up to which a block of edges and the weights fit a processor of a GPU.
WIDEST = 128


def edge_message(
    node_feature: Tensor,
    edge_feature: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    weight3: Tensor,
    bias3: Tensor,
    index: Tensor,
    pointer: Tensor,
) -> Tensor:
    """Average, over the edges into a node, the feature of the source times a perceptron of the edge's own feature.

    ``out[i] = mean over the edges e from j to i of h[j] * m[e]``, product by entry, with
    ``m = W3 relu(W2 relu(W1 f + b1) + b2) + b3``; zero for a node without edges.

    Parameters
    ----------
    node_feature : (source, feature)
        h, one row for each node that an edge may start from.
    edge_feature : (edge, column)
        f, the edges into a node next to each other.
    weight1, bias1 : (hidden1, column), (hidden1,)
        First layer, as `torch.nn.Linear` holds it.
    weight2, bias2 : (hidden2, hidden1), (hidden2,)
        Second layer.
    weight3, bias3 : (feature, hidden2), (feature,)
        Third layer.
    index : (edge,)
        The source j of each edge, int64.
    pointer : (node + 1,)
        First edge into every node and the end of the last: int64, from 0 up to the number of edges, never falling.

    Returns
    -------
    (node, feature)
        Of the inputs' type; computed in float32 for float16 and bfloat16.

    *Contract*: equal to the reference within `sciml_kernels.precision.TOLERANCES`, gradients of the eight floating
    inputs too, to second order; the same bits on any number of threads of a CPU. The kernels write no layer of the
    perceptron for all edges, neither in a pass nor between the two: it is computed again for the gradients. Permuting
    the edges into a node changes nothing beyond rounding.

    *Source*: Huang et al., "CosmoBench", arXiv 2507.03707, the velocity network. *Departures*: what depends on the
    source alone is taken as an input, ready for each node, in place of a second perceptron evaluated for each edge.

    Examples
    --------
    >>> h, f, one, zero = torch.tensor([[2.0], [4.0]]), torch.tensor([[1.0], [3.0]]), torch.ones(1, 1), torch.zeros(1)
    >>> edge_message(h, f, one, zero, one, zero, one, zero, torch.tensor([0, 1]), torch.tensor([0, 2]))
    tensor([[7.]])
    """
    where = "edge_message"
    floats = {"node_feature": node_feature, "edge_feature": edge_feature}
    layers = {"weight1": weight1, "bias1": bias1, "weight2": weight2, "bias2": bias2, "weight3": weight3}
    check_alike(where, {**floats, **layers, "bias3": bias3})
    check_rank(where, "node_feature", node_feature, ("source", "feature"))
    check_rank(where, "edge_feature", edge_feature, ("edge", "column"))
    check_rank(where, "bias1", bias1, ("hidden1",))
    check_rank(where, "bias2", bias2, ("hidden2",))
    n_first, n_second, n_feature = bias1.shape[0], bias2.shape[0], node_feature.shape[1]
    check_shape(where, "weight1", weight1, {"hidden1": n_first, "column": edge_feature.shape[1]})
    check_shape(where, "weight2", weight2, {"hidden2": n_second, "hidden1": n_first})
    check_shape(where, "weight3", weight3, {"feature": n_feature, "hidden2": n_second})
    check_shape(where, "bias3", bias3, {"feature": n_feature})
    check_index(where, "index", index, edge_feature, node_feature.shape[0], edge_feature.shape[0])
    check_pointer(where, pointer, edge_feature)
    return torch.ops.sciml.edge_message(
        node_feature, edge_feature, weight1, bias1, weight2, bias2, weight3, bias3, index, pointer
    )


def _fake(node_feature: Tensor, *others: Tensor) -> Tensor:
    return node_feature.new_empty(others[-1].shape[0] - 1, node_feature.shape[1])


def _fake_backward(grad: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    *tensors, _index, _pointer, needs = inputs
    return tuple(x.new_empty(x.shape if need else 0) for x, need in zip(tensors, needs, strict=True))


def _pays(node_feature: Tensor, edge_feature: Tensor, *others: Any) -> bool:
    """Numba computes in the two types that hold their own sums; Triton in all, with a whole layer in a block."""
    if not node_feature.is_cuda:
        return node_feature.dtype in (torch.float32, torch.float64)
    return max(edge_feature.shape[1], others[0].shape[0], others[2].shape[0], others[4].shape[0]) <= WIDEST


def _pays_backward(_grad: Tensor, *inputs: Any) -> bool:
    return _pays(*inputs)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    needs = list(ctx.needs_input_grad[:8])
    found: Sequence[Tensor] = torch.ops.sciml.edge_message_backward(grad, *ctx.saved_tensors, needs)
    return (*(tensor if need else None for tensor, need in zip(found, needs, strict=True)), None, None)


_ARGUMENTS = (
    "Tensor node_feature, Tensor edge_feature, Tensor weight1, Tensor bias1, Tensor weight2, Tensor bias2, "
    "Tensor weight3, Tensor bias3, Tensor index, Tensor pointer"
)
_forward_op = define(f"edge_message({_ARGUMENTS}) -> Tensor", reference, _fake, LAUNCHERS, _pays)
_backward_op = define(
    f"edge_message_backward(Tensor grad, {_ARGUMENTS}, bool[] needs) -> ({', '.join(['Tensor'] * 8)})",
    backward_reference,
    _fake_backward,
    BACKWARD_LAUNCHERS,
    _pays_backward,
)
_forward_op.register_autograd(_backward, setup_context=_save)
use_autograd(_backward_op, backward_reference)
