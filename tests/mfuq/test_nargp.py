"""Nonlinear autoregression: what linear factors cannot do, three levels, derivatives as inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_mfuq.kriging.gp import GPOptions
from sciml_mfuq.kriging.nargp import DEFAULT, NARGP, NODES, NARGPOptions, fit_nargp
from sciml_mfuq.study.functions import CASES


def error_of(name, seed, options=DEFAULT):
    case = CASES[name]
    x = case.test_points(400, seed)
    with torch.no_grad():
        mean, std = fit_nargp(case.sample(seed), seed=seed, options=options)(torch.as_tensor(x))
    truth = case.levels[-1](x)
    return np.linalg.norm(mean.numpy() - truth) / np.linalg.norm(truth), np.mean(
        np.abs(mean.numpy() - truth) <= 1.96 * std.numpy()
    )


def test_quadrature_is_exact_to_the_fifth_degree():
    moments = [sum(weight * node**power for node, weight in NODES) for power in range(6)]
    assert moments == pytest.approx([1, 0, 1, 0, 3, 0], abs=1e-12)


@pytest.mark.parametrize(("name", "bar"), [("c3", 0.06), ("c4", 0.05)])
def test_it_learns_a_nonlinear_relation(name, bar):
    found = [error_of(name, seed) for seed in (7, 8)]
    assert np.mean([error for error, _ in found]) < bar
    assert np.mean([covered for _, covered in found]) >= 0.8


def test_a_shifted_phase_needs_the_derivative():
    value, _ = error_of("c4", 7, NARGPOptions(features="value"))
    derivative, _ = error_of("c4", 7, NARGPOptions(features="derivative"))
    assert derivative < 0.2 * value


def test_three_levels_are_chained():
    assert error_of("hartmann", 7, NARGPOptions(process=GPOptions(n_draw=4)))[0] < 0.1


def test_derivatives_of_the_level_below_equal_differences():
    model = fit_nargp(CASES["c4"].sample(7), seed=1, options=NARGPOptions(features="derivative"))
    u = torch.tensor([[0.3], [0.55]], dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(model.moments(u, 0)[:, 0].sum(), u)[0]
    found = model.derivatives(u, 1) * model.feature_scale[1] / 2e-3
    assert torch.allclose(found, slope, rtol=1e-3, atol=1e-3)


def test_saved_numbers_give_equal_predictions_and_gradients_are_right():
    model = fit_nargp(CASES["c3"].sample(7), seed=1)
    twin = NARGP(**model.config)
    twin.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
    x = torch.tensor([[0.31], [0.62]], dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model(x), twin(x), strict=True))
    assert torch.autograd.gradcheck(lambda x: model(x), (x,), eps=1e-6, atol=1e-4, rtol=1e-3)
