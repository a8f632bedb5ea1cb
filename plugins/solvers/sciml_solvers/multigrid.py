"""A multigrid cycle as a preconditioner: symmetric and positive whatever its relaxation factors are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

import torch
from sciml_kernels.backend import choose
from sciml_kernels.multigrid_cycle import prepare
from sciml_kernels.multigrid_cycle.reference import LevelTensors, vcycle_reference
from torch import Tensor

from sciml_solvers.hierarchy import build_levels, three_axes
from sciml_solvers.problems import MaskProblem

if TYPE_CHECKING:
    from sciml_kernels.multigrid_cycle.numba_kernel import PreparedCycle

Parameters: TypeAlias = Sequence[tuple[Tensor, Tensor]]


@dataclass(eq=False)
class Multigrid:
    r"""One V-cycle of geometric multigrid for a grid problem, ``z = B r``.

    ``B = S + (I - M^-T A) P g B_c P^T (I - A M^-1)`` with red-black over-relaxation M. B is symmetric, and positive
    definite where the matrix is, for any factors in (0, 2) and any positive gain g.

    Parameters
    ----------
    problem
        Mask, coefficients and spacing; its right-hand side is not used.
    smoothing
        Sweeps before and after the correction, equal numbers.
    transfer
        Interpolation, ``"constant"`` (robust for jumps and thin walls) or ``"linear"``.
    omega
        Relaxation factor of every cell, in (0, 2).
    coarse_scale
        Scale of the coarse operators where 1 is the plain sum of the fine weights; 0.5 is the true coarse equation.
    dtype
        Type in which the cycle stores its vectors: float64, float32, or float16, which is emulated: each vector is
        rounded to float16 where it would be stored, sums and what the cycle returns are kept in float32.
    parameters
        For each level but the coarsest (omega, gain): a grid of factors, red and black in one as `LevelTensors` says,
        and a positive number; in place of `omega` and `coarse_scale`.
    levels
        Levels to share with another cycle or made otherwise, in place of those of the problem.

    *Contract*: `apply` is linear and deterministic; several residuals at once give what they give one by one,
    to rounding.

    Examples
    --------
    >>> from sciml_solvers.gallery import problem
    >>> cycle = Multigrid(problem("empty", 8))
    >>> cycle.apply(torch.ones(1, 8, 8, 8, dtype=torch.float64)).shape
    torch.Size([1, 8, 8, 8])
    """

    problem: MaskProblem
    _: KW_ONLY
    smoothing: tuple[int, int] = (2, 2)
    transfer: Literal["constant", "linear"] = "constant"
    omega: float = 1.0
    coarse_scale: float = 0.5
    dtype: torch.dtype = torch.float32
    parameters: Parameters | None = None
    levels: Sequence[LevelTensors] | None = None
    _prepared: PreparedCycle | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        _check(self.smoothing, self.transfer, self.omega, self.coarse_scale)
        self.n_sweep = self.smoothing[0]
        if self.parameters is not None:
            self.levels = with_parameters(self.hierarchy, self.parameters)

    @property
    def hierarchy(self) -> Sequence[LevelTensors]:
        """The levels from the finest to the coarsest, made at the first use: compiled loops have no need of them."""
        if self.levels is None:
            self.levels = list(self._build())
        return self.levels

    def _build(self) -> Iterator[LevelTensors]:
        return build_levels(self.problem, self.dtype, self.omega, self.coarse_scale)

    def prepare(self, finest_of: Multigrid | None = None) -> Self:
        """Make ready what the first application on a CPU would make ready, and return the cycle.

        The arrays of the finest level are shared with a cycle of the same problem and type that is ready.
        """
        if self._on_numba("cpu") and self._prepared is None:
            other = None if finest_of is None or finest_of.dtype != self.dtype else finest_of._prepared
            levels = self._build() if self.levels is None else self.levels
            self._prepared = prepare(levels, self.n_sweep, finest_of=other)
        return self

    def apply(self, residual: Tensor) -> Tensor:
        """Return ``B r`` in the residual's type; (rhs, n_x, n_y, n_z), or two-dimensional grids (rhs, n_x, n_y)."""
        shape = residual.shape
        grid = residual.reshape(len(residual), *three_axes(self.problem.cells.shape))
        if self._on_numba(grid.device.type) and not self._is_traced(grid):
            self.prepare()
            assert self._prepared is not None
            return self._prepared.apply(grid).reshape(shape).to(residual.dtype)
        finest = self.hierarchy[0].diagonal
        if self.dtype != torch.float16:
            z = vcycle_reference(self.hierarchy, grid.to(finest.dtype), self.n_sweep, self.transfer)
            return z.reshape(shape).to(residual.dtype)
        # Half types have no room for small numbers: the residual is scaled to order one.
        size = grid.abs().amax((1, 2, 3), keepdim=True)
        size = torch.where(size > 0, size, 1)
        scaled = (grid / size).to(finest.dtype)
        z = vcycle_reference(self.hierarchy, scaled, self.n_sweep, self.transfer, torch.float16)
        return (z.to(residual.dtype) * size).reshape(shape)

    def _on_numba(self, device: str) -> bool:
        """Say whether the compiled loops can do the work: constant transfer, no half type."""
        return self.transfer == "constant" and self.dtype != torch.float16 and choose(("numba",), device) == "numba"

    def _is_traced(self, residual: Tensor) -> bool:
        """Say whether a gradient is wanted, which the compiled loops do not give."""
        levels = self.levels or ()
        return torch.is_grad_enabled() and (
            residual.requires_grad or any(level.omega.requires_grad or level.gain.requires_grad for level in levels)
        )


