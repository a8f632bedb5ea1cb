"""Parameters of a Gaussian process: the mode of their posterior from a few starts, and draws around it."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import qmc

from sciml_mfuq.kriging.reml import Likelihood
from sciml_mfuq.samples import Array

N_SUBSET = 1200
"""Of many more runs, a random subset of this size finds the mode, for `polish` to go on from."""

WIDEN = 1.5
"""Factor of the standard deviations of the Laplace approximation around which draws are made."""

N_BETWEEN = 6
"""Steps of the chain from one draw that is kept to the next."""


def find_mode(likelihood: Likelihood, generator: np.random.Generator, *, n_start: int = 2, n_step: int = 60) -> Array:
    """Return the parameters with the least negative log posterior that L-BFGS reaches from a few starts.

    The starts are the best of some isotropic guesses, from short to long length-scales, and some draws of the prior.

    Parameters
    ----------
    likelihood : of the runs.
    generator : of the draws and of the subset.
    n_start : starts from which L-BFGS goes on.
    n_step : iterations of each.
    """
    n_run = len(likelihood.runs.target)
    if n_run > 1.5 * N_SUBSET:
        rows = torch.as_tensor(np.sort(generator.choice(n_run, N_SUBSET, replace=False)))
        return find_mode(likelihood.on(likelihood.runs.some(rows)), generator, n_start=n_start, n_step=n_step)
    mean, std = (value.numpy() for value in likelihood.prior())
    guesses = [mean + shift * std for shift in (-2.0, -1.2, -0.5, 0.0, 0.6, 1.2)]
    draws = qmc.Sobol(len(mean), rng=generator).random(8)
    guesses += list(mean + std * np.clip(np.sqrt(2) * 2 * (draws - 0.5), -2, 2))
    guesses.sort(key=likelihood.value)
    ends = [descend(likelihood, guess, n_step) for guess in guesses[:n_start]]
    return min(ends, key=likelihood.value)


def polish(likelihood: Likelihood, mode: Array) -> Array:
    """Return a mode that a subset of the runs found after some steps with all of them; any other as it is."""
    return descend(likelihood, mode, 6) if len(likelihood.runs.target) > 1.5 * N_SUBSET else mode


def descend(likelihood: Likelihood, start: Array, n_step: int) -> Array:
    """Return where L-BFGS comes in so many iterations; never farther than six prior standard deviations off."""
    mean, std = (value.numpy() for value in likelihood.prior())
    bounds = list(zip(mean - 8 * std, mean + 6 * std, strict=True))
    options = {"maxiter": n_step, "maxfun": 2 * n_step}
    found = minimize(likelihood.value_and_gradient, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return np.asarray(found.x)


def draw(likelihood: Likelihood, mode: Array, n_draw: int, generator: np.random.Generator) -> Array:
    """Return draws (draw, parameter) of the posterior of the parameters by elliptical slice sampling.

    Parameters
    ----------
    likelihood : of the runs.
    mode : where the chain starts.
    n_draw : draws to keep.
    generator : of the chain.

    *Source*: Murray, Adams and MacKay, AISTATS 2010; around a Gaussian approximation: Nishihara, Murray and Adams,
    JMLR 15 (2014). *Departures*: the approximation is Laplace's, widened, with a curvature not below the prior's.
    """
    half = _laplace(likelihood, mode)
    inverse = np.linalg.inv(half)

    def beyond(offset: Array) -> float:
        return likelihood.value(mode + offset) - 0.5 * float(np.square(inverse @ offset).sum())

    offset, level = np.zeros_like(mode), beyond(np.zeros_like(mode))
    kept = []
    for number in range(N_BETWEEN * n_draw):
        other = half @ generator.standard_normal(len(mode))
        limit = level + generator.exponential()
        angle = generator.uniform(0, 2 * math.pi)
        low, high = angle - 2 * math.pi, angle
        while True:
            moved = offset * math.cos(angle) + other * math.sin(angle)
            value = beyond(moved)
            if value <= limit:
                offset, level = moved, value
                break
            low, high = (angle, high) if angle < 0 else (low, angle)
            if high - low < 1e-6:
                break
            angle = generator.uniform(low, high)
        if (number + 1) % N_BETWEEN == 0:
            kept.append(mode + offset)
    return np.stack(kept)


def _laplace(likelihood: Likelihood, mode: Array, step: float = 1e-3) -> Array:
    """Return a square root of the widened covariance of the Laplace approximation."""
    rows = []
    for unit in np.eye(len(mode)) * step:
        rows.append(likelihood.value_and_gradient(mode + unit)[1] - likelihood.value_and_gradient(mode - unit)[1])
    hessian = np.stack(rows) / (2 * step)
    value, vector = np.linalg.eigh(0.5 * (hessian + hessian.T))
    std = likelihood.prior()[1].numpy()
    return WIDEN * vector / np.sqrt(np.maximum(value, 1 / std.max() ** 2))
