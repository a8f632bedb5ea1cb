"""The cycle with piecewise constant transfer on the CPU: levels made ready once, then applied many times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciml_kernels.multigrid_cycle import numba_sweeps as sweeps
from sciml_kernels.multigrid_cycle.packed import unpack
from sciml_kernels.multigrid_cycle.reference import LevelTensors, relaxation
from sciml_kernels.numba_tools import PARALLEL_FROM


@dataclass(frozen=True)
class _Level:
    """A level whose grids are split by colour; `even` holds the weight of each axis where it is one number."""

    shape: tuple[int, int, int]
    factors: tuple[int, int, int]
    gain: Any
    plain: bool
    relax: NDArray
    diagonal: NDArray
    even: tuple[Any, Any, Any] | None = None
    faces: NDArray | None = None

    @cached_property
    def form(self) -> int:
        """0 for the serial loops, 1 for the parallel ones."""
        return int(np.prod(self.shape) >= PARALLEL_FROM)


class PreparedCycle:
    """A hierarchy in the layout of the loops, with the memory they work in.

    Parameters
    ----------
    levels
        From the finest to the coarsest, in float32 or float64, on the CPU; each is read once and not kept.
    n_sweep
        Red-black sweeps before and after the correction.
    finest_of
        A cycle whose finest level has the same faces and diagonal, which then are shared.

    *Contract*: `apply` returns what `vcycle_reference` with constant transfer returns, to rounding; not to be called
    from two threads at once, since the work memory is shared.
    """

    def __init__(
        self, levels: Iterable[LevelTensors], n_sweep: int = 2, finest_of: PreparedCycle | None = None
    ) -> None:
        self._n_sweep = n_sweep
        self._levels: list[_Level] = []
        for level in levels:
            if level.inverse is not None:
                self._inverse = _numpy(level.inverse)
            else:
                like = finest_of._levels[:1] if finest_of is not None and not self._levels else []
                self._levels.append(_relaxed(level, like[0]) if like else _prepare(level))
        self._work: list[tuple[NDArray, ...]] = []
        self._n_rhs = 0

    def apply(self, residual: Tensor) -> Tensor:
        """Return ``B r``, (rhs, n_x, n_y, n_z), in the type of the residual; computed in that of the hierarchy."""
        if len(residual) != self._n_rhs:
            self._allocate(len(residual))
        found = self._cycle(0, np.ascontiguousarray(residual.detach().numpy()))
        return torch.from_numpy(found)

    def _allocate(self, n_rhs: int) -> None:
        self._n_rhs = n_rhs
        self._work = []
        for level in self._levels:
            size = n_rhs * level.relax.shape[1]
            split = [np.zeros(0 if n == 5 and level.plain else size, self._inverse.dtype) for n in range(6)]
            coarse = [-(-n // f) for n, f in zip(level.shape, level.factors, strict=True)]
            self._work.append((*split, np.empty((n_rhs, *coarse), self._inverse.dtype)))

    def _cycle(self, number: int, residual: NDArray) -> NDArray:
        if number == len(self._levels):
            flat = residual.reshape(self._n_rhs, -1).astype(self._inverse.dtype, copy=False)
            return (flat @ self._inverse).reshape(residual.shape)
        level = self._levels[number]
        b_red, b_black, u_red, u_black, rest_red, rest_black, coarse = self._work[number]
        sizes, form = (self._n_rhs, *level.shape), level.form
        u, b, rest = (u_red, u_black), (b_red, b_black), (rest_red, rest_black)
        sweeps.load[form](residual.reshape(-1), b_red, b_black, u_red, level.relax[0], *sizes)
        self._relax(level, u, b, 1, True)
        for _ in range(self._n_sweep - 1):
            self._relax(level, u, b, 0, level.plain)
            self._relax(level, u, b, 1, level.plain)
        self._residual(level, rest, u, b)
        sweeps.restrict[form](coarse.reshape(-1), *rest, *sizes, *level.factors, not level.plain)
        correction = self._cycle(number + 1, coarse)
        sweeps.prolong[form](*u, correction.reshape(-1), *level.diagonal, level.gain, *sizes, *level.factors)
        for _ in range(self._n_sweep):
            self._relax(level, u, b, 1, level.plain)
            self._relax(level, u, b, 0, level.plain)
        found = np.empty(residual.shape, residual.dtype)
        sweeps.store[form](found.reshape(-1), *u, *sizes)
        return found

    def _relax(self, level: _Level, u: tuple, b: tuple, colour: int, plain: bool) -> None:
        (n_x, n_y, n_z), other = level.shape, 1 - colour
        arrays = u[colour], u[other], b[colour], level.relax[colour], level.diagonal[colour]
        ends = (self._n_rhs, n_x, n_y, (n_z + 1) // 2, colour, plain)
        if level.even is not None:
            sweeps.relax_even[level.form](*arrays, *level.even, *ends)
        else:
            assert level.faces is not None
            sweeps.relax_uneven[level.form](*arrays, level.faces[colour], level.faces[other], *ends)

    def _residual(self, level: _Level, rest: tuple, u: tuple, b: tuple) -> None:
        n_x, n_y, n_z = level.shape
        for colour in (0,) if level.plain else (0, 1):  # relaxed with a factor of one, the last colour has none left
            other = 1 - colour
            arrays = rest[colour], u[colour], u[other], b[colour], level.diagonal[colour]
            ends = (self._n_rhs, n_x, n_y, (n_z + 1) // 2, colour)
            if level.even is not None:
                sweeps.residual_even[level.form](*arrays, *level.even, *ends)
            else:
                assert level.faces is not None
                sweeps.residual_uneven[level.form](*arrays, level.faces[colour], level.faces[other], *ends)


def _relaxed(level: LevelTensors, like: _Level) -> _Level:
    """Return a level with the faces and the diagonal of another."""
    gain = like.relax.dtype.type(level.gain.item())
    return replace(like, gain=gain, plain=_is_plain(level), relax=split(_numpy(relaxation(level))))


def _is_plain(level: LevelTensors) -> bool:
    return bool(((level.omega == 1) | (level.diagonal <= 0)).all())


def _prepare(level: LevelTensors) -> _Level:
    diagonal = _numpy(level.diagonal)
    faces = _numpy(level.faces)
    kind, active = diagonal.dtype.type, diagonal > 0
    n_x, n_y, n_z = diagonal.shape
    weights = list(takewhile(lambda one: one is not None, (_one_value(f, active, a) for a, f in enumerate(faces))))
    even = (weights[0], weights[1], weights[2]) if len(weights) == 3 else None
    split_faces = None
    if even is None:
        parts = [split(grid) for grid in faces]
        split_faces = np.stack([np.concatenate([part[colour] for part in parts]) for colour in (0, 1)])
    return _Level(
        (n_x, n_y, n_z),
        level.factors,
        kind(level.gain.item()),
        _is_plain(level),
        split(_numpy(relaxation(level))),
        split(diagonal),
        even,
        split_faces,
    )


def split(grid: NDArray) -> NDArray:
    """Return a grid's red and black cells in the padded, flat layout of the loops, (2, entry)."""
    n_x, n_y, n_z = grid.shape
    found = np.zeros((2, (n_x + 2) * (n_y + 2) * ((n_z + 1) // 2 + 2)), grid.dtype)
    nothing = np.zeros_like(found[0])  # relaxes to nothing
    sweeps.load[grid.size >= PARALLEL_FROM](grid.reshape(-1), *found, nothing, nothing, 1, n_x, n_y, n_z)
    return found


def _one_value(grid: NDArray, active: NDArray, axis: int) -> Any:
    """Return the weight of all faces between two unknowns; None if they differ or others are open."""
    n, largest = grid.shape[axis], grid.max(initial=0)
    lead = (slice(None),) * axis
    both = np.zeros(grid.shape, dtype=bool)
    np.logical_and(active[(*lead, slice(n - 1))], active[(*lead, slice(1, None))], out=both[(*lead, slice(n - 1))])
    return largest if np.array_equal(grid, np.where(both, largest, largest - largest)) else None


def _numpy(tensor: Tensor) -> NDArray:
    return np.ascontiguousarray(tensor.detach().numpy())


def launch(residual: Tensor, *arguments: Any) -> Tensor:
    """Return what the reference of `multigrid_cycle` returns, in float32 or float64 on the CPU."""
    *packed, n_sweep = arguments
    if not residual.numel():
        return torch.empty(residual.shape, dtype=residual.dtype)
    levels = unpack(residual.shape[1:], *packed)
    return PreparedCycle(levels, n_sweep).apply(residual).clone()
