"""Linear attention on the CPU: segments and heads shared among the cores, a block of nodes at a time in the cache."""

from __future__ import annotations

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from sciml_kernels.numba_tools import PARALLEL_FROM, arrays, compiled

# Nodes whose rows are copied side by side, so that the loops over them run along memory.
BLOCK = 32


@numba.njit(inline="always")
def add_outer(state, left, right, n_node):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Add ``left_j right_j^T`` of a block to the state, four nodes at a time: a quarter of the stores."""
    one, two, three, four = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
    end, n_out = np.uint64(n_node), np.uint64(right.shape[1])
    whole = end - end % four
    for j in range(np.uint64(0), whole, four):
        r0, r1, r2, r3 = right[j], right[j + one], right[j + two], right[j + three]
        for i in range(np.uint64(left.shape[1])):
            row, a, b, c, d = state[i], left[j, i], left[j + one, i], left[j + two, i], left[j + three, i]
            for o in range(n_out):
                row[o] += (a * r0[o] + b * r1[o]) + (c * r2[o] + d * r3[o])
    for j in range(whole, end):
        for i in range(np.uint64(left.shape[1])):
            row, a, last = state[i], left[j, i], right[j]
            for o in range(n_out):
                row[o] += a * last[o]


@numba.njit(inline="always")
def multiply(out, rows, state, n_node):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Write ``rows_j state`` of a block, four lines of the state at a time."""
    one, two, three, four = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
    n_in, n_out = np.uint64(state.shape[0]), np.uint64(state.shape[1])
    whole = n_in - n_in % four
    for j in range(np.uint64(n_node)):
        found, row = out[j], rows[j]
        for o in range(n_out):
            found[o] = 0
        for i in range(np.uint64(0), whole, four):
            a, b, c, d = row[i], row[i + one], row[i + two], row[i + three]
            s0, s1, s2, s3 = state[i], state[i + one], state[i + two], state[i + three]
            for o in range(n_out):
                found[o] += (a * s0[o] + b * s1[o]) + (c * s2[o] + d * s3[o])
        for i in range(whole, n_in):
            a, last = row[i], state[i]
            for o in range(n_out):
                found[o] += a * last[o]


@numba.njit(inline="always")
def copy(block, rows, begin, n_node, head):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Copy the rows of some nodes and a head side by side."""
    n_feature = np.uint64(rows.shape[2])
    for j in range(np.uint64(n_node)):
        row, target = rows[np.uint64(begin) + j, np.uint64(head)], block[j]
        for c in range(n_feature):
            target[c] = row[c]


@numba.njit(inline="always")
def dot(left, right):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Return the sum of products of two rows."""
    total = left.dtype.type(0)
    for c in range(np.uint64(len(left))):
        total += left[c] * right[c]
    return total


@numba.njit(inline="always")
def collect(state, left, right, key, value, weight, low, high, head):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Sum weighted keys times values of a segment and head; where the state has a column more, keys times one."""
    state[:] = 0
    right[:, value.shape[2] :] = 1
    for begin in range(low, high, BLOCK):
        n_node = min(BLOCK, high - begin)
        copy(left, key, begin, n_node, head)
        copy(right, value, begin, n_node, head)
        for j in range(n_node):
            for i in range(left.shape[1]):
                left[j, i] *= weight[begin + j]
        add_outer(state, left, right, n_node)


def _attend(out, query, key, value, weight, pointer, extra):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Write the output; `extra` is one column of the state for the row sums, or none."""
    n_head, n_in, n_out = key.shape[1], key.shape[2], value.shape[2]
    for pair in prange((len(pointer) - 1) * n_head):
        segment, head = pair // n_head, pair % n_head
        low, high = pointer[segment], pointer[segment + 1]
        left, right = np.empty((BLOCK, n_in), key.dtype), np.empty((BLOCK, n_out + extra), key.dtype)
        state = np.empty((n_in, n_out + extra), key.dtype)
        collect(state, left, right, key, value, weight, low, high, head)
        for begin in range(low, high, BLOCK):
            n_node = min(BLOCK, high - begin)
            copy(left, query, begin, n_node, head)
            multiply(right, left, state, n_node)
            for j in range(n_node):
                share = key.dtype.type(1)
                if extra:
                    share = 1 / right[j, n_out] if right[j, n_out] != 0 else key.dtype.type(0)
                for o in range(n_out):
                    out[begin + j, head, o] = right[j, o] * share


