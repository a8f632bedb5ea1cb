"""A level upon another: exact where the map is linear, calibrated, with what is uncertain below passed on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sciml_mfuq.kriging.increment import GPOptions
from sciml_mfuq.networks.links import Evidence, fit_link
from sciml_mfuq.networks.nets import NetOptions
from sciml_mfuq.networks.residual import Residual, ResidualOptions, fit_residual
from sciml_mfuq.samples import Level, Samples
from sciml_mfuq.study.functions import CASES

QUICK = ResidualOptions(
    low="net", net=NetOptions(n_adam=100, n_lbfgs=100, width=16), process=GPOptions(n_draw=4, kernel="matern52")
)


def predicted(model, x, **given):
    with torch.no_grad():
        return tuple(part.numpy() for part in model(torch.as_tensor(x), **given))


@pytest.fixture(scope="module")
def currin():
    case = CASES["currin"]
    samples = case.sample(3)
    return case, samples, fit_residual(samples, seed=3, options=QUICK)


def test_residual_saved_and_loaded_predicts_equal_bits(currin):
    case, _, model = currin
    other = Residual(**model.config)
    other.load_state_dict(model.state_dict(), assign=True)
    x = case.test_points(50, 5)
    for one, two in zip(predicted(model, x), predicted(other, x), strict=True):
        assert np.array_equal(one, two)


def test_residual_batch_is_points_one_by_one_and_permutes(currin):
    case, _, model = currin
    x = case.test_points(9, 5)
    mean, std = predicted(model, x)
    alone = [predicted(model, one[None]) for one in x]
    np.testing.assert_allclose(mean, [m[0] for m, _ in alone], rtol=1e-9)
    np.testing.assert_allclose(std, [s[0] for _, s in alone], rtol=1e-6)
    np.testing.assert_allclose(predicted(model, x[::-1].copy())[0], mean[::-1], rtol=1e-9)


def test_residual_gradients_are_finite_differences(currin):
    case, _, model = currin
    x = torch.as_tensor(case.test_points(3, 5)).requires_grad_()
    for number in (0, 1):
        (slope,) = torch.autograd.grad(model(x)[number].sum(), x)
        for column in range(2):
            step = torch.zeros_like(x)
            step[:, column] = 1e-5
            with torch.no_grad():
                difference = (model(x + step)[number] - model(x - step)[number]) / 2e-5
            torch.testing.assert_close(slope[:, column], difference, rtol=1e-5, atol=1e-5)


def test_residual_with_the_true_low_values_is_exact_for_a_multiple():
    case = CASES["c1"]
    samples = case.sample(3)
    low = case.levels[0](samples.truth.x)[:, None]
    truth = replace(samples.truth, y=3 * low[:, 0] - 2)
    model = fit_residual(replace(samples, levels=(samples.levels[0], truth)), seed=3, options=QUICK, low=low)
    x = case.test_points(200, 5)
    given = case.levels[0](x)
    mean, _ = predicted(model, x, low=torch.as_tensor(given[:, None]))
    np.testing.assert_allclose(mean, 3 * given - 2, atol=1e-4 * given.std())


def test_residual_passes_on_the_variance_of_the_level_below():
    x = torch.linspace(0, 1, 12, dtype=torch.float64)[:, None]
    low = torch.sin(9 * x)
    box = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    none = torch.zeros(12, dtype=torch.float64)
    link = fit_link(Evidence(x, low, 3 * low[:, 0] + 1, none, box), torch.zeros_like(low), GPOptions(), 5)
    with torch.no_grad():
        _, known = link(x, low, torch.zeros_like(low))
        _, unknown = link(x, low, torch.full_like(low, 0.01))
    np.testing.assert_allclose(unknown - known, 9 * 0.01, rtol=0.02)


def test_residual_interpolates_runs_and_knows_it(currin):
    _, samples, model = currin
    mean, std = predicted(model, samples.truth.x, low=None)
    assert np.all(np.abs(mean - samples.truth.y) < 4 * std + 1e-3 * samples.truth.y.std())


def test_residual_of_d20_finds_the_truth_with_live_low_values():
    case = CASES["d20"]
    samples = case.sample(3)
    low = case.levels[0](samples.truth.x)[:, None]
    model = fit_residual(samples, seed=3, options=replace(QUICK, low="gp"), low=low)
    x = case.test_points(500, 5)
    mean, _ = predicted(model, x, low=torch.as_tensor(case.levels[0](x)[:, None]))
    truth = case.levels[1](x)
    assert np.sqrt(np.mean((mean - truth) ** 2)) < 0.02 * truth.std()


def test_residual_takes_three_levels_that_see_different_inputs_and_noise():
    generator = np.random.default_rng(3)
    a, b, c = (generator.random((n, 2)) for n in (30, 20, 10))
    levels = (
        Level("first", a[:, :1], np.sin(5 * a[:, 0]), columns=(0,), noise=0.01),
        Level("second", b[:, 1:], b[:, 1] ** 2, columns=(1,), noise=np.full(20, 0.01)),
        Level("truth", c, np.sin(5 * c[:, 0]) + c[:, 1] ** 2, noise=0.02),
    )
    model = fit_residual(Samples(levels, np.array([[0.0, 1.0], [0.0, 1.0]])), seed=3, options=QUICK)
    x = generator.random((200, 2))
    mean, std = predicted(model, x)
    truth = np.sin(5 * x[:, 0]) + x[:, 1] ** 2
    assert np.sqrt(np.mean((mean - truth) ** 2)) < 0.1 * truth.std()
    assert float(model.noise_std) == pytest.approx(0.02)
    assert np.mean(np.abs(mean - truth) < 1.96 * std) > 0.7


def test_residual_slopes_are_those_of_the_level_below():
    samples = CASES["c4"].sample(3)
    model = fit_residual(samples, seed=3, options=replace(QUICK, slopes=True))
    x = torch.as_tensor(CASES["c4"].test_points(5, 5))
    columns, _ = model.below(x, 1)
    up, down = (model.below(x + step, 1)[0][:, 0] for step in (1e-5, -1e-5))
    torch.testing.assert_close(columns[:, 1], (up - down) / 2e-5, rtol=1e-5, atol=1e-4)


def test_residual_of_the_truth_alone_is_a_process():
    samples = CASES["park"].sample(3).truth_only()
    model = fit_residual(samples, seed=3)
    mean, _ = predicted(model, samples.truth.x)
    np.testing.assert_allclose(mean, samples.truth.y, atol=0.05 * samples.truth.y.std())
