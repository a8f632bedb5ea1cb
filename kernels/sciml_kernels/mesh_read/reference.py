"""A periodic mesh at the places of particles, and its slopes there, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from sciml_kernels.mesh_paint.window import axis_terms, flat_cells, outer
from sciml_kernels.precision import accumulation_dtype


def reference(mesh: Tensor, positions: Tensor, window: str) -> Tensor:
    """Return the values (channel, node); parameters are those of `sciml_kernels.mesh_read.mesh_read`."""
    near, (x, y, z), _ = _near(mesh, positions, window)
    return (near * outer(x, y, z)).sum(-1).to(mesh.dtype)


def slope_reference(mesh: Tensor, positions: Tensor, window: str) -> Tensor:
    """Return the slopes (channel, node, axis); parameters are those of `sciml_kernels.mesh_read.mesh_slope`."""
    near, (x, y, z), (u, v, w) = _near(mesh, positions, window)
    slopes = [(near * outer(*product)).sum(-1) for product in ((u, y, z), (x, v, z), (x, y, w))]
    return torch.stack(slopes, -1).to(mesh.dtype)


def _near(mesh: Tensor, positions: Tensor, window: str) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return the mesh points (channel, node, width^3) that each particle sees, the weights and their derivatives."""
    wide = accumulation_dtype(mesh.dtype)
    shape = mesh.shape[1:]
    axes = [axis_terms(x, n, window) for x, n in zip(positions.to(wide).unbind(1), shape, strict=True)]
    place = flat_cells([cells for cells, _, _ in axes], shape)
    near = mesh.to(wide).flatten(1).index_select(1, place.flatten()).reshape(len(mesh), *place.shape)
    return near, [weights for _, weights, _ in axes], [slopes for _, _, slopes in axes]
