"""The loop over steps in memory taken once, and its operations in plain torch: the kernel for the CPU."""

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


class PreparedSteps:
    """Sources in memory taken once, to be advanced as often as wanted; not differentiable.

    Parameters
    ----------
    make_steps
        Called with the medium, contiguous and in the type to compute in, and the number of sources.
    state, medium
        As `sciml_kernels.wave_step.wave_step` takes them; the state is copied.

    Attributes
    ----------
    pressure, velocity, before : the fields after the last step; `before` is the velocity before its kick. They are
        the memory of the steps: what is written to them is advanced.
    """

    def __init__(self, make_steps: Callable[[Medium, int], Steps], state: Tensor, medium: Medium) -> None:
        wide, blocks = accumulation_dtype(state.dtype), medium.blocks
        # Fields of their own, not rows of one tensor: small products round by how their memory is aligned.
        flats = [row.detach().to(wide, copy=True) for row in state]
        fields = (
            Field(flat, field_views(flat, blocks)) for flat in (*flats, flats[1].clone(), torch.empty_like(flats[0]))
        )
        self.pressure, self.velocity, self.before, self._inner = fields
        operators, drift, decay, share = (tensor.detach().to(wide).contiguous() for tensor in medium[:4])
        ready = Medium(operators, drift, decay, share, blocks, medium.seams)
        self._steps = make_steps(ready, self.pressure.views[0].shape[1])

    def advance(self, n_step: int) -> None:
        """Advance all sources by `n_step` steps."""
        p, v, h = self.pressure, self.velocity, self._inner
        for step in range(n_step if p.flat.numel() else 0):
            self._steps.drift(p, v)
            if step == n_step - 1:
                self.before.flat.copy_(v.flat)
            self._steps.add_product(h, p, p, 0)
            self._steps.add_product(v, v, h, 1)


def march(make_steps: Callable[[Medium, int], Steps], state: Tensor, medium: Medium, n_step: int) -> Tensor:
    """Return what the reference returns; `make_steps` is that of `PreparedSteps`."""
    prepared = PreparedSteps(make_steps, state, medium)
    prepared.advance(n_step)
    fields = prepared.pressure, prepared.velocity, prepared.before
    return torch.stack([field.flat for field in fields]).to(state.dtype)


class TorchSteps:
    """Two matrix products for each block, over all sources at once."""

    def __init__(self, medium: Medium, n_source: int) -> None:
        blocks = medium.blocks
        self.matrices = [[(x.clone(), y.clone()) for x, y in matrix_views(row, blocks)] for row in medium.operators]
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
    """Return what the reference returns, by the same products and sums."""
    return march(TorchSteps, state, Medium(operators, drift, decay, share, blocks, seams), n_step)
