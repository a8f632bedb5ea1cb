"""The multilevel best linear unbiased estimate: the best weights over any groups of models, and the best groups."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from sciml_mfuq.estimators.groups import LEAST, Group, Plan, checked
from sciml_mfuq.propagation.calls import Array

TOLERANCE = 1e-3
"""Of the planned variance above the least one, with real numbers of runs."""
MOST_STEPS = 20_000
LEAST_SHARE = 1e-13
"""Of the budget for any group while shares are sought: one that fell to zero could not come back."""


def mlblue(covariance: ArrayLike, costs: ArrayLike, budget: float, largest: int = 4) -> Plan:
    r"""Plan the best linear unbiased estimate: choose among all groups of models, their runs and their weights.

    ``min_n e_0^T Psi(n)^{-1} e_0``, ``Psi(n) = sum_k n_k R_k^T C_k^{-1} R_k``, subject to ``sum_k n_k c_k = budget``

    Parameters
    ----------
    covariance : (model, model)
        Of the outputs, the truth first; known or from a pilot that is not used again.
    costs : (model,)
        Of one run.
    budget
        For all runs, in the unit of the costs.
    largest
        Most models in a group.

    *Contract*: with real numbers of runs no unbiased linear estimate from such groups at this budget has a variance
    lower than this one's by more than TOLERANCE; rounding costs more where few runs of the truth are affordable.

    *Source*: Schaden and Ullmann, SIAM/ASA J. Uncertainty Quantification 8 (2020), sample allocation; Yu,
    Ann. Statist. 38 (2010) (the multiplicative algorithm for such designs converges monotonically).

    *Departures*: no regularisation. The share p_k of the budget is multiplied by the root of the derivative
    ``d_k = l^T R_k^T C_k^{-1} R_k l / c_k``, ``l = Psi^{-1} e_0``, until max d_k shows, by the equivalence theorem,
    that no more is left to gain. Runs are rounded down; what is left of the budget is spent where it gains most.

    Examples
    --------
    >>> plan = mlblue([[1.0, 0.95], [0.95, 1.0]], [1.0, 0.01], budget=100)
    >>> plan.groups, round(plan.variance * 100, 3)
    (((1,), (0, 1)), 0.166)
    """
    matrix, cost = checked(covariance, costs, budget)
    sizes = range(1, min(largest, len(cost)) + 1)
    groups = [group for size in sizes for group in combinations(range(len(cost)), size)]
    group_costs = np.array([cost[list(group)].sum() for group in groups])
    shares = _shares(groups, group_costs, matrix)
    precisions = _precisions(groups, matrix)
    starts = _starts(groups, shares, group_costs, budget)
    spent = [_spend(start, groups, group_costs, precisions, budget) for start in starts]
    counts = min(spent, key=lambda n: float(_multiplier(n, precisions, groups)[0]))
    used = np.flatnonzero(counts)
    return blue_plan([groups[k] for k in used], [int(counts[k]) for k in used], matrix, cost)


def blue_plan(groups: Sequence[Group], counts: Sequence[int], covariance: Array, costs: Array) -> Plan:
    """Return the plan with the best weights for given groups and runs.

    ``w_k = n_k C_k^{-1} R_k Psi^{-1} e_0``

    Parameters
    ----------
    groups, counts
        Models and runs of each; model 0 is in one of the groups.
    covariance, costs
        As for `mlblue`.
    """
    if not any(0 in group for group in groups):
        raise ValueError(f"blue_plan: expected model 0 in one of the groups, got {list(groups)}; run the truth")
    n, scale = np.asarray(counts, dtype=np.float64), np.sqrt(np.diag(covariance))
    precisions = _precisions(groups, covariance)
    multiplier = _multiplier(n, precisions, groups)
    full = n[:, None] * (precisions @ multiplier) * scale[0] / scale
    # rounding leaves sums that are not quite 1 and 0 where models are almost perfectly correlated
    inside = np.array([[model in group for model in range(len(scale))] for group in groups])
    runs = np.maximum((n[:, None] * inside).sum(0), 1.0)
    full += n[:, None] * inside * (np.eye(len(scale))[0] - full.sum(0)) / runs
    weights = tuple(full[k, list(group)] for k, group in enumerate(groups))
    return Plan(tuple(groups), tuple(int(k) for k in counts), weights, costs, covariance)


def _precisions(groups: Sequence[Group], covariance: Array) -> Array:
    """Return R_k^T C_k^{-1} R_k of each group, (group, model, model), for models scaled to variance one."""
    scale = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(scale, scale)
    precisions = np.zeros((len(groups), *covariance.shape))
    for k, group in enumerate(groups):
        at = np.ix_(group, group)
        precisions[k][at] = np.linalg.inv(correlation[at])
    return precisions


def _multiplier(n: Array, precisions: Array, groups: Sequence[Group]) -> Array:
    """Return Psi^{-1} e_0 over the models that are run, zero for the others."""
    run = sorted({model for group, count in zip(groups, n, strict=True) if count > 0 for model in group})
    psi = np.tensordot(n, precisions, 1)[np.ix_(run, run)]
    scale = np.sqrt(np.diag(psi))
    multiplier = np.zeros(precisions.shape[-1])
    multiplier[run] = np.linalg.solve(psi / np.outer(scale, scale), (np.array(run) == 0) / scale) / scale
    return multiplier


def _shares(groups: Sequence[Group], group_costs: Array, covariance: Array) -> Array:
    """Return the best share of the budget for each group."""
    unit = _precisions(groups, covariance) / group_costs[:, None, None]
    shares = np.full(len(groups), 1 / len(groups))
    for _ in range(MOST_STEPS):
        multiplier = _multiplier(shares, unit, groups)
        gains = np.einsum("i,kij,j->k", multiplier, unit, multiplier)
        if gains.max() <= (1 + TOLERANCE) * multiplier[0]:
            return shares
        shares = shares * np.sqrt(np.maximum(gains, 0) / multiplier[0])
        shares = np.maximum(shares / shares.sum(), LEAST_SHARE)
    raise ValueError(
        f"mlblue: expected shares of the budget within {TOLERANCE:g} of the best after {MOST_STEPS} steps, got "
        f"{gains.max() / multiplier[0] - 1:.2g}; leave out one of two models that are nearly the same"
    )


def _starts(groups: Sequence[Group], shares: Array, group_costs: Array, budget: float) -> list[Array]:
    """Return runs rounded down; where they leave out the truth, one choice for each group that could hold it."""

    def whole(amount: float) -> Array:
        counts = np.floor(shares * amount / group_costs)
        return np.where(counts < LEAST, 0.0, counts)

    with_truth = [k for k, group in enumerate(groups) if 0 in group]
    if whole(budget)[with_truth].any():
        return [whole(budget)]
    starts = []
    for k in with_truth:
        counts = whole(budget - LEAST * group_costs[k])
        counts[k] = LEAST
        starts.append(counts)
    return starts


def _spend(counts: Array, groups: Sequence[Group], group_costs: Array, precisions: Array, budget: float) -> Array:
    """Spend what is left of the budget where the variance falls most per cost, a tenth of it at least per step."""
    while True:
        left = budget * (1 + 1e-12) - counts @ group_costs
        steps = np.maximum(np.where(counts > 0, 1, LEAST), np.floor(left / 10 / group_costs))
        trials = {
            k: counts + steps[k] * (np.arange(len(counts)) == k) for k in np.flatnonzero(steps * group_costs <= left)
        }
        now = _multiplier(counts, precisions, groups)[0]
        lower = {k: _multiplier(n, precisions, groups)[0] for k, n in trials.items()}
        if not lower or min(lower.values()) >= now * (1 - 1e-9):
            return counts
        counts = trials[max(lower, key=lambda k: (now - lower[k]) / (steps[k] * group_costs[k]))]
