"""Reading on the CPU: blocks of particles shared among the cores."""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from sciml_kernels.mesh_paint.numba_kernel import fill, taps
from sciml_kernels.numba_tools import PARALLEL_FROM, arrays, compiled

BLOCK = 2048


def _read(out, mesh, positions, shape, taps):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Add up the points that each particle sees."""
    n_channel, n_node = out.shape
    n_x, n_y, n_z = shape
    width = len(taps)
    for block in prange((n_node + BLOCK - 1) // BLOCK):
        cells, share = np.empty(3 * width, np.uint64), np.empty(3 * width, mesh.dtype)
        for n in range(block * BLOCK, min((block + 1) * BLOCK, n_node)):
            fill(cells, share, 0, positions[n, 0], n_x, n_y * n_z, taps)
            fill(cells, share, 1, positions[n, 1], n_y, n_z, taps)
            fill(cells, share, 2, positions[n, 2], n_z, 1, taps)
            for c in range(n_channel):
                value = mesh.dtype.type(0)
                for i in range(width):
                    for j in range(width):
                        row = np.uint64(c * n_x * n_y * n_z) + cells[i] + cells[width + j]
                        w = share[i] * share[width + j]
                        for k in range(width):
                            value += w * share[2 * width + k] * mesh[row + cells[2 * width + k]]
                out[c, n] = value


read = compiled(_read)


def launch(mesh: Tensor, positions: Tensor, window: str) -> Tensor:
    """Return what the reference returns, in float32 or float64 on the CPU."""
    out = torch.empty((len(mesh), len(positions)), dtype=mesh.dtype)
    if out.numel():
        f, x = arrays(mesh, positions)
        parallel = int(len(positions) >= PARALLEL_FROM)
        read[parallel](out.numpy(), f.reshape(-1), x, tuple(mesh.shape[1:]), taps(window))
    return out
