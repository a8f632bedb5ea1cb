"""The operator of a Poisson equation on a masked grid in plain torch, alone and with the product p . A p."""

from __future__ import annotations

import torch
from torch import Tensor

from sciml_kernels.multigrid_cycle.reference import apply_stencil
from sciml_kernels.precision import accumulation_dtype


def reference(pressure: Tensor, faces: Tensor, diagonal: Tensor) -> Tensor:
    """Return ``diagonal * p - sum_faces weight * p_beyond`` in the unknowns and zero elsewhere.

    Parameters and shapes are those of `sciml_kernels.masked_stencil.masked_stencil`.
    """
    return _applied(pressure, faces, diagonal).to(pressure.dtype)


def dot_reference(pressure: Tensor, faces: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `reference` returns and its product with each pressure, (rhs,), in the type that sums are kept in."""
    applied = _applied(pressure, faces, diagonal)
    # One axis after the other: a right-hand side is then summed in the same order alone as beside others.
    return applied.to(pressure.dtype), (pressure.to(applied.dtype) * applied).sum(3).sum(2).sum(1)


def _applied(pressure: Tensor, faces: Tensor, diagonal: Tensor) -> Tensor:
    wide = accumulation_dtype(pressure.dtype)
    p, faces, d = pressure.to(wide), faces.to(wide), diagonal.to(wide)
    return torch.where(d > 0, apply_stencil(faces.expand(3, *d.shape), d, p), 0)
