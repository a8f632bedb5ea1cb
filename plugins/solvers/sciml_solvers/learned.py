"""A multigrid cycle whose relaxation, gains and coarse weights come from a small network, positive for any weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from sciml_kernels.multigrid_cycle.reference import LevelTensors, red_cells
from torch import Tensor, nn

from sciml.fields import FieldSpec, Spec
from sciml.surrogate import Network
from sciml.training import seeded
from sciml_solvers.features import FEATURES, fills, grid_features, look_features
from sciml_solvers.looks import few_looks
from sciml_solvers.multigrid import Multigrid
from sciml_solvers.problems import MaskProblem

CELLS = ("cell_x", "cell_y", "cell_z")
LIMITS = 0.95, 2.0, 1.0
"""Bounds of ``|omega - 1|``, of ``|log gain|`` and of ``|log conductance|``."""


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
        red, black, level, conductance = self._bounded(features.movedim(1, -1))
        mean = torch.where(active, level, 0).sum((1, 2, 3)) / active.sum((1, 2, 3)).clamp_min(1)
        return {
            "omega": torch.where(red_cells(red), red, black),
            "gain": torch.exp(LIMITS[1] * torch.tanh(mean)),
            "conductance": conductance,
        }

    def of_looks(self, rows: Tensor, number: Tensor) -> dict[str, Tensor]:
        """Return what `forward` returns for one level, from the features of each look and the look of each cell.

        Parameters
        ----------
        rows : (look, feature)
            Features of one cell of each look.
        number : (n_x, n_y, n_z)
            The look of each cell.
        """
        red, black, level, conductance = self._bounded(rows)
        n_active = (rows[:, 0] > 0) * number.flatten().bincount(minlength=len(rows))
        mean = (n_active * level).sum() / n_active.sum().clamp_min(1)
        coloured = torch.where(red_cells(number), number, number + len(rows)).flatten()
        return {
            "omega": torch.cat([red, black]).index_select(0, coloured).reshape(1, *number.shape),
            "gain": torch.exp(LIMITS[1] * torch.tanh(mean))[None],
            "conductance": conductance.index_select(0, number.flatten()).reshape(1, *number.shape),
        }

    def _bounded(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map (..., feature) to omega in a red cell, omega in a black one, v and conductance."""
        red, black, level, weight = self._perceptron(rows).unbind(-1)
        omegas = (1 + LIMITS[0] * torch.tanh(u) for u in (red, black))
        return next(omegas), next(omegas), level, torch.exp(LIMITS[2] * torch.tanh(weight))

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
    levels = predicted_levels(network, Multigrid(problem, smoothing=smoothing, dtype=dtype).hierarchy)
    assert levels is not None
    return Multigrid(problem, smoothing=smoothing, dtype=dtype, levels=levels)


def predicted_levels(
    network: LearnedCycle, levels: Sequence[LevelTensors], *, only_few: bool = False
) -> list[LevelTensors] | None:
    """Return what `learned_levels` returns, without gradients; on a level of few looks each is looked at once.

    Parameters
    ----------
    network, levels
        As in `learned_levels`.
    only_few
        Return None where the finest level has many looks: then the prediction takes as long as a solve.
    """
    kind = next(network.parameters()).dtype
    predicted = []
    with torch.no_grad():
        for number, (level, fill) in enumerate(zip(levels, fills(levels), strict=False)):
            looks = few_looks(level, fill) if level.diagonal.device.type == "cpu" else None
            if looks is None and only_few and not number:
                return None
            ends = number == 0, number == len(levels) - 2
            if looks is None:
                predicted.append(network(features=grid_features(level, fill, *ends)[None].to(kind)))
            else:
                rows = look_features(level, fill, looks.first, *ends)
                predicted.append(network.of_looks(rows.to(kind), looks.number))
        return _with_predicted(levels, predicted)


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
    return _with_predicted(levels, [network(features=grid[None].to(kind)) for grid in features])


def _with_predicted(levels: Sequence[LevelTensors], predicted: Sequence[Mapping[str, Tensor]]) -> list[LevelTensors]:
    found = []
    for number, (level, values) in enumerate(zip(levels, predicted, strict=False)):
        used = [values[key] for key in ("omega", "gain", "conductance")[: 3 if number else 2]]
        if not all(bool(torch.isfinite(value.sum())) for value in used):  # they are bounded: no sum of them overflows
            raise FloatingPointError(
                f"learned_levels: expected finite factors on level {number}, got NaN or infinity; train the network "
                "again or use Multigrid"
            )
        omega, gain = values["omega"][0].to(level.omega), values["gain"][0].to(level.gain)
        changed = replace(level, omega=omega, gain=gain)
        found.append(_conducting(changed, values["conductance"][0]) if number else changed)
    return [*found, levels[-1]]


def _conducting(level: LevelTensors, conductance: Tensor) -> LevelTensors:
    c = conductance.to(level.faces)
    ground = level.diagonal - _face_sum(level.faces)
    # What rounding leaves of a cell without air is no face to air: a null space must stay one.
    ground = torch.where(ground > 1e-5 * level.diagonal, ground, 0)
    half, faces = 0.5 * c, level.faces * (0.5 * c)
    for axis, n in enumerate(c.shape):
        weights = level.faces[axis].narrow(axis, 0, n - 1)
        faces[axis].narrow(axis, 0, n - 1).addcmul_(weights, half.narrow(axis, 1, n - 1))
    return replace(level, faces=faces, diagonal=_face_sum(faces) + c * ground)


def _face_sum(faces: Tensor) -> Tensor:
    """Return the sum of the weights of each cell's faces to other cells."""
    total = faces.sum(0)
    for axis, n in enumerate(total.shape):
        total.narrow(axis, 1, n - 1).add_(faces[axis].narrow(axis, 0, n - 1))
    return total
