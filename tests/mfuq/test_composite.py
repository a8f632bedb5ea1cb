"""Composite networks: the blend is what it says, levels are trained apart or together, features are derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_mfuq.networks.composite import Composite, CompositeOptions, Stage, fit_composite
from sciml_mfuq.networks.nets import NetOptions
from sciml_mfuq.samples import Level, Samples
from sciml_mfuq.study.functions import CASES

from sciml.training import seeded

NET = NetOptions(n_member=2, n_adam=100, n_lbfgs=100, width=10)


def fitted(name="c1", seed=3, **changes):
    return fit_composite(CASES[name].sample(seed), seed=seed, options=CompositeOptions(net=NET, **changes))


@pytest.mark.parametrize("features", ["value", "slopes", "delays"])
@pytest.mark.parametrize("staged", [True, False])
def test_composite_saved_and_loaded_predicts_equal_bits(features, staged):
    model = fitted(features=features, staged=staged)
    other = Composite(**model.config)
    other.load_state_dict(model.state_dict(), assign=True)
    x = torch.as_tensor(CASES["c1"].test_points(20, 5))
    with torch.no_grad():
        for one, two in zip(model(x), other(x), strict=True):
            assert torch.equal(one, two)


def test_composite_alpha_blends_a_linear_and_a_nonlinear_map():
    stage = Stage(2, False, CompositeOptions(net=NET), seeded(3))
    z = torch.rand(2, 6, 2, generator=seeded(4), dtype=torch.float64)
    with torch.no_grad():
        stage.slope.copy_(torch.rand(stage.slope.shape, generator=seeded(5)))
        stage.alpha.fill_(0.0)
        linear = stage(z)
        torch.testing.assert_close(linear, (z @ stage.slope)[..., 0])
        stage.alpha.fill_(1.0)
        nonlinear = stage(z)
        torch.testing.assert_close(nonlinear, stage.nets(z))
        stage.alpha.fill_(0.3)
        torch.testing.assert_close(stage(z), 0.3 * nonlinear + 0.7 * linear)


def test_composite_slopes_are_those_of_the_level_below():
    model = fitted("currin", features="slopes")
    u = model.points(torch.as_tensor(CASES["currin"].test_points(4, 5)))
    seen = model.inputs(u, 1)
    for column in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[column] = 1e-5
        difference = (model.standard(u + step, 0) - model.standard(u - step, 0)) / 2e-5
        torch.testing.assert_close(seen[..., 3 + column], difference, rtol=1e-5, atol=1e-6)


def test_composite_is_differentiable_and_its_gradient_is_a_finite_difference():
    for features in ("value", "slopes"):
        model = fitted(features=features)
        x = torch.as_tensor(CASES["c1"].test_points(4, 5)).requires_grad_()
        (slope,) = torch.autograd.grad(model(x)[0].sum(), x)
        with torch.no_grad():
            difference = (model(x + 1e-6)[0] - model(x - 1e-6)[0]) / 2e-6
        torch.testing.assert_close(slope[:, 0], difference, rtol=1e-4, atol=1e-4)


def test_composite_with_a_cheap_level_halves_the_error_of_the_truth_alone():
    case = CASES["c1"]
    samples = case.sample(3)
    x = case.test_points(500, 5)
    truth = case.levels[1](x)
    errors = []
    for one in (samples, samples.truth_only()):
        model = fit_composite(one, seed=3, options=CompositeOptions(net=NET))
        with torch.no_grad():
            errors.append(np.linalg.norm(model(torch.as_tensor(x))[0].numpy() - truth))
    assert errors[0] < 0.5 * errors[1]


def test_composite_takes_three_levels_with_columns_of_their_own():
    generator = np.random.default_rng(3)
    a, b, c = (generator.random((n, 2)) for n in (30, 20, 10))
    levels = (
        Level("first", a[:, :1], np.sin(5 * a[:, 0]), columns=(0,)),
        Level("second", b, np.sin(5 * b[:, 0]) + b[:, 1], noise=0.01),
        Level("truth", c, 2 * np.sin(5 * c[:, 0]) + c[:, 1]),
    )
    samples = Samples(levels, np.array([[0.0, 1.0], [0.0, 1.0]]))
    model = fit_composite(samples, seed=3, options=CompositeOptions(net=NET))
    x = generator.random((200, 2))
    truth = 2 * np.sin(5 * x[:, 0]) + x[:, 1]
    with torch.no_grad():
        mean = model(torch.as_tensor(x))[0].numpy()
    assert np.sqrt(np.mean((mean - truth) ** 2)) < 0.3 * truth.std()


def test_composite_options_say_what_is_wrong():
    with pytest.raises(ValueError, match="expected transfer among blend, sum, network"):
        CompositeOptions(transfer="product")
