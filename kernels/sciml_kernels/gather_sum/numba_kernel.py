"""Sums over the rows that an index names on the CPU: no copy of the rows, no atomic operations."""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from sciml_kernels.numba_tools import PARALLEL_FROM, arrays, compiled

# Columns that a core takes on the way back, a cache line of float32: rows would have to be shared.
BLOCK = 16


def _gather(out, values, index, pointer):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Sum two rows at a time, so that the result is read and written half as often."""
    n_feature, one = np.uint64(out.shape[1]), np.uint64(1)
    for i in prange(out.shape[0]):
        e, end = np.uint64(pointer[i]), np.uint64(pointer[i + 1])
        total = out[i]
        for c in range(n_feature):
            total[c] = 0
        while e + one < end:
            first, second = values[np.uint64(index[e])], values[np.uint64(index[e + one])]
            for c in range(n_feature):
                total[c] += first[c] + second[c]
            e += one + one
        if e < end:
            row = values[np.uint64(index[e])]
            for c in range(n_feature):
                total[c] += row[c]


def _scatter(out, grad, index, pointer):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Add the row of each segment to those that it was summed from, a block of columns after the other."""
    n_feature = out.shape[1]
    for block in prange((n_feature + BLOCK - 1) // BLOCK):
        low, high = np.uint64(block * BLOCK), np.uint64(min((block + 1) * BLOCK, n_feature))
        for i in range(np.uint64(grad.shape[0])):
            row = grad[i]
            for e in range(np.uint64(pointer[i]), np.uint64(pointer[i + np.uint64(1)])):
                target = out[np.uint64(index[e])]
                for c in range(low, high):
                    target[c] += row[c]


gather, scatter = compiled(_gather), compiled(_scatter)


def launch(values: Tensor, index: Tensor, pointer: Tensor) -> Tensor:
    """Return what the reference returns, in float32 or float64 on the CPU."""
    out = torch.empty(len(pointer) - 1, values.shape[1], dtype=values.dtype)
    if out.numel():
        gather[_form(index, values)](out.numpy(), *arrays(values, index, pointer))
    return out


def launch_backward(grad: Tensor, index: Tensor, pointer: Tensor, n_source: int) -> Tensor:
    """Return what `backward_reference` returns, in float32 or float64 on the CPU."""
    out = torch.zeros(n_source, grad.shape[1], dtype=grad.dtype)
    if out.numel():
        scatter[_form(index, grad)](out.numpy(), *arrays(grad, index, pointer))
    return out


def _form(index: Tensor, rows: Tensor) -> int:
    return int(len(index) * rows.shape[1] >= PARALLEL_FROM)
