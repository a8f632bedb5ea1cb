"""The operator of a Poisson equation on a masked grid in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from sciml_kernels.multigrid_cycle.reference import apply_stencil
from sciml_kernels.precision import accumulation_dtype


def reference(pressure: Tensor, faces: Tensor, diagonal: Tensor) -> Tensor:
    """Return ``diagonal * p - sum_faces weight * p_beyond`` in the unknowns and zero elsewhere.

    Parameters and shapes are those of `sciml_kernels.masked_stencil.masked_stencil`.
    """
    wide = accumulation_dtype(pressure.dtype)
    p, faces, d = pressure.to(wide), faces.to(wide), diagonal.to(wide)
    value = apply_stencil(faces.expand(3, *d.shape), d, p)
    return torch.where(d > 0, value, 0).to(pressure.dtype)
