"""Repeated experiments on estimators: how much they gain at equal cost, and whether their intervals hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sciml_mfuq.estimators.estimate import control_variate, monte_carlo
from sciml_mfuq.estimators.groups import pilot_covariance
from sciml_mfuq.estimators.mfmc import mfmc
from sciml_mfuq.propagation.calls import Array, Predict, call
from sciml_mfuq.propagation.laws import Law


def cv_rmse_over_mc(
    models: Sequence[Predict],
    law: Law,
    costs: ArrayLike,
    *,
    budget: float,
    true_mean: float,
    n_pilot: int,
    n_repeats: int,
    seed: int,
) -> tuple[float, float]:
    """Return the error of multi-fidelity Monte Carlo over that of plain Monte Carlo at the same cost.

    Each repeat makes its own pilot, plan and runs; its squared error is averaged over repeats.

    Parameters
    ----------
    models
        The truth first.
    law
        Of the inputs.
    costs : (model,)
        Of one run.
    budget
        For the planned runs.
    true_mean
        Of the truth.
    n_pilot
        Runs of every model from which the covariance comes.
    n_repeats, seed
        Of the experiment.

    Returns
    -------
    ratio, ratio_with_pilot
        Root mean square error over the standard error ``sigma / sqrt(m)`` that plain Monte Carlo has with m = budget
        over the cost of the truth; and with the cost of the pilot in m as well. sigma is that of all pilots together.
    """
    cost = np.asarray(costs, dtype=np.float64)
    squares, variances = [], []
    for repeat in range(n_repeats):
        x = law.sample(n_pilot, [seed, repeat, 0], "random")
        covariance = pilot_covariance(np.stack([call(model, x, "pilot")[0] for model in models], -1))
        plan = mfmc(covariance, cost, budget)
        runs = plan.run(models, law, int(np.random.SeedSequence([seed, repeat, 1]).generate_state(1)[0]))
        squares.append((plan.combine(runs).value - true_mean) ** 2)
        variances.append(covariance[0, 0])
    ratio = float(np.sqrt(np.mean(squares) / np.mean(variances) * budget / cost[0]))
    return ratio, ratio * float(np.sqrt(1 + n_pilot * cost.sum() / budget))


def control_variate_repeats(
    truth: Predict,
    surrogate: Predict,
    law: Law,
    *,
    n_truth: int,
    n_surrogate: int,
    n_repeats: int,
    seed: int,
) -> tuple[Array, Array, Array]:
    """Return what repeated estimates with a surrogate as control variate give.

    Parameters
    ----------
    truth, surrogate
        Models; the surrogate is the same in all repeats.
    law
        Of the inputs.
    n_truth, n_surrogate
        Runs of both on the same inputs, and of the surrogate alone on others.
    n_repeats, seed
        Of the experiment.

    Returns
    -------
    values, low, high : (repeat,)
        Estimates and both ends of their 95 % intervals.
    """
    found = []
    for repeat in range(n_repeats):
        x = law.sample(n_truth, [seed, repeat, 0], "random")
        more = law.sample(n_surrogate, [seed, repeat, 1], "random")
        control = call(surrogate, x, "surrogate")[0]
        mean = monte_carlo(call(surrogate, more, "surrogate")[0])
        estimate = control_variate(call(truth, x, "truth")[0], control, mean)
        found.append((estimate.value, *estimate.interval()))
    values, low, high = np.array(found).T
    return values, low, high
