"""A multigrid cycle whose relaxation, gains and coarse weights come from a small network, positive for any weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from sciml_kernels.multigrid_cycle.reference import LevelTensors, red_cells, restrict
from torch import Tensor, nn
from torch.nn import functional

from sciml.fields import FieldSpec, Spec
from sciml.surrogate import Network
from sciml.training import seeded
from sciml_solvers.multigrid import Multigrid, with_parameters
from sciml_solvers.problems import MaskProblem

CELLS = ("cell_x", "cell_y", "cell_z")
FEATURES = (
    "active", "strongest_axis", "middle_axis", "weakest_axis", "ground", "one_sided", "jump", "degree", "coarsened",
    "fill", "is_finest", "is_last", "near_active", "near_ground", "near_one_sided", "near_degree",
)  # fmt: skip
LIMITS = 0.95, 2.0, 1.0
"""Bounds of ``|omega - 1|``, of ``|log gain|`` and of ``|log conductance|``."""

N_LOOKED_AT = 257
"""Cells among which the usual look is sought."""


class LearnedCycle(Network):
    r"""What a V-cycle does in each cell, from what the cell and its neighbours look like.

    A perceptron with two hidden layers, the same in all cells and on all levels, gives (u_red, u_black, v, w):
    ``omega = 1 + 0.95 tanh(u of the cell's colour)``, ``gain = exp(2 tanh(mean of v over the level))``,
    ``conductance = exp(tanh(w))``. The conductance multiplies a coarse level's face weights; see `learned_levels`.

    Parameters
    ----------
    n_hidden
        Width of the hidden layers; 22 gives 972 parameters.
    seed
        Of the initial weights. The last layer starts at zero: an untrained network is the classical cycle.

    *Contract*: with the last layer zero the cycle is that of ``Multigrid(problem)`` with the same sweeps; for any
    finite weights it is symmetric positive definite where the matrix is, as omega stays in (0, 2), gain and
    conductance are positive, and the sweeps after the correction are the adjoint of those before.

    Examples
    --------
    >>> from sciml_solvers.gallery import problem
    >>> learned_cycle(LearnedCycle(), problem("solids", 16)).n_sweep
    1
    """

    registered: ClassVar[str] = "solvers.learned_cycle"

    def __init__(self, n_hidden: int = 22, seed: int = 1) -> None:
        super().__init__()
        if n_hidden < 1:
            raise ValueError(f"LearnedCycle: expected n_hidden >= 1, got {n_hidden}; the default is 22")
        self.n_hidden, self.seed = n_hidden, int(seed)
        generator = seeded(self.seed, "learned cycle")
        self.first = nn.Linear(len(FEATURES), n_hidden)
        self.second = nn.Linear(n_hidden, n_hidden)
        self.last = nn.Linear(n_hidden, 4)
        for layer in (self.first, self.second):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    @property
    def spec(self) -> Spec:
        """Features of the cells of one level in, what the cycle does there out; numbers without unit."""
        grid = ("batch", *CELLS)
        return Spec(
            (FieldSpec("features", ("batch", "feature", *CELLS), description=", ".join(FEATURES)),),
            (
                FieldSpec("omega", grid, description="Relaxation factor, in (0, 2)"),
                FieldSpec("gain", ("batch",), description="Factor of the correction from the next level, positive"),
                FieldSpec("conductance", grid, description="Factor of the cell's face weights, positive"),
            ),
        )

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""
        return {"n_hidden": self.n_hidden, "seed": self.seed}

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Map features (batch, feature, cells...) to omega and conductance (batch, cells...) and gain (batch,)."""
        features = inputs["features"]
        active = features[:, 0] > 0
        red, black, level, weight = self._at(features.movedim(1, -1)).unbind(-1)
        mean = torch.where(active, level, 0).sum((1, 2, 3)) / active.sum((1, 2, 3)).clamp_min(1)
        return {
            "omega": 1 + LIMITS[0] * torch.tanh(torch.where(red_cells(red), red, black)),
            "gain": torch.exp(LIMITS[1] * torch.tanh(mean)),
            "conductance": torch.exp(LIMITS[2] * torch.tanh(weight)),
        }

    def _at(self, cells: Tensor) -> Tensor:
        """Apply the perceptron to (..., feature); without gradients, once for all cells of the usual look."""
        if torch.is_grad_enabled():
            return self._perceptron(cells)
        rows = cells.reshape(-1, cells.shape[-1])
        looks, counts = rows[:: max(1, len(rows) // N_LOOKED_AT)].unique(dim=0, return_counts=True)
        usual = looks[counts.argmax()]
        other = (rows != usual).any(1).nonzero().flatten()
        found = self._perceptron(usual).repeat(len(rows), 1)
        found[other] = self._perceptron(rows[other])
        return found.reshape(*cells.shape[:-1], -1)

    def _perceptron(self, rows: Tensor) -> Tensor:
        found: Tensor = self.last(torch.tanh(self.second(torch.tanh(self.first(rows)))))
        return found


def learned_cycle(
    network: LearnedCycle,
    problem: MaskProblem,
    *,
    smoothing: tuple[int, int] = (1, 1),
    dtype: torch.dtype = torch.float32,
) -> Multigrid:
    """Return the cycle of a problem with what the network predicts for it, once and for all right-hand sides.

    Parameters
    ----------
    network
        Trained for the same sweeps.
    problem, smoothing, dtype
        As in `Multigrid`; the transfer is constant.
    """
    classical = Multigrid(problem, smoothing=smoothing, dtype=dtype).hierarchy
    with torch.no_grad():
        levels = learned_levels(network, classical, level_features(classical))
    return Multigrid(problem, smoothing=smoothing, dtype=dtype, levels=levels)


def learned_levels(
    network: nn.Module, levels: Sequence[LevelTensors], features: Sequence[Tensor]
) -> list[LevelTensors]:
    """Return the levels with the network's relaxation factors, gains and coarse weights; differentiable in these.

    A face between cells i and j of a coarse level gets the weight ``w_ij (c_i + c_j) / 2`` with the conductance c, a
    face to air ``w_i c_i``; the finest level keeps the matrix that is solved, the coarsest its inverse.

    Parameters
    ----------
    network
        As `LearnedCycle`.
    levels
        The classical hierarchy.
    features
        Of its levels but the coarsest, from `level_features`.
    """
    kind = next(network.parameters()).dtype
    predicted = [network(features=grid[None].to(kind)) for grid in features]
    for number, values in enumerate(predicted):
        if not all(bool(torch.isfinite(value).all()) for value in values.values()):
            raise FloatingPointError(
                f"learned_levels: expected finite factors on level {number}, got NaN or infinity; train the network "
                "again or use Multigrid"
            )
    found = with_parameters(levels, [(values["omega"][0], values["gain"][0]) for values in predicted])
    for number, values in enumerate(predicted):
        if number:
            found[number] = _conducting(found[number], values["conductance"][0])
    return found


def level_features(levels: Sequence[LevelTensors]) -> list[Tensor]:
    """Return `FEATURES` of each level but the coarsest, (feature, n_x, n_y, n_z); unchanged by a scaled matrix."""
    found = []
    fill = (levels[0].diagonal > 0).to(levels[0].diagonal)
    for number, level in enumerate(levels[:-1]):
        found.append(_features(level, fill, number == 0, number == len(levels) - 2))
        volume = level.factors[0] * level.factors[1] * level.factors[2]
        fill = restrict(fill[None], level.factors, "constant")[0] / volume
    return found


def _features(level: LevelTensors, fill: Tensor, is_finest: bool, is_last: bool) -> Tensor:
    active = (level.diagonal > 0).to(level.diagonal)
    inverse = active / torch.where(level.diagonal > 0, level.diagonal, 1)
    high, low = level.faces * inverse, _lower(level.faces) * inverse
    along = high + low
    strongest, middle, weakest = along.sort(0, descending=True).values
    ground = active * (1 - along.sum(0)).clamp_min(0)
    one_sided = (high - low).abs().sum(0)
    degree = ((high > 0).to(active) + (low > 0).to(active)).sum(0) / 6
    near = _near(torch.stack([active, ground, one_sided, degree, level.diagonal]))
    mean = near[4] / near[0].clamp_min(1e-6)
    jump = active * torch.log(torch.where(active > 0, level.diagonal / mean.clamp_min(1e-30), 1)).clamp(-8, 8) / 4
    coarsened = sum((along[axis] for axis in range(3) if level.factors[axis] == 2), torch.zeros_like(active))
    ends = [torch.full_like(active, float(value)) for value in (is_finest, is_last)]
    own = [active, strongest, middle, weakest, ground, one_sided, jump, degree, coarsened, fill, *ends]
    return torch.stack([*own, *near[:4]])


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


def _conducting(level: LevelTensors, conductance: Tensor) -> LevelTensors:
    c = conductance.to(level.faces)
    closed = level.faces.sum(0) + _lower(level.faces).sum(0)
    ground = level.diagonal - closed
    # What rounding leaves of a cell without air is no face to air: a null space must stay one.
    ground = torch.where(ground > 1e-5 * level.diagonal, ground, 0)
    upper = torch.stack([torch.cat([c.narrow(a, 1, c.shape[a] - 1), c.narrow(a, -1, 1)], a) for a in range(3)])
    faces = level.faces * 0.5 * (c + upper)
    return replace(level, faces=faces, diagonal=faces.sum(0) + _lower(faces).sum(0) + c * ground)
