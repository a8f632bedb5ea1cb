"""Linear attention in Triton: sums over chunks of the segments, added up, then read; no atomic operations."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sciml_kernels.linear_attention.reference import pull_back, widen
from sciml_kernels.precision import accumulation_dtype
from sciml_kernels.segment_reduce import triton_kernel as segments
from sciml_kernels.segment_reduce.reference import owners
from sciml_kernels.triton_tools import accumulator, configurations, require_launchable

_BLOCKS = ("BLOCK_N", "BLOCK_I", "BLOCK_O")
_CHOICES = (((64, 64, 64), 4), ((32, 32, 32), 4), ((16, 16, 16), 2), ((64, 64, 64), 8), ((32, 128, 64), 8))
# Nodes of a segment that one program sums: few enough to keep a GPU busy with one long segment.
CHUNK = 512


@triton.jit
def _tile(start, rows, columns, row_end, stride, n_column, ACC: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 # fmt: skip
    """Load a tile of rows that lie `stride` apart, zero beyond its ends."""
    mask = (rows[:, None] < row_end) & (columns[None, :] < n_column)
    return tl.load(start + rows[:, None] * stride + columns[None, :], mask=mask, other=0).to(ACC)


@triton.autotune(configs=configurations(_BLOCKS, _CHOICES), key=["n_in", "n_out"])
@triton.jit(do_not_specialize=("n_head", "n_in", "n_out"))
def collect_kernel(
    left: tl.tensor, right: tl.tensor, weight: tl.tensor, low: tl.tensor, high: tl.tensor, out: tl.tensor,
    n_head: tl.tensor, n_in: tl.tensor, n_out: tl.tensor,
    WEIGHT: tl.constexpr, SUM: tl.constexpr, ACC: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_O: tl.constexpr,
) -> None:  # fmt: skip
    """Sum the outer products of a chunk and head, for a tile; with SUM the rows on the left too, as a last column."""
    chunk, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    n_block = tl.maximum((n_out + BLOCK_O - 1) // BLOCK_O, 1)  # without values the sum is still written
    i = (tl.program_id(2) // n_block) * BLOCK_I + tl.arange(0, BLOCK_I)
    o = (tl.program_id(2) % n_block) * BLOCK_O + tl.arange(0, BLOCK_O)
    start, stop = tl.load(low + chunk), tl.load(high + chunk)
    total, column = tl.full((BLOCK_I, BLOCK_O), 0, ACC), tl.full((BLOCK_I,), 0, ACC)
    for begin in range(start, stop, BLOCK_N):
        node = begin + tl.arange(0, BLOCK_N).to(tl.int64)
        given = _tile(left + head * n_in, node, i, stop, n_head * n_in, n_in, ACC)
        if WEIGHT:
            given = given * tl.load(weight + node, mask=node < stop, other=0).to(ACC)[:, None]
        taken = _tile(right + head * n_out, node, o, stop, n_head * n_out, n_out, ACC)
        total += tl.dot(tl.trans(given), taken, input_precision="ieee", out_dtype=ACC)
        if SUM:
            column += tl.reduce(given, 0, tl.standard._sum_combine)
    width = n_out + 1 if SUM else n_out
    place = out + ((chunk * n_head + head) * n_in + i) * width
    inside = i < n_in
    tl.store(place[:, None] + o[None, :], total, mask=inside[:, None] & (o[None, :] < n_out))
    if SUM:
        tl.store(place + n_out, column, mask=inside & (tl.program_id(2) % n_block == 0))


@triton.autotune(configs=configurations(_BLOCKS, _CHOICES), key=["n_in", "n_out"])
@triton.jit(do_not_specialize=("n_head", "n_in", "n_out"))
def read_kernel(
    rows: tl.tensor, state: tl.tensor, owner: tl.tensor, low: tl.tensor, high: tl.tensor, out: tl.tensor,
    n_head: tl.tensor, n_in: tl.tensor, n_out: tl.tensor,
    DIVIDE: tl.constexpr, ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_O: tl.constexpr,
) -> None:  # fmt: skip
    """Multiply the rows of a chunk and head by a block of the sums; with DIVIDE over what the last column gives."""
    chunk, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    o = tl.program_id(2) * BLOCK_O + tl.arange(0, BLOCK_O)
    start, stop = tl.load(low + chunk), tl.load(high + chunk)
    width = n_out + 1 if DIVIDE else n_out
    own = state + (tl.load(owner + chunk) * n_head + head) * n_in * width
    for begin in range(start, stop, BLOCK_N):
        node = begin + tl.arange(0, BLOCK_N).to(tl.int64)
        found, total = tl.full((BLOCK_N, BLOCK_O), 0, ACC), tl.full((BLOCK_N,), 0, ACC)
        for first in range(0, n_in, BLOCK_I):
            i = first + tl.arange(0, BLOCK_I)
            asked = _tile(rows + head * n_in, node, i, stop, n_head * n_in, n_in, ACC)
            found += tl.dot(asked, _tile(own, i, o, n_in, width, n_out, ACC), input_precision="ieee", out_dtype=ACC)
            if DIVIDE:
                column = tl.load(own + i * width + n_out, mask=i < n_in, other=0)
                total += tl.reduce(asked * column[None, :], 1, tl.standard._sum_combine)
        if DIVIDE:
            empty = total == 0
            found = tl.where(empty[:, None], 0, found / tl.where(empty, 1, total)[:, None])
        place = out + (node[:, None] * n_head + head) * n_out + o[None, :]
        mask = (node[:, None] < stop) & (o[None, :] < n_out)
        tl.store(place, found.to(out.dtype.element_ty), mask=mask)


class Chunks:
    """The two products of the op over chunks of the segments of one call, as `reference.Products` has them.

    Parameters
    ----------
    pointer : (segment + 1,)
    n_node : number of nodes; how many chunks there are depends on shapes alone, those left over are empty.
    """

    def __init__(self, pointer: Tensor, n_node: int) -> None:
        n_segment = len(pointer) - 1
        parts = (pointer.diff() + CHUNK - 1) // CHUNK
        self.pointer = torch.cat([parts.new_zeros(1), parts.cumsum(0)])
        chunk = torch.arange((n_node + n_segment * (CHUNK - 1)) // CHUNK, device=pointer.device)
        found = torch.searchsorted(self.pointer[1:], chunk, right=True)
        self.owner = found.clamp(max=n_segment - 1)
        begin = pointer[self.owner] + (chunk - self.pointer[self.owner]) * CHUNK
        end = torch.minimum(begin + CHUNK, pointer[self.owner + 1])
        self.low, self.high = torch.where(found < n_segment, begin, end), end

    def collect(self, left: Tensor, right: Tensor, weight: Tensor | None = None, with_sum: bool = False) -> Tensor:
        """Return ``sum_j w_j left_j right_j^T`` (segment, head, i, o); with the sum of the left as a last column."""
        (n_head, n_in), n_out = left.shape[1:], right.shape[2]
        shape = n_head, n_in, n_out + with_sum
        parts = left.new_empty(len(self.owner), *shape, dtype=accumulation_dtype(left.dtype))
        if not parts.numel():
            return parts.new_zeros(len(self.pointer) - 1, *shape)

        def grid(meta: dict[str, int]) -> tuple[int, int, int]:
            return len(parts), n_head, triton.cdiv(n_in, meta["BLOCK_I"]) * max(triton.cdiv(n_out, meta["BLOCK_O"]), 1)

        collect_kernel[grid](
            left.contiguous(), right.contiguous(), left if weight is None else weight.contiguous(), self.low, self.high,
            parts, n_head, n_in, n_out, WEIGHT=weight is not None, SUM=with_sum, ACC=accumulator(left.dtype),
        )  # fmt: skip
        return segments.launch(parts.flatten(1), self.pointer, "sum").unflatten(1, shape)

    def read(self, rows: Tensor, state: Tensor, divide: bool = False) -> Tensor:
        """Return ``rows_i state`` (node, head, o) of the node's segment; divided by its last column."""
        n_node, n_head, n_in = rows.shape
        n_out = state.shape[3] - divide
        out = rows.new_empty(n_node, n_head, n_out)
        if out.numel():
            read_kernel[lambda meta: (len(self.owner), n_head, triton.cdiv(n_out, meta["BLOCK_O"]))](
                rows.contiguous(), state.contiguous(), self.owner, self.low, self.high, out, n_head, n_in, n_out,
                DIVIDE=divide, ACC=accumulator(rows.dtype),
            )  # fmt: skip
        return out


def launch(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, pointer: Tensor, normalise: str) -> Tensor:
    """Return what the reference returns: three launches, the weights and the row sums in the first and the last."""
    require_launchable("linear_attention", collect_kernel, query)
    chunks, divide = Chunks(pointer, len(query)), normalise == "row_sum"
    return chunks.read(query, chunks.collect(key, value, weight, divide), divide)


def launch_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, weight: Tensor, pointer: Tensor, normalise: str
) -> tuple[Tensor, ...]:
    """Return what `backward_reference` returns: its equations, with the products from these kernels."""
    require_launchable("linear_attention", collect_kernel, grad)
    n_node, wide = len(query), widen(grad, query, key, value, weight)
    found = pull_back(Chunks(pointer, n_node), owners(pointer, n_node), wide, normalise)
    return tuple(tensor.to(query.dtype) for tensor in found)