def with_parameters(levels: Sequence[LevelTensors], parameters: Parameters) -> list[LevelTensors]:
    """Return the levels with other relaxation factors and gains, one pair for each level but the coarsest."""
    if len(parameters) != len(levels) - 1:
        raise ValueError(
            f"Multigrid: expected parameters for {len(levels) - 1} levels, got {len(parameters)}; give (omega, gain) "
            "for each level but the coarsest"
        )
    changed = []
    for number, (level, (omega, gain)) in enumerate(zip(levels[:-1], parameters, strict=True)):
        if omega.shape != level.omega.shape:
            raise ValueError(
                f"Multigrid: expected omega of shape {tuple(level.omega.shape)} on level {number}, got "
                f"{tuple(omega.shape)}; give one factor for each cell"
            )
        active = omega.detach()[level.diagonal > 0]
        if not bool(((active > 0) & (active < 2)).all()) or not bool(gain.detach() > 0):
            raise ValueError(
                f"Multigrid: expected omega in (0, 2) and a positive gain on level {number}, got others; bound them, "
                "as by 2 * sigmoid(.) and exp(.)"
            )
        changed.append(
            LevelTensors(level.faces, level.diagonal, omega.to(level.omega), gain.to(level.gain), level.factors)
        )
    return [*changed, levels[-1]]


def _check(smoothing: tuple[int, int], transfer: str, omega: float, coarse_scale: float) -> None:
    if len(smoothing) != 2 or smoothing[0] != smoothing[1] or smoothing[0] < 1:
        raise ValueError(
            f"Multigrid: expected as many sweeps before as after, at least one, got {smoothing}; conjugate gradients "
            "need a symmetric cycle, such as (2, 2)"
        )
    if transfer not in ("constant", "linear"):
        raise ValueError(f"Multigrid: expected transfer constant or linear, got {transfer!r}; use one of the two")
    if not 0 < omega < 2:
        raise ValueError(f"Multigrid: expected omega between 0 and 2, got {omega}; outside the smoother diverges")
    if not coarse_scale > 0:
        raise ValueError(f"Multigrid: expected a positive coarse_scale, got {coarse_scale}; the default is 0.5")
