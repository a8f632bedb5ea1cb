"""Messages in Triton: the perceptron of a block of edges stays in registers, in both passes."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sciml_kernels.edge_message.reference import widen
from sciml_kernels.precision import accumulation_dtype
from sciml_kernels.segment_reduce.reference import owners, sizes
from sciml_kernels.triton_tools import accumulator, configurations, require_launchable

_CHOICES = (((16, 32), 4), ((16, 64), 4), ((32, 64), 8))
# Programs of the backward pass, each with a part of the edges and its own sums for the weights.
_PARTS = 256


@triton.jit
def _load(start, rows, columns, n_row, n_column, ACC: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Load a tile of a contiguous matrix, zero beyond its ends."""
    mask = (rows[:, None] < n_row) & (columns[None, :] < n_column)
    return tl.load(start + rows[:, None] * n_column + columns[None, :], mask=mask, other=0).to(ACC)


@triton.jit
def _layer(below, weight, bias, n_in, n_out, ACC: tl.constexpr, BLOCK_IN: tl.constexpr, BLOCK_OUT: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 # fmt: skip
    """Return a linear layer of a block of edges; the padding of its outputs is zero."""
    into, out = tl.arange(0, BLOCK_IN), tl.arange(0, BLOCK_OUT)
    tile = _load(weight, out, into, n_out, n_in, ACC)
    shift = tl.load(bias + out, mask=out < n_out, other=0).to(ACC)
    return tl.dot(below, tl.trans(tile), input_precision="ieee", out_dtype=ACC) + shift[None, :]


@triton.autotune(
    configs=configurations(("BLOCK_N", "BLOCK_E"), _CHOICES), key=["n_column", "n_first", "n_second", "n_feature"]
)
@triton.jit(do_not_specialize=("n_node", "n_edge", "n_column", "n_first", "n_second", "n_feature"))
def edge_message_kernel(
    h: tl.tensor, f: tl.tensor, w1: tl.tensor, b1: tl.tensor, w2: tl.tensor, b2: tl.tensor, w3: tl.tensor,
    b3: tl.tensor, index: tl.tensor, pointer: tl.tensor, out: tl.tensor,
    n_node: tl.tensor, n_edge: tl.tensor, n_column: tl.tensor, n_first: tl.tensor, n_second: tl.tensor,
    n_feature: tl.tensor,
    ACC: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_1: tl.constexpr, BLOCK_2: tl.constexpr, BLOCK_F: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_E: tl.constexpr,
) -> None:  # fmt: skip
    """Average the messages of a block of nodes, whose edges lie next to each other; the sum is a matrix product."""
    node = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    low = tl.load(pointer + tl.minimum(node, n_node))
    high = tl.load(pointer + tl.minimum(node + 1, n_node))
    feature, column = tl.arange(0, BLOCK_F), tl.arange(0, BLOCK_C)
    total = tl.full((BLOCK_N, BLOCK_F), 0, ACC)
    start = tl.load(pointer + tl.minimum(tl.program_id(0) * BLOCK_N, n_node))
    stop = tl.load(pointer + tl.minimum(tl.program_id(0) * BLOCK_N + BLOCK_N, n_node))
    for begin in range(start, stop, BLOCK_E):
        e = begin + tl.arange(0, BLOCK_E).to(tl.int64)
        first = tl.maximum(_layer(_load(f, e, column, n_edge, n_column, ACC), w1, b1, n_column, n_first, ACC, BLOCK_C, BLOCK_1), 0)  # noqa: E501 # fmt: skip
        second = tl.maximum(_layer(first, w2, b2, n_first, n_second, ACC, BLOCK_1, BLOCK_2), 0)
        gate = _layer(second, w3, b3, n_second, n_feature, ACC, BLOCK_2, BLOCK_F)
        source = tl.load(index + e, mask=e < n_edge, other=0)
        inside = (e[:, None] < n_edge) & (feature[None, :] < n_feature)
        message = gate * tl.load(h + source[:, None] * n_feature + feature[None, :], mask=inside, other=0).to(ACC)
        into = ((e[None, :] >= low[:, None]) & (e[None, :] < high[:, None])).to(ACC)
        total += tl.dot(into, message, input_precision="ieee", out_dtype=ACC)
    total = total / tl.maximum(high - low, 1).to(ACC)[:, None]
    mask = (node[:, None] < n_node) & (feature[None, :] < n_feature)
    tl.store(out + node[:, None] * n_feature + feature[None, :], total.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _keep(start, part, tile, n_row, n_column, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 # fmt: skip
    """Store the sum of a part of the edges, a contiguous matrix."""
    row, column = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N)
    place = start + (part * n_row + row[:, None]) * n_column + column[None, :]
    tl.store(place, tile, mask=(row[:, None] < n_row) & (column[None, :] < n_column))


@triton.autotune(
    configs=configurations(("BLOCK_E",), (((32,), 4), ((64,), 8))),
    key=["n_column", "n_first", "n_second", "n_feature"],
    reset_to_zero=["d_h"],
)
@triton.jit(do_not_specialize=("n_edge", "n_column", "n_first", "n_second", "n_feature", "part"))
def edge_message_backward_kernel(  # long: the layers forward and back stand together
    h: tl.tensor, f: tl.tensor, w1: tl.tensor, b1: tl.tensor, w2: tl.tensor, b2: tl.tensor, w3: tl.tensor,
    b3: tl.tensor, index: tl.tensor, owner: tl.tensor, share: tl.tensor, d_h: tl.tensor, d_f: tl.tensor,
    d_w1: tl.tensor, d_b1: tl.tensor, d_w2: tl.tensor, d_b2: tl.tensor, d_w3: tl.tensor, d_b3: tl.tensor,
    n_edge: tl.tensor, n_column: tl.tensor, n_first: tl.tensor, n_second: tl.tensor, n_feature: tl.tensor,
    part: tl.tensor,
    NEED_H: tl.constexpr, NEED_F: tl.constexpr, NEED_W: tl.constexpr, ACC: tl.constexpr, BLOCK_C: tl.constexpr,
    BLOCK_1: tl.constexpr, BLOCK_2: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_E: tl.constexpr,
) -> None:  # fmt: skip
    """Go back through the messages of a part of the edges; `share` is the gradient of a node over its edges."""
    program = tl.program_id(0).to(tl.int64)
    start = program * part
    stop = tl.minimum(start + part, n_edge)
    column, one, two = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_1), tl.arange(0, BLOCK_2)
    feature = tl.arange(0, BLOCK_F)
    s_w1, s_b1 = tl.full((BLOCK_1, BLOCK_C), 0, ACC), tl.full((BLOCK_1,), 0, ACC)
    s_w2, s_b2 = tl.full((BLOCK_2, BLOCK_1), 0, ACC), tl.full((BLOCK_2,), 0, ACC)
    s_w3, s_b3 = tl.full((BLOCK_F, BLOCK_2), 0, ACC), tl.full((BLOCK_F,), 0, ACC)
    for begin in range(start, stop, BLOCK_E):
        e = begin + tl.arange(0, BLOCK_E).to(tl.int64)
        edge = _load(f, e, column, stop, n_column, ACC)
        first = tl.maximum(_layer(edge, w1, b1, n_column, n_first, ACC, BLOCK_C, BLOCK_1), 0)
        second = tl.maximum(_layer(first, w2, b2, n_first, n_second, ACC, BLOCK_1, BLOCK_2), 0)
        inside = (e[:, None] < stop) & (feature[None, :] < n_feature)
        source = tl.load(index + e, mask=e < stop, other=0)[:, None] * n_feature + feature[None, :]
        target = tl.load(owner + e, mask=e < stop, other=0)[:, None] * n_feature + feature[None, :]
        given = tl.load(share + target, mask=inside, other=0)
        if NEED_H:
            gate = _layer(second, w3, b3, n_second, n_feature, ACC, BLOCK_2, BLOCK_F)
            tl.atomic_add(d_h + source, given * gate, mask=inside)
        # Zero beyond the last edge, and so is all that follows.
        d_third = given * tl.load(h + source, mask=inside, other=0).to(ACC)
        if NEED_W:
            s_w3 += tl.dot(tl.trans(d_third), second, input_precision="ieee", out_dtype=ACC)
            s_b3 += tl.reduce(d_third, 0, tl.standard._sum_combine)
        if NEED_W | NEED_F:
            tile = _load(w3, feature, two, n_feature, n_second, ACC)
            d_second = tl.where(second > 0, tl.dot(d_third, tile, input_precision="ieee", out_dtype=ACC), 0)
            tile = _load(w2, two, one, n_second, n_first, ACC)
            d_first = tl.where(first > 0, tl.dot(d_second, tile, input_precision="ieee", out_dtype=ACC), 0)
            if NEED_W:
                s_w2 += tl.dot(tl.trans(d_second), first, input_precision="ieee", out_dtype=ACC)
                s_b2 += tl.reduce(d_second, 0, tl.standard._sum_combine)
                s_w1 += tl.dot(tl.trans(d_first), edge, input_precision="ieee", out_dtype=ACC)
                s_b1 += tl.reduce(d_first, 0, tl.standard._sum_combine)
            if NEED_F:
                tile = _load(w1, one, column, n_first, n_column, ACC)
                d_edge = tl.dot(d_first, tile, input_precision="ieee", out_dtype=ACC)
                mask = (e[:, None] < stop) & (column[None, :] < n_column)
                tl.store(d_f + e[:, None] * n_column + column[None, :], d_edge.to(d_f.dtype.element_ty), mask=mask)
    if NEED_W:
        _keep(d_w1, program, s_w1, n_first, n_column, BLOCK_1, BLOCK_C)
        _keep(d_w2, program, s_w2, n_second, n_first, BLOCK_2, BLOCK_1)
        _keep(d_w3, program, s_w3, n_feature, n_second, BLOCK_F, BLOCK_2)
        tl.store(d_b1 + program * n_first + one, s_b1, mask=one < n_first)
        tl.store(d_b2 + program * n_second + two, s_b2, mask=two < n_second)
        tl.store(d_b3 + program * n_feature + feature, s_b3, mask=feature < n_feature)


def launch(node_feature: Tensor, edge_feature: Tensor, *others: Tensor) -> Tensor:
    """Return what the reference returns, without writing anything about an edge."""
    require_launchable("edge_message", edge_message_kernel, node_feature)
    h, f, *layers, index, pointer = (x.contiguous() for x in (node_feature, edge_feature, *others))
    out = h.new_empty(len(pointer) - 1, h.shape[1])
    if not out.numel():
        return out
    edge_message_kernel[lambda meta: (triton.cdiv(len(out), meta["BLOCK_N"]),)](
        h, f, *layers, index, pointer, out, len(out), len(f), *_lengths(f, layers),
        ACC=accumulator(h.dtype), **_blocks(f, layers),
    )  # fmt: skip
    return out


def launch_backward(grad: Tensor, *arguments: Tensor | list[bool]) -> tuple[Tensor, ...]:
    """Return what `backward_reference` returns; the gradient of the sources is summed by atomic additions."""
    require_launchable("edge_message", edge_message_backward_kernel, grad)
    *tensors, needs = arguments
    assert isinstance(needs, list)
    h, f, *layers, index, pointer = (x.contiguous() for x in tensors if isinstance(x, Tensor))
    wide = accumulation_dtype(grad.dtype)
    (given,) = widen(grad)
    share = (given / sizes(pointer, given)).contiguous()
    part = max(triton.cdiv(len(f), _PARTS), 32)
    n_part, need_weight = triton.cdiv(len(f), part), any(needs[2:])
    d_h = torch.zeros_like(h, dtype=wide) if needs[0] else share.new_empty(0)
    d_f = torch.empty_like(f) if needs[1] else f
    sums = [x.new_empty((n_part, *x.shape) if need_weight else 0, dtype=wide) for x in layers]
    if n_part and h.shape[1]:
        edge_message_backward_kernel[(n_part,)](
            h, f, *layers, index, owners(pointer, len(f)), share, d_h, d_f, *sums, len(f), *_lengths(f, layers), part,
            NEED_H=needs[0], NEED_F=needs[1], NEED_W=need_weight, ACC=accumulator(h.dtype), **_blocks(f, layers),
        )  # fmt: skip
    else:
        d_f = torch.zeros_like(f)
        sums = [x.new_zeros(1, *x.shape) for x in layers]
    found = (d_h.to(h.dtype), d_f, *(x.sum(0).to(h.dtype) if need_weight else x for x in sums))
    return tuple(x if need else h.new_empty(0) for x, need in zip(found, needs, strict=True))


def _lengths(f: Tensor, layers: list[Tensor]) -> tuple[int, int, int, int]:
    return f.shape[1], len(layers[1]), len(layers[3]), len(layers[5])


def _blocks(f: Tensor, layers: list[Tensor]) -> dict[str, int]:
    """Return each width of the perceptron rounded up to what a matrix product takes."""
    names = ("BLOCK_C", "BLOCK_1", "BLOCK_2", "BLOCK_F")
    return {name: max(16, triton.next_power_of_2(n)) for name, n in zip(names, _lengths(f, layers), strict=True)}
