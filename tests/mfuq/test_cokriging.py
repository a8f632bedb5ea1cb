"""Co-kriging: the joint model's posterior, more than two levels, levels that see less, accuracy from few runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_mfuq.kriging.cokriging import CoKriging, CoKrigingOptions, fit_cokriging
from sciml_mfuq.kriging.increment import GPOptions
from sciml_mfuq.samples import Level, Samples
from sciml_mfuq.study.functions import CASES

ONE = np.array([[0.0, 1.0]])


def error_of(name, seed, fit=fit_cokriging):
    case = CASES[name]
    x = case.test_points(400, seed)
    with torch.no_grad():
        mean, std = (value.numpy() for value in fit(case.sample(seed), seed=seed)(torch.as_tensor(x)))
    truth = case.levels[-1](x)
    return np.linalg.norm(mean - truth) / np.linalg.norm(truth), np.mean(np.abs(mean - truth) <= 1.96 * std)


def pair(x_low, x_high):
    def low(x):
        return np.sin(8 * x[:, 0])

    def high(x):
        return 1.7 * low(x) + 0.3 * x[:, 0]

    return Samples((Level("low", x_low, low(x_low)), Level("high", x_high, high(x_high), 10)), ONE)


def test_off_nested_runs_it_is_the_posterior_of_the_joint_model():
    generator = np.random.default_rng(3)
    samples = pair(generator.random((7, 1)), generator.random((5, 1)))
    options = CoKrigingOptions(rho="constant", process=GPOptions(n_draw=1, trend="constant", kernel="matern52"))
    model = fit_cokriging(samples, seed=1, options=options)
    low, high = model.increment(0), model.increment(1)
    # coefficients of precision 1e10 are known; the variance does not ask what they are
    high.process.precision = torch.full((2,), 1e10, dtype=torch.float64)
    low.process.precision = torch.full((1,), 1e10, dtype=torch.float64)
    known = CoKriging(**model.config)
    known.load_state_dict(model.state_dict(), assign=True)
    x = torch.rand(9, 1, dtype=torch.float64)
    a, b = low.process.points, high.process.points

    def joint(p, q, at_p, at_q):
        rho = {0: 1.0, 1: float(high.rho)}
        k = rho[at_p] * rho[at_q] * low.process.prior(p, q)
        return k + high.process.prior(p, q) if at_p == at_q == 1 else k

    rows = [(a, 0), (b, 1)]
    k = torch.cat([torch.cat([joint(p, q, at_p, at_q) for q, at_q in rows], 1) for p, at_p in rows])
    cross = torch.cat([joint(x, a, 1, 0), joint(x, b, 1, 1)], 1)
    variance = joint(x, x, 1, 1).diagonal() - (cross * torch.linalg.solve(k, cross.T).T).sum(1)
    with torch.no_grad():
        _, found = known.beliefs(x)
    assert torch.allclose(found.variance, variance, rtol=1e-4, atol=1e-7)


def test_an_exact_multiple_needs_hardly_any_costly_runs():
    samples = pair(np.linspace(0, 1, 15)[:, None], np.array([[0.0], [0.3], [0.7], [1.0]]))
    x = np.linspace(0.05, 0.95, 50)[:, None]
    with torch.no_grad():
        mean, _ = fit_cokriging(samples, seed=1)(torch.as_tensor(x))
    truth = 1.7 * np.sin(8 * x[:, 0]) + 0.3 * x[:, 0]
    assert np.linalg.norm(mean.numpy() - truth) / np.linalg.norm(truth) < 0.02


@pytest.mark.parametrize(("name", "bar"), [("c1", 0.02), ("park", 0.03), ("borehole", 0.002)])
def test_it_is_accurate_from_few_runs(name, bar):
    found = [error_of(name, seed) for seed in ((7,) if name == "borehole" else (7, 8))]
    assert np.mean([error for error, _ in found]) < bar
    assert np.mean([covered for _, covered in found]) >= 0.8


def test_three_levels_beat_the_truth_alone():
    case = CASES["hartmann"]
    samples = case.sample(7)
    x = case.test_points(300, 7)
    with torch.no_grad():
        three = fit_cokriging(samples, seed=1)(torch.as_tensor(x))[0].numpy()
        alone = fit_cokriging(samples.truth_only(), seed=1)(torch.as_tensor(x))[0].numpy()
    truth = case.levels[-1](x)
    assert np.linalg.norm(three - truth) < 0.4 * np.linalg.norm(alone - truth)


def test_a_level_may_see_fewer_inputs():
    generator = np.random.default_rng(4)
    low, high = generator.random((25, 1)), generator.random((14, 2))
    levels = (
        Level("low", low, np.sin(6 * low[:, 0]), columns=(1,)),
        Level("high", high, 2 * np.sin(6 * high[:, 1]) + 0.2 * high[:, 0], 10),
    )
    x = generator.random((100, 2))
    with torch.no_grad():
        mean, _ = fit_cokriging(Samples(levels, np.array([[0.0, 1.0]] * 2)), seed=1)(torch.as_tensor(x))
    truth = 2 * np.sin(6 * x[:, 1]) + 0.2 * x[:, 0]
    assert np.sqrt(np.mean((mean.numpy() - truth) ** 2)) < 0.03


def test_a_level_that_sees_less_than_the_one_below_is_refused():
    x = np.random.default_rng(4).random((6, 2))
    levels = (
        Level("a", x, x.sum(1)),
        Level("b", x[:, :1], x[:, 0], columns=(0,)),
        Level("c", x, x.sum(1)),
    )
    with pytest.raises(ValueError, match=r"level 'b': expected it to see every input"):
        fit_cokriging(Samples(levels, np.array([[0.0, 1.0]] * 2)), seed=1)


def test_noise_of_both_levels_is_found():
    generator = np.random.default_rng(11)
    low, high = CASES["c1"].levels
    a, b = generator.random((150, 1)), generator.random((80, 1))
    levels = (
        Level("low", a, low(a) + 0.6 * generator.standard_normal(150)),
        Level("high", b, high(b) + 0.3 * generator.standard_normal(80), 10),
    )
    model = fit_cokriging(Samples(levels, ONE), seed=1)
    first = model.increment(0)
    assert float(first.process.noise_variance.sqrt() * first.scale) == pytest.approx(0.6, rel=0.25)
    assert float(model.noise_std) == pytest.approx(0.3, rel=0.25)


def test_saved_numbers_give_equal_predictions_and_gradients_are_right():
    model = fit_cokriging(CASES["currin"].sample(7), seed=1)
    twin = CoKriging(**model.config)
    twin.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
    x = torch.tensor([[0.31, 0.77], [0.62, 0.18]], dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model(x), twin(x), strict=True))
    assert torch.autograd.gradcheck(lambda x: model(x), (x,), eps=1e-6, atol=1e-4, rtol=1e-3)


def test_two_costly_runs_give_wide_intervals():
    case = CASES["c1"]
    x = case.test_points(300, 3)
    covered = []
    for seed in (7, 8, 9):
        with torch.no_grad():
            mean, std = fit_cokriging(case.sample(seed, (50, 2)), seed=seed)(torch.as_tensor(x))
        covered.append(np.mean(np.abs(mean.numpy() - case.levels[-1](x)) <= 1.96 * std.numpy()))
    assert np.mean(covered) >= 0.8
