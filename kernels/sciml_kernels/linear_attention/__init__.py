"""Linear attention within segments: every node hears all others at a cost that grows as their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sciml_kernels.by_reference import use_autograd
from sciml_kernels.checks import check_alike, check_pointer, check_rank, check_shape
from sciml_kernels.linear_attention.reference import NORMALISATIONS, backward_reference, reference
from sciml_kernels.pattern import define, unless_half_on_cpu

LAUNCHERS = {
    "numba": "sciml_kernels.linear_attention.numba_kernel:launch",
    "triton": "sciml_kernels.linear_attention.triton_kernel:launch",
}
BACKWARD_LAUNCHERS = {
    "numba": "sciml_kernels.linear_attention.numba_kernel:launch_backward",
    "triton": "sciml_kernels.linear_attention.triton_kernel:launch_backward",
}


def linear_attention(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, pointer: Tensor, normalise: str = "row_sum"
) -> Tensor:
    """Let every node read the quadrature-weighted sum of keys times values over its segment, in both directions.

    ``S_gh = sum over the nodes j of g of w_j k_jh v_jh^T``, ``o_ih = q_ih S_gh``, divided with ``"row_sum"`` by
    ``r_ih = q_ih . sum_j w_j k_jh``; two products, linear in the number of nodes. There is no causal mask: nodes have
    no order.

    Parameters
    ----------
    query, key : (node, head, key_feature)
        q and k, the nodes of a segment next to each other. Feature maps are the caller's, such as ``elu(x) + 1``;
        entries that are positive keep the row sums positive.
    value : (node, head, value_feature)
        v.
    weight : (node,)
        w, the part of the domain that a node stands for; ones for a plain sum. It acts on the side that is summed.
    pointer : (segment + 1,)
        First node of every segment and the end of the last: int64, from 0 up to the number of nodes, never falling.
    normalise
        ``"row_sum"``, or ``"none"`` for the sum itself. TransNormer's norm is a layer norm of that output, which
        stays with the caller.

    Returns
    -------
    (node, head, value_feature)
        Of the inputs' type; sums are kept in float32 for float16 and bfloat16. Zero, with gradient zero, where the row
        sum is zero.

    *Contract*: equal to the reference within `sciml_kernels.precision.TOLERANCES`, gradients of the four floating
    inputs too, to second order; the same bits on any number of threads, without atomic operations. Permuting the nodes
    of a segment permutes the outputs; a node split in two of half the weight changes nothing; segments do not see each
    other.

    *Source*: Katharopoulos et al., "Transformers are RNNs", ICML 2020, section 3.2, without the mask; weights as in
    Berner et al., "Principled approaches for extending neural architectures to function spaces", arXiv 2506.10973; Qin
    et al., "The devil in linear transformer", EMNLP 2022, for leaving the division out. *Departures*: no small number
    is added to the row sum; segments of any length.

    Examples
    --------
    >>> ones, value = torch.ones(3, 1, 1), torch.tensor([1.0, 3.0, 5.0])[:, None, None]
    >>> linear_attention(ones, ones, value, torch.ones(3), torch.tensor([0, 2, 3])).flatten().tolist()
    [2.0, 2.0, 5.0]
    >>> linear_attention_dense(ones[None], ones[None], value[None], torch.ones(1, 3)).flatten().tolist()
    [3.0, 3.0, 3.0]
    """
    where = "linear_attention"
    if normalise not in NORMALISATIONS:
        known = ", ".join(NORMALISATIONS)
        raise ValueError(f"{where}: expected normalise as one of {known}, got {normalise!r}; choose one")
    check_alike(where, {"query": query, "key": key, "value": value, "weight": weight})
    check_rank(where, "query", query, ("node", "head", "key_feature"))
    check_rank(where, "value", value, ("node", "head", "value_feature"))
    n_node, n_head, n_feature = query.shape
    check_shape(where, "key", key, {"node": n_node, "head": n_head, "key_feature": n_feature})
    check_shape(where, "value", value, {"node": n_node, "head": n_head, "value_feature": value.shape[2]})
    check_shape(where, "weight", weight, {"node": n_node})
    check_pointer(where, pointer, query)
    return torch.ops.sciml.linear_attention(query, key, value, weight, pointer, normalise)


def linear_attention_dense(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, normalise: str = "row_sum"
) -> Tensor:
    """Attend within each sample of a dense batch, which is a segment; see `linear_attention`.

    Parameters
    ----------
    query, key : (batch, node, head, key_feature)
    value : (batch, node, head, value_feature)
    weight : (batch, node)
    normalise
        ``"row_sum"`` or ``"none"``.

    Returns
    -------
    (batch, node, head, value_feature)
    """
    where = "linear_attention_dense"
    check_alike(where, {"query": query, "key": key, "value": value, "weight": weight})
    check_rank(where, "query", query, ("batch", "node", "head", "key_feature"))
    check_rank(where, "value", value, ("batch", "node", "head", "value_feature"))
    n_batch, n_node = query.shape[:2]
    check_shape(where, "key", key, dict(zip(("batch", "node", "head", "key_feature"), query.shape, strict=True)))
    check_shape(
        where,
        "value",
        value,
        {"batch": n_batch, "node": n_node, "head": query.shape[2], "value_feature": value.shape[3]},
    )
    check_shape(where, "weight", weight, {"batch": n_batch, "node": n_node})
    pointer = torch.arange(n_batch + 1, device=query.device) * n_node
    q, k, v, w = (tensor.flatten(0, 1) for tensor in (query, key, value, weight))
    return linear_attention(q, k, v, w, pointer, normalise).unflatten(0, (n_batch, n_node))


def _fake(query: Tensor, key: Tensor, value: Tensor, *_others: Any) -> Tensor:
    return value.new_empty(value.shape)


def _fake_backward(grad: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    return tuple(tensor.new_empty(tensor.shape) for tensor in inputs[:4])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.normalise = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    found: Sequence[Tensor] = torch.ops.sciml.linear_attention_backward(grad, *ctx.saved_tensors, ctx.normalise)
    kept = (tensor if need else None for tensor, need in zip(found, ctx.needs_input_grad, strict=False))
    return (*kept, None, None)


_ARGUMENTS = "Tensor query, Tensor key, Tensor value, Tensor weight, Tensor pointer, str normalise"
_forward_op = define(f"linear_attention({_ARGUMENTS}) -> Tensor", reference, _fake, LAUNCHERS, unless_half_on_cpu)
_backward_op = define(
    f"linear_attention_backward(Tensor grad, {_ARGUMENTS}) -> (Tensor, Tensor, Tensor, Tensor)",
    backward_reference,
    _fake_backward,
    BACKWARD_LAUNCHERS,
    unless_half_on_cpu,
)
_forward_op.register_autograd(_backward, setup_context=_save)
use_autograd(_backward_op, backward_reference)
