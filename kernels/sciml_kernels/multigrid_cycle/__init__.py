"""A symmetric multigrid cycle on masked grids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sciml_kernels.by_reference import differentiate
from sciml_kernels.checks import check_alike, check_rank, check_shape
from sciml_kernels.multigrid_cycle.packed import level_shapes, reference
from sciml_kernels.multigrid_cycle.reference import LevelTensors
from sciml_kernels.pattern import define, resolve, unless_half_on_cpu

if TYPE_CHECKING:
    from sciml_kernels.multigrid_cycle.numba_kernel import PreparedCycle

LAUNCHERS = {
    "numba": "sciml_kernels.multigrid_cycle.numba_kernel:launch",
    "triton": "sciml_kernels.multigrid_cycle.triton_kernel:launch",
}


def multigrid_cycle(
    residual: Tensor,
    faces: Tensor,
    diagonal: Tensor,
    omega: Tensor,
    gain: Tensor,
    inverse: Tensor,
    factors: Sequence[int],
    n_sweep: int = 2,
) -> Tensor:
    """Apply one symmetric V-cycle on a masked grid from a zero guess, with piecewise constant transfer.

    ``B = S + (I - M^-T A) P g B_c P^T (I - A M^-1)`` with red-black over-relaxation M, its factor given for each cell.

    Parameters
    ----------
    residual : (rhs, n_x, n_y, n_z)
        Zero in cells that are no unknowns.
    faces : (3, cell)
        Weights of the faces between a cell and the next along each axis; the cells of all levels one after another,
        from the finest, each level in C order.
    diagonal : (cell,)
        Sum of the weights of a cell's open faces, those to a given pressure included; zero marks no unknown.
    omega : (cell,)
        Relaxation factors, in (0, 2); those of the coarsest level are not used.
    gain : (level - 1,)
        Positive factors of the corrections.
    inverse : (coarse cell, coarse cell)
        Symmetric inverse on the coarsest level.
    factors : 3 (level - 1) entries
        How many cells each level merges along each axis, 1 or 2; odd lengths are rounded up.
    n_sweep
        Red-black sweeps before and after each correction.

    Returns
    -------
    (rhs, n_x, n_y, n_z)
        Of the inputs' type; computed in float32 for float16 and bfloat16.

    *Contract*: equal to the reference within `sciml_kernels.precision.TOLERANCES`, gradients too, to second order; B
    is symmetric, and positive where `inverse` is, rounded to a half type as well: a hierarchy stored in one
    preconditions conjugate gradients in float64. Scale its weights to order one, which float16 has no room beyond. A
    hierarchy that is applied often is made ready once by `prepare`, in float32 or float64.

    *Source*: McAdams, Sifakis and Teran, SCA 2010, section 3. *Departures*: red-black over-relaxation in place of
    damped Jacobi with extra boundary sweeps.
    """
    _check(residual, faces, diagonal, omega, gain, inverse, factors, n_sweep)
    return torch.ops.sciml.multigrid_cycle(residual, faces, diagonal, omega, gain, inverse, factors, n_sweep)


def prepare(
    levels: Iterable[LevelTensors], n_sweep: int = 2, *, finest_of: PreparedCycle | None = None
) -> PreparedCycle:
    """Return the cycle with constant transfer made ready for many applications on the CPU.

    Parameters
    ----------
    levels
        From the finest to the coarsest; each is read once and not kept, so that they may be made one by one.
    n_sweep
        Red-black sweeps before and after each correction.
    finest_of
        A cycle whose finest level has the same faces and diagonal, which then are shared.
    """
    kind = resolve("sciml_kernels.multigrid_cycle.numba_kernel:PreparedCycle")
    prepared: PreparedCycle = kind(levels, n_sweep, finest_of)
    return prepared


def _check(
    residual: Tensor,
    faces: Tensor,
    diagonal: Tensor,
    omega: Tensor,
    gain: Tensor,
    inverse: Tensor,
    factors: Sequence[int],
    n_sweep: int,
) -> None:
    where = "multigrid_cycle"
    tensors = {"residual": residual, "faces": faces, "diagonal": diagonal, "omega": omega, "gain": gain}
    check_alike(where, {**tensors, "inverse": inverse})
    check_rank(where, "residual", residual, ("rhs", "n_x", "n_y", "n_z"))
    if len(factors) % 3 or any(f not in (1, 2) for f in factors):
        raise ValueError(f"{where}: expected three factors of 1 or 2 for each level, got {list(factors)}; add some")
    if n_sweep < 1:
        raise ValueError(f"{where}: expected n_sweep of at least 1, got {n_sweep}; raise it")
    shapes = level_shapes(residual.shape[1:], factors)
    n_cell = sum(x * y * z for x, y, z in shapes)
    n_coarse = shapes[-1][0] * shapes[-1][1] * shapes[-1][2]
    check_shape(where, "faces", faces, {"axis": 3, "cell": n_cell})
    check_shape(where, "diagonal", diagonal, {"cell": n_cell})
    check_shape(where, "omega", omega, {"cell": n_cell})
    check_shape(where, "gain", gain, {"level": len(shapes) - 1})
    check_shape(where, "inverse", inverse, {"coarse": n_coarse, "coarse cell": n_coarse})


def _fake(residual: Tensor, *_others: Any) -> Tensor:
    return residual.new_empty(residual.shape)


_SIGNATURE = (
    "multigrid_cycle(Tensor residual, Tensor faces, Tensor diagonal, Tensor omega, Tensor gain, Tensor inverse, "
    "int[] factors, int n_sweep)"
)
_op = define(f"{_SIGNATURE} -> Tensor", reference, _fake, LAUNCHERS, unless_half_on_cpu)
backward_reference = differentiate(_op, _SIGNATURE, reference, 6)
