"""The cycle with piecewise constant transfer in Triton: grids in C order, a pass over a level for each colour.

On large levels a pass is a launch. From the first level of at most `TAIL` cells on, one program for each right-hand
side does all passes: the levels lie in packed memory, and a barrier parts a pass from the next. In no pass does a lane
read what another one writes: it writes another array than it reads, or one colour while it reads the other.
"""

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
# Cells of the largest level that one program takes over, and the side of the blocks of its dense inverse.
TAIL, TILE = 4096, 32
RED, BLACK = 0, 1


@triton.jit
def _value(z, r, diagonal, omega, coarse, gain, s, cell, i, j, k, mask, n_cell, n_cx, n_cy, n_cz, h_x, h_y, h_z, MODE: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, E501 # fmt: skip
    """Return the correction of cells: as it is, as red cells start from zero, or with that of the next level added."""
    if MODE == "start":
        middle = tl.load(diagonal + cell, mask=mask, other=0)
        factor = tl.load(omega + cell, mask=mask, other=0) / tl.where(middle > 0, middle, 1)
        value = tl.where(middle > 0, factor * tl.load(r + s * n_cell + cell, mask=mask, other=0), 0)
    else:
        value = tl.load(z + s * n_cell + cell, mask=mask, other=0)
        if MODE == "corrected":
            parent = ((s * n_cx + (i >> h_x)) * n_cy + (j >> h_y)) * n_cz + (k >> h_z)
            active = mask & (tl.load(diagonal + cell, mask=mask, other=0) > 0)
            value += tl.load(gain) * tl.load(coarse + parent, mask=active, other=0)
    return value


@triton.jit
def _near(z, r, faces, stride_face, diagonal, omega, coarse, gain, s, cell, i, j, k, mask, n_x, n_y, n_z, n_cx, n_cy, n_cz, h_x, h_y, h_z, MODE: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, E501 # fmt: skip
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
            h_x, h_y, h_z, MODE,
        )  # fmt: skip
    return total


@triton.jit
def _sweep_cells(target, z, r, faces, stride_face, diagonal, omega, coarse, gain, s, cell, n_x, n_y, n_z, n_cx, n_cy, n_cz, h_x, h_y, h_z, colour, MODE: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, E501 # fmt: skip
    """Relax the cells of one colour; the others keep their value, or get the one that MODE gives them."""
    n_cell = n_x * n_y * n_z
    inside = cell < n_cell
    i, j, k = cell // (n_y * n_z), (cell // n_z) % n_y, cell % n_z
    changes = inside & ((i + j + k) % 2 == colour)
    own = _value(
        z, r, diagonal, omega, coarse, gain, s, cell, i, j, k, inside, n_cell, n_cx, n_cy, n_cz, h_x, h_y, h_z, MODE
    )
    before = tl.where(changes, 0, own) if MODE == "start" else own
    near = _near(
        z, r, faces, stride_face, diagonal, omega, coarse, gain, s, cell, i, j, k, changes, n_x, n_y, n_z,
        n_cx, n_cy, n_cz, h_x, h_y, h_z, MODE,
    )  # fmt: skip
    middle = tl.load(diagonal + cell, mask=changes, other=0)
    rest = tl.load(r + s * n_cell + cell, mask=changes, other=0) - (middle * before - near)
    factor = tl.load(omega + cell, mask=changes, other=0) / tl.where(middle > 0, middle, 1)
    found = tl.where(changes, before + tl.where(middle > 0, factor * rest, 0), own)
    written = changes if MODE == "now" else inside
    tl.store(target + s * n_cell + cell, found, mask=written)


@triton.jit
def _restrict_cells(target, z, r, faces, stride_face, diagonal, s, parent, n_x, n_y, n_z, n_cx, n_cy, n_cz, h_x, h_y, h_z):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, E501 # fmt: skip
    """Sum the residual over the cells that make one of the next level."""
    n_cell, n_parent = n_x * n_y * n_z, n_cx * n_cy * n_cz
    inside = parent < n_parent
    c_i, c_j, c_k = parent // (n_cy * n_cz), (parent // n_cz) % n_cy, parent % n_cz
    total = tl.full(parent.shape, 0, z.dtype.element_ty)
    for child in tl.static_range(8):
        d_i, d_j, d_k = child // 4, (child // 2) % 2, child % 2
        i, j, k = (c_i << h_x) + d_i, (c_j << h_y) + d_j, (c_k << h_z) + d_k
        mask = inside & (d_i <= h_x) & (d_j <= h_y) & (d_k <= h_z) & (i < n_x) & (j < n_y) & (k < n_z)
        cell = (i * n_y + j) * n_z + k
        middle = tl.load(diagonal + cell, mask=mask, other=0)
        given = tl.load(r + s * n_cell + cell, mask=mask & (middle > 0), other=0)
        near = _near(
            z, r, faces, stride_face, diagonal, diagonal, z, z, s, cell, i, j, k, mask, n_x, n_y, n_z,
            n_cx, n_cy, n_cz, h_x, h_y, h_z, "now",
        )  # fmt: skip
        total += given - (middle * tl.load(z + s * n_cell + cell, mask=mask, other=0) - near)
    tl.store(target + s * n_parent + parent, total, mask=inside)


@triton.jit(do_not_specialize=("n_rhs", "n_x", "n_y", "n_z", "n_cx", "n_cy", "n_cz", "h_x", "h_y", "h_z", "colour"))
def sweep_kernel(
    target: tl.tensor, z: tl.tensor, r: tl.tensor, faces: tl.tensor, stride_face: tl.tensor, diagonal: tl.tensor,
    omega: tl.tensor, coarse: tl.tensor, gain: tl.tensor, n_rhs: tl.tensor, n_x: tl.tensor, n_y: tl.tensor,
    n_z: tl.tensor, n_cx: tl.tensor, n_cy: tl.tensor, n_cz: tl.tensor, h_x: tl.tensor, h_y: tl.tensor,
    h_z: tl.tensor, colour: tl.tensor, MODE: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Relax one colour of a level, a program for each block of cells; h: 1 along axes that the next level halves."""
    s = (tl.program_id(0) % n_rhs).to(tl.int64)
    cell = (tl.program_id(0) // n_rhs).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    _sweep_cells(
        target, z, r, faces, stride_face, diagonal, omega, coarse, gain, s, cell, n_x.to(tl.int64), n_y, n_z,
        n_cx, n_cy, n_cz, h_x, h_y, h_z, colour, MODE,
    )  # fmt: skip


@triton.jit(do_not_specialize=("n_rhs", "n_x", "n_y", "n_z", "n_cx", "n_cy", "n_cz", "h_x", "h_y", "h_z"))
def restrict_kernel(
    target: tl.tensor, z: tl.tensor, r: tl.tensor, faces: tl.tensor, stride_face: tl.tensor, diagonal: tl.tensor,
    n_rhs: tl.tensor, n_x: tl.tensor, n_y: tl.tensor, n_z: tl.tensor, n_cx: tl.tensor, n_cy: tl.tensor,
    n_cz: tl.tensor, h_x: tl.tensor, h_y: tl.tensor, h_z: tl.tensor, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Sum the residual of a level into the next one's cells, a program for each block of these."""
    s = (tl.program_id(0) % n_rhs).to(tl.int64)
    parent = (tl.program_id(0) // n_rhs).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    _restrict_cells(
        target, z, r, faces, stride_face, diagonal, s, parent, n_x.to(tl.int64), n_y, n_z, n_cx.to(tl.int64), n_cy,
        n_cz, h_x, h_y, h_z,
    )  # fmt: skip


@triton.jit
def _halved(n, bit):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return n, or one half of it rounded up where the bit is 1."""
    return (n + bit) >> bit


@triton.jit
def _level(number, n_x, n_y, n_z, halved):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return a level's grid, its first cell in packed memory, and which axes are halved after it."""
    first = n_x * 0
    for before in range(number):
        bits = halved >> (3 * before)
        first += n_x * n_y * n_z
        n_x, n_y, n_z = _halved(n_x, bits & 1), _halved(n_y, (bits >> 1) & 1), _halved(n_z, (bits >> 2) & 1)
    bits = halved >> (3 * number)
    return n_x, n_y, n_z, first, bits & 1, (bits >> 1) & 1, (bits >> 2) & 1


@triton.jit
def _sweep_level(target, z, r, faces, stride_face, diagonal, omega, coarse, gain, s, n_x, n_y, n_z, h_x, h_y, h_z, colour, MODE: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, E501 # fmt: skip
    """Relax one colour of a whole level, and wait for all lanes."""
    for start in range(0, n_x * n_y * n_z, BLOCK):
        _sweep_cells(
            target, z, r, faces, stride_face, diagonal, omega, coarse, gain, s, start + tl.arange(0, BLOCK),
            n_x, n_y, n_z, _halved(n_x, h_x), _halved(n_y, h_y), _halved(n_z, h_z), h_x, h_y, h_z, colour, MODE,
        )  # fmt: skip
    tl.debug_barrier()


@triton.jit
def _solve_coarsest(target, r, diagonal, inverse, s, n, TILE: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Multiply with the dense inverse of the coarsest level, block by block, and wait for all lanes."""
    for top in range(0, n, TILE):
        row = top + tl.arange(0, TILE)
        total = tl.full((TILE,), 0, r.dtype.element_ty)
        for left in range(0, n, TILE):
            column = left + tl.arange(0, TILE)
            active = tl.load(diagonal + column, mask=column < n, other=0) > 0
            given = tl.load(r + s * n + column, mask=active, other=0)
            both = (row[:, None] < n) & (column[None, :] < n)
            matrix = tl.load(inverse + column[None, :] * n + row[:, None], mask=both, other=0)
            total += tl.reduce(matrix * given[None, :], 1, tl.standard._sum_combine)
        tl.store(target + s * n + row, total, mask=row < n)
    tl.debug_barrier()


# long: the way down and the way up stand together
@triton.jit(do_not_specialize=("n_rhs", "n_x", "n_y", "n_z", "halved", "n_level", "n_sweep"))
def tail_kernel(
    corrected: tl.tensor, z: tl.tensor, r: tl.tensor, faces: tl.tensor, stride_face: tl.tensor, diagonal: tl.tensor,
    omega: tl.tensor, gain: tl.tensor, inverse: tl.tensor, n_rhs: tl.tensor, n_x: tl.tensor, n_y: tl.tensor,
    n_z: tl.tensor, halved: tl.tensor, n_level: tl.tensor, n_sweep: tl.tensor, BLOCK: tl.constexpr,
    TILE: tl.constexpr,
) -> None:  # fmt: skip
    """Do the cycle of one right-hand side from a level down to the coarsest and up again; halved: 3 bits a level."""
    s = tl.program_id(0).to(tl.int64)
    n_x, n_y, n_z, halved = n_x.to(tl.int64), n_y.to(tl.int64), n_z.to(tl.int64), halved.to(tl.int64)
    for number in range(n_level - 1):
        m_x, m_y, m_z, first, h_x, h_y, h_z = _level(number, n_x, n_y, n_z, halved)
        grid, weights, middle, factor = first * n_rhs, faces + first, diagonal + first, omega + first
        _sweep_level(
            z + grid, z, r + grid, weights, stride_face, middle, factor, z, gain, s, m_x, m_y, m_z, h_x, h_y, h_z,
            1, "start", BLOCK,
        )  # fmt: skip
        for half in range(2 * n_sweep - 2):
            _sweep_level(
                z + grid, z + grid, r + grid, weights, stride_face, middle, factor, z, gain, s, m_x, m_y, m_z,
                h_x, h_y, h_z, half % 2, "now", BLOCK,
            )  # fmt: skip
        c_x, c_y, c_z = _halved(m_x, h_x), _halved(m_y, h_y), _halved(m_z, h_z)
        below = (first + m_x * m_y * m_z) * n_rhs
        for start in range(0, c_x * c_y * c_z, BLOCK):
            _restrict_cells(
                r + below, z + grid, r + grid, weights, stride_face, middle, s, start + tl.arange(0, BLOCK),
                m_x, m_y, m_z, c_x, c_y, c_z, h_x, h_y, h_z,
            )  # fmt: skip
        tl.debug_barrier()
    m_x, m_y, m_z, first, h_x, h_y, h_z = _level(n_level - 1, n_x, n_y, n_z, halved)
    grid = first * n_rhs
    _solve_coarsest(corrected + grid, r + grid, diagonal + first, inverse, s, m_x * m_y * m_z, TILE)
    for done in range(n_level - 1):
        number = n_level - 2 - done
        m_x, m_y, m_z, first, h_x, h_y, h_z = _level(number, n_x, n_y, n_z, halved)
        grid, weights, middle, factor = first * n_rhs, faces + first, diagonal + first, omega + first
        below = (first + m_x * m_y * m_z) * n_rhs
        _sweep_level(
            corrected + grid, z + grid, r + grid, weights, stride_face, middle, factor, corrected + below,
            gain + number, s, m_x, m_y, m_z, h_x, h_y, h_z, 1, "corrected", BLOCK,
        )  # fmt: skip
        for half in range(2 * n_sweep - 1):
            _sweep_level(
                corrected + grid, corrected + grid, r + grid, weights, stride_face, middle, factor, z, gain, s,
                m_x, m_y, m_z, h_x, h_y, h_z, half % 2, "now", BLOCK,
            )  # fmt: skip


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
    if level.diagonal.numel() <= TAIL:
        return _tail(levels, residual, n_sweep)
    z, corrected = torch.empty_like(residual), torch.empty_like(residual)
    coarse = residual.new_empty(len(residual), *levels[1].diagonal.shape)
    _sweep("start", z, z, residual, level, coarse, BLACK)
    for _ in range(n_sweep - 1):
        _sweep("now", z, z, residual, level, coarse, RED)
        _sweep("now", z, z, residual, level, coarse, BLACK)
    shape, n_parent = level.diagonal.shape, prod(coarse.shape[1:])
    restrict_kernel[(len(residual) * triton.cdiv(n_parent, BLOCK),)](
        coarse, z, residual, level.faces, level.faces.stride(0), level.diagonal, len(residual), *shape,
        *coarse.shape[1:], *_halvings(level), BLOCK=BLOCK,
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
        n_rhs, *level.diagonal.shape, *coarse.shape[1:], *_halvings(level), colour, mode, BLOCK=BLOCK,
    )  # fmt: skip


def _tail(levels: Sequence[LevelTensors], residual: Tensor, n_sweep: int) -> Tensor:
    """Do all levels in one launch. They are views into packed tensors: the first one's address is that of all."""
    first, inverse, n_rhs = levels[0], levels[-1].inverse, len(residual)
    r = residual.new_empty(n_rhs * sum(level.diagonal.numel() for level in levels))
    r[: residual.numel()] = residual.flatten()
    z, corrected = torch.empty_like(r), torch.empty_like(r)
    halvings = [bit for level in levels for bit in _halvings(level)]
    tail_kernel[(n_rhs,)](
        corrected, z, r, first.faces, first.faces.stride(0), first.diagonal, first.omega, first.gain, inverse,
        n_rhs, *first.diagonal.shape, sum(bit << place for place, bit in enumerate(halvings)), len(levels), n_sweep,
        BLOCK=BLOCK, TILE=TILE, num_warps=16, num_stages=1,
    )  # fmt: skip
    return corrected[: residual.numel()].view(residual.shape)


def _halvings(level: LevelTensors) -> list[int]:
    return [factor - 1 for factor in level.factors]
