from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sciml_mfuq.kriging.cokriging import CoKrigingOptions, fit_cokriging
from sciml_mfuq.kriging.increment import GPOptions
from sciml_mfuq.kriging.process import Process
from sciml_mfuq.kriging.reml import Runs
from sciml_mfuq.sampling.adaptive import N_CANDIDATE, N_REFERENCE, _Known, adapt, propose
from sciml_mfuq.sampling.infill import Race
from sciml_mfuq.study.functions import CASES


@pytest.fixture(scope="module")
def samples():
    return CASES["c1"].sample(5)


@pytest.fixture(scope="module")
def model(samples):
    return fit_cokriging(samples, seed=5)


def test_conditioning_on_a_run_is_that_of_a_gaussian_vector():
    n, point = N_REFERENCE + N_CANDIDATE, N_REFERENCE + 14
    root = torch.as_tensor(np.random.default_rng(3).standard_normal((n, 40)))
    known = _Known(root @ root.T / 40, torch.ones(N_REFERENCE, dtype=torch.float64), 0.1, 1.0)
    found = known.with_run(point).covariance
    c = known.covariance
    expected = c - torch.outer(c[:, point], c[point]) / (c[point, point] + 0.1)
    torch.testing.assert_close(found, expected)
    gain = known.gains()[point - N_REFERENCE]
    fall = (c.diagonal() - found.diagonal())[:N_REFERENCE].mean()
    torch.testing.assert_close(gain, fall)


def truth_alone(n_draw, samples):
    options = CoKrigingOptions(process=GPOptions(n_draw=n_draw, kernel="matern52", trend="constant"))
    alone = samples.truth_only()
    model = fit_cokriging(alone, seed=5, options=options)
    points = torch.as_tensor(np.random.default_rng(8).random((N_REFERENCE + N_CANDIDATE, 1)))
    return model, points, _Known.of(model, alone, 0, points)


def refitted(process, theta, points, at, y=None):
    """Return mean and variance at points by one draw alone, with one more run y at a point, if it is there."""
    x, target = process.points, process.target
    if y is not None:
        x, target = torch.cat([x, at]), torch.cat([target, y[None]])
    runs = Runs(x, torch.ones_like(x), target, torch.zeros_like(target), process.precision)
    one = Process(process.kernel, len(x), 1, 1).fill(runs, theta[None])
    belief = one.given().at(points, points.new_ones(len(points), 1))
    return belief.mean, belief.variance


def expected_fall(process, refs, at):
    """Return how far the mean variance of the mixture falls by a run, over its values, the draws weighted anew."""
    both = torch.cat([refs, at])
    before = [refitted(process, theta, both, at) for theta in process.theta]
    mean, variance = (torch.stack(each) for each in zip(*before, strict=True))
    node, weight = np.polynomial.hermite_e.hermegauss(31)
    after = 0.0
    for own_mean, own_variance in zip(mean[:, -1], variance[:, -1], strict=True):
        for z, w in zip(node, weight / weight.sum(), strict=True):
            y = own_mean + z * own_variance.sqrt()
            density = -0.5 * ((y - mean[:, -1]).square() / variance[:, -1] + variance[:, -1].log())
            given = [refitted(process, theta, refs, at, y) for theta in process.theta]
            after += (
                w / len(mean) * mixed(*(torch.stack(each) for each in zip(*given, strict=True)), density.softmax(0))
            )
    equal = torch.full((len(mean),), 1 / len(mean), dtype=mean.dtype)
    return float(mixed(mean[:, :-1], variance[:, :-1], equal) - after)


def mixed(mean, variance, weight):
    return (weight @ (variance + mean.square()) - (weight @ mean).square()).mean()


def test_gain_with_known_parameters_is_the_fall_of_the_variance_by_refitting(samples):
    model, points, known = truth_alone(1, samples)
    for candidate in (0, 7, 100):
        at = points[N_REFERENCE + candidate][None]
        expected = expected_fall(model.increment(0).process, points[:N_REFERENCE], at)
        assert float(known.gains()[candidate]) * known.cost == pytest.approx(expected, rel=1e-4)


