"""The fused forward kernel of `branch_trunk` in Triton, and the launchers of forward and backward."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from sciml_kernels.branch_trunk.reference import shift, trunk_first, widen
from sciml_kernels.branch_trunk.triton_contract import contract
from sciml_kernels.precision import accumulation_dtype
from sciml_kernels.triton_tools import accumulator, configurations, require_launchable

_CHOICES = (((32, 32, 32, 32), 4), ((32, 64, 32, 32), 4), ((64, 64, 32, 32), 4), ((64, 128, 32, 32), 8))
_BLOCKS = ("BLOCK_M", "BLOCK_N", "BLOCK_P", "BLOCK_Q")


@triton.autotune(configs=configurations(_BLOCKS, _CHOICES), key=["n_left", "n_right", "n_p", "n_q"])
@triton.jit(do_not_specialize=("n_left", "n_right", "n_time", "n_p", "n_q"))
def branch_trunk_fwd_kernel(
    left: tl.tensor, stride_lm: tl.tensor, stride_lp: tl.tensor,
    middle: tl.tensor, stride_mt: tl.tensor, stride_mp: tl.tensor, stride_mq: tl.tensor,
    right: tl.tensor, stride_rn: tl.tensor, stride_rq: tl.tensor,
    level: tl.tensor, stride_vm: tl.tensor, stride_vn: tl.tensor, stride_vt: tl.tensor,
    out: tl.tensor, stride_om: tl.tensor, stride_on: tl.tensor, stride_ot: tl.tensor,
    n_left: tl.tensor, n_right: tl.tensor, n_time: tl.tensor, n_p: tl.tensor, n_q: tl.tensor,
    ACC: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_Q: tl.constexpr,
) -> None:  # fmt: skip
    """Compute sum_pq left[m,p] middle[t,p,q] right[n,q] + level[m,n,t] for a block of m, a block of n and one t."""
    # Times run fastest: neighbouring programs write neighbouring addresses, which meet in the cache.
    program = tl.program_id(0)
    t = (program % n_time).to(tl.int64)
    n_left_blocks = (n_left + BLOCK_M - 1) // BLOCK_M
    tile = program // n_time
    m = (tile % n_left_blocks).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = (tile // n_left_blocks).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    total = tl.full((BLOCK_M, BLOCK_N), 0, ACC)
    for first_q in range(0, n_q, BLOCK_Q):
        q = first_q + tl.arange(0, BLOCK_Q).to(tl.int64)
        inner = tl.full((BLOCK_M, BLOCK_Q), 0, ACC)
        for first_p in range(0, n_p, BLOCK_P):
            p = first_p + tl.arange(0, BLOCK_P).to(tl.int64)
            l_mask = (m[:, None] < n_left) & (p[None, :] < n_p)
            m_mask = (p[:, None] < n_p) & (q[None, :] < n_q)
            l_tile = tl.load(left + m[:, None] * stride_lm + p[None, :] * stride_lp, mask=l_mask, other=0)
            m_tile = tl.load(
                middle + t * stride_mt + p[:, None] * stride_mp + q[None, :] * stride_mq, mask=m_mask, other=0
            )
            inner += tl.dot(l_tile.to(ACC), m_tile.to(ACC), input_precision="ieee", out_dtype=ACC)
        r_mask = (q[:, None] < n_q) & (n[None, :] < n_right)
        r_tile = tl.load(right + n[None, :] * stride_rn + q[:, None] * stride_rq, mask=r_mask, other=0)
        total += tl.dot(inner, r_tile.to(ACC), input_precision="ieee", out_dtype=ACC)
    mask = (m[:, None] < n_left) & (n[None, :] < n_right)
    total += tl.load(level + m[:, None] * stride_vm + n[None, :] * stride_vn + t * stride_vt, mask=mask, other=0)
    tl.store(
        out + m[:, None] * stride_om + n[None, :] * stride_on + t * stride_ot, total.to(out.dtype.element_ty), mask=mask
    )


def launch(branch: Tensor, hidden: Tensor, weight: Tensor | None, bias: Tensor | None, offset: Tensor | None) -> Tensor:
    """Return what the reference returns, without writing the trunk functions to memory."""
    require_launchable("branch_trunk", branch_trunk_fwd_kernel, branch)
    level = shift(*widen(branch, bias, offset))  # type: ignore[arg-type]
    if weight is None:
        plane = contract(branch[None, :, None], hidden[None, :, None])[0]
        return (plane if level is None else plane + level).unsqueeze(-1).to(branch.dtype)
    (n_source, n_basis), n_receiver = branch.shape, len(hidden)
    n_time, _, n_hidden = weight.shape
    out = branch.new_empty(n_source, n_receiver, n_time)
    if level is None:
        level = widen(branch.new_zeros(1))[0]
    assert level is not None
    wide = level.expand(n_source, n_time).unsqueeze(1).expand(out.shape)
    # The inner product is computed again for every block of the last axis: the price of not writing it to memory.
    if trunk_first(n_source, n_receiver, n_time, n_basis, n_hidden):
        _launch(hidden, weight.transpose(1, 2), branch, wide.transpose(0, 1), out.transpose(0, 1))
    else:
        _launch(branch, weight, hidden, wide, out)
    return out


def _launch(left: Tensor, middle: Tensor, right: Tensor, level: Tensor, out: Tensor) -> None:
    n_left, n_right, n_time = out.shape
    if not out.numel():
        return
    n_p, n_q = middle.shape[1:]
    operands = (x for tensor in (left, middle, right, level, out) for x in (tensor, *tensor.stride()))
    branch_trunk_fwd_kernel[
        lambda meta: (n_time * triton.cdiv(n_left, meta["BLOCK_M"]) * triton.cdiv(n_right, meta["BLOCK_N"]),)
    ](*operands, n_left, n_right, n_time, n_p, n_q, ACC=accumulator(out.dtype))


def launch_backward(
    grad: Tensor, branch: Tensor, hidden: Tensor, weight: Tensor | None, bias: Tensor | None, needs: list[bool]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what `backward_reference` returns, from contractions in Triton."""
    dtype = branch.dtype
    first, second, third, fourth = (branch.new_empty(0) for _ in range(4))
    if weight is None:
        if needs[0]:
            first = contract(grad.permute(2, 0, 1)[:, :, None], hidden.T[None, :, None])[0]
        if needs[1]:
            second = contract(grad.permute(2, 1, 0)[:, :, None], branch.T[None, :, None])[0]
    elif trunk_first(len(branch), len(hidden), *weight.shape):
        swapped = [needs[1], needs[0], needs[2]]
        second, first, third = _factors(grad.transpose(0, 1), hidden, weight.transpose(1, 2), branch, swapped)
        third = third.transpose(1, 2).contiguous() if needs[2] else third
    else:
        first, second, third = _factors(grad, branch, weight, hidden, needs)
    if bias is not None and (needs[0] or needs[3]):
        level = grad.sum(1, dtype=accumulation_dtype(dtype))
        wide_branch, wide_bias = branch.to(level.dtype), bias.to(level.dtype)
        if needs[0]:
            first = first + level @ wide_bias
        if needs[3]:
            fourth = level.T @ wide_branch
    return first.to(dtype), second.to(dtype), third.to(dtype), fourth.to(dtype)


def _factors(
    grad: Tensor, left: Tensor, middle: Tensor, right: Tensor, needs: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradients of ``sum_pq left[m,p] middle[t,p,q] right[n,q]``, axes (m, n, t), by left, right and middle."""
    n_time = len(middle)
    d_left, d_right, d_middle = (left.new_empty(0) for _ in range(3))
    if needs[1]:
        outer = contract(left.expand(n_time, *left.shape)[:, :, None], middle.transpose(1, 2)[:, :, None])
        d_right = contract(grad.permute(1, 2, 0)[None], outer.permute(2, 0, 1)[None])[0]
    if needs[0] or needs[2]:
        inner = contract(grad.permute(2, 0, 1)[:, :, None], right.T.expand(n_time, *right.T.shape)[:, :, None])
        if needs[0]:
            d_left = contract(inner.permute(1, 0, 2)[None], middle.permute(1, 0, 2)[None])[0]
        if needs[2]:
            d_middle = contract(left.T.expand(n_time, *left.T.shape)[:, :, None], inner.transpose(1, 2)[:, :, None])
    return d_left, d_right, d_middle
