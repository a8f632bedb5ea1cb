"""Messages on the CPU: edges in chunks that fit the cache, matrix products by torch, the rest in numba."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numba import prange
from torch import Tensor

from sciml_kernels.numba_tools import PARALLEL_FROM, compiled

# Edges at a time: a layer of 64 float32 takes 0.5 MB.
CHUNK = 2048
# Places of the weights among the inputs, from the last layer back.
WEIGHTS = (6, 4, 2)
# Columns of the gradient of the sources that a core owns: a cache line of float32.
COLUMNS = 16


def _gather(out, h, m, index, pointer, first, node_0, node_1):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Add h times m over the edges of a chunk, which begins with the edge `first`, to the nodes from node_0 on."""
    n_feature, n_edge = np.uint64(out.shape[1]), m.shape[0]
    for i in prange(node_0, node_1):
        total = out[i]
        begin, end = max(pointer[i] - first, 0), min(pointer[i + 1] - first, n_edge)
        for e in range(np.uint64(begin), np.uint64(max(end, begin))):
            gate, source = m[e], h[np.uint64(index[e])]
            for c in range(n_feature):
                total[c] += gate[c] * source[c]


def _scatter(d_h, share, m, node, index):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Add the gradient of the sources; each core owns columns, so that no two write the same entry."""
    n_feature = d_h.shape[1]
    for block in prange((n_feature + COLUMNS - 1) // COLUMNS):
        low, high = np.uint64(block * COLUMNS), np.uint64(min((block + 1) * COLUMNS, n_feature))
        for e in range(np.uint64(m.shape[0])):
            gate, given, target = m[e], share[np.uint64(node[e])], d_h[np.uint64(index[e])]
            for c in range(low, high):
                target[c] += gate[c] * given[c]


def _pull(d_m, share, h, node, index):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return the gradient of m for a chunk of edges."""
    n_feature = np.uint64(d_m.shape[1])
    for e in prange(d_m.shape[0]):
        given, source, target = share[np.uint64(node[e])], h[np.uint64(index[e])], d_m[e]
        for c in range(n_feature):
            target[c] = given[c] * source[c]


def _mask(gradient, value):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Let the gradient pass where the rectified value is positive."""
    n_feature, zero = np.uint64(value.shape[1]), gradient.dtype.type(0)
    for e in prange(value.shape[0]):
        row, own = gradient[e], value[e]
        for c in range(n_feature):
            given = row[c]  # loaded whatever follows, or the loop is not vectorized
            row[c] = given if own[c] > zero else zero


gather, scatter, pull, mask = compiled(_gather), compiled(_scatter), compiled(_pull), compiled(_mask)


@dataclass(frozen=True)
class _Chunk:
    """The edges from `first` on, with their layers in memory that all chunks share."""

    first: int
    f: Tensor
    index: Tensor
    layers: tuple[Tensor, Tensor, Tensor]


def _chunks(f: Tensor, layers: list[Tensor], index: Tensor) -> Iterator[_Chunk]:
    """Yield the edges in chunks, the layers of the perceptron computed."""
    w1, b1, w2, b2, w3, b3 = layers
    n_edge, n_most = len(f), min(CHUNK, len(f))
    scratch = [f.new_empty(n_most, len(bias)) for bias in (b1, b2, b3)]
    for first in range(0, n_edge, CHUNK):
        rows = f[first : first + CHUNK]
        one, two, three = (buffer[: len(rows)] for buffer in scratch)
        torch.addmm(b1, rows, w1.T, out=one).relu_()
        torch.addmm(b2, one, w2.T, out=two).relu_()
        torch.addmm(b3, two, w3.T, out=three)
        yield _Chunk(first, rows, index[first : first + CHUNK], (one, two, three))


def launch(node_feature: Tensor, edge_feature: Tensor, *others: Tensor) -> Tensor:
    """Return what the reference returns, in float32 or float64 on the CPU."""
    h, f, *layers, index, pointer = (x.detach().contiguous() for x in (node_feature, edge_feature, *others))
    out = h.new_zeros(len(pointer) - 1, h.shape[1])
    if not out.numel():
        return out
    ends, form = pointer.numpy(), int(min(CHUNK, len(f)) * h.shape[1] >= PARALLEL_FROM)
    for chunk in _chunks(f, layers, index):
        edges = (chunk.first, chunk.first + len(chunk.f) - 1)
        node_0, node_1 = np.searchsorted(ends, edges, side="right") - 1
        m = chunk.layers[2].numpy()
        gather[form](out.numpy(), h.numpy(), m, chunk.index.numpy(), ends, chunk.first, node_0, node_1 + 1)
    return out.div_(_sizes(pointer, out))


def launch_backward(grad: Tensor, *arguments: Tensor | list[bool]) -> tuple[Tensor, ...]:
    """Return what `backward_reference` returns, in float32 or float64 on the CPU."""
    *tensors, needs = arguments
    assert isinstance(needs, list)
    h, f, *layers, index, pointer = (x.detach().contiguous() for x in tensors if isinstance(x, Tensor))
    inputs = (h, f, *layers)
    # Those of the weights are kept transposed: the product with the few columns of f is seven times as fast.
    shapes = (x.T.shape if i in WEIGHTS else x.shape for i, x in enumerate(inputs))
    found = [h.new_zeros(shape if need else 0) for shape, need in zip(shapes, needs, strict=True)]
    share = (grad.detach() / _sizes(pointer, grad)).contiguous()
    node = torch.repeat_interleave(torch.arange(len(grad)), pointer.diff(), output_size=len(f))
    form = int(min(CHUNK, len(f)) * h.shape[1] >= PARALLEL_FROM)
    for chunk in _chunks(f, layers, index):
        ends = node[chunk.first : chunk.first + len(chunk.f)].numpy(), chunk.index.numpy()
        m = chunk.layers[2].numpy()
        if needs[0]:
            scatter[form](found[0].numpy(), share.numpy(), m, *ends)
        if any(needs[1:]):
            pull[form](m, share.numpy(), h.numpy(), *ends)  # from here on the third layer holds its gradient
            _perceptron(found, needs, chunk, layers, form)
    return tuple(x.T.contiguous() if i in WEIGHTS and needs[i] else x for i, x in enumerate(found))


def _perceptron(found: list[Tensor], needs: list[bool], chunk: _Chunk, layers: list[Tensor], form: int) -> None:
    """Add the gradients of the perceptron for a chunk of edges, down to the lowest layer that needs one."""
    one, two, gradient = chunk.layers
    for level, below in zip(WEIGHTS, (two, one, chunk.f), strict=True):
        if needs[level]:
            found[level].addmm_(below.T, gradient)
        if needs[level + 1]:
            found[level + 1].add_(gradient.sum(0))
        if not any(needs[1:level]):
            return
        gradient = gradient @ layers[level - 2]
        if level > 2:
            mask[form](gradient.numpy(), below.numpy())
    found[1][chunk.first : chunk.first + len(chunk.f)] = gradient


def _sizes(pointer: Tensor, like: Tensor) -> Tensor:
    return pointer.diff().clamp(min=1).to(like.dtype)[:, None]
