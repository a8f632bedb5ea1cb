"""A tiled contraction over strided operands: every gradient of `branch_trunk` is one."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sciml_kernels.triton_tools import accumulator, configurations, require_launchable

_CHOICES = (((32, 32, 32), 4), ((64, 32, 32), 4), ((64, 64, 32), 4), ((128, 64, 32), 8))
# Blocks that a reduction without other parallelism is cut into, so that a small result still fills a GPU.
_PARTS = 64


@triton.autotune(
    configs=configurations(("BLOCK_M", "BLOCK_N", "BLOCK_I"), _CHOICES), key=["n_row", "n_column", "n_inner"]
)
@triton.jit(do_not_specialize=("n_row", "n_column", "n_outer", "n_inner", "part"))
def contract_kernel(
    a: tl.tensor, stride_ab: tl.tensor, stride_am: tl.tensor, stride_ao: tl.tensor, stride_ai: tl.tensor,
    b: tl.tensor, stride_bb: tl.tensor, stride_bn: tl.tensor, stride_bo: tl.tensor, stride_bi: tl.tensor,
    c: tl.tensor,
    n_row: tl.tensor, n_column: tl.tensor, n_outer: tl.tensor, n_inner: tl.tensor, part: tl.tensor,
    SPLIT: tl.constexpr, ACC: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_I: tl.constexpr,
) -> None:  # fmt: skip
    """Compute a block of rows and columns of a batch entry; with SPLIT a batch entry is a part of the outer sum."""
    n_row_blocks = (n_row + BLOCK_M - 1) // BLOCK_M
    n_column_blocks = (n_column + BLOCK_N - 1) // BLOCK_N
    program = tl.program_id(0)
    batch = (program // (n_row_blocks * n_column_blocks)).to(tl.int64)
    tile = program % (n_row_blocks * n_column_blocks)
    row = (tile // n_column_blocks).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = (tile % n_column_blocks).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    start = batch * 0
    stop = start + n_outer
    if SPLIT:
        start = batch * part
        stop = tl.minimum(start + part, stop)
    a_rows = a + batch * stride_ab + row[:, None] * stride_am
    b_columns = b + batch * stride_bb + column[None, :] * stride_bn
    total = tl.full((BLOCK_M, BLOCK_N), 0, ACC)
    for outer in range(start, stop):
        for first in range(0, n_inner, BLOCK_I):
            inner = first + tl.arange(0, BLOCK_I).to(tl.int64)
            a_mask = (row[:, None] < n_row) & (inner[None, :] < n_inner)
            b_mask = (inner[:, None] < n_inner) & (column[None, :] < n_column)
            a_tile = tl.load(a_rows + outer * stride_ao + inner[None, :] * stride_ai, mask=a_mask, other=0)
            b_tile = tl.load(b_columns + outer * stride_bo + inner[:, None] * stride_bi, mask=b_mask, other=0)
            total += tl.dot(a_tile.to(ACC), b_tile.to(ACC), input_precision="ieee", out_dtype=ACC)
    c_tile = c + (batch * n_row + row[:, None]) * n_column + column[None, :]
    tl.store(c_tile, total, mask=(row[:, None] < n_row) & (column[None, :] < n_column))


def contract(a: Tensor, b: Tensor) -> Tensor:
    """Sum the product of two operands over their last two axes: ``c[b,m,n] = sum_oi a[b,m,o,i] b[b,n,o,i]``.

    Parameters
    ----------
    a : (batch, row, outer, inner)
        Any strides, zero too.
    b : (batch, column, outer, inner)
        Any strides; one batch entry where `a` has one.

    Returns
    -------
    (batch, row, column)
        Contiguous, of the type that sums of the operands' type are kept in.
    """
    require_launchable("branch_trunk", contract_kernel, a)
    n_batch, n_row, n_outer, n_inner = a.shape
    n_column = b.shape[1]
    split = n_batch == 1 and n_outer > 1
    part = triton.cdiv(n_outer, _PARTS) if split else n_outer
    n_part = triton.cdiv(n_outer, part) if split else n_batch
    acc = accumulator(a.dtype)
    c = torch.empty(
        n_part, n_row, n_column, dtype=torch.float64 if acc == tl.float64 else torch.float32, device=a.device
    )
    if c.numel():
        strides = [(0, *x.stride()[1:]) if split else x.stride() for x in (a, b)]
        contract_kernel[
            lambda meta: (n_part * triton.cdiv(n_row, meta["BLOCK_M"]) * triton.cdiv(n_column, meta["BLOCK_N"]),)
        ](a, *strides[0], b, *strides[1], c, n_row, n_column, n_outer, n_inner, part, SPLIT=split, ACC=acc)
    return c.sum(0, keepdim=True) if split else c
