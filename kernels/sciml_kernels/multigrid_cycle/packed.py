"""A hierarchy as a few flat tensors, the form in which an op can take it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sciml_kernels.multigrid_cycle.reference import LevelTensors, vcycle_reference
from sciml_kernels.precision import accumulation_dtype


def level_shapes(shape: Sequence[int], factors: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return the grid of every level, from the finest."""
    n_x, n_y, n_z = shape
    shapes = [(n_x, n_y, n_z)]
    for start in range(0, len(factors), 3):
        n_x, n_y, n_z = (-(-n // f) for n, f in zip(shapes[-1], factors[start : start + 3], strict=True))
        shapes.append((n_x, n_y, n_z))
    return shapes


def pack(levels: Sequence[LevelTensors]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, list[int]]:
    """Return faces, diagonal, omega, gain, inverse and factors as `multigrid_cycle` takes them."""
    inverse = levels[-1].inverse
    assert inverse is not None
    return (
        torch.cat([level.faces.flatten(1) for level in levels], 1),
        torch.cat([level.diagonal.flatten() for level in levels]),
        torch.cat([level.omega.flatten() for level in levels]),
        torch.stack([level.gain for level in levels[:-1]]) if len(levels) > 1 else inverse.new_zeros(0),
        inverse,
        [f for level in levels[:-1] for f in level.factors],
    )


def unpack(
    shape: Sequence[int],
    faces: Tensor,
    diagonal: Tensor,
    omega: Tensor,
    gain: Tensor,
    inverse: Tensor,
    factors: Sequence[int],
) -> list[LevelTensors]:
    """Return the levels whose finest grid is `shape`."""
    levels: list[LevelTensors] = []
    start, shapes = 0, level_shapes(shape, factors)
    for number, grid in enumerate(shapes):
        n_cell = grid[0] * grid[1] * grid[2]
        last = number == len(shapes) - 1
        steps = (1, 1, 1) if last else tuple(factors[3 * number : 3 * number + 3])
        levels.append(
            LevelTensors(
                faces.narrow(1, start, n_cell).reshape(3, *grid),
                diagonal.narrow(0, start, n_cell).reshape(grid),
                omega.narrow(0, start, n_cell).reshape(grid),
                torch.ones((), dtype=faces.dtype, device=faces.device) if last else gain[number],
                (steps[0], steps[1], steps[2]),
                inverse if last else None,
            )
        )
        start += n_cell
    return levels


def reference(
    residual: Tensor,
    faces: Tensor,
    diagonal: Tensor,
    omega: Tensor,
    gain: Tensor,
    inverse: Tensor,
    factors: Sequence[int],
    n_sweep: int,
) -> Tensor:
    """Apply the V-cycle of `vcycle_reference`; parameters are those of `sciml_kernels.multigrid_cycle`."""
    wide = accumulation_dtype(residual.dtype)
    tensors = [tensor.to(wide) for tensor in (faces, diagonal, omega, gain, inverse)]
    levels = unpack(residual.shape[1:], tensors[0], tensors[1], tensors[2], tensors[3], tensors[4], factors)
    return vcycle_reference(levels, residual.to(wide), n_sweep).to(residual.dtype)
