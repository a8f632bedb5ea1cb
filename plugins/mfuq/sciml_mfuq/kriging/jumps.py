"""Where a level jumps: the evidence for a step at a gap between neighbouring runs, against one smooth process."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciml_mfuq.engines import DECISIVE
from sciml_mfuq.kriging.covariance import Kernel, cholesky
from sciml_mfuq.kriging.increment import runs_of
from sciml_mfuq.kriging.reml import Likelihood, Runs, covariance
from sciml_mfuq.kriging.scaling import Scaled
from sciml_mfuq.kriging.search import descend, find_mode
from sciml_mfuq.samples import Array

N_RUNS = 12, 320
"""Fewer runs show no jump, of more the process takes too long."""
N_SIDE = 4
"""Runs that there must be on either side of a jump; beyond fewer, an end of the curve passes for one."""
N_REFINED = 2
"""Places, the best by the screen, for which the parameters of the process are sought again."""
PROMISING = -5.0
"""Log of the odds, at the better of some parameters, from which they are sought again."""
CREDIBLE = 3.0
"""Up to so much lower a log likelihood, a neighbouring gap may hold the jump too."""
PRECISION = 1.0
"""Of the prior of a jump's height, for outputs of unit variance."""


@dataclass(frozen=True)
class Jump:
    """A jump of a level across one input.

    Parameters
    ----------
    column : the input of the truth, by number.
    low, high : the neighbouring runs, in the unit box, between which it lies somewhere.
    log_odds : log of the evidence for a jump somewhere over that for none.
    """

    column: int
    low: float
    high: float
    log_odds: float


@dataclass(frozen=True)
class _Places:
    """Gaps between neighbouring runs: column (place,), ends (place, 2), and the step across each at the runs."""

    column: Array
    ends: Array
    steps: Tensor


def find_jump(data: Scaled, seed: int) -> Jump | None:
    r"""Return the jump across an input of which the runs of a level leave no doubt, if there is one.

    For each input and each gap between neighbouring runs the process with a step in its trend is compared with the
    one without, by the likelihood with the height of the step integrated out. With B as in `Likelihood`, h the step at
    the runs and q the precision of its height, at equal parameters

        gain = (h^T B y)^2 / (h^T B h + q) / 2 - log(1 + h^T B h / q) / 2

    which costs one product for all places: the screen. For the best the parameters are sought again. All places are
    equally probable beforehand, so that the log odds are the gain less the log of their number.

    Parameters
    ----------
    data : runs of the level.
    seed : of the search for parameters.

    *Source*: piecewise processes: Gramacy and Lee, JASA 103 (2008), here with one split. *Departures*: both pieces
    share one smooth process, since a handful of runs does not tell two; only a decisive jump counts.

    Examples
    --------
    >>> from sciml_mfuq.kriging.scaling import scaled
    >>> from sciml_mfuq.study.functions import CASES
    >>> jump = find_jump(scaled(CASES["c2"].sample(7), 0), 7)
    >>> jump.column, round(37 * jump.low), round(37 * jump.high)
    (0, 18, 19)
    >>> find_jump(scaled(CASES["c3"].sample(7), 0), 7) is None
    True
    """
    places = _places(data)
    if not N_RUNS[0] <= len(data.y) <= N_RUNS[1] or not len(places.column):
        return None
    runs = runs_of(data, None, ("none", "linear"))
    smooth = Likelihood(Kernel("matern52", (data.columns,)), runs, learns_noise=not bool((data.noise > 0).any()))
    with torch.no_grad():
        mode = find_mode(smooth, np.random.default_rng([seed, 23]), n_start=1, n_step=40)
        limit = smooth.value(mode) - math.log(len(places.column))
        starts = _starts(smooth, mode)
        values = np.stack([smooth.value(theta) - _gains(smooth, theta, places.steps) for theta in starts])
        tried = []
        for place in np.argsort(values.min(0))[:N_REFINED]:
            if limit - values[:, place].min() > PROMISING:
                likelihood = smooth.on(_with_step(runs, places.steps[:, place]))
                theta = descend(likelihood, starts[int(values[:, place].argmin())], 20)
                tried.append((likelihood.value(theta), int(place), theta))
        value, best, theta = min(tried, key=lambda each: each[0], default=(math.inf, 0, mode))
        if limit - value < DECISIVE:
            return None
        near = smooth.value(theta) - _gains(smooth, theta, places.steps) < value + CREDIBLE
    return _widened(places, best, near, limit - value)


def _places(data: Scaled) -> _Places:
    columns, ends = list[int](), list[tuple[float, float]]()
    for column in data.columns:
        at, count = np.unique(data.u[:, column].numpy(), return_counts=True)
        below = np.cumsum(count)[:-1]
        for place in np.flatnonzero((below >= N_SIDE) & (len(data.u) - below >= N_SIDE)):
            columns.append(column)
            ends.append((at[place], at[place + 1]))
    edges = np.array(ends).reshape(-1, 2)
    steps = data.u[:, columns] > torch.as_tensor(edges.mean(1))
    return _Places(np.array(columns), edges, steps.to(data.u))


def _starts(likelihood: Likelihood, mode: Array) -> list[Array]:
    """Return parameters at which places are compared: the mode, in which short lengths may mend a jump, and longer."""
    mean, std = (value.numpy() for value in likelihood.prior())
    is_length = np.ones(len(mode), dtype=bool)
    is_length[likelihood.kernel.variance_positions()] = False
    is_length[likelihood.kernel.n_parameter :] = False
    longer = [mode + shift * is_length for shift in (0.7, 1.4)]
    return [mode, *longer, *(mean + shift * std for shift in (-0.5, 0.0, 0.6))]


def _gains(likelihood: Likelihood, theta: Array, steps: Tensor) -> Array:
    """Return by how much each step (run, place) raises the log likelihood, its height integrated out, (place,)."""
    runs, t = likelihood.runs, torch.as_tensor(theta)
    factor = cholesky(covariance(likelihood.kernel, t, runs, likelihood.learns_noise))
    both = torch.cat([runs.target[:, None], runs.basis, steps], 1)
    white = torch.linalg.solve_triangular(factor, both, upper=False)
    y, basis, h = white.split([1, runs.basis.shape[1], steps.shape[1]], 1)
    normal = cholesky(basis.T @ basis + runs.precision.diag())
    trend_y, trend_h = (torch.linalg.solve_triangular(normal, basis.T @ one, upper=False) for one in (y, h))
    hy = (h.T @ y - trend_h.T @ trend_y)[:, 0]
    hh = (h.square().sum(0) - trend_h.square().sum(0)).clamp_min(0)
    return (0.5 * hy.square() / (hh + PRECISION) - 0.5 * torch.log1p(hh / PRECISION)).numpy()


def _with_step(runs: Runs, step: Tensor) -> Runs:
    precision = torch.cat([runs.precision, runs.precision.new_tensor([PRECISION])])
    return replace(runs, basis=torch.cat([runs.basis, step[:, None]], 1), precision=precision)


def _widened(places: _Places, best: int, near: NDArray[np.bool_], log_odds: float) -> Jump:
    """Return the jump at a place, with the neighbouring gaps that may hold it as well."""
    first = last = best
    while first > 0 and near[first - 1] and places.column[first - 1] == places.column[best]:
        first -= 1
    while last + 1 < len(near) and near[last + 1] and places.column[last + 1] == places.column[best]:
        last += 1
    return Jump(int(places.column[best]), float(places.ends[first, 0]), float(places.ends[last, 1]), log_odds)
