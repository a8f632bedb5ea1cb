from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sciml_mfuq.kriging.cokriging import fit_cokriging
from sciml_mfuq.sampling.adaptive import _Known, adapt, propose
from sciml_mfuq.study.functions import CASES


@pytest.fixture(scope="module")
def samples():
    return CASES["c1"].sample(5)


@pytest.fixture(scope="module")
def model(samples):
    return fit_cokriging(samples, seed=5)


def test_conditioning_on_a_run_is_that_of_a_gaussian_vector():
    root = torch.as_tensor(np.random.default_rng(3).standard_normal((300, 40)))
    known = _Known(root @ root.T / 40, torch.ones(256, dtype=torch.float64), 0.1, 1.0)
    found = known.with_run(270).covariance
    c = known.covariance
    expected = c - torch.outer(c[:, 270], c[270]) / (c[270, 270] + 0.1)
    torch.testing.assert_close(found, expected)
    gain = known.gains()[270 - 256]
    fall = (c.diagonal()[:256] - found.diagonal()[:256]).mean()
    torch.testing.assert_close(gain, fall)


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


def test_target_already_met_buys_nothing(samples):
    steps = list(adapt(samples, CASES["c1"].levels, budget=1e9, seed=5, target_std=1e9))
    assert len(steps) == 1
