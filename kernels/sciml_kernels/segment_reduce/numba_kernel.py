"""Reductions of segments on the CPU: one pass over the rows, segments shared among the cores."""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from sciml_kernels.numba_tools import PARALLEL_FROM, arrays, compiled

# Segments that a core takes at a time, with scratch rows of its own.
BLOCK = 64


def _add(out, rows, pointer, mean):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Sum four rows at a time, so that the result is read and written a quarter as often."""
    n_feature = np.uint64(out.shape[1])
    for i in prange(out.shape[0]):
        end, size = np.uint64(pointer[i + 1]), rows.dtype.type(max(pointer[i + 1] - pointer[i], 1))
        e = np.uint64(pointer[i])
        one, four = np.uint64(1), np.uint64(4)
        total = out[i]
        for c in range(n_feature):
            total[c] = 0
        while e + four <= end:
            r0, r1, r2, r3 = rows[e], rows[e + one], rows[e + one + one], rows[e + four - one]
            for c in range(n_feature):
                total[c] += (r0[c] + r1[c]) + (r2[c] + r3[c])
            e += four
        while e < end:
            row = rows[e]
            for c in range(n_feature):
                total[c] += row[c]
            e += one
        if mean:
            for c in range(n_feature):
                total[c] /= size


def _extreme(out, rows, pointer, sign):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Find the largest of ``sign * row``; NaN counts as larger than all."""
    n_feature = np.uint64(out.shape[1])
    for i in prange(out.shape[0]):
        best = out[i]
        for c in range(n_feature):
            best[c] = rows[pointer[i], c] if pointer[i + 1] > pointer[i] else 0
        for e in range(np.uint64(pointer[i]), np.uint64(pointer[i + 1])):
            row = rows[e]
            for c in range(n_feature):
                value, most = row[c], best[c]
                best[c] = value if (sign * value > sign * most) | (value != value) else most


def _spread(out, rows, pointer):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Take the root of the mean square of the deviations; the second pass finds the segment in the cache."""
    n_node, n_feature = out.shape[0], np.uint64(out.shape[1])
    for block in prange((n_node + BLOCK - 1) // BLOCK):
        mean, total = np.empty(out.shape[1], rows.dtype), np.empty(out.shape[1], rows.dtype)
        for i in range(block * BLOCK, min((block + 1) * BLOCK, n_node)):
            size = rows.dtype.type(max(pointer[i + 1] - pointer[i], 1))
            first = rows[pointer[i] if pointer[i + 1] > pointer[i] else 0]
            for c in range(n_feature):
                mean[c], total[c] = 0, 0
            for e in range(np.uint64(pointer[i]), np.uint64(pointer[i + 1])):
                row = rows[e]
                for c in range(n_feature):
                    mean[c] += row[c] - first[c]
            for c in range(n_feature):
                mean[c] /= size
            for e in range(np.uint64(pointer[i]), np.uint64(pointer[i + 1])):
                row = rows[e]
                for c in range(n_feature):
                    deviation = (row[c] - first[c]) - mean[c]
                    total[c] += deviation * deviation
            for c in range(n_feature):
                out[i, c] = math.sqrt(total[c] / size)


def _spread_rows(out, grad, rows, pointer, std):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Send the gradient of a std to its rows."""
    n_node, n_feature = grad.shape[0], np.uint64(grad.shape[1])
    for block in prange((n_node + BLOCK - 1) // BLOCK):
        mean, scale = np.empty(grad.shape[1], rows.dtype), np.empty(grad.shape[1], rows.dtype)
        for i in range(block * BLOCK, min((block + 1) * BLOCK, n_node)):
            size = rows.dtype.type(max(pointer[i + 1] - pointer[i], 1))
            first = rows[pointer[i] if pointer[i + 1] > pointer[i] else 0]
            for c in range(n_feature):
                mean[c] = 0
                scale[c] = grad[i, c] / (size * std[i, c]) if std[i, c] != 0 else 0
            for e in range(np.uint64(pointer[i]), np.uint64(pointer[i + 1])):
                row = rows[e]
                for c in range(n_feature):
                    mean[c] += row[c] - first[c]
            for c in range(n_feature):
                mean[c] /= size
            for e in range(np.uint64(pointer[i]), np.uint64(pointer[i + 1])):
                row, target = rows[e], out[e]
                for c in range(n_feature):
                    target[c] = scale[c] * ((row[c] - first[c]) - mean[c])


def _copy_rows(out, grad, pointer, mean):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Send the gradient of a sum or mean to every row."""
    n_feature = np.uint64(grad.shape[1])
    for i in prange(grad.shape[0]):
        scale = 1 / grad.dtype.type(max(pointer[i + 1] - pointer[i], 1) if mean else 1)
        own = grad[i]
        for e in range(np.uint64(pointer[i]), np.uint64(pointer[i + 1])):
            target = out[e]
            for c in range(n_feature):
                target[c] = scale * own[c]


def _first_rows(out, grad, rows, pointer, extreme):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Send the gradient of an extreme to the first row that attains it, zero to the others."""
    n_node, n_feature = grad.shape[0], np.uint64(grad.shape[1])
    zero = grad.dtype.type(0)  # an integer would make the loop compute in float64
    for block in prange((n_node + BLOCK - 1) // BLOCK):
        left = np.empty(grad.shape[1], grad.dtype)
        for i in range(block * BLOCK, min((block + 1) * BLOCK, n_node)):
            wanted = extreme[i]
            for c in range(n_feature):
                left[c] = grad[i, c]
            for e in range(np.uint64(pointer[i]), np.uint64(pointer[i + 1])):
                row, target = rows[e], out[e]
                for c in range(n_feature):
                    # loaded before they are chosen from, or the loop is not vectorized
                    value, rest = row[c], left[c]
                    attains = (value == wanted[c]) | (value != value)
                    target[c] = rest if attains else zero
                    left[c] = zero if attains else rest


add, extreme, spread = compiled(_add), compiled(_extreme), compiled(_spread)
copy_rows, first_rows, spread_rows = compiled(_copy_rows), compiled(_first_rows), compiled(_spread_rows)


def launch(values: Tensor, pointer: Tensor, reduce: str) -> Tensor:
    """Return what the reference returns, in float32 or float64 on the CPU."""
    out = torch.empty(len(pointer) - 1, values.shape[1], dtype=values.dtype)
    if not len(values):
        return out.zero_()
    if out.numel():
        (rows, ends), form = arrays(values, pointer), int(values.numel() >= PARALLEL_FROM)
        if reduce == "std":
            spread[form](out.numpy(), rows, ends)
        elif reduce in ("max", "min"):
            extreme[form](out.numpy(), rows, ends, rows.dtype.type(1 if reduce == "max" else -1))
        else:
            add[form](out.numpy(), rows, ends, reduce == "mean")
    return out


def launch_backward(grad: Tensor, values: Tensor | None, pointer: Tensor, n_edge: int, reduce: str) -> Tensor:
    """Return what `backward_reference` returns, in float32 or float64 on the CPU."""
    out = torch.empty(n_edge, grad.shape[1], dtype=grad.dtype)
    if out.numel():
        (given, ends), form = arrays(grad, pointer), int(out.numel() >= PARALLEL_FROM)
        if values is None:
            copy_rows[form](out.numpy(), given, ends, reduce == "mean")
        else:
            forward, rows = arrays(launch(values, pointer, reduce), values)
            (spread_rows if reduce == "std" else first_rows)[form](out.numpy(), given, rows, ends, forward)
    return out