# long: the three passes over a segment stand together
def _pull_back(d_query, d_key, d_value, d_weight, grad, query, key, value, weight, pointer, extra):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Write the gradients by the equations of `reference.pull_back`; those of the weight for each head."""
    n_head, n_in, n_out, dtype = key.shape[1], key.shape[2], value.shape[2], key.dtype
    for pair in prange((len(pointer) - 1) * n_head):
        segment, head = pair // n_head, pair % n_head
        low, high = pointer[segment], pointer[segment + 1]
        left, right = np.empty((BLOCK, n_in), dtype), np.empty((BLOCK, n_out + extra), dtype)
        state, found = np.empty((n_in, n_out + extra), dtype), np.empty((BLOCK, n_in), dtype)
        collect(state, left, right, key, value, weight, low, high, head)
        turned, sums = state.T.copy(), np.zeros(n_in, dtype)
        if extra:
            sums[:] = turned[n_out]
            turned[n_out] = 0
        state[:] = 0
        for begin in range(low, high, BLOCK):
            n_node = min(BLOCK, high - begin)
            copy(left, query, begin, n_node, head)
            copy(right, grad, begin, n_node, head)
            right[:, n_out:] = 0
            multiply(found, right, turned, n_node)
            for j in range(n_node):
                share, of_sum = dtype.type(1), dtype.type(0)
                if extra:
                    total = dot(left[j], sums)
                    share = 1 / total if total != 0 else dtype.type(0)
                    of_sum = -dot(left[j], found[j]) * share * share
                    right[j, n_out] = of_sum
                for o in range(n_out):
                    right[j, o] *= share
                for i in range(n_in):
                    d_query[begin + j, head, i] = found[j, i] * share + of_sum * sums[i]
            add_outer(state, left, right, n_node)
        turned = state.T.copy()
        for begin in range(low, high, BLOCK):
            n_node = min(BLOCK, high - begin)
            copy(left, key, begin, n_node, head)
            copy(right, value, begin, n_node, head)
            right[:, n_out:] = 1
            multiply(found, right, turned, n_node)
            multiply(right, left, state, n_node)
            for j in range(n_node):
                scale = weight[begin + j]
                d_weight[begin + j, head] = dot(left[j], found[j])
                for i in range(n_in):
                    d_key[begin + j, head, i] = found[j, i] * scale
                for o in range(n_out):
                    d_value[begin + j, head, o] = right[j, o] * scale


attend, pull_back = compiled(_attend), compiled(_pull_back)


def launch(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, pointer: Tensor, normalise: str) -> Tensor:
    """Return what the reference returns, in float32 or float64 on the CPU."""
    out = torch.empty(value.shape, dtype=value.dtype)
    if out.numel():
        given = arrays(query, key, value, weight, pointer)
        attend[_form(key, value)](out.numpy(), *given, int(normalise == "row_sum"))
    return out


def launch_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, weight: Tensor, pointer: Tensor, normalise: str
) -> tuple[Tensor, ...]:
    """Return what `backward_reference` returns, in float32 or float64 on the CPU."""
    found = [torch.empty(tensor.shape, dtype=key.dtype) for tensor in (query, key, value)]
    of_weight = torch.zeros(key.shape[:2], dtype=key.dtype)
    given = arrays(grad, query, key, value, weight, pointer)
    written = [tensor.numpy() for tensor in (*found, of_weight)]
    pull_back[_form(key, value)](*written, *given, int(normalise == "row_sum"))
    return (*found, of_weight.sum(1))


def _form(key: Tensor, value: Tensor) -> int:
    """Return 1 where the work is worth starting threads for, else 0."""
    return int(key.numel() * value.shape[2] >= PARALLEL_FROM)
