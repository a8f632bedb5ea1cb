"""Estimates over groups of models: every group runs some of the models on inputs of its own.

Multi-fidelity Monte Carlo, approximate control variates and the best linear unbiased estimate are all of this form and
differ in the groups and weights they choose. Model 0 is the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from sciml_mfuq.estimators.estimate import Estimate, summed, variance_terms
from sciml_mfuq.propagation.calls import Array, Predict, call
from sciml_mfuq.propagation.laws import Law

Group: TypeAlias = tuple[int, ...]
LEAST = 2
"""Fewest runs of a group: one alone has no spread to tell its error by."""


@dataclass(frozen=True)
class Plan:
    """Which models to run how often, and how to weigh what they return.

    ``q = sum_k w_k^T mean_k``, ``var q = sum_k w_k^T C_k w_k / n_k``, where mean_k holds the means of group k

    Parameters
    ----------
    groups : models of each group, by number.
    counts : runs of each group, at least two; all its models are run on the same inputs.
    weights : of the models of each group. Those of model 0 sum to one, those of any other model to zero.
    costs : (model,), of one run.
    covariance : (model, model), of the outputs.

    *Contract*: the estimate is unbiased whatever the models, if the weights were not computed from the same runs; a
    wrong covariance costs precision only. The sums of the weights are checked.

    *Source*: Schaden and Ullmann, SIAM/ASA J. Uncertainty Quantification 8 (2020).
    """

    groups: tuple[Group, ...]
    counts: tuple[int, ...]
    weights: tuple[Array, ...]
    costs: Array
    covariance: Array

    def __post_init__(self) -> None:
        totals = np.zeros(len(self.costs))
        for group, weights in zip(self.groups, self.weights, strict=True):
            totals[list(group)] += weights
        largest = max(float(np.abs(weights).max()) for weights in self.weights)
        if np.abs(totals - np.eye(len(totals))[0]).max() > 1e-9 * max(1.0, largest):
            raise ValueError(f"Plan: expected weights that sum to 1 for model 0 and else to 0, got {totals}; fix them")
        if min(self.counts) < LEAST:
            raise ValueError(
                f"Plan: expected at least {LEAST} runs of every group, got {self.counts}; raise the budget"
            )

    @property
    def n_runs(self) -> tuple[int, ...]:
        """Runs of each model."""
        pairs = list(zip(self.groups, self.counts, strict=True))
        return tuple(sum(n for group, n in pairs if model in group) for model in range(len(self.costs)))

    @property
    def cost(self) -> float:
        """Of all runs."""
        return float(np.array(self.n_runs) @ self.costs)

    @property
    def variance(self) -> float:
        """Of the estimated mean, as the covariance predicts it."""
        return group_variance(self.groups, self.counts, self.weights, self.covariance)

    def combine(self, values: Sequence[ArrayLike], statistic: Literal["mean", "variance"] = "mean") -> Estimate:
        """Return the estimate from runs.

        Parameters
        ----------
        values
            Outputs of each group, (runs, models of the group).
        statistic
            Of model 0. The weights are the best ones for the mean; the variance is unbiased with them too.

        *Contract*: the standard error comes from the spread within the groups, not from the covariance of the plan.
        """
        if len(values) != len(self.groups):
            raise ValueError(f"Plan.combine: expected {len(self.groups)} groups of values, got {len(values)}")
        value, variances = 0.0, []
        for number, (group, n, weights) in enumerate(zip(self.groups, self.counts, self.weights, strict=True)):
            y = np.asarray(values[number], dtype=np.float64)
            if y.shape != (n, len(group)) or not np.isfinite(y).all():
                got = f"shape {y.shape} with {int((~np.isfinite(y)).sum())} that are not"
                raise ValueError(f"Plan.combine group {number}: expected finite ({n}, {len(group)}), got {got}; rerun")
            terms = (variance_terms(y) if statistic == "variance" else y) @ weights
            value += float(terms.mean())
            variances.append(float(terms.var(ddof=1)) / n)
        return summed(value, variances, [n - 1 for n in self.counts])

    def run(self, models: Sequence[Predict], law: Law, seed: int) -> list[Array]:
        """Run the models as planned; `combine` makes the estimate from what is returned.

        Parameters
        ----------
        models
            All of them, the truth first; standard errors that they tell are not used.
        law
            Of the inputs.
        seed
            Of the random inputs.
        """
        if len(models) != len(self.costs):
            raise ValueError(f"Plan.run: expected {len(self.costs)} models, got {len(models)}; give those of the plan")
        values = []
        for number, (group, n) in enumerate(zip(self.groups, self.counts, strict=True)):
            x = law.sample(n, [seed, number], "random")
            values.append(np.stack([call(models[model], x, f"model {model}")[0] for model in group], -1))
        return values


def pilot_covariance(values: ArrayLike) -> Array:
    """Return the covariance of the models from runs of all of them on the same inputs.

    Parameters
    ----------
    values : (run, model)
        More runs than models.

    *Contract*: estimates with weights from this covariance are unbiased if the pilot runs are not used again.
    """
    y = np.asarray(values, dtype=np.float64)
    if y.ndim != 2 or len(y) <= y.shape[-1]:
        raise ValueError(f"pilot_covariance: expected (run, model) with more runs than models, got {y.shape}; add runs")
    if not np.isfinite(y).all():
        raise ValueError(
            f"pilot_covariance: expected finite numbers, got {(~np.isfinite(y)).sum()} others; rerun these"
        )
    return np.atleast_2d(np.cov(y, rowvar=False))


def checked(covariance: ArrayLike, costs: ArrayLike, budget: float) -> tuple[Array, Array]:
    """Return covariance (model, model) and costs (model,) as arrays, or say what no plan can be made from.

    Parameters
    ----------
    covariance, costs
        Of the models.
    budget
        For all runs, in the unit of the costs.
    """
    matrix, cost = np.asarray(covariance, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if cost.ndim != 1 or matrix.shape != (len(cost), len(cost)) or not np.isfinite(matrix).all():
        raise ValueError(
            f"plan: expected a finite covariance (model, model) and costs, got {matrix.shape}, {cost.shape}"
        )
    if not (cost > 0).all():
        raise ValueError(f"plan: expected costs above 0, got {cost}; a model that is free has a known mean")
    if not (np.diag(matrix) > 0).all():
        raise ValueError(
            f"plan: expected models that vary, got the variances {np.diag(matrix)}; drop the constant model"
        )
    scale = np.sqrt(np.diag(matrix))
    smallest = float(np.linalg.eigvalsh(matrix / np.outer(scale, scale))[0])
    if smallest < 1e-13:
        raise ValueError(
            f"plan: expected models of which none is a combination of the others, got a correlation matrix with the "
            f"eigenvalue {smallest:.2g}; drop the dearer one of two perfectly correlated models"
        )
    if budget < LEAST * cost.sum():
        raise ValueError(
            f"plan: expected a budget of at least {LEAST * cost.sum():g} (all models twice), got {budget:g}"
        )
    return matrix, cost


def group_variance(
    groups: Sequence[Group], counts: Sequence[float] | Array, weights: Sequence[Array], covariance: Array
) -> float:
    """Return ``sum_k w_k^T C_k w_k / n_k``.

    Parameters
    ----------
    groups, counts, weights, covariance
        As of a `Plan`.
    """
    parts = zip(groups, counts, weights, strict=True)
    return float(sum(w @ covariance[np.ix_(group, group)] @ w / n for group, n, w in parts))


def nested(n_runs: Sequence[float]) -> tuple[tuple[Group, ...], Array]:
    """Return groups, and runs of each, such that model i is run on the first n_runs[i] of one stream of inputs.

    Parameters
    ----------
    n_runs
        Of each model.
    """
    ends = np.unique(np.asarray(n_runs, dtype=np.float64))
    groups = tuple(tuple(model for model, n in enumerate(n_runs) if n >= end) for end in ends)
    return groups, np.diff(ends, prepend=0.0)


def affordable(ratios: Array, costs: Array, budget: float) -> Array:
    """Return runs n_0 r of each model, real numbers that spend the budget, with at least two of the truth.

    Parameters
    ----------
    ratios : (model,)
        Runs per run of the truth; the first is 1.
    costs : (model,)
        Of one run.
    budget
        At least that of running all models twice.
    """
    n_truth = budget / float(costs @ ratios)
    if n_truth >= LEAST:
        return n_truth * ratios
    beyond = ratios - 1
    return LEAST + beyond * (budget - LEAST * costs.sum()) / float(costs @ beyond)
