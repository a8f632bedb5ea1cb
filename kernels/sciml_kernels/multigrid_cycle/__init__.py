"""A symmetric multigrid cycle on masked grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sciml_kernels.multigrid_cycle.reference import LevelTensors
from sciml_kernels.pattern import resolve

if TYPE_CHECKING:
    from sciml_kernels.multigrid_cycle.numba_kernel import PreparedCycle


def prepare(levels: Sequence[LevelTensors], n_sweep: int = 2) -> PreparedCycle:
    """Return the cycle with constant transfer made ready for many applications on the CPU."""
    prepared: PreparedCycle = resolve("sciml_kernels.multigrid_cycle.numba_kernel:PreparedCycle")(levels, n_sweep)
    return prepared
