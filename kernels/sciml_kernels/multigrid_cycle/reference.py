"""One symmetric multigrid cycle in plain torch, differentiable in everything it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class LevelTensors:
    """One level of a hierarchy. Grids have three axes; two-dimensional ones are (n_x, 1, n_y).

    Parameters
    ----------
    faces : (3, n_x, n_y, n_z)
        Weight of the face between a cell and the next along each axis; zero in the last cells.
    diagonal : (n_x, n_y, n_z)
        Sum of the weights of all open faces of a cell, those to a given pressure included; zero in cells that are no
        unknowns.
    omega : (n_x, n_y, n_z)
        Relaxation factor of each cell, in (0, 2). A cell is red or black by the parity of its indices, so that one
        grid holds the factors of both colours.
    gain : ()
        Positive factor of the correction that comes from the next level.
    factors
        How many cells are merged along each axis to make the next level: 1 or 2.
    inverse : (cell, cell), optional
        On the coarsest level only: the dense pseudo-inverse of its matrix.
    """

    faces: Tensor
    diagonal: Tensor
    omega: Tensor
    gain: Tensor
    factors: tuple[int, int, int] = (2, 2, 2)
    inverse: Tensor | None = None


def vcycle_reference(
    levels: Sequence[LevelTensors],
    residual: Tensor,
    n_sweep: int = 2,
    transfer: str = "constant",
    storage: torch.dtype | None = None,
) -> Tensor:
    """Apply one V-cycle from a zero guess: ``z = B r`` with B symmetric, positive for any omega in (0, 2).

    ``B = S + (I - M^-T A) P g B_c P^T (I - A M^-1)`` where M is red-black successive over-relaxation with a factor
    for each cell, the sweeps after the correction visit the colours in reverse order (the adjoint), and g is the gain.

    Parameters
    ----------
    levels
        From the finest to the coarsest; see `LevelTensors`.
    residual : (rhs, n_x, n_y, n_z)
        Zero in cells that are no unknowns.
    n_sweep
        Red-black sweeps before and after the correction.
    transfer
        ``"constant"`` or ``"linear"`` interpolation P; restriction is its transpose.
    storage
        A narrower type that vectors are rounded to wherever a cycle would keep them in memory; what it returns is not.

    Returns
    -------
    (rhs, n_x, n_y, n_z)
        The correction of the pressure, zero in cells that are no unknowns.

    *Source*: McAdams, Sifakis and Teran, SCA 2010, section 3. *Departures*: red-black over-relaxation in place of
    damped Jacobi with extra boundary sweeps.
    """
    level = levels[0]
    keep = (lambda x: x) if storage is None else (lambda x: x.to(storage).to(x.dtype))
    # A block of cells without open faces takes no part: neither may what is summed into it.
    residual = keep(torch.where(level.diagonal > 0, residual, 0))
    if level.inverse is not None:
        return (residual.flatten(1) @ level.inverse).reshape(residual.shape)
    is_red = red_cells(level.diagonal)
    relax = relaxation(level)
    z = keep(torch.where(is_red, relax * residual, torch.zeros_like(residual)))
    z = keep(_relax(level, relax, ~is_red, z, residual))
    for _ in range(n_sweep - 1):
        z = keep(_relax(level, relax, is_red, z, residual))
        z = keep(_relax(level, relax, ~is_red, z, residual))
    fine = residual - apply_stencil(level.faces, level.diagonal, z)
    coarse = keep(vcycle_reference(levels[1:], restrict(fine, level.factors, transfer), n_sweep, transfer, storage))
    active = (level.diagonal > 0).to(z.dtype)
    z = z + level.gain * active * prolong(coarse, level.factors, level.diagonal.shape, transfer)
    for number in range(n_sweep):
        z = keep(_relax(level, relax, ~is_red, z, residual))
        z = _relax(level, relax, is_red, z, residual)
        if number < n_sweep - 1:
            z = keep(z)
    return z


def red_cells(grid: Tensor) -> Tensor:
    """Return where the sum of the three indices is even."""
    n_x, n_y, n_z = grid.shape[-3:]
    i, j, k = (torch.arange(n, device=grid.device) % 2 == 0 for n in (n_x, n_y, n_z))
    return (i[:, None, None] == j[:, None]) == k


def relaxation(level: LevelTensors) -> Tensor:
    """Return omega divided by the diagonal, zero in cells that are no unknowns."""
    active = level.diagonal > 0
    return torch.where(active, level.omega, 0) / torch.where(active, level.diagonal, 1)


def neighbours(faces: Tensor, pressure: Tensor) -> Tensor:
    """Return the sum over the six faces of a cell of the weight times the pressure beyond, (rhs, n_x, n_y, n_z)."""
    total = torch.zeros_like(pressure)
    for axis in range(3):
        n = pressure.shape[axis + 1]
        if n == 1:
            continue
        weight = faces[axis].narrow(axis, 0, n - 1)
        before = [0] * (2 * (2 - axis))
        total = total + pad(weight * pressure.narrow(axis + 1, 1, n - 1), [*before, 0, 1])
        total = total + pad(weight * pressure.narrow(axis + 1, 0, n - 1), [*before, 1, 0])
    return total


def apply_stencil(faces: Tensor, diagonal: Tensor, pressure: Tensor) -> Tensor:
    """Return ``diagonal * p - neighbours(p)``, (rhs, n_x, n_y, n_z); zero in cells that are no unknowns."""
    return diagonal * pressure - neighbours(faces, pressure)


def restrict(fine: Tensor, factors: Sequence[int], transfer: str) -> Tensor:
    """Apply the transpose of `prolong`: (rhs, n_x, n_y, n_z) to the next level's grid, odd lengths rounded up."""
    if transfer == "constant":
        ends = [(-n) % f for n, f in zip(fine.shape[1:], factors, strict=True)]
        fine = pad(fine, [0, ends[2], 0, ends[1], 0, ends[0]])
        split = [(n // f, f) for n, f in zip(fine.shape[1:], factors, strict=True)]
        return fine.reshape(len(fine), *split[0], *split[1], *split[2]).sum((2, 4, 6))
    for axis in range(3):
        if factors[axis] == 2:
            weights = interpolation(fine.shape[axis + 1], fine)
            fine = torch.tensordot(fine, weights, dims=([axis + 1], [0])).movedim(-1, axis + 1)
    return fine


def prolong(coarse: Tensor, factors: Sequence[int], shape: Sequence[int], transfer: str) -> Tensor:
    """Interpolate the next level's grid to `shape`: piecewise constant, or linear with the end values continued."""
    for axis in range(3):
        if factors[axis] == 2 and transfer == "constant":
            coarse = coarse.repeat_interleave(2, axis + 1).narrow(axis + 1, 0, shape[axis])
        elif factors[axis] == 2:
            weights = interpolation(shape[axis], coarse)
            coarse = torch.tensordot(coarse, weights, dims=([axis + 1], [1])).movedim(-1, axis + 1)
    return coarse


def interpolation(n: int, like: Tensor) -> Tensor:
    """Return the matrix of cell-centred linear interpolation to `n` cells from half as many, (fine, coarse)."""
    n_coarse = (n + 1) // 2
    fine = torch.arange(n, device=like.device)
    near = fine // 2
    far = (near + 2 * (fine % 2) - 1).clamp(0, n_coarse - 1)
    eye = torch.eye(n_coarse, dtype=like.dtype, device=like.device)
    return 0.75 * eye[near] + 0.25 * eye[far]


def _relax(level: LevelTensors, relax: Tensor, colour: Tensor, z: Tensor, residual: Tensor) -> Tensor:
    rest = residual - apply_stencil(level.faces, level.diagonal, z)
    return torch.where(colour, z + relax * rest, z)
