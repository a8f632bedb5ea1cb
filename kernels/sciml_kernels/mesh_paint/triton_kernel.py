"""Painting in Triton: particles sorted by cell, a thread for each mesh point, which gathers what reaches it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from sciml_kernels.mesh_paint.window import WIDTHS, axis_terms, centre
from sciml_kernels.precision import accumulation_dtype
from sciml_kernels.triton_tools import accumulator, configurations, require_launchable

_CHOICES = (((1024,), 8), ((256,), 4), ((128,), 4))


@triton.jit
def share(t, k, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Return the weight of point number `k` of a window at the distance `t` from its centre."""
    if WIDTH == 2:
        found = tl.where(k == 0, 1 - t, t)
    else:
        outer = tl.where(k == 0, 0.5 - t, 0.5 + t)
        found = tl.where(k == 1, 0.75 - t * t, 0.5 * outer * outer)
    return found


@triton.autotune(configs=configurations(("BLOCK",), _CHOICES), key=["n_x", "n_y", "n_z"])
@triton.jit(do_not_specialize=("n_channel", "n_node", "n_x", "n_y", "n_z"))
def mesh_paint_kernel(
    t: tl.tensor, weights: tl.tensor, start: tl.tensor, out: tl.tensor,
    n_channel: tl.tensor, n_node: tl.tensor, n_x: tl.tensor, n_y: tl.tensor, n_z: tl.tensor,
    WIDTH: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Paint a block of mesh points of one channel with particles sorted by the first point of their window.

    Of a particle its distances `t` from the centre of the window are all that counts here.
    """
    # Channels run fastest: their programs read the same positions, which meet in the cache.
    channel = (tl.program_id(0) % n_channel).to(tl.int64)
    point = (tl.program_id(0) // n_channel).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    n_point = n_x.to(tl.int64) * n_y * n_z
    inside = point < n_point
    i, j, k = point // (n_y * n_z), point // n_z % n_y, point % n_z
    total = tl.full((BLOCK,), 0, ACC)
    for near in range(WIDTH * WIDTH * WIDTH):
        a, b, c = near // (WIDTH * WIDTH), near // WIDTH % WIDTH, near % WIDTH
        # a turn for each point of the window, so that the remainder is of a positive number on the smallest mesh too
        base = (i - a + WIDTH * n_x) % n_x * n_y + (j - b + WIDTH * n_y) % n_y
        base = start + base * n_z + (k - c + WIDTH * n_z) % n_z
        first, beyond = tl.load(base, mask=inside, other=0), tl.load(base + 1, mask=inside, other=0)
        for number in range(tl.reduce(beyond - first, 0, tl.standard._elementwise_max)):
            n = first + number
            mask = n < beyond
            t_x = tl.load(t + n, mask=mask, other=0)
            t_y = tl.load(t + n_node + n, mask=mask, other=0)
            t_z = tl.load(t + 2 * n_node + n, mask=mask, other=0)
            weight = tl.load(weights + channel * n_node + n, mask=mask, other=0)
            total += weight * (share(t_x, a, WIDTH) * share(t_y, b, WIDTH) * share(t_z, c, WIDTH))
    tl.store(out + channel * n_point + point, total.to(out.dtype.element_ty), mask=inside)


def launch(positions: Tensor, weights: Tensor, shape: Sequence[int], window: str) -> Tensor:
    """Return what the reference returns: the same bits in every run, since nothing is added atomically."""
    require_launchable("mesh_paint", mesh_paint_kernel, positions)
    out = weights.new_empty((len(weights), *shape))
    if not len(positions):
        return out.zero_()
    if out.numel():
        wide, n_point = accumulation_dtype(weights.dtype), shape[0] * shape[1] * shape[2]
        x, key = positions.detach().to(wide), torch.zeros_like(positions[:, 0], dtype=torch.int64)
        for axis, n in enumerate(shape):
            key = key * n + axis_terms(x[:, axis], n, window)[0][:, 0]
        _, t = centre(x, window)
        key, order = key.sort(stable=True)
        start = torch.searchsorted(key, torch.arange(n_point + 1, device=key.device))
        mesh_paint_kernel[lambda meta: (len(weights) * triton.cdiv(n_point, meta["BLOCK"]),)](
            t[order].t().contiguous(), weights.detach().to(wide)[:, order].contiguous(), start, out,
            len(weights), len(x), *shape, WIDTH=WIDTHS[window], ACC=accumulator(weights.dtype),
        )  # fmt: skip
    return out
