"""Multi-fidelity Monte Carlo: nested samples, each model corrected by the next cheaper one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from sciml_mfuq.estimators.groups import LEAST, Plan, affordable, checked, nested
from sciml_mfuq.propagation.calls import Array

MOST_MODELS = 12
"""Every subset of the models is tried."""


def mfmc(covariance: ArrayLike, costs: ArrayLike, budget: float) -> Plan:
    r"""Plan multi-fidelity Monte Carlo: choose the models, their runs and their weights.

    ``q = mean_{m_0}(y_0) + sum_i a_i (mean_{m_i}(y_i) - mean_{m_{i-1}}(y_i))``, ``a_i = rho_i sigma_0 / sigma_i``,
    ``m_i / m_0 = sqrt(c_0 (rho_i^2 - rho_{i+1}^2) / (c_i (1 - rho_1^2)))``

    Parameters
    ----------
    covariance : (model, model)
        Of the outputs, the truth first; known or from a pilot that is not used again.
    costs : (model,)
        Of one run.
    budget
        For all runs, in the unit of the costs.

    Returns
    -------
    The plan of least variance over all subsets of the models that admit the ratios above; plain Monte Carlo where no
    cheap model helps.

    *Source*: Peherstorfer, Willcox and Gunzburger, SIAM J. Sci. Comput. 38 (2016), theorem 3.4 and algorithm 1.

    *Departures*: subsets are compared by their variance with whole numbers of runs, rounded down; at least two runs of
    the truth, the rest of the budget in the same proportions.

    Examples
    --------
    >>> plan = mfmc([[1.0, 0.95], [0.95, 1.0]], [1.0, 0.01], budget=100)
    >>> plan.n_runs, round(plan.variance * 100, 3)
    ((76, 2332), 0.167)
    """
    matrix, cost = checked(covariance, costs, budget)
    if len(cost) > MOST_MODELS:
        raise ValueError(f"mfmc: expected at most {MOST_MODELS} models, got {len(cost)}; leave the worst ones out")
    others = range(1, len(cost))
    subsets = [(0, *some) for size in range(len(cost)) for some in combinations(others, size)]
    plans = [plan for subset in subsets if (plan := _plan(subset, matrix, cost, budget)) is not None]
    return min(plans, key=lambda plan: plan.variance)


def mfmc_ratios(covariance: Array, costs: Array) -> Array | None:
    """Return the best runs of each model per run of the truth, or None where these models admit none.

    Parameters
    ----------
    covariance : (model, model)
        In the order of falling correlation with model 0.
    costs : (model,)
        Of one run.

    *Source*: as of `mfmc`.
    """
    rho2 = np.append(covariance[0] ** 2 / (covariance[0, 0] * np.diag(covariance)), 0.0)
    rho2[0] = 1.0
    gains = rho2[:-1] - rho2[1:]
    if not (gains > 0).all() or not (costs[:-1] * gains[1:] > costs[1:] * gains[:-1]).all():
        return None
    return np.asarray(np.sqrt(costs[0] * gains / (costs * gains[0])))


def _plan(subset: tuple[int, ...], covariance: Array, costs: Array, budget: float) -> Plan | None:
    correlation2 = covariance[0] ** 2 / np.diag(covariance)
    order = [0, *sorted(subset[1:], key=lambda model: -correlation2[model])]
    part = covariance[np.ix_(order, order)]
    ratios = mfmc_ratios(part, costs[order])
    if ratios is None:
        return None
    m = np.floor(affordable(ratios, costs[order], budget) * (1 + 1e-12))
    if (np.diff(m) < LEAST).any():
        return None
    groups, counts = nested(list(m))
    a = part[0] / np.diag(part)
    inside = np.tril(np.ones((len(order), len(order))))  # model i runs on groups 0 to i
    share = inside * counts / m[:, None]
    w = np.diag(a) @ share
    w[1:] -= a[1:, None] * share[:-1]
    named = tuple(tuple(order[model] for model in group) for group in groups)
    weights = tuple(w[list(group), number] for number, group in enumerate(groups))
    return Plan(named, tuple(int(n) for n in counts), weights, costs, covariance)