def test_gain_of_a_mixture_is_most_of_that_by_refitting_and_never_more(samples):
    model, points, known = truth_alone(4, samples)
    process = model.increment(0).process
    torch.testing.assert_close(known.covariance.diagonal(), model.beliefs(points)[-1].variance)
    for candidate in (0, 7):
        at = points[N_REFERENCE + candidate][None]
        share = float(known.gains()[candidate]) * known.cost / expected_fall(process, points[:N_REFERENCE], at)
        assert 0.9 < share < 1.001  # the quadrature over the values of the run errs by 1e-3


def test_cost_ratio_is_exact_for_powers_of_the_cost():
    cost = np.array([10.0, 20.0, 40.0, 80.0])
    hypercubes = cost, 3 * cost**-2.0
    assert Race((cost, 0.75 * cost**-2.0), hypercubes).cost_ratio == pytest.approx(0.5)
    assert Race((cost, 3 * cost**-2.3 * 2), hypercubes).cost_ratio == pytest.approx((2 * 80**2) ** (1 / 2.3) / 80)
    assert Race((cost, 4 * cost**-2.0), hypercubes).cost_ratio == np.inf


def test_larger_hypercubes_that_err_more_do_not_weaken_the_reference():
    cost = np.array([10.0, 20.0, 40.0])
    race = Race((cost, np.array([0.4, 0.1, 0.01])), (cost, np.array([0.3, 0.1, 0.2])))
    assert race.cost_ratio == pytest.approx(1.0)


def test_gain_is_divided_by_the_cost(samples, model):
    one = propose(model, samples, seed=5)[0]
    dear = replace(samples, levels=tuple(replace(level, cost=10 * level.cost) for level in samples.levels))
    assert propose(model, dear, seed=5)[0].gain == pytest.approx(one.gain / 10)


def test_cheap_level_is_bought_where_the_truth_is_priceless(samples, model):
    low, truth = samples.levels
    assert propose(model, replace(samples, levels=(low, replace(truth, cost=1e9))), seed=5)[0].level == 0
    assert propose(model, replace(samples, levels=(replace(low, cost=1e9), truth)), seed=5)[0].level == 1


def test_runs_of_a_batch_keep_apart(samples, model):
    found = propose(model, samples, seed=5, n_batch=4)
    x = np.array([one.x[0] for one in found])
    assert np.diff(np.sort(x)).min() > 0.01
    gains = [one.gain for one in found]
    assert gains == sorted(gains, reverse=True)


def test_budget_is_kept_and_the_uncertainty_falls(samples):
    steps = list(adapt(samples, CASES["c1"].levels, budget=samples.cost + 14, seed=5, n_batch=4))
    costs = [step.samples.cost for step in steps]
    assert costs == sorted(costs)
    assert samples.cost < costs[-1] <= samples.cost + 14
    assert steps[-1].mean_std < steps[0].mean_std


def test_failed_runs_are_paid_for_and_do_not_stop_the_rest(samples):
    calls = []

    def failing(x):
        calls.append(len(x))
        return np.full(len(x), np.nan)

    steps = list(adapt(samples, (failing, failing), budget=samples.cost + 3, seed=5))
    assert sum(calls) >= 1
    assert len(steps[-1].samples.levels[0].x) == len(samples.levels[0].x)
    assert any("returned NaN" in note for note in steps[-1].samples.notes)


def test_parameters_are_found_anew_after_every_run_of_the_truth(samples):
    budget = samples.cost + 24
    steps = list(adapt(samples, CASES["c1"].levels, budget=budget, seed=5, n_batch=64))
    n_truth = [len(step.samples.truth.x) for step in steps]
    assert max(np.diff(n_truth)) == 1


def test_only_the_truth_is_fitted_anew_where_only_the_truth_was_run(samples):
    low, truth = samples.levels
    priceless = replace(samples, levels=(replace(low, cost=1e9), truth))
    first, second = adapt(priceless, CASES["c1"].levels, budget=priceless.cost + truth.cost, seed=5)
    afresh = fit_cokriging(second.samples, seed=5)
    x = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None]
    assert second.model.increment(0) is first.model.increment(0)
    torch.testing.assert_close(second.model(x), afresh(x))


def test_target_already_met_buys_nothing(samples):
    steps = list(adapt(samples, CASES["c1"].levels, budget=1e9, seed=5, target_std=1e9))
    assert len(steps) == 1
