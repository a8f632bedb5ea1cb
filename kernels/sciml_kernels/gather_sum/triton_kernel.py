"""Sums over the rows that an index names in Triton: a program per segment and block of features, and the same back."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sciml_kernels.segment_reduce.reference import owners
from sciml_kernels.triton_tools import accumulator, configurations, require_launchable

_BLOCKS = ("BLOCK_E", "BLOCK_F")
_CHOICES = (((16, 32), 1), ((16, 64), 2), ((32, 64), 4), ((64, 32), 4))


@triton.autotune(configs=configurations(_BLOCKS, _CHOICES), key=["n_feature"])
@triton.jit(do_not_specialize=("n_node", "n_feature"))
def gather_sum_kernel(
    rows: tl.tensor, stride_r: tl.tensor, stride_f: tl.tensor, index: tl.tensor, pointer: tl.tensor, out: tl.tensor,
    n_node: tl.tensor, n_feature: tl.tensor, ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    """Sum the rows that one segment names, for a block of features."""
    i, block = (tl.program_id(0) % n_node).to(tl.int64), tl.program_id(0) // n_node
    feature = block.to(tl.int64) * BLOCK_F + tl.arange(0, BLOCK_F)
    inside, columns = feature < n_feature, feature * stride_f
    start, stop = tl.load(pointer + i), tl.load(pointer + i + 1)
    total = tl.full((BLOCK_F,), 0, ACC)
    for begin in range(start, stop, BLOCK_E):
        e = begin + tl.arange(0, BLOCK_E)
        named = tl.load(index + e, mask=e < stop, other=0)
        mask = (e[:, None] < stop) & inside[None, :]
        row = tl.load(rows + named[:, None] * stride_r + columns[None, :], mask=mask, other=0).to(ACC)
        total += tl.reduce(row, 0, tl.standard._sum_combine)
    tl.store(out + i * n_feature + feature, total.to(out.dtype.element_ty), mask=inside)


def launch(values: Tensor, index: Tensor, pointer: Tensor) -> Tensor:
    """Return what the reference returns."""
    require_launchable("gather_sum", gather_sum_kernel, values)
    n_node, n_feature = len(pointer) - 1, values.shape[1]
    out = values.new_empty(n_node, n_feature)
    if out.numel():
        gather_sum_kernel[lambda meta: (n_node * triton.cdiv(n_feature, meta["BLOCK_F"]),)](
            values, *values.stride(), index.contiguous(), pointer.contiguous(), out, n_node, n_feature,
            ACC=accumulator(values.dtype),
        )  # fmt: skip
    return out


def launch_backward(grad: Tensor, index: Tensor, pointer: Tensor, n_source: int) -> Tensor:
    """Return what `backward_reference` returns: the forward sum along the edges turned round, sorted anew."""
    order = index.argsort(stable=True)
    # where each source's edges begin, without a count by atomic additions
    first = torch.searchsorted(index[order], torch.arange(n_source + 1, device=index.device))
    return launch(grad, owners(pointer, len(index))[order], first)
