"""Sums over the rows that an index names in plain torch, and their adjoint."""

from __future__ import annotations

from torch import Tensor

from sciml_kernels.precision import accumulation_dtype
from sciml_kernels.segment_reduce.reference import owners


def reference(values: Tensor, index: Tensor, pointer: Tensor) -> Tensor:
    """Gather the rows, and add each to its segment; parameters are those of `sciml_kernels.gather_sum.gather_sum`."""
    rows = values.to(accumulation_dtype(values.dtype)).index_select(0, index)
    total = rows.new_zeros(pointer.shape[0] - 1, rows.shape[1])
    return total.index_add(0, owners(pointer, index.shape[0]), rows).to(values.dtype)


def backward_reference(grad: Tensor, index: Tensor, pointer: Tensor, n_source: int) -> Tensor:
    """Return the gradient of the values, (source, feature): the sum of ``G[segment of e]`` over the edges e from a row.

    Parameters
    ----------
    grad
        Gradient G of the output, (node, feature).
    n_source
        Number of rows.
    """
    rows = grad.to(accumulation_dtype(grad.dtype)).index_select(0, owners(pointer, index.shape[0]))
    return rows.new_zeros(n_source, rows.shape[1]).index_add(0, index, rows).to(grad.dtype)
