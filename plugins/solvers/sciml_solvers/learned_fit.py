"""Training a learned cycle without solutions: how much of a known error some conjugate gradient steps leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from sciml_kernels.multigrid_cycle.reference import LevelTensors, apply_stencil, vcycle_reference
from torch import Tensor

from sciml.training import FitOptions, FitState, Loss, cosine, fit, seeded
from sciml_solvers.features import level_features
from sciml_solvers.gallery import random_mask
from sciml_solvers.hierarchy import build_levels
from sciml_solvers.learned import LearnedCycle, learned_levels
from sciml_solvers.pcg import along, dot
from sciml_solvers.problems import MaskProblem

TINY, FLOOR = 1e-300, 1e-20


@dataclass(frozen=True)
class LearnedFit:
    """How to train: pool of masks, errors seen at a time, conjugate gradient steps, optimizer steps and rate.

    `shapes` are drawn in turn for the `n_masks` random problems, which hold jumps, anisotropy and thin walls.
    """

    shapes: tuple[tuple[int, ...], ...] = ((16, 16, 16), (24, 16, 20), (20, 24, 24), (48, 40))
    n_masks: int = 64
    n_errors: int = 2
    n_pcg: int = 4
    n_steps: int = 1500
    learning_rate: float = 4e-3

    def __post_init__(self) -> None:
        if min(self.n_masks, self.n_errors, self.n_pcg, self.n_steps) < 1 or not self.learning_rate > 0:
            raise ValueError(f"LearnedFit: expected positive counts and learning_rate, got {self}; correct them")


@dataclass(frozen=True)
class Sample:
    """One problem to train on: its classical levels and their features."""

    levels: Sequence[LevelTensors]
    features: Sequence[Tensor]

    @classmethod
    def of(cls, problem: MaskProblem) -> Sample:
        """Return the sample of a problem, in float64."""
        levels = list(build_levels(problem, torch.float64, 1.0, 0.5))
        return cls(levels, level_features(levels))


def samples(options: LearnedFit, seed: int) -> list[Sample]:
    """Draw the random problems to train or validate on."""
    generator = np.random.default_rng(seed)
    found: list[Sample] = []
    while len(found) < options.n_masks:
        problem = random_mask(options.shapes[len(found) % len(options.shapes)], generator)
        if problem.n_unknowns:
            found.append(Sample.of(problem))
    return found


def error_ratio(sample: Sample, levels: Sequence[LevelTensors], error: Tensor, n_pcg: int) -> Tensor:
    r"""Return the mean over errors of ``log(||e_k||_A / ||e_0||_A) / k`` after k preconditioned steps.

    Parameters
    ----------
    sample
        Whose finest level is A.
    levels
        Of the cycle with one sweep before and after that preconditions; differentiable.
    error : (error, n_x, n_y, n_z)
        e_0, zero in cells that are no unknowns.
    n_pcg
        Steps k.
    """
    top = sample.levels[0]
    e, p = error, torch.zeros_like(error)
    r = apply_stencil(top.faces, top.diagonal, e)
    start, rz_old = dot(e, r), None
    for _ in range(n_pcg):
        z = vcycle_reference(levels, r, 1)
        rz = dot(r, z)
        p = z if rz_old is None else z + along(rz / (rz_old + TINY), z) * p
        q = apply_stencil(top.faces, top.diagonal, p)
        alpha = along(rz / (dot(p, q) + TINY), p)
        e, r, rz_old = e - alpha * p, r - alpha * q, rz
    # In closed rooms an error can end as a constant, whose norm is zero but for rounding: the floor has no gradient.
    return 0.5 * torch.log((dot(e, r) / (start + TINY)).clamp_min(FLOOR)).mean() / n_pcg


def start_errors(sample: Sample, n_errors: int, generator: torch.Generator) -> Tensor:
    """Draw errors that a random residual has, nearly: the classical cycle of white noise, (error, n_x, n_y, n_z)."""
    top = sample.levels[0]
    noise = torch.randn(n_errors, *top.diagonal.shape, dtype=top.diagonal.dtype, generator=generator)
    return vcycle_reference(sample.levels, noise * (top.diagonal > 0), 2)


def cycle_loss(pool: Sequence[Sample], options: LearnedFit) -> Loss:
    """Return the loss for `sciml.training.fit`: each step draws a problem of the pool and fresh errors."""

    def loss(network: torch.nn.Module, generator: torch.Generator) -> Tensor:
        sample = pool[int(torch.randint(len(pool), (), generator=generator))]
        return _ratio(network, sample, options, generator)

    return loss


def held_out(network: torch.nn.Module, pool: Sequence[Sample], options: LearnedFit, seed: int) -> float:
    """Return the mean of `error_ratio` over the problems of a pool, with errors drawn from the seed."""
    with torch.no_grad():
        ratios = [
            _ratio(network, sample, options, seeded(seed, number, "held out")) for number, sample in enumerate(pool)
        ]
    return float(torch.stack(ratios).mean())


def fit_cycle(
    network: LearnedCycle, options: LearnedFit = LearnedFit(), *, seed: int, fit_options: FitOptions | None = None
) -> Iterator[FitState]:
    """Train a cycle with Adam on random masks, yielding a state after every step; see `sciml.training.fit`.

    Parameters
    ----------
    network
        Changed in place.
    options
        Masks, errors, steps.
    seed
        Of masks and errors: on one device the same seed gives the same weights.
    fit_options
        Validation and checkpoint; its schedule is replaced.
    """
    pool = samples(options, seed)
    optimizer = torch.optim.Adam(network.parameters(), options.learning_rate)
    schedule = cosine(options.n_steps, min(20, options.n_steps // 10))
    chosen = replace(fit_options or FitOptions(clip_norm=1.0), schedule=schedule)
    return fit(network, cycle_loss(pool, options), optimizer, n_steps=options.n_steps, seed=seed, options=chosen)


def _ratio(network: torch.nn.Module, sample: Sample, options: LearnedFit, generator: torch.Generator) -> Tensor:
    levels = learned_levels(network, sample.levels, sample.features)
    error = start_errors(sample, options.n_errors, generator)
    return error_ratio(sample, levels, error, options.n_pcg)
