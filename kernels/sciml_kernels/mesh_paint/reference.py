"""Particles onto a periodic mesh, in plain torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sciml_kernels.mesh_paint.window import axis_terms, flat_cells, outer
from sciml_kernels.precision import accumulation_dtype


def reference(positions: Tensor, weights: Tensor, shape: Sequence[int], window: str) -> Tensor:
    """Return the painted mesh; parameters and shapes are those of `sciml_kernels.mesh_paint.mesh_paint`."""
    wide = accumulation_dtype(weights.dtype)
    axes = [axis_terms(x, n, window) for x, n in zip(positions.to(wide).unbind(1), shape, strict=True)]
    place = flat_cells([cells for cells, _, _ in axes], shape).flatten()
    share = weights.to(wide)[:, :, None] * outer(*(w for _, w, _ in axes))
    n_channel, n_cell = len(weights), shape[0] * shape[1] * shape[2]
    mesh = torch.zeros(n_channel, n_cell, dtype=wide, device=weights.device).index_add(1, place, share.flatten(1))
    return mesh.reshape(n_channel, *shape).to(weights.dtype)
