"""Adaptive sampling against Latin hypercubes of the same cost: errors as runs are bought."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sciml_mfuq.kriging.cokriging import fit_cokriging
from sciml_mfuq.model import Predictor, evaluate, relative_error
from sciml_mfuq.samples import Array
from sciml_mfuq.sampling.adaptive import adapt
from sciml_mfuq.study.functions import Case

START = {"park": (30, 5)}
"""Runs of each level to begin with, where they are fewer than usual."""
MOST_RUNS = 64
"""Runs bought between two fits, however cheap they are."""
N_HYPERCUBE = 5
"""Independent hypercubes of each cost, whose median error counts: that of one varies by half from draw to draw."""


@dataclass(frozen=True)
class Race:
    """Errors relative to the norm of the truth over the cost of the runs, (step,) each; of hypercubes, medians."""

    adaptive: tuple[Array, Array]
    fixed: tuple[Array, Array]

    @property
    def cost_ratio(self) -> float:
        """Cost at which adaptive sampling has the least error of the hypercubes, over what the hypercubes cost.

        Interpolated in logarithms between steps after the last one above that error; infinity if it never has it.
        """
        best = int(np.argmin(self.fixed[1]))
        cost_fixed, goal = self.fixed[0][best], self.fixed[1][best]
        cost, error = self.adaptive
        below = error <= goal
        if not below[-1]:
            return float("inf")
        first = len(below) - int(np.argmin(below[::-1])) if not below.all() else 0
        if first == 0:
            return float(cost[0] / cost_fixed)
        a, b = np.log(error[first - 1 : first + 1])
        part = (a - np.log(goal)) / (a - b)
        return float(np.exp((1 - part) * np.log(cost[first - 1]) + part * np.log(cost[first])) / cost_fixed)


def race(
    case: Case, *, factor: float, n_step: int, seed: int, n_test: int, watch: Callable[[int], None] = lambda _: None
) -> Race:
    """Start both with a small design, and let the cost grow up to `factor` times.

    Every hypercube is the one of least discrepancy among several drawn (`Case.spread`), its levels in the proportion of
    the first design; both sides have the same engine, costs and test points.

    Parameters
    ----------
    case : the function.
    factor : largest cost over that of the first design, which is that of `START`, or else the usual one.
    n_step : sizes of hypercubes on the way there, `N_HYPERCUBE` of each.
    seed : of designs and fits; that of the first design is also that of the first hypercubes.
    n_test : fresh points on which errors are measured.
    watch : called with the number of fits done.
    """
    x = case.test_points(n_test, seed)
    truth = case.levels[-1](x)

    def error(model: Predictor) -> float:
        return relative_error(evaluate(model, x)[0], truth)

    start = START.get(case.name, case.counts)
    first = case.sample(seed, start)
    fixed, seeds = list[tuple[float, float]](), [seed + 1000 * number for number in range(N_HYPERCUBE)]
    for number, scale in enumerate(np.linspace(1.0, factor, n_step)):
        drawn = [case.sample(each, tuple(int(scale * n) for n in start)) for each in seeds]
        errors = [error(fit_cokriging(samples, seed=seed)) for samples in drawn]
        fixed.append((drawn[0].cost, float(np.median(errors))))
        watch(number + 1)
    found = list[tuple[float, float]]()
    for number, step in enumerate(adapt(first, case.levels, budget=factor * first.cost, seed=seed, n_batch=MOST_RUNS)):
        found.append((step.samples.cost, error(step.model)))
        watch(n_step + number + 1)
    return Race(_columns(found), _columns(fixed))


def _columns(rows: list[tuple[float, float]]) -> tuple[Array, Array]:
    cost, error = np.array(rows).T
    return cost, error
