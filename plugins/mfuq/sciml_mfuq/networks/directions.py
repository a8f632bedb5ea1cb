"""The few directions along which the cheaper levels vary, and a level above that sees its inputs along them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sciml.training import seeded
from sciml_mfuq.kriging.increment import GPOptions
from sciml_mfuq.networks.links import Evidence, Link, fit_link

ENERGY = 0.99
"""Share of the mean square of the slopes that the directions hold together."""
INPUTS_PER_DIRECTION = 8
"""Least number of inputs for each direction: where there are fewer, length-scales of the inputs say as much."""
GAIN = 0.8
"""What the error of left-out runs must fall to, relative to that without directions, before these are believed in."""
N_TRIED = 500
"""Runs from which it is decided whether a level sees the directions."""


def active_directions(slopes: Tensor) -> Tensor:
    r"""Return the orthonormal directions (input, direction) along which a function varies, none where it takes many.

    They are the leading eigenvectors of ``C = mean(grad f grad f^T)``, as few as hold `ENERGY` of its trace.

    Parameters
    ----------
    slopes : (point, input), of the function over inputs that are scaled to a common width.

    *Contract*: a function without structure has no directions: at most one for `INPUTS_PER_DIRECTION` inputs is given.

    *Source*: Constantine, Active Subspaces (2015), section 3.1; over a cheap level: Lam, Zahm, Marzouk and Willcox,
    SIAM J. Sci. Comput. 42 (2020). *Departures*: the slopes are those of a fitted model, not of the function.

    Examples
    --------
    >>> slope = torch.cat([torch.full((5, 1), 3.0), torch.full((5, 1), 4.0), torch.zeros(5, 6)], 1)
    >>> [round(one, 3) for one in active_directions(slope)[:2, 0].abs().tolist()]
    [0.6, 0.8]
    """
    n_point, n_input = slopes.shape
    energy, vectors = torch.linalg.eigh(slopes.T @ slopes / max(1, n_point))
    held = energy.flip(0).clamp_min(0).cumsum(0)
    number = 1 + int((held < ENERGY * held[-1]).sum())
    if number > n_input // INPUTS_PER_DIRECTION or not held[-1] > 0:
        return slopes.new_zeros(n_input, 0)
    return vectors.flip(1)[:, :number]


def fit_link_along(evidence: Evidence, variance: Tensor, options: GPOptions, seed: int) -> Link:
    """Fit what a level adds to the cheaper ones, along the directions of the evidence where that predicts better.

    Both are asked for runs left out, of at most `N_TRIED` runs; with the directions it must err by less than `GAIN`
    times as much as without.

    Parameters
    ----------
    evidence, variance, options, seed : as for `fit_link`.
    """
    blind = replace(evidence, directions=None)
    if evidence.directions is None or not evidence.directions.shape[1]:
        return fit_link(blind, variance, options, seed)
    n_run = len(evidence.y)
    rows = torch.randperm(n_run, generator=seeded(seed, "tried"))[:N_TRIED].sort().values
    plain, seeing = (fit_link(one.some(rows), variance[rows], options, seed) for one in (blind, evidence))
    gains = seeing.left_out() < GAIN * plain.left_out()
    if len(rows) == n_run:
        return seeing if gains else plain
    return fit_link(evidence if gains else blind, variance, options, seed)
