"""The loop over steps in memory taken once, and its operations in plain torch: the body of the op."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sciml_kernels.precision import accumulation_dtype
from sciml_kernels.wave_step.layout import field_views, matrix_views, node_views, seam_list


class Medium(NamedTuple):
    """What stays the same over the steps, as `sciml_kernels.wave_step.wave_step` takes it."""

    operators: Tensor
    drift: Tensor
    decay: Tensor
    share: Tensor
    blocks: Sequence[int]
    seams: Sequence[int]


class Field(NamedTuple):
    """One flat tensor (entry,) and its views (n_x, source, n_y), one for each block."""

    flat: Tensor
    views: list[Tensor]


class Steps(Protocol):
    """The two operations of a step, made ready for one call."""

    def drift(self, pressure: Field, velocity: Field) -> None:
        """Do ``p += phi v;  v *= e`` in place."""

    def add_product(self, out: Field, start: Field, source: Field, which: int) -> None:
        """Store ``J(start + X source + source Y)`` with the inner (0) or the outer (1) matrices; out may be start."""


def march(make_steps: Callable[[Medium, int], Steps], state: Tensor, medium: Medium, n_step: int) -> Tensor:
    """Return what the reference returns.

    Parameters
    ----------
    make_steps
        Called with the medium, contiguous and in the type to compute in, and the number of sources, at least one.
    """
    wide = accumulation_dtype(state.dtype)
    out = state.new_empty((3, state.shape[1]), dtype=wide)
    if not out.numel():
        return out.to(state.dtype)
    out[:2].copy_(state)
    tensors = (tensor.to(wide).contiguous() for tensor in medium[:4])
    fields = [Field(flat, field_views(flat, medium.blocks)) for flat in (*out, torch.empty_like(out[0]))]
    p, v, before, h = fields
    steps = make_steps(Medium(*tensors, medium.blocks, medium.seams), p.views[0].shape[1])
    for step in range(n_step):
        steps.drift(p, v)
        if step == n_step - 1:
            before.flat.copy_(v.flat)
        steps.add_product(h, p, p, 0)
        steps.add_product(v, v, h, 1)
    return out.to(state.dtype)


class TorchSteps:
    """Two matrix products for each block, over all sources at once."""

    def __init__(self, medium: Medium, n_source: int) -> None:
        blocks = medium.blocks
        self.matrices = [matrix_views(row, blocks) for row in medium.operators]
        self.phi = node_views(medium.drift, blocks)
        self.factor = node_views(medium.decay, blocks) if len(medium.decay) else None
        self.seams = seam_list(medium.seams)
        self.shares = medium.share.split([seam.n_node for seam in self.seams]) if self.seams else ()

    def drift(self, pressure: Field, velocity: Field) -> None:
        """Do ``p += phi v;  v *= e`` in place."""
        for p, v, phi in zip(pressure.views, velocity.views, self.phi, strict=True):
            p.addcmul_(v, phi)
        if self.factor is not None:
            for v, factor in zip(velocity.views, self.factor, strict=True):
                v.mul_(factor)

    def add_product(self, out: Field, start: Field, source: Field, which: int) -> None:
        """Store ``J(start + X source + source Y)``: each product goes on from the one before."""
        views = zip(self.matrices[which], source.views, start.views, out.views, strict=True)
        for (along_x, along_y), u, s, w in views:
            n_x, _, n_y = u.shape
            torch.addmm(s.view(n_x, -1), along_x, u.view(n_x, -1), out=w.view(n_x, -1))
            w.view(-1, n_y).addmm_(u.view(-1, n_y), along_y)
        for seam, share in zip(self.seams, self.shares, strict=True):
            left = out.views[seam.left][-1, :, seam.left_start : seam.left_start + seam.n_node]
            right = out.views[seam.right][0, :, seam.right_start : seam.right_start + seam.n_node]
            right.lerp_(left, share)
            left.copy_(right)


def launch(
    state: Tensor,
    operators: Tensor,
    drift: Tensor,
    decay: Tensor,
    share: Tensor,
    blocks: Sequence[int],
    seams: Sequence[int],
    n_step: int,
) -> Tensor:
    """Return what the reference returns, to the bit on a CPU."""
    return march(TorchSteps, state, Medium(operators, drift, decay, share, blocks, seams), n_step)
