"""Reductions of segments in Triton: a program per segment and block of features, no atomic operations."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from sciml_kernels.triton_tools import accumulator, configurations, require_launchable

# tl.reduce with the functions that tl.sum and its like pass to it: those are kernels of Triton's own library, which the
# interpreter calls only where that was loaded for it too.
_BLOCKS = ("BLOCK_E", "BLOCK_F")
_CHOICES = (((16, 32), 1), ((16, 64), 2), ((32, 64), 4), ((64, 32), 4))


@triton.jit
def _total(rows, stride_e, columns, inside, start, stop, first, ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, E501 # fmt: skip
    """Return the sum of the rows of a segment, each less `first`."""
    total = tl.full((BLOCK_F,), 0, ACC)
    for begin in range(start, stop, BLOCK_E):
        e = begin + tl.arange(0, BLOCK_E)
        mask = (e[:, None] < stop) & inside[None, :]
        row = tl.load(rows + e[:, None] * stride_e + columns[None, :], mask=mask, other=0).to(ACC)
        total += tl.reduce(tl.where(mask, row - first[None, :], 0), 0, tl.standard._sum_combine)
    return total


@triton.jit
def _squares(rows, stride_e, columns, inside, start, stop, first, mean, ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, E501 # fmt: skip
    """Return the sum of the squares of the deviations of a segment."""
    total = tl.full((BLOCK_F,), 0, ACC)
    for begin in range(start, stop, BLOCK_E):
        e = begin + tl.arange(0, BLOCK_E)
        mask = (e[:, None] < stop) & inside[None, :]
        row = tl.load(rows + e[:, None] * stride_e + columns[None, :], mask=mask, other=0).to(ACC)
        deviation = tl.where(mask, (row - first[None, :]) - mean[None, :], 0)
        total += tl.reduce(deviation * deviation, 0, tl.standard._sum_combine)
    return total


@triton.jit
def _largest(rows, stride_e, columns, inside, start, stop, SIGN: tl.constexpr, ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, E501 # fmt: skip
    """Return the largest of SIGN times the rows of a segment, and whether there is a NaN among them."""
    best = tl.full((BLOCK_F,), float("-inf"), ACC)
    spoiled = tl.full((BLOCK_F,), 0, tl.int32)
    for begin in range(start, stop, BLOCK_E):
        e = begin + tl.arange(0, BLOCK_E)
        mask = (e[:, None] < stop) & inside[None, :]
        row = tl.load(rows + e[:, None] * stride_e + columns[None, :], mask=mask, other=0).to(ACC)
        number = mask & (row == row)
        most = tl.reduce(tl.where(number, SIGN * row, float("-inf")), 0, tl.standard._elementwise_max)
        best = tl.maximum(best, most)
        bad = tl.reduce((mask & (row != row)).to(tl.int32), 0, tl.standard._elementwise_max)
        spoiled = tl.maximum(spoiled, bad)
    return best, spoiled > 0


@triton.autotune(configs=configurations(_BLOCKS, _CHOICES), key=["n_feature"])
@triton.jit(do_not_specialize=("n_node", "n_feature"))
def segment_reduce_kernel(
    rows: tl.tensor, stride_e: tl.tensor, stride_f: tl.tensor, pointer: tl.tensor, out: tl.tensor,
    n_node: tl.tensor, n_feature: tl.tensor,
    REDUCE: tl.constexpr, ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    """Reduce one segment for a block of features."""
    i, block = (tl.program_id(0) % n_node).to(tl.int64), tl.program_id(0) // n_node
    feature = block.to(tl.int64) * BLOCK_F + tl.arange(0, BLOCK_F)
    inside, columns = feature < n_feature, feature * stride_f
    start, stop = tl.load(pointer + i), tl.load(pointer + i + 1)
    size = tl.maximum(stop - start, 1).to(ACC)
    if REDUCE == "std":
        first = tl.load(rows + start * stride_e + columns, mask=inside & (stop > start), other=0).to(ACC)
        mean = _total(rows, stride_e, columns, inside, start, stop, first, ACC, BLOCK_E, BLOCK_F) / size
        square = _squares(rows, stride_e, columns, inside, start, stop, first, mean, ACC, BLOCK_E, BLOCK_F) / size
        found = tl.sqrt(square)
    elif (REDUCE == "max") | (REDUCE == "min"):
        sign: tl.constexpr = 1 if REDUCE == "max" else -1
        best, spoiled = _largest(rows, stride_e, columns, inside, start, stop, sign, ACC, BLOCK_E, BLOCK_F)
        found = tl.where(stop > start, tl.where(spoiled, float("nan"), sign * best), 0)
    else:
        zero = tl.full((BLOCK_F,), 0, ACC)
        found = _total(rows, stride_e, columns, inside, start, stop, zero, ACC, BLOCK_E, BLOCK_F)
        if REDUCE == "mean":
            found = found / size
    tl.store(out + i * n_feature + feature, found.to(out.dtype.element_ty), mask=inside)


@triton.autotune(configs=configurations(_BLOCKS, _CHOICES), key=["n_feature"])
@triton.jit(do_not_specialize=("n_node", "n_feature"))
def segment_reduce_backward_kernel(
    grad: tl.tensor, stride_gi: tl.tensor, stride_gf: tl.tensor,
    rows: tl.tensor, stride_e: tl.tensor, stride_f: tl.tensor, pointer: tl.tensor, out: tl.tensor,
    n_node: tl.tensor, n_feature: tl.tensor,
    REDUCE: tl.constexpr, ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    """Send the gradient of one segment, for a block of features, to its rows."""
    i, block = (tl.program_id(0) % n_node).to(tl.int64), tl.program_id(0) // n_node
    feature = block.to(tl.int64) * BLOCK_F + tl.arange(0, BLOCK_F)
    inside, columns = feature < n_feature, feature * stride_f
    start, stop = tl.load(pointer + i), tl.load(pointer + i + 1)
    size = tl.maximum(stop - start, 1).to(ACC)
    share = tl.load(grad + i * stride_gi + feature * stride_gf, mask=inside, other=0).to(ACC)
    first, mean, best = share, share, share
    if REDUCE == "std":
        first = tl.load(rows + start * stride_e + columns, mask=inside & (stop > start), other=0).to(ACC)
        mean = _total(rows, stride_e, columns, inside, start, stop, first, ACC, BLOCK_E, BLOCK_F) / size
        square = _squares(rows, stride_e, columns, inside, start, stop, first, mean, ACC, BLOCK_E, BLOCK_F) / size
        share = tl.where(square == 0, 0, share / (size * tl.sqrt(tl.where(square == 0, 1, square))))
    elif REDUCE == "mean":
        share = share / size
    elif (REDUCE == "max") | (REDUCE == "min"):
        sign: tl.constexpr = 1 if REDUCE == "max" else -1
        best, _spoiled = _largest(rows, stride_e, columns, inside, start, stop, sign, ACC, BLOCK_E, BLOCK_F)
        best = sign * best
    taken = tl.full((BLOCK_F,), 0, tl.int32)
    for begin in range(start, stop, BLOCK_E):
        e = begin + tl.arange(0, BLOCK_E)
        mask = (e[:, None] < stop) & inside[None, :]
        given = tl.where(mask, share[None, :], 0)
        if (REDUCE != "sum") & (REDUCE != "mean"):
            row = tl.load(rows + e[:, None] * stride_e + columns[None, :], mask=mask, other=0).to(ACC)
            if REDUCE == "std":
                given = given * ((row - first[None, :]) - mean[None, :])
            else:
                attains = mask & ((row == best[None, :]) | (row != row))
                place = tl.reduce(tl.where(attains, e[:, None], stop), 0, tl.standard._elementwise_min)
                given = tl.where((e[:, None] == place[None, :]) & (taken == 0)[None, :], given, 0)
                taken = tl.where(place < stop, 1, taken)
        tl.store(out + e[:, None] * n_feature + feature[None, :], given.to(out.dtype.element_ty), mask=mask)


def launch(values: Tensor, pointer: Tensor, reduce: str) -> Tensor:
    """Return what the reference returns."""
    require_launchable("segment_reduce", segment_reduce_kernel, values)
    n_node, n_feature = len(pointer) - 1, values.shape[1]
    out = values.new_empty(n_node, n_feature)
    if out.numel():
        segment_reduce_kernel[lambda meta: (n_node * triton.cdiv(n_feature, meta["BLOCK_F"]),)](
            values, *values.stride(), pointer.contiguous(), out, n_node, n_feature,
            REDUCE=reduce, ACC=accumulator(values.dtype),
        )  # fmt: skip
    return out


def launch_backward(grad: Tensor, values: Tensor | None, pointer: Tensor, n_edge: int, reduce: str) -> Tensor:
    """Return what `backward_reference` returns."""
    require_launchable("segment_reduce", segment_reduce_backward_kernel, grad)
    n_node, n_feature = grad.shape
    out = grad.new_empty(n_edge, n_feature)
    rows = grad if values is None else values  # sum and mean do not look at them
    if out.numel():
        segment_reduce_backward_kernel[lambda meta: (n_node * triton.cdiv(n_feature, meta["BLOCK_F"]),)](
            grad, *grad.stride(), rows, *rows.stride(), pointer.contiguous(), out, n_node, n_feature,
            REDUCE=reduce, ACC=accumulator(grad.dtype),
        )  # fmt: skip
    return out
