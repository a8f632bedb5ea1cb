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


def exact_step(matrix: Tensor, residual: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``r - A p (p.r) / (p.A p)`` and A p, both (sample, unknown), for directions p (sample, unknown).

    `matrix` is a symmetric sparse A (unknown, unknown), no gradient flows to it; `residual` is r (sample, unknown).
    """
    product = _Symmetric.apply(matrix, direction.T).T
    length = (direction * residual).sum(1) / (direction * product).sum(1)
    return residual - length[:, None] * product, product


def line_search_loss(matrix: Tensor, rhs: Tensor, direction: Tensor) -> Tensor:
    """Return the mean of ``||b - A x||^2`` over samples, where ``x = q (q.b) / (q.A q)`` is the best step along q.

    Parameters
    ----------
    matrix : symmetric positive definite A (unknown, unknown), sparse; no gradient flows to it.
    rhs : b (sample, unknown).
    direction : q (sample, unknown).

    *Contract*: not changed by q -> s q for s != 0 beyond rounding; equal to the squared residual after the exact step.

    *Source*: A. Kaneda et al., ICML 2023, and the released training program.
    """
    return exact_step(matrix, rhs, direction)[0].square().sum(1).mean()


@dataclass(frozen=True)
class DcdmFit:
    """How to train; the defaults are those of the released program but for the rollout, which it does not have.

    `n_samples` residuals are seen, `batch` of them at a time; b are combinations of `n_vectors` Ritz vectors of which
    `n_low` weigh 9 (None: half and 500 more). `is_constant` keeps the learning rate, else it falls as a cosine. With
    `n_rollout` > 1 each b is followed for so many steps of the iteration, with `n_previous` directions, and the loss is
    the mean over the residuals met: those that the network will see, which random combinations are not. `is_half`
    computes the convolutions in bfloat16.
    """

    n_vectors: int = 10_000
    n_low: int | None = None
    n_samples: int = 20_000_000
    batch: int = 10
    learning_rate: float = 1e-4
    is_constant: bool = True
    n_rollout: int = 1
    n_previous: int = 2
    is_half: bool = False

    def __post_init__(self) -> None:
        counts = (self.n_vectors, self.n_samples, self.batch, self.n_rollout)
        if min(counts) < 1 or self.n_previous < 0 or not self.learning_rate > 0 or self.batch % self.n_rollout:
            text = "positive counts and learning_rate, and a batch that n_rollout divides"
            raise ValueError(f"DcdmFit: expected {text}, got {self}; correct them")

    @property
    def n_steps(self) -> int:
        """Optimizer steps."""
        return max(1, self.n_samples // self.batch)


MINUTES_2D = DcdmFit(n_vectors=500, n_samples=40_000, learning_rate=1e-3, is_constant=False, is_half=True)


@dataclass(frozen=True)
class System:
    """One matrix to train on: A (unknown, unknown), where its unknowns lie, its Ritz pairs, further network inputs."""

    matrix: sparse.spmatrix
    cells: Cells
    data: Ritz
    conditions: Mapping[str, Tensor] = field(default_factory=dict)


def direction_loss(systems: Sequence[System], options: DcdmFit, device: str | torch.device = "cpu") -> Loss:
    """Return the loss for :func:`sciml.training.fit`: each step draws a system and fresh samples from its Ritz vectors.

    Parameters
    ----------
    systems : one for the published DCDM; many, with the input `cells` as condition, for a network that takes it.
    options : counts and the rollout; with `n_rollout` = 1 the loss is :func:`line_search_loss`.
    device : of the network.
    """
    if not systems:
        raise ValueError("direction_loss: expected at least one system, got none; give a matrix")
    operators = [to_torch(system.matrix).to(device) for system in systems]
    kind = torch.device(device).type

    def loss(network: torch.nn.Module, generator: torch.Generator) -> Tensor:
        place = int(torch.randint(len(systems), (), generator=generator))
        system, operator = systems[place], operators[place]
        conditions = {name: value.to(device) for name, value in system.conditions.items()}
        residual = system.data.samples(options.batch // options.n_rollout, generator, options.n_low).to(device)
        previous, total = list[tuple[Tensor, Tensor]](), residual.new_zeros(())
        for _ in range(options.n_rollout):
            with torch.autocast(kind, torch.bfloat16, enabled=options.is_half):
                grid = network(residual=system.cells.to_grid(residual), **conditions)["direction"]
            p = _conjugated(system.cells.to_vectors(grid).float(), previous)
            left, product = exact_step(operator, residual, p)
            total = total + left.square().sum(1).mean() / options.n_rollout
            previous = [*previous, (p.detach(), product.detach())][-options.n_previous :] if options.n_previous else []
            residual = left.detach() / torch.linalg.vector_norm(left.detach(), dim=1, keepdim=True)
        return total

    return loss


def _conjugated(q: Tensor, previous: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    p = q / torch.linalg.vector_norm(q.detach(), dim=1, keepdim=True)
    for other, product in previous:
        p = p - ((product * p).sum(1) / (product * other).sum(1))[:, None] * other
    return p


def fit_direction(network: torch.nn.Module, systems: Sequence[System], options: DcdmFit, *, seed: int,
                  fit_options: FitOptions | None = None) -> Iterator[FitState]:  # fmt: skip
    """Train a direction network with Adam, yielding a state after every step; see :func:`sciml.training.fit`.

    Parameters
    ----------
    network : maps `residual` (and the conditions of the systems) to `direction`; changed in place.
    systems : what to train on.
    options : samples, learning rate, rollout.
    seed : of the samples.
    fit_options : validation and checkpoint; its schedule is replaced by that of `options`.
    """
    schedule = None if options.is_constant else cosine(options.n_steps, min(20, options.n_steps // 10))
    device = next(network.parameters()).device
    optimizer = torch.optim.Adam(network.parameters(), options.learning_rate)
    loss = direction_loss(systems, options, device)
    return fit(network, loss, optimizer, n_steps=options.n_steps, seed=seed,
               options=replace(fit_options or FitOptions(), schedule=schedule))  # fmt: skip
