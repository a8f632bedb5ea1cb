"""Baselines: the variance of dropout is the closed form; ensembles are their members; saved models are equal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_mfuq.networks.ensembles import (
    DeepEnsemble,
    DeepEnsembleOptions,
    Dropout,
    DropoutOptions,
    fit_deep_ensemble,
    fit_dropout,
    fit_plain_ensemble,
)
from sciml_mfuq.networks.nets import NetOptions
from sciml_mfuq.study.functions import CASES

from sciml.training import seeded
from sciml.uncertainty import combine

NET = NetOptions(n_member=3, n_adam=100, n_lbfgs=50, width=10, trend="none")


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_dropout_variance_is_the_closed_form(rate):
    net = NetOptions(n_member=1, n_layer=1, width=20, trend="none")
    model = Dropout(2, DropoutOptions(rate=rate, n_mask=40_000, net=net), seeded(3))
    model.box = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    x = torch.rand(4, 2, generator=seeded(5), dtype=torch.float64)
    with torch.no_grad():
        _, std = model(x)
        hidden = torch.tanh(3**0.5 * (2 * x - 1) @ model.nets.weights[0][0] + model.nets.biases[0][0])
        exact = rate / (1 - rate) * (hidden * model.nets.weights[1][0, :, 0]).square().sum(1)
    ratio = float((std.square() / exact).mean())
    assert abs(ratio - 1) < 0.02


def test_dropout_saved_and_loaded_predicts_equal_bits():
    net = NetOptions(n_member=1, n_adam=50, n_lbfgs=0, width=10, trend="none")
    model = fit_dropout(CASES["park"].sample(3), seed=3, options=DropoutOptions(net=net, n_mask=10))
    other = Dropout(**model.config)
    other.load_state_dict(model.state_dict(), assign=True)
    x = torch.as_tensor(CASES["park"].test_points(20, 5))
    with torch.no_grad():
        for one, two in zip(model(x), other(x), strict=True):
            assert torch.equal(one, two)


def test_deep_ensemble_is_the_mixture_of_its_members():
    model = fit_deep_ensemble(CASES["park"].sample(3), seed=3, options=DeepEnsembleOptions(NET))
    x = torch.as_tensor(CASES["park"].test_points(20, 5))
    other = DeepEnsemble(**model.config)
    other.load_state_dict(model.state_dict(), assign=True)
    with torch.no_grad():
        mean, std = model(x)
        mixture = combine(model.ensemble.members(x).numpy())
        assert torch.equal(other(x)[1], std)
    np.testing.assert_allclose(mean, mixture.mean, rtol=1e-12)
    np.testing.assert_allclose(std, mixture.epistemic * np.sqrt(3 / 2), rtol=1e-9)  # unbiased


def test_deep_ensemble_is_no_worse_than_its_median_member():
    case = CASES["park"]
    x = torch.as_tensor(case.test_points(500, 5))
    truth = torch.as_tensor(case.levels[-1](x.numpy()))
    for seed in (3, 4, 5):
        model = fit_deep_ensemble(case.sample(seed), seed=seed, options=DeepEnsembleOptions(NET))
        with torch.no_grad():
            members = (model.ensemble.members(x) - truth).square().mean(1)
            assert float((model(x)[0] - truth).square().mean()) <= float(members.median())


def test_plain_ensemble_has_no_linear_part():
    model = fit_plain_ensemble(CASES["c1"].sample(3), seed=3)
    assert not any(name.endswith(("slope", "alpha")) for name, _ in model.named_parameters())
    x = torch.as_tensor(CASES["c1"].sample(3).truth.x)
    with torch.no_grad():
        mean, _ = model(x)
    np.testing.assert_allclose(mean, CASES["c1"].sample(3).truth.y, atol=0.5)
