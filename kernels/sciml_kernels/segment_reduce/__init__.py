"""Reductions over the rows of segments that follow each other, as the edges of a sorted graph do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sciml_kernels.by_reference import use_autograd
from sciml_kernels.checks import check_alike, check_pointer, check_rank
from sciml_kernels.pattern import define, unless_half_on_cpu
from sciml_kernels.segment_reduce.reference import REDUCTIONS, backward_reference, reference

LAUNCHERS = {
    "numba": "sciml_kernels.segment_reduce.numba_kernel:launch",
    "triton": "sciml_kernels.segment_reduce.triton_kernel:launch",
}
BACKWARD_LAUNCHERS = {
    "numba": "sciml_kernels.segment_reduce.numba_kernel:launch_backward",
    "triton": "sciml_kernels.segment_reduce.triton_kernel:launch_backward",
}


def segment_reduce(values: Tensor, pointer: Tensor, reduce: str = "sum") -> Tensor:
    """Reduce the rows of every segment to one: sum, mean, max, min or population standard deviation.

    ``out[i] = reduce of values[e] over pointer[i] <= e < pointer[i + 1]``; zero for an empty segment.

    Parameters
    ----------
    values : (edge, feature)
        Rows, those of a segment next to each other.
    pointer : (node + 1,)
        First row of every segment and the end of the last: int64, from 0 up to the number of rows, never falling.
    reduce
        ``"sum"``, ``"mean"``, ``"max"``, ``"min"`` or ``"std"``, ``sqrt(mean((x - mean(x))^2))``.

    Returns
    -------
    (node, feature)
        Of the type of `values`; sums are kept in float32 for float16 and bfloat16.

    *Contract*: equal to the reference within `sciml_kernels.precision.TOLERANCES`, gradients too, to second order; the
    same bits on any number of threads, without atomic operations. An extreme sends its gradient to the first row that
    attains it. The gradient of a std is bounded by ``1 / sqrt(n)`` and is zero where the std is: in a segment of one
    row and in a constant one. NaN in a segment gives NaN.

    Examples
    --------
    >>> values, pointer = torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 2, 2, 3])
    >>> segment_reduce(values, pointer, "mean").flatten().tolist()
    [2.0, 0.0, 5.0]
    >>> segment_reduce(values, pointer, "std").flatten().tolist()
    [1.0, 0.0, 0.0]
    """
    where = "segment_reduce"
    if reduce not in REDUCTIONS:
        raise ValueError(f"{where}: expected reduce as one of {', '.join(REDUCTIONS)}, got {reduce!r}; choose one")
    check_alike(where, {"values": values})
    check_rank(where, "values", values, ("edge", "feature"))
    check_pointer(where, pointer, values)
    return torch.ops.sciml.segment_reduce(values, pointer, reduce)


def _fake(values: Tensor, pointer: Tensor, reduce: str) -> Tensor:
    return values.new_empty(pointer.shape[0] - 1, values.shape[1])


def _fake_backward(grad: Tensor, values: Tensor | None, pointer: Tensor, n_edge: int, reduce: str) -> Tensor:
    return grad.new_empty(n_edge, grad.shape[1])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    values, pointer, ctx.reduce = inputs
    ctx.n_edge = values.shape[0]
    # Sum and mean are linear: the values need not stay in memory for their gradients.
    ctx.save_for_backward(None if ctx.reduce in ("sum", "mean") else values, pointer)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, pointer = ctx.saved_tensors
    return torch.ops.sciml.segment_reduce_backward(grad, values, pointer, ctx.n_edge, ctx.reduce), None, None


_forward_op = define(
    "segment_reduce(Tensor values, Tensor pointer, str reduce) -> Tensor",
    reference,
    _fake,
    LAUNCHERS,
    unless_half_on_cpu,
)
_backward_op = define(
    "segment_reduce_backward(Tensor grad, Tensor? values, Tensor pointer, SymInt n_edge, str reduce) -> Tensor",
    backward_reference,
    _fake_backward,
    BACKWARD_LAUNCHERS,
    unless_half_on_cpu,
)
_forward_op.register_autograd(_backward, setup_context=_save)
use_autograd(_backward_op, backward_reference)
