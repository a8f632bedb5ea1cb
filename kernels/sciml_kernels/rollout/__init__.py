"""Harvest rules followed through a stock model with two prey and a predator, and counter-based noise for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sciml_kernels.by_reference import differentiate
from sciml_kernels.checks import check_alike, check_shape
from sciml_kernels.pattern import define, unless_half_on_cpu
from sciml_kernels.rollout.reference import N_KNOTS, PARAMETERS, RULE, noise_reference, reference

LAUNCHERS = {
    "numba": "sciml_kernels.rollout.numba_kernel:launch",
    "triton": "sciml_kernels.rollout.triton_kernel:launch",
}
NOISE_LAUNCHERS = {
    "numba": "sciml_kernels.rollout.numba_kernel:launch_noise",
    "triton": "sciml_kernels.rollout.triton_kernel:launch_noise",
}


def rollout(rule: Tensor, parameters: Tensor, initial: Tensor, noise: Tensor, knots: Tensor, threshold: float,
            penalty: float) -> Tensor:  # fmt: skip
    """Follow every harvest rule through every episode of the three-species model.

    A rule takes the fractions ``min(1, m_i + g_i max(0, 1 - S_i(Z) / N_i))`` of the stocks X and Y, with S_i linear in
    log Z between knots: constant mortality (g = 0), constant escapement (m = 0, g = 1, S constant) and escapement that
    depends on the predator are its special cases. The model is that of `sciml_fishery.models.three_species`, with
    ``r_x max(1 - drift t, floor)`` for the growth of X. An episode ends with the first stock at `threshold` or below,
    and that year t loses ``penalty / (t + 1)``.

    Parameters
    ----------
    rule : (rule, 14)
        Columns `reference.RULE`: m and g of X and Y, levels of S_x at the knots, levels of S_y.
    parameters : (episode, 15)
        Columns `reference.PARAMETERS`.
    initial : (episode, 3)
        Stocks X, Y, Z in the year 0, positive.
    noise : (time, episode, 3)
        Standard normals.
    knots : (5,)
        Ascending values of log Z.
    threshold, penalty
        Stock at which a species counts as lost, and what that costs in the year 0.

    Returns
    -------
    (rule, episode, 3)
        Sum of the catches less the penalty; years until the end; one where no species was lost, else zero.

    *Contract*: equal to the reference within `sciml_kernels.precision.TOLERANCES` where no stock passes within rounding
    of `threshold`; gradients are those of the reference, which hold the year of the end fixed.

    Examples
    --------
    >>> rule = torch.zeros(1, 14, dtype=torch.float64)
    >>> rule[0, 0] = 0.5
    >>> still = torch.tensor([[0.0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]], dtype=torch.float64)
    >>> start, knots = torch.ones(1, 3, dtype=torch.float64), torch.arange(5.0, dtype=torch.float64)
    >>> rollout(rule, still, start, torch.zeros(2, 1, 3, dtype=torch.float64), knots, 0.05, 100.0).flatten().tolist()
    [0.75, 2.0, 1.0]
    """
    where = "rollout"
    arrays = {"rule": rule, "parameters": parameters, "initial": initial, "noise": noise, "knots": knots}
    check_alike(where, arrays)
    check_shape(where, "rule", rule, {"rule": len(rule), "column": len(RULE)})
    n_episode = len(initial)
    check_shape(where, "parameters", parameters, {"episode": n_episode, "column": len(PARAMETERS)})
    check_shape(where, "initial", initial, {"episode": n_episode, "species": 3})
    check_shape(where, "noise", noise, {"time": len(noise), "episode": n_episode, "species": 3})
    check_shape(where, "knots", knots, {"knot": N_KNOTS})
    return torch.ops.sciml.rollout(rule, parameters, initial, noise, knots, float(threshold), float(penalty))


def normals(episode: Tensor, year: Tensor, n_species: int, seed: int, stream: int = 0) -> Tensor:
    """Return standard normals that depend on (seed, stream, episode, year, species) alone.

    Philox4x32-10 makes four 32-bit words of a counter and a key, Box and Muller's transform four normals of them.

    Parameters
    ----------
    episode, year : (...)
        Integers below 2^32 that broadcast against each other.
    n_species
        How many normals for each of them.
    seed
        At least 0, below 2^63.
    stream
        Numbers apart what is drawn for different purposes.

    Returns
    -------
    (..., species)
        float32, in memory one species after the other.

    *Contract*: equal to the bit whatever else is drawn in the same call; equal to the reference to 1e-5.

    *Source*: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    Examples
    --------
    >>> both = normals(torch.tensor([3, 4]), torch.tensor(9), 3, seed=11)
    >>> torch.equal(both[1], normals(torch.tensor(4), torch.tensor(9), 3, seed=11))
    True
    """
    if n_species < 1 or not 0 <= seed < 2**63 or stream < 0:
        wanted = "n_species >= 1, 0 <= seed < 2**63 and stream >= 0"
        raise ValueError(f"normals: expected {wanted}, got {n_species}, {seed} and {stream}; choose others")
    episode, year = torch.broadcast_tensors(episode, year)
    return torch.ops.sciml.rollout_noise(episode, year, n_species, seed, stream)


def _fake(rule: Tensor, parameters: Tensor, initial: Tensor, *_others: Any) -> Tensor:
    return rule.new_empty((rule.shape[0], initial.shape[0], 3))


def _fake_noise(episode: Tensor, year: Tensor, n_species: int, *_others: Any) -> Tensor:
    shape = torch.broadcast_shapes(episode.shape, year.shape)
    return episode.new_empty((n_species, *shape), dtype=torch.float32).movedim(0, -1)


_ARRAYS = "Tensor rule, Tensor parameters, Tensor initial, Tensor noise, Tensor knots"
_SIGNATURE = f"rollout({_ARRAYS}, float threshold, float penalty)"
_op = define(f"{_SIGNATURE} -> Tensor", reference, _fake, LAUNCHERS, unless_half_on_cpu)
backward_reference = differentiate(_op, _SIGNATURE, reference, 5)
define(
    "rollout_noise(Tensor episode, Tensor year, int n_species, int seed, int stream) -> Tensor",
    noise_reference, _fake_noise, NOISE_LAUNCHERS,
)  # fmt: skip
