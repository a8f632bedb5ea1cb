"""Approximate control variates: every cheap model corrects the truth directly, its mean estimated on more runs."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
import scipy.optimize
from numpy.typing import ArrayLike

from sciml_mfuq.estimators.groups import LEAST, Group, Plan, affordable, checked, group_variance, nested
from sciml_mfuq.propagation.calls import Array

Form: TypeAlias = Literal["mf", "is"]


def acv(covariance: ArrayLike, costs: ArrayLike, budget: float, form: Form = "mf") -> Plan:
    r"""Plan approximate control variates: choose the runs of all models and their weights.

    ``q = mean_0(y_0) - sum_i a_i (mean_0(y_i) - mean_i(y_i))``, ``a = F^{-1} f``, where mean_0 is over the n_0 runs of
    the truth and mean_i over the n_i >= n_0 runs of model i, which include them

    Parameters
    ----------
    covariance : (model, model)
        Of the outputs, the truth first; known or from a pilot that is not used again.
    costs : (model,)
        Of one run.
    budget
        For all runs, in the unit of the costs.
    form
        "mf": further runs of all models on the same stream of inputs; "is": on independent ones.

    *Contract*: all models are used; leave out one that only costs, or let `mfmc` or `mlblue` choose.

    *Source*: Gorodetsky, Geraci, Eldred and Jakeman, J. Comput. Phys. 408 (2020) 109257 (ACV-IS and ACV-MF).

    *Departures*: Nelder and Mead's method finds the runs per run of the truth from two starts; they are rounded down.

    Examples
    --------
    >>> plan = acv([[1.0, 0.95], [0.95, 1.0]], [1.0, 0.01], budget=100)
    >>> round(plan.variance * 100, 3)
    0.167
    """
    matrix, cost = checked(covariance, costs, budget)
    if len(cost) < 2:
        raise ValueError("acv: expected a truth and at least one cheap model, got one model; use monte_carlo")

    def runs(logs: Array) -> Array:
        return affordable(np.append(1.0, 1 + np.exp(np.clip(logs, -8, 30))), cost, budget)

    def variance(logs: Array) -> float:
        groups, counts = _design(runs(logs), form)
        return group_variance(groups, counts, _weights(groups, counts, runs(logs), matrix), matrix)

    rho2 = matrix[0, 1:] ** 2 / (matrix[0, 0] * np.diag(matrix)[1:])
    starts = (np.log(cost[0] / cost[1:]), 0.5 * np.log(cost[0] * rho2 / cost[1:] / (1 - rho2) + 1e-9))
    options = {"xatol": 1e-4, "fatol": 1e-6 * matrix[0, 0] / budget * cost[0], "maxiter": 400 * len(cost)}
    found = [scipy.optimize.minimize(variance, start, method="Nelder-Mead", options=options) for start in starts]
    return acv_plan(_whole(runs(min(found, key=lambda result: result.fun).x)), matrix, cost, form)


def acv_plan(n_runs: ArrayLike, covariance: Array, costs: Array, form: Form = "mf") -> Plan:
    """Return the plan with the best weights for given runs of each model.

    Parameters
    ----------
    n_runs : (model,)
        Whole numbers; no model is run less often than the truth.
    covariance, costs, form
        As for `acv`.
    """
    n = np.asarray(n_runs, dtype=np.float64)
    if n.shape != np.shape(costs) or not (n >= n[0]).all():
        raise ValueError(f"acv_plan: expected runs of each model, none fewer than of the truth, got {n}; raise them")
    groups, counts = _design(n, form)
    return Plan(groups, tuple(int(k) for k in counts), _weights(groups, counts, n, covariance), costs, covariance)


def _design(n_runs: Array, form: Form) -> tuple[tuple[Group, ...], Array]:
    if form == "mf":
        return nested(list(n_runs))
    own = [model for model in range(1, len(n_runs)) if n_runs[model] > n_runs[0]]
    groups = (tuple(range(len(n_runs))), *((model,) for model in own))
    return groups, np.append(n_runs[0], n_runs[own] - n_runs[0])


def _weights(groups: tuple[Group, ...], counts: Array, n_runs: Array, covariance: Array) -> tuple[Array, ...]:
    """Return the weights a = F^{-1} f of each group; models that have no runs of their own get none."""
    inside = np.array([[model in group for group in groups] for model in range(len(n_runs))])
    share = inside * counts / n_runs[:, None]
    gap = share[0] - share[1:]  # of control i: what its mean over the truth's runs is more than its own mean
    moving = np.flatnonzero(np.abs(gap).max(1) > 0)
    gap, models = gap[moving], moving + 1
    both = covariance[np.ix_(models, models)] * ((gap / counts) @ gap.T)
    with_truth = covariance[models, 0] * (gap @ (share[0] / counts))
    scale = np.sqrt(np.diag(both))
    a = np.linalg.solve(both / np.outer(scale, scale), with_truth / scale) / scale
    w = np.zeros((len(n_runs), len(groups)))
    w[0] = share[0]
    w[models] = -a[:, None] * gap
    return tuple(w[list(group), number] for number, group in enumerate(groups))


def _whole(n_runs: Array) -> Array:
    """Round down such that no group has a single run."""
    whole = np.floor(n_runs)
    order = np.argsort(whole)
    for before, model in pairwise(order):
        if whole[model] - whole[before] < LEAST:
            whole[model] = whole[before]
    return np.maximum(whole, whole[0])
