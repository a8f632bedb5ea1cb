"""Mean of gated messages along the edges of a graph in plain torch, and its gradients."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from sciml_kernels.precision import accumulation_dtype
from sciml_kernels.segment_reduce.reference import owners, sizes


def reference(
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
    """Average the messages of every node; parameters are those of `sciml_kernels.edge_message.edge_message`."""
    dtype = node_feature.dtype
    layers = (weight1, bias1, weight2, bias2, weight3, bias3)
    h, f, w1, b1, w2, b2, w3, b3 = widen(node_feature, edge_feature, *layers)
    hidden = linear(linear(f, w1, b1).relu(), w2, b2).relu()
    message = h[index] * linear(hidden, w3, b3)
    total = h.new_zeros(pointer.shape[0] - 1, h.shape[1]).index_add(0, owners(pointer, f.shape[0]), message)
    return (total / sizes(pointer, total)).to(dtype)


def backward_reference(
    grad: Tensor,
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
    needs: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the first eight inputs of the op; an empty tensor for each that is not needed.

    With ``s_e = grad_i / n_i`` on an edge e from j to i, ``d_h[j] += s_e m_e`` and ``d_m[e] = s_e h[j]``; from d_m back
    through the perceptron, whose layers are computed again.

    Parameters
    ----------
    grad
        Gradient of the output, (node, feature).
    needs
        Which gradients are wanted, in the order in which they are returned.
    """
    dtype = node_feature.dtype
    layers = (weight1, bias1, weight2, bias2, weight3, bias3)
    grad, h, f, w1, b1, w2, b2, w3, b3 = widen(grad, node_feature, edge_feature, *layers)
    first = linear(f, w1, b1).relu()
    second = linear(first, w2, b2).relu()
    share = (grad / sizes(pointer, grad))[owners(pointer, f.shape[0])]
    d_h = torch.zeros_like(h).index_add(0, index, share * linear(second, w3, b3))
    d_third = share * h[index]
    d_second = (d_third @ w3) * (second > 0)
    d_first = (d_second @ w2) * (first > 0)
    found = (
        d_h, d_first @ w1, d_first.T @ f, d_first.sum(0), d_second.T @ first, d_second.sum(0),
        d_third.T @ second, d_third.sum(0),
    )  # fmt: skip
    kept = [
        tensor.to(dtype) if need else h.new_empty(0, dtype=dtype) for tensor, need in zip(found, needs, strict=True)
    ]
    return (*kept,)  # type: ignore[return-value]


def widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors in the type that sums are kept in: float32 for float16 and bfloat16."""
    return tuple(tensor.to(accumulation_dtype(tensor.dtype)) for tensor in tensors)
