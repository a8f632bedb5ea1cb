"""Sums over the rows that an index names, segment by segment: what arrives along the edges of a sorted graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sciml_kernels.checks import check_alike, check_index, check_pointer, check_rank
from sciml_kernels.gather_sum.reference import backward_reference, reference
from sciml_kernels.pattern import define, unless_half_on_cpu

LAUNCHERS = {
    "numba": "sciml_kernels.gather_sum.numba_kernel:launch",
    "triton": "sciml_kernels.gather_sum.triton_kernel:launch",
}
BACKWARD_LAUNCHERS = {
    "numba": "sciml_kernels.gather_sum.numba_kernel:launch_backward",
    "triton": "sciml_kernels.gather_sum.triton_kernel:launch_backward",
}


def gather_sum(values: Tensor, index: Tensor, pointer: Tensor) -> Tensor:
    """Sum the rows of `values` that the entries of every segment name, without a copy of them.

    ``out[i] = sum of values[index[e]] over pointer[i] <= e < pointer[i + 1]``; zero for an empty segment.

    Parameters
    ----------
    values : (source, feature)
        Rows, such as the states of nodes.
    index : (edge,)
        Row that each edge begins at, those of a segment next to each other: int64, in any order, again and again.
    pointer : (node + 1,)
        First edge of every segment and the end of the last: int64, from 0 up to the number of edges, never falling.

    Returns
    -------
    (node, feature)
        Of the type of `values`; sums are kept in float32 for float16 and bfloat16.

    *Contract*: equal to ``segment_reduce(values[index], pointer)`` and to the reference within
    `sciml_kernels.precision.TOLERANCES`, derivatives of any order too: the gradient is the adjoint, the sum over the
    edges that begin at a row; the same bits on any number of threads, without atomic operations.

    Examples
    --------
    >>> values = torch.tensor([[1.0], [3.0], [5.0]])
    >>> gather_sum(values, torch.tensor([2, 0, 2]), torch.tensor([0, 2, 2, 3])).flatten().tolist()
    [6.0, 0.0, 5.0]
    """
    where = "gather_sum"
    check_alike(where, {"values": values})
    check_rank(where, "values", values, ("source", "feature"))
    check_index(where, "index", index, values, values.shape[0])
    check_pointer(where, pointer, index)
    return torch.ops.sciml.gather_sum(values, index, pointer)


def _fake(values: Tensor, index: Tensor, pointer: Tensor) -> Tensor:
    return values.new_empty(pointer.shape[0] - 1, values.shape[1])


def _fake_backward(grad: Tensor, index: Tensor, pointer: Tensor, n_source: int) -> Tensor:
    return grad.new_empty(n_source, grad.shape[1])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    values, index, pointer = inputs
    ctx.n_source = values.shape[0]
    ctx.save_for_backward(index, pointer)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return torch.ops.sciml.gather_sum_backward(grad, *ctx.saved_tensors, ctx.n_source), None, None


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[1:3])


def _backward_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return torch.ops.sciml.gather_sum(grad, *ctx.saved_tensors), None, None, None


_forward_op = define(
    "gather_sum(Tensor values, Tensor index, Tensor pointer) -> Tensor", reference, _fake, LAUNCHERS, unless_half_on_cpu
)
_backward_op = define(
    "gather_sum_backward(Tensor grad, Tensor index, Tensor pointer, SymInt n_source) -> Tensor",
    backward_reference,
    _fake_backward,
    BACKWARD_LAUNCHERS,
    unless_half_on_cpu,
)
_forward_op.register_autograd(_backward, setup_context=_save)
_backward_op.register_autograd(_backward_backward, setup_context=_save_backward)
