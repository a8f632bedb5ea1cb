"""The cycle with piecewise constant transfer in Triton: grids in C order, a pass over a level for each colour."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import triton
import triton.language as tl
from torch import Tensor

from sciml_kernels.multigrid_cycle.packed import unpack
from sciml_kernels.multigrid_cycle.reference import LevelTensors
from sciml_kernels.precision import accumulation_dtype
from sciml_kernels.triton_tools import require_launchable

# Cells of a program. Not tuned: a sweep changes its argument, so that running it twice gives something else.
BLOCK = 512
RED, BLACK = 0, 1


@triton.jit
def _value(z, r, diagonal, omega, coarse, gain, s, cell, i, j, k, mask, n_cell, n_cx, n_cy, n_cz, MODE: tl.constexpr, F_X: tl.constexpr, F_Y: tl.constexpr, F_Z: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, E501 # fmt: skip
    """Return the correction of cells: as it is, as red cells start from zero, or with that of the next level added."""
    if MODE == "start":
        middle = tl.load(diagonal + cell, mask=mask, other=0)
        factor = tl.load(omega + cell, mask=mask, other=0) / tl.where(middle > 0, middle, 1)
        value = tl.where(middle > 0, factor * tl.load(r + s * n_cell + cell, mask=mask, other=0), 0)
    else:
        value = tl.load(z + s * n_cell + cell, mask=mask, other=0)
        if MODE == "corrected":
            parent = ((s * n_cx + i // F_X) * n_cy + j // F_Y) * n_cz + k // F_Z
            active = mask & (tl.load(diagonal + cell, mask=mask, other=0) > 0)
            value += tl.load(gain) * tl.load(coarse + parent, mask=active, other=0)
    return value


@triton.jit
def _near(z, r, faces, stride_face, diagonal, omega, coarse, gain, s, cell, i, j, k, mask, n_x, n_y, n_z, n_cx, n_cy, n_cz, MODE: tl.constexpr, F_X: tl.constexpr, F_Y: tl.constexpr, F_Z: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, E501 # fmt: skip
    """Return the sum over the six faces of a cell of the weight times the value beyond."""
    n_cell = n_x * n_y * n_z
    total = tl.full(cell.shape, 0, diagonal.dtype.element_ty)
    for side in tl.static_range(6):
        axis, step = side // 2, 1 - 2 * (side % 2)
        i_n = i + step if axis == 0 else i
        j_n = j + step if axis == 1 else j
        k_n = k + step if axis == 2 else k
        beyond = (i_n >= 0) & (i_n < n_x) & (j_n >= 0) & (j_n < n_y) & (k_n >= 0) & (k_n < n_z) & mask
        other = (i_n * n_y + j_n) * n_z + k_n
        # A face is stored with the lower of its two cells.
        face = cell if step == 1 else other
        weight = tl.load(faces + axis * stride_face + face, mask=beyond, other=0)
        total += weight * _value(
            z, r, diagonal, omega, coarse, gain, s, other, i_n, j_n, k_n, beyond, n_cell, n_cx, n_cy, n_cz,
            MODE, F_X, F_Y, F_Z,
        )  # fmt: skip
    return total


@triton.jit(do_not_specialize=("n_rhs", "n_x", "n_y", "n_z", "n_cx", "n_cy", "n_cz", "colour"))
def sweep_kernel(
    target: tl.tensor, z: tl.tensor, r: tl.tensor, faces: tl.tensor, stride_face: tl.tensor, diagonal: tl.tensor,
    omega: tl.tensor, coarse: tl.tensor, gain: tl.tensor, n_rhs: tl.tensor, n_x: tl.tensor, n_y: tl.tensor,
    n_z: tl.tensor, n_cx: tl.tensor, n_cy: tl.tensor, n_cz: tl.tensor, colour: tl.tensor,
    MODE: tl.constexpr, F_X: tl.constexpr, F_Y: tl.constexpr, F_Z: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Relax the cells of one colour; the others keep their value, or get the one that MODE gives them."""
    s = (tl.program_id(0) % n_rhs).to(tl.int64)
    cell = (tl.program_id(0) // n_rhs).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    n_cell = n_x.to(tl.int64) * n_y * n_z
    inside = cell < n_cell
    i, j, k = cell // (n_y * n_z), (cell // n_z) % n_y, cell % n_z
    changes = inside & ((i + j + k) % 2 == colour)
    own = _value(
        z, r, diagonal, omega, coarse, gain, s, cell, i, j, k, inside, n_cell, n_cx, n_cy, n_cz, MODE, F_X, F_Y, F_Z
    )
    before = tl.where(changes, 0, own) if MODE == "start" else own
    near = _near(
        z, r, faces, stride_face, diagonal, omega, coarse, gain, s, cell, i, j, k, changes, n_x, n_y, n_z,
        n_cx, n_cy, n_cz, MODE, F_X, F_Y, F_Z,
    )  # fmt: skip
    middle = tl.load(diagonal + cell, mask=changes, other=0)
    rest = tl.load(r + s * n_cell + cell, mask=changes, other=0) - (middle * before - near)
    factor = tl.load(omega + cell, mask=changes, other=0) / tl.where(middle > 0, middle, 1)
    found = tl.where(changes, before + tl.where(middle > 0, factor * rest, 0), own)
    written = changes if MODE == "now" else inside
    tl.store(target + s * n_cell + cell, found, mask=written)


@triton.jit(do_not_specialize=("n_rhs", "n_x", "n_y", "n_z", "n_cx", "n_cy", "n_cz"))
def restrict_kernel(
    target: tl.tensor, z: tl.tensor, r: tl.tensor, faces: tl.tensor, stride_face: tl.tensor, diagonal: tl.tensor,
    n_rhs: tl.tensor, n_x: tl.tensor, n_y: tl.tensor, n_z: tl.tensor, n_cx: tl.tensor, n_cy: tl.tensor,
    n_cz: tl.tensor, F_X: tl.constexpr, F_Y: tl.constexpr, F_Z: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Sum the residual over the cells that make one of the next level."""
    s = (tl.program_id(0) % n_rhs).to(tl.int64)
    parent = (tl.program_id(0) // n_rhs).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    n_cell, n_parent = n_x.to(tl.int64) * n_y * n_z, n_cx.to(tl.int64) * n_cy * n_cz
    inside = parent < n_parent
    c_i, c_j, c_k = parent // (n_cy * n_cz), (parent // n_cz) % n_cy, parent % n_cz
    total = tl.full((BLOCK,), 0, z.dtype.element_ty)
    for child in tl.static_range(F_X * F_Y * F_Z):
        i, j, k = c_i * F_X + child // (F_Y * F_Z), c_j * F_Y + (child // F_Z) % F_Y, c_k * F_Z + child % F_Z
        mask = inside & (i < n_x) & (j < n_y) & (k < n_z)
        cell = (i * n_y + j) * n_z + k
        middle = tl.load(diagonal + cell, mask=mask, other=0)
        given = tl.load(r + s * n_cell + cell, mask=mask & (middle > 0), other=0)
        near = _near(
            z, r, faces, stride_face, diagonal, diagonal, z, z, s, cell, i, j, k, mask, n_x, n_y, n_z,
            n_cx, n_cy, n_cz, "now", F_X, F_Y, F_Z,
        )  # fmt: skip
        total += given - (middle * tl.load(z + s * n_cell + cell, mask=mask, other=0) - near)
    tl.store(target + s * n_parent + parent, total, mask=inside)


def launch(residual: Tensor, *arguments: Tensor | Sequence[int] | int) -> Tensor:
    """Return what the reference of `multigrid_cycle` returns; half types are computed in float32, as there."""
    require_launchable("multigrid_cycle", sweep_kernel, residual)
    *tensors, factors, n_sweep = arguments
    assert isinstance(factors, Sequence)
    assert isinstance(n_sweep, int)
    wide = accumulation_dtype(residual.dtype)
    packed = [tensor.to(wide).contiguous() for tensor in tensors if isinstance(tensor, Tensor)]
    if not residual.numel():
        return residual.new_empty(residual.shape)
    levels = unpack(residual.shape[1:], packed[0], packed[1], packed[2], packed[3], packed[4], factors)
    return _cycle(levels, residual.to(wide).contiguous(), n_sweep).to(residual.dtype)


def _cycle(levels: Sequence[LevelTensors], residual: Tensor, n_sweep: int) -> Tensor:
    level = levels[0]
    if level.inverse is not None:
        return (torch.where(level.diagonal > 0, residual, 0).flatten(1) @ level.inverse).reshape(residual.shape)
    z, corrected = torch.empty_like(residual), torch.empty_like(residual)
    coarse = residual.new_empty(len(residual), *levels[1].diagonal.shape)
    _sweep("start", z, z, residual, level, coarse, BLACK)
    for _ in range(n_sweep - 1):
        _sweep("now", z, z, residual, level, coarse, RED)
        _sweep("now", z, z, residual, level, coarse, BLACK)
    shape, n_parent = level.diagonal.shape, prod(coarse.shape[1:])
    restrict_kernel[(len(residual) * triton.cdiv(n_parent, BLOCK),)](
        coarse, z, residual, level.faces, level.faces.stride(0), level.diagonal, len(residual), *shape,
        *coarse.shape[1:], *level.factors, BLOCK=BLOCK,
    )  # fmt: skip
    coarse = _cycle(levels[1:], coarse, n_sweep)
    _sweep("corrected", corrected, z, residual, level, coarse, BLACK)
    _sweep("now", corrected, corrected, residual, level, coarse, RED)
    for _ in range(n_sweep - 1):
        _sweep("now", corrected, corrected, residual, level, coarse, BLACK)
        _sweep("now", corrected, corrected, residual, level, coarse, RED)
    return corrected


def _sweep(
    mode: str, target: Tensor, z: Tensor, residual: Tensor, level: LevelTensors, coarse: Tensor, colour: int
) -> None:
    n_rhs, n_cell = len(residual), level.diagonal.numel()
    sweep_kernel[(n_rhs * triton.cdiv(n_cell, BLOCK),)](
        target, z, residual, level.faces, level.faces.stride(0), level.diagonal, level.omega, coarse, level.gain,
        n_rhs, *level.diagonal.shape, *coarse.shape[1:], colour, mode, *level.factors, BLOCK=BLOCK,
    )  # fmt: skip
