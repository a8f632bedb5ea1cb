"""What a network sees of a cell: its weights, those around it and its level, without units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from sciml_kernels.multigrid_cycle.reference import LevelTensors, restrict
from torch import Tensor
from torch.nn import functional

from sciml_solvers.looks import neighbourhoods

FEATURES = (
    "active", "strongest_axis", "middle_axis", "weakest_axis", "ground", "one_sided", "jump", "degree", "coarsened",
    "fill", "is_finest", "is_last", "near_active", "near_ground", "near_one_sided", "near_degree",
)  # fmt: skip


def level_features(levels: Sequence[LevelTensors]) -> list[Tensor]:
    """Return `FEATURES` of each level but the coarsest, (feature, n_x, n_y, n_z); unchanged by a scaled matrix."""
    return [
        grid_features(level, fill, number == 0, number == len(levels) - 2)
        for number, (level, fill) in enumerate(zip(levels[:-1], fills(levels), strict=True))
    ]


def fills(levels: Sequence[LevelTensors]) -> Iterator[Tensor]:
    """Yield the share of unknowns in the cells of each level but the coarsest."""
    fill = (levels[0].diagonal > 0).to(levels[0].diagonal)
    for level in levels[:-1]:
        yield fill
        volume = level.factors[0] * level.factors[1] * level.factors[2]
        fill = restrict(fill[None], level.factors, "constant")[0] / volume


def grid_features(level: LevelTensors, fill: Tensor, is_finest: bool, is_last: bool) -> Tensor:
    """Return the features of a level, (feature, n_x, n_y, n_z)."""
    own = _own(level.diagonal, level.faces, _lower(level.faces))
    near = _near(torch.stack([own.active, own.ground, own.one_sided, own.degree, level.diagonal]))
    return _stacked(own, near, level, fill, is_finest, is_last)


def look_features(level: LevelTensors, fill: Tensor, cells: Tensor, is_finest: bool, is_last: bool) -> Tensor:
    """Return the features of some cells, counted in C order, (cell, feature)."""
    diagonal, upper, lower = neighbourhoods(level, cells)
    around = _own(diagonal, upper, lower)
    grids = torch.stack([around.active, around.ground, around.one_sided, around.degree, diagonal])
    own = _Own(*(values[..., 13] for values in vars(around).values()))
    return _stacked(own, grids.sum(-1) / 27, level, fill.flatten()[cells], is_finest, is_last).T


@dataclass(frozen=True)
class _Own:
    """What cells are by themselves, in any shape; `along` (3, ...) holds the share of each axis in the diagonal."""

    diagonal: Tensor
    active: Tensor
    along: Tensor
    ground: Tensor
    one_sided: Tensor
    degree: Tensor


def _own(diagonal: Tensor, upper: Tensor, lower: Tensor) -> _Own:
    active = (diagonal > 0).to(diagonal)
    inverse = active / torch.where(diagonal > 0, diagonal, 1)
    high, low = upper * inverse, lower * inverse
    along = high + low
    ground = active * (1 - along.sum(0)).clamp_min(0)
    degree = ((high > 0).to(active) + (low > 0).to(active)).sum(0) / 6
    return _Own(diagonal, active, along, ground, (high - low).abs().sum(0), degree)


def _stacked(own: _Own, near: Tensor, level: LevelTensors, fill: Tensor, is_finest: bool, is_last: bool) -> Tensor:
    active, (strongest, middle, weakest) = own.active, own.along.sort(0, descending=True).values
    mean = near[4] / near[0].clamp_min(1e-6)
    ratio = torch.where(active > 0, own.diagonal / mean.clamp_min(1e-30), 1)
    jump = active * torch.log(ratio).clamp(-8, 8) / 4
    coarsened = sum((own.along[axis] for axis in range(3) if level.factors[axis] == 2), torch.zeros_like(active))
    ends = [torch.full_like(active, float(value)) for value in (is_finest, is_last)]
    alone = [active, strongest, middle, weakest, own.ground, own.one_sided, jump, own.degree, coarsened, fill]
    return torch.stack([*alone, *ends, *near[:4]])


def _near(grids: Tensor) -> Tensor:
    """Return the mean over the 27 cells around, zero beyond the grid; (grid, n_x, n_y, n_z)."""
    for axis in (1, 2, 3):  # pooling of PyTorch takes ten times as long on a CPU
        n, total = grids.shape[axis] - 1, grids.clone()
        total.narrow(axis, 0, n).add_(grids.narrow(axis, 1, n))
        total.narrow(axis, 1, n).add_(grids.narrow(axis, 0, n))
        grids = total
    return grids / 27


def _lower(faces: Tensor) -> Tensor:
    """Return the weight of each cell's lower face along each axis, (3, n_x, n_y, n_z)."""
    return torch.stack([functional.pad(faces[axis], _before(axis)).narrow(axis, 0, faces.shape[axis + 1])
                        for axis in range(3)])  # fmt: skip


def _before(axis: int) -> list[int]:
    return [*(0,) * (2 * (2 - axis)), 1, 0]
