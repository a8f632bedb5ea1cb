"""The stencil on the CPU: one pass, slabs of the first axis shared among the cores.

Of p . A p each slab keeps one sum for each place along the last axis, so that the loop over a row is vectorized and the
order of the sums does not depend on the threads; without room for them nothing is summed.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from numpy.typing import NDArray
from torch import Tensor

from sciml_kernels.numba_tools import PARALLEL_FROM, arrays, compiled


def _even(q, sums, p, diagonal, c_x, c_y, c_z, n_rhs, n_x, n_y, n_z):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Apply with one weight for each axis. Rows beyond the grid are replaced by the own row with the weight zero."""
    zero = c_x - c_x
    for i in prange(n_x):
        for s in range(n_rhs):
            first = np.uint64((s * n_x + i) * n_z)
            for j in range(n_y):
                cell = (i * n_y + j) * n_z
                at = cell + s * n_x * n_y * n_z
                own, o = np.uint64(cell), np.uint64(at)
                x_0, x_1 = np.uint64(at - n_y * n_z if i else at), np.uint64(at + n_y * n_z if i < n_x - 1 else at)
                y_0, y_1 = np.uint64(at - n_z if j else at), np.uint64(at + n_z if j < n_y - 1 else at)
                w_0, w_1 = c_x if i else zero, c_x if i < n_x - 1 else zero
                v_0, v_1 = c_y if j else zero, c_y if j < n_y - 1 else zero
                one = np.uint64(1)
                for k in range(np.uint64(n_z)):
                    near = w_0 * p[x_0 + k] + w_1 * p[x_1 + k] + v_0 * p[y_0 + k] + v_1 * p[y_1 + k]
                    q[o + k] = diagonal[own + k] * p[o + k] - near
                for k in range(np.uint64(n_z - 1)):
                    q[o + k] -= c_z * p[o + k + one]
                for k in range(np.uint64(n_z - 1)):
                    q[o + k + one] -= c_z * p[o + k]
                for k in range(np.uint64(n_z)):
                    q[o + k] = q[o + k] if diagonal[own + k] > 0 else zero
                if len(sums):
                    for k in range(np.uint64(n_z)):
                        sums[first + k] += p[o + k] * q[o + k]


def _uneven(q, sums, p, diagonal, f_x, f_y, f_z, n_rhs, n_x, n_y, n_z):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Apply with a weight for each face."""
    d_x, d_y = np.uint64(n_y * n_z), np.uint64(n_z)
    for i in prange(n_x):
        for s in range(n_rhs):
            first = np.uint64((s * n_x + i) * n_z)
            for j in range(n_y):
                cell = (i * n_y + j) * n_z
                own, o = np.uint64(cell), np.uint64(cell + s * n_x * n_y * n_z)
                one = np.uint64(1)
                for k in range(np.uint64(n_z)):
                    q[o + k] = diagonal[own + k] * p[o + k]
                if i:
                    for k in range(np.uint64(n_z)):
                        q[o + k] -= f_x[own + k - d_x] * p[o + k - d_x]
                if i < n_x - 1:
                    for k in range(np.uint64(n_z)):
                        q[o + k] -= f_x[own + k] * p[o + k + d_x]
                if j:
                    for k in range(np.uint64(n_z)):
                        q[o + k] -= f_y[own + k - d_y] * p[o + k - d_y]
                if j < n_y - 1:
                    for k in range(np.uint64(n_z)):
                        q[o + k] -= f_y[own + k] * p[o + k + d_y]
                for k in range(np.uint64(n_z - 1)):
                    q[o + k] -= f_z[own + k] * p[o + k + one]
                for k in range(np.uint64(n_z - 1)):
                    q[o + k + one] -= f_z[own + k] * p[o + k]
                for k in range(np.uint64(n_z)):
                    q[o + k] = q[o + k] if diagonal[own + k] > 0 else 0
                if len(sums):
                    for k in range(np.uint64(n_z)):
                        sums[first + k] += p[o + k] * q[o + k]


even, uneven = compiled(_even), compiled(_uneven)


def launch(pressure: Tensor, faces: Tensor, diagonal: Tensor) -> Tensor:
    """Return what the reference returns, in float32 or float64 on the CPU."""
    return _launch(pressure, faces, diagonal, np.zeros(0))


def launch_dot(pressure: Tensor, faces: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `dot_reference` returns, in float32 or float64 on the CPU; summed in float64."""
    n_rhs, n_x, _, n_z = pressure.shape
    sums = np.zeros((n_rhs, n_x * n_z))
    applied = _launch(pressure, faces, diagonal, sums.reshape(-1))
    # Row by row: numpy's order over an axis may depend on how many rows there are.
    return applied, torch.tensor([float(row.sum()) for row in sums], dtype=pressure.dtype)


def _launch(pressure: Tensor, faces: Tensor, diagonal: Tensor, sums: NDArray) -> Tensor:
    out = torch.empty(pressure.shape, dtype=pressure.dtype)
    if not out.numel():
        return out
    p, weights, d = arrays(pressure, faces, diagonal)
    n_cell = d.size
    form = int(n_cell >= PARALLEL_FROM)
    flat = out.numpy().reshape(-1), sums, p.reshape(-1), d.reshape(-1)
    if weights.size == 3 and n_cell > 1:
        even[form](*flat, *weights.ravel(), *pressure.shape)
    else:
        uneven[form](*flat, *weights.reshape(3, -1), *pressure.shape)
    return out
