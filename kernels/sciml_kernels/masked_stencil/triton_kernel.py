"""The stencil in Triton: one pass, blocks of cells in C order, the same for every right-hand side.

Of p . A p a program stores the sum over each run of cells; one reduction adds them, always in the same order.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from sciml_kernels.precision import accumulation_dtype
from sciml_kernels.triton_tools import accumulator, configurations, require_launchable

RUN = 256  # cells of a partial sum, whatever the block: no block size leaves another number of sums
_CHOICES = (((256,), 4), ((512,), 4), ((1024,), 8))


@triton.autotune(configs=configurations(("BLOCK",), _CHOICES), key=["n_x", "n_y", "n_z"])
@triton.jit(do_not_specialize=("n_rhs", "n_x", "n_y", "n_z"))
def masked_stencil_kernel(
    pressure: tl.tensor, stride_s: tl.tensor, stride_x: tl.tensor, stride_y: tl.tensor, stride_z: tl.tensor,
    faces: tl.tensor, diagonal: tl.tensor, out: tl.tensor, sums: tl.tensor,
    n_rhs: tl.tensor, n_x: tl.tensor, n_y: tl.tensor, n_z: tl.tensor,
    EVEN: tl.constexpr, DOT: tl.constexpr, ACC: tl.constexpr, RUN: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Apply the matrix to a block of cells of one right-hand side; EVEN: one weight for each axis; DOT: sum p A p."""
    # Right-hand sides run fastest: their programs read the same weights, which meet in the cache.
    s, block = (tl.program_id(0) % n_rhs).to(tl.int64), (tl.program_id(0) // n_rhs).to(tl.int64)
    cell = block * BLOCK + tl.arange(0, BLOCK)
    n_cell = n_x.to(tl.int64) * n_y * n_z
    inside = cell < n_cell
    i, j, k = cell // (n_y * n_z), (cell // n_z) % n_y, cell % n_z
    own = pressure + s * stride_s + i * stride_x + j * stride_y + k * stride_z
    middle = tl.load(diagonal + cell, mask=inside, other=0).to(ACC)
    value = tl.load(own, mask=inside, other=0).to(ACC)
    total = middle * value
    for axis in tl.static_range(3):
        if axis == 0:
            place, n, step, stride = i, n_x, n_y * n_z, stride_x
        elif axis == 1:
            place, n, step, stride = j, n_y, n_z, stride_y
        else:
            place, n, step, stride = k, n_z, 1, stride_z
        up, down = inside & (place < n - 1), inside & (place > 0)
        if EVEN:
            weight = tl.load(faces + axis).to(ACC)
            near = weight * tl.load(own + stride, mask=up, other=0).to(ACC)
            near += weight * tl.load(own - stride, mask=down, other=0).to(ACC)
        else:
            face = faces + axis * n_cell + cell
            near = tl.load(face, mask=up, other=0).to(ACC) * tl.load(own + stride, mask=up, other=0).to(ACC)
            weight = tl.load(face - step, mask=down, other=0).to(ACC)
            near += weight * tl.load(own - stride, mask=down, other=0).to(ACC)
        total -= near
    total = tl.where(middle > 0, total, 0)
    tl.store(out + s * n_cell + cell, total.to(out.dtype.element_ty), mask=inside)
    if DOT:
        n_run, run = (n_cell + RUN - 1) // RUN, block * (BLOCK // RUN) + tl.arange(0, BLOCK // RUN)
        found = tl.reduce(tl.reshape(value * total, (BLOCK // RUN, RUN)), 1, tl.standard._sum_combine)
        tl.store(sums + s * n_run + run, found, mask=run < n_run)


def launch(pressure: Tensor, faces: Tensor, diagonal: Tensor) -> Tensor:
    """Return what the reference returns."""
    return _launch(pressure, faces, diagonal, None)


def launch_dot(pressure: Tensor, faces: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `dot_reference` returns."""
    n_run = triton.cdiv(diagonal.numel(), RUN)
    sums = pressure.new_empty(len(pressure), n_run, dtype=accumulation_dtype(pressure.dtype))
    return _launch(pressure, faces, diagonal, sums), sums.sum(1)


def _launch(pressure: Tensor, faces: Tensor, diagonal: Tensor, sums: Tensor | None) -> Tensor:
    require_launchable("masked_stencil", masked_stencil_kernel, pressure)
    out = pressure.new_empty(pressure.shape)
    if out.numel():
        n_rhs, n_x, n_y, n_z = pressure.shape
        masked_stencil_kernel[lambda meta: (n_rhs * triton.cdiv(n_x * n_y * n_z, meta["BLOCK"]),)](
            pressure, *pressure.stride(), faces.contiguous(), diagonal.contiguous(), out, sums, n_rhs, n_x, n_y, n_z,
            EVEN=faces.numel() == 3, DOT=sums is not None, ACC=accumulator(pressure.dtype), RUN=RUN,
        )  # fmt: skip
    return out
