"""Training a direction network without solutions: the residual that one exact line search leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from sciml.training import FitOptions, FitState, Loss, cosine, fit
from sciml_solvers.dcdm_data import Ritz
from sciml_solvers.dcdm_net import Cells


class _Symmetric(torch.autograd.Function):
    """Product of a constant symmetric sparse matrix with columns: its own adjoint."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, columns: Tensor) -> Tensor:
        ctx.matrix = matrix
        return matrix @ columns

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, ctx.matrix @ gradients[0]


def to_torch(matrix: sparse.spmatrix, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a SciPy matrix as a sparse tensor of coordinates: the layout that PyTorch calls stable."""
    coo = matrix.tocoo()
    places = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    values = torch.from_numpy(coo.data).to(dtype)
    return torch.sparse_coo_tensor(places, values, coo.shape, check_invariants=True).coalesce()


def line_search_loss(matrix: Tensor, rhs: Tensor, direction: Tensor) -> Tensor:
    """Return the mean of ``||b - A x||^2`` over samples, where ``x = q (q.b) / (q.A q)`` is the best step along q.

    Parameters
    ----------
    matrix : symmetric positive definite A (unknown, unknown), sparse; no gradient flows to it.
    rhs : b (sample, unknown).
    direction : q (sample, unknown).

    *Contract*: not changed by q -> s q for s != 0 beyond rounding; equal to the squared residual after the exact step.

    *Source*: A. Kaneda et al., ICML 2023, and the released training program.

    *Departures*: samples are drawn anew in each step, where the released program draws 20,000 once and repeats them.
    Training on the residuals that the iteration meets, instead, was tried and given up: this loss then rewards what
    shortens rough residuals, and the low modes are unlearned.
    """
    product = _Symmetric.apply(matrix, direction.T).T
    length = (direction * rhs).sum(1) / (direction * product).sum(1)
    return (rhs - length[:, None] * product).square().sum(1).mean()


@dataclass(frozen=True)
class DcdmFit:
    """How to train; the defaults are those of the released program.

    `n_samples` right-hand sides are seen, `batch` of them at a time, each a new combination of `n_vectors` Ritz vectors
    of which `n_low` weigh 9 (None: half and 500 more). `is_constant` keeps the learning rate, else it falls as a
    cosine. `is_half` computes the convolutions in bfloat16: half the time on processors that multiply such numbers,
    ten times as long on those that do not.
    """

    n_vectors: int = 10_000
    n_low: int | None = None
    n_samples: int = 20_000_000
    batch: int = 10
    learning_rate: float = 1e-4
    is_constant: bool = True
    is_half: bool = False

    def __post_init__(self) -> None:
        if min(self.n_vectors, self.n_samples, self.batch) < 1 or not self.learning_rate > 0:
            raise ValueError(f"DcdmFit: expected positive counts and learning_rate, got {self}; correct them")

    @property
    def n_steps(self) -> int:
        """Optimizer steps."""
        return max(1, self.n_samples // self.batch)


MINUTES_2D = DcdmFit(n_vectors=500, n_samples=10_000, batch=5, learning_rate=3e-3, is_constant=False)
"""About 120 CPU-seconds for the 2-D network at 64^2, for the scaling "rms"; no published schedule.

The rate is 30 times the published one and falls to zero, as these are 1,000 times fewer steps. With a third of it the
network needed twice the iterations, and with 1,000 steps of 10 samples also up to twice as many.
"""


@dataclass(frozen=True)
class System:
    """One matrix to train on: A (unknown, unknown), where its unknowns lie, its Ritz pairs, further network inputs."""

    matrix: sparse.spmatrix
    cells: Cells
    data: Ritz
    conditions: Mapping[str, Tensor] = field(default_factory=dict)


def direction_loss(systems: Sequence[System], options: DcdmFit, device: str | torch.device = "cpu") -> Loss:
    """Return the loss for :func:`sciml.training.fit`: each step draws a system and fresh samples.

    Parameters
    ----------
    systems : one for the published DCDM; many, with the input `cells` as condition, for a network that takes it.
    options : samples in a step and their law.
    device : of the network.
    """
    if not systems:
        raise ValueError("direction_loss: expected at least one system, got none; give a matrix")
    operators = [to_torch(system.matrix).to(device) for system in systems]
    kind = torch.device(device).type

    def loss(network: torch.nn.Module, generator: torch.Generator) -> Tensor:
        place = int(torch.randint(len(systems), (), generator=generator))
        system = systems[place]
        conditions = {name: value.to(device) for name, value in system.conditions.items()}
        rhs = system.data.samples(options.batch, generator, options.n_low).to(device)
        with torch.autocast(kind, torch.bfloat16, enabled=options.is_half):
            grid = network(residual=system.cells.to_grid(rhs), **conditions)["direction"]
        return line_search_loss(operators[place], rhs, system.cells.to_vectors(grid).float())

    return loss


def fit_direction(network: torch.nn.Module, systems: Sequence[System], options: DcdmFit, *, seed: int,
                  fit_options: FitOptions | None = None) -> Iterator[FitState]:  # fmt: skip
    """Train a direction network with Adam, yielding a state after every step; see :func:`sciml.training.fit`.

    Parameters
    ----------
    network : maps `residual` (and the conditions of the systems) to `direction`; changed in place.
    systems : what to train on.
    options : samples and learning rate.
    seed : of the samples.
    fit_options : validation and checkpoint; its schedule is replaced by that of `options`.
    """
    schedule = None if options.is_constant else cosine(options.n_steps, min(20, options.n_steps // 10))
    device = next(network.parameters()).device
    optimizer = torch.optim.Adam(network.parameters(), options.learning_rate)
    loss = direction_loss(systems, options, device)
    return fit(network, loss, optimizer, n_steps=options.n_steps, seed=seed,
               options=replace(fit_options or FitOptions(), schedule=schedule))  # fmt: skip
