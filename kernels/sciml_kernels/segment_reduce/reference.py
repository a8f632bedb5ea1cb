"""Sum, mean, extremes and spread of the rows of each segment in plain torch, and their gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from sciml_kernels.precision import accumulation_dtype

REDUCTIONS = ("sum", "mean", "max", "min", "std")


def owners(pointer: Tensor, n_edge: int) -> Tensor:
    """Return the segment of every row, (edge,)."""
    node = torch.arange(pointer.shape[0] - 1, device=pointer.device)
    return torch.repeat_interleave(node, pointer.diff(), output_size=n_edge)


def sizes(pointer: Tensor, like: Tensor) -> Tensor:
    """Return the number of rows of every segment, at least 1, (node, 1), in the type of `like`."""
    return pointer.diff().clamp(min=1).to(like.dtype)[:, None]


def reference(values: Tensor, pointer: Tensor, reduce: str) -> Tensor:
    """Reduce the rows of every segment; parameters are those of `sciml_kernels.segment_reduce.segment_reduce`."""
    wide = values.to(accumulation_dtype(values.dtype))
    node = owners(pointer, values.shape[0])
    if reduce in ("max", "min"):
        found = _with_zero(wide).gather(0, _first_extreme(wide, pointer, node, reduce))
    elif reduce == "std":
        variance = _sum(_deviations(wide, pointer, node).square(), pointer, node) / sizes(pointer, wide)
        constant = variance == 0  # where the root has no derivative
        found = torch.where(constant, 0, torch.where(constant, 1, variance).sqrt())
    else:
        found = _sum(wide, pointer, node)
        found = found / sizes(pointer, wide) if reduce == "mean" else found
    return found.to(values.dtype)


def backward_reference(grad: Tensor, values: Tensor | None, pointer: Tensor, n_edge: int, reduce: str) -> Tensor:
    """Return the gradient of the values, (edge, feature).

    sum: ``G[node]``; mean: ``G[node] / n[node]``; max and min: G in the first row that attains the extreme, else zero;
    std: ``G[node] (x - mean[node]) / (n[node] std[node])``, zero where the std is zero.

    Parameters
    ----------
    grad
        Gradient G of the output, (node, feature).
    values
        Not needed for sum and mean.
    n_edge
        Number of rows.
    """
    dtype, node = grad.dtype, owners(pointer, n_edge)
    grad = grad.to(accumulation_dtype(dtype))
    if reduce in ("sum", "mean"):
        return (grad / sizes(pointer, grad) if reduce == "mean" else grad)[node].to(dtype)
    assert values is not None
    wide = values.to(grad.dtype)
    if reduce == "std":
        deviation = _deviations(wide, pointer, node)
        variance = _sum(deviation.square(), pointer, node) / sizes(pointer, wide)
        constant = variance == 0
        root = torch.where(constant, 1, variance).sqrt()
        scale = torch.where(constant, 0, grad / (sizes(pointer, wide) * root))
        return (scale[node] * deviation).to(dtype)
    first = _first_extreme(wide, pointer, node, reduce)
    return torch.zeros_like(_with_zero(wide)).scatter(0, first, grad)[:n_edge].to(dtype)


def _sum(rows: Tensor, pointer: Tensor, node: Tensor) -> Tensor:
    return rows.new_zeros(pointer.shape[0] - 1, rows.shape[1]).index_add(0, node, rows)


def _with_zero(rows: Tensor) -> Tensor:
    """Return the rows and a row of zeros, which stands for what an empty segment holds."""
    return torch.cat([rows, rows.new_zeros(1, rows.shape[1])])


def _deviations(rows: Tensor, pointer: Tensor, node: Tensor) -> Tensor:
    """Return the rows less the mean of their segment, exactly zero where all rows of a segment are equal."""
    rows = rows - _with_zero(rows.detach())[pointer[:-1]][node]
    return rows - (_sum(rows, pointer, node) / sizes(pointer, rows))[node]


def _first_extreme(rows: Tensor, pointer: Tensor, node: Tensor, reduce: str) -> Tensor:
    """Return the first row of every segment with the extreme, or with NaN; the number of rows for an empty one."""
    rows, n_edge = rows.detach(), rows.shape[0]
    target = node[:, None].expand(rows.shape)
    start = rows.new_zeros(pointer.shape[0] - 1, rows.shape[1])
    extreme = start.scatter_reduce(0, target, rows, "a" + reduce, include_self=False)
    attains = (rows == extreme[node]) | rows.isnan()
    row = torch.arange(n_edge, device=rows.device)[:, None]
    position = torch.where(attains, row, n_edge)
    return torch.full_like(start, n_edge, dtype=torch.int64).scatter_reduce(0, target, position, "amin")
