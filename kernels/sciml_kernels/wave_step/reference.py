"""Steps of the wave equation on joined blocks in plain torch, each value made once: differentiable and exportable."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sciml_kernels.precision import accumulation_dtype
from sciml_kernels.wave_step.layout import Seam, field_views, matrix_views, node_views, seam_list


def reference(
    state: Tensor,
    operators: Tensor,
    drift: Tensor,
    decay: Tensor,
    share: Tensor,
    blocks: Sequence[int],
    seams: Sequence[int],
    n_step: int,
) -> Tensor:
    """Advance every source by `n_step` steps; parameters are those of `sciml_kernels.wave_step.wave_step`."""
    wide = accumulation_dtype(state.dtype)
    fields, matrices = state.to(wide).contiguous(), operators.to(wide).contiguous()
    p, v = field_views(fields[0], blocks), field_views(fields[1], blocks)
    inner, outer = matrix_views(matrices[0], blocks), matrix_views(matrices[1], blocks)
    phi = node_views(drift.to(wide).contiguous(), blocks)
    factor = node_views(decay.to(wide).contiguous(), blocks) if decay.shape[0] else None
    joints = seam_list(seams)
    shares = share.to(wide).split([seam.n_node for seam in joints]) if joints else ()
    before = v
    for _ in range(n_step):
        p = [torch.addcmul(a, b, c) for a, b, c in zip(p, v, phi, strict=True)]
        before = v if factor is None else [b * c for b, c in zip(v, factor, strict=True)]
        h = _add_product(p, inner, p, joints, shares)
        v = _add_product(before, outer, h, joints, shares)
    return torch.cat([part.reshape(-1) for part in (*p, *v, *before)]).view(3, -1).to(state.dtype)


def _add_product(
    start: Sequence[Tensor],
    operators: Sequence[tuple[Tensor, Tensor]],
    source: Sequence[Tensor],
    joints: Sequence[Seam],
    shares: Sequence[Tensor],
) -> list[Tensor]:
    """Return ``start + X source + source Y`` of every block, averaged on seams."""
    result = []
    for s, (along_x, along_y), u in zip(start, operators, source, strict=True):
        n_x, _, n_y = u.shape
        total = torch.addmm(s.view(n_x, -1), along_x, u.view(n_x, -1))
        result.append(torch.addmm(total.view(-1, n_y), u.view(-1, n_y), along_y).view(u.shape))
    for seam, share in zip(joints, shares, strict=True):
        left, right = result[seam.left], result[seam.right]
        in_left, in_right = (slice(start, start + seam.n_node) for start in (seam.left_start, seam.right_start))
        joined = torch.lerp(right[0, :, in_right], left[-1, :, in_left], share)
        result[seam.left] = _replaced(left, len(left) - 1, in_left, joined)
        # Both may be one block, that of a ring.
        result[seam.right] = _replaced(result[seam.right], 0, in_right, joined)
    return result


def _replaced(block: Tensor, column: int, nodes: slice, values: Tensor) -> Tensor:
    """Return the block with other values at some nodes of a column."""
    changed = torch.slice_scatter(block[column], values, 1, nodes.start, nodes.stop)
    return torch.select_scatter(block, changed, 0, column)
