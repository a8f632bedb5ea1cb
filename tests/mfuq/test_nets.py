"""Batched networks are the networks one by one; the polynomial trend finds what is there; graphs of levels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sciml_mfuq.networks.graph import parents_of
from sciml_mfuq.networks.net_fit import Data, fit_ensemble, fold_error, member_rows, squared_loss
from sciml_mfuq.networks.nets import Ensemble, NetOptions, Nets
from sciml_mfuq.networks.polynomials import least_squares, legendre, products, sparse_trend
from sciml_mfuq.study.functions import CASES

from sciml.training import seeded

SMALL = NetOptions(n_member=3, width=8, n_adam=50, n_lbfgs=100)


def data_of(n, function, seed=5, noise=0.0):
    x = torch.rand(n, 2, generator=seeded(seed), dtype=torch.float64)
    box = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    return Data(x, function(x), box, torch.full((n,), noise**2, dtype=torch.float64))


def test_nets_batched_equal_members_one_by_one():
    nets = Nets(2, SMALL, seeded(3))
    x = torch.rand(7, 2, generator=seeded(4), dtype=torch.float64)
    together = nets(x)
    for k in range(3):
        h = x
        for number, (weight, bias) in enumerate(zip(nets.weights, nets.biases, strict=True)):
            h = h @ weight[k] + bias[k]
            h = torch.tanh(h) if number < 2 else h
        torch.testing.assert_close(together[k], h[:, 0])


def test_nets_members_are_trained_independently():
    data = data_of(20, lambda x: torch.sin(3 * x[:, 0]))
    nets = Nets(2, SMALL, seeded(3))
    loss = squared_loss(data.x, data.y, torch.ones_like(data.y), member_rows(20, SMALL, 5), SMALL)
    loss(nets, seeded(3)).backward()
    alone = Nets(2, SMALL, seeded(3))
    (alone(data.x)[1] - data.y).square().mean().backward()
    expected = alone.weights[0].grad[1] + 2 * SMALL.decay * alone.weights[0][1]
    torch.testing.assert_close(nets.weights[0].grad[1], expected)


def test_nets_bootstrap_leaves_out_a_share_of_one_over_e():
    rows = member_rows(4000, NetOptions(bootstrap=True), 5)
    for one in rows:
        assert abs(1 - len(one.unique()) / 4000 - math.exp(-1)) < 0.03


def test_nets_fit_a_linear_function_to_one_percent_and_repeat():
    data = data_of(40, lambda x: 3 * x[:, 0] - x[:, 1] + 2)
    x = torch.rand(50, 2, generator=seeded(9), dtype=torch.float64)
    first, second = (fit_ensemble(data, SMALL, 7) for _ in range(2))
    with torch.no_grad():
        mean, _ = first(x)
        assert torch.equal(mean, second(x)[0])
    truth = 3 * x[:, 0] - x[:, 1] + 2
    assert float((mean - truth).norm() / truth.norm()) < 0.01


def test_nets_saved_and_loaded_predict_equal_bits():
    data = data_of(150, lambda x: x[:, 0] ** 2 * x[:, 1])
    ensemble = fit_ensemble(data, SMALL, 7)
    other = Ensemble.build(**ensemble.config)
    other.load_state_dict(ensemble.state_dict(), assign=True)
    with torch.no_grad():
        assert torch.equal(ensemble(data.x)[0], other(data.x)[0])


def test_nets_members_spread_more_away_from_the_runs():
    data = data_of(30, lambda x: torch.sin(6 * x[:, 0]) * x[:, 1])
    ensemble = fit_ensemble(data, SMALL, 7)
    with torch.no_grad():
        _, near = ensemble(data.x)
        _, far = ensemble(data.x + 1.5)
    assert float(far.mean()) > 10 * float(near.mean())


def test_nets_fold_error_is_that_of_unseen_runs():
    noisy = data_of(60, lambda x: torch.randn(60, generator=seeded(8), dtype=torch.float64))
    assert 0.8 < fold_error(noisy, NetOptions(n_adam=100, n_lbfgs=0, width=8), 5) < 3.0
    smooth = data_of(60, lambda x: x[:, 0] + x[:, 1])
    assert fold_error(smooth, NetOptions(n_adam=100, n_lbfgs=100, width=8), 5) < 0.05


def test_nets_options_say_what_is_wrong():
    with pytest.raises(ValueError, match="expected activation among"):
        NetOptions(activation="relu")
    with pytest.raises(ValueError, match="held_out"):
        NetOptions(held_out=1.0)


def test_polynomials_are_orthonormal():
    node, weight = (torch.as_tensor(part) for part in np.polynomial.legendre.leggauss(12))
    p = legendre(node, 5)
    torch.testing.assert_close((p * weight / 2) @ p.T, torch.eye(6, dtype=torch.float64))


def test_polynomials_left_out_errors_are_those_of_fits_without_the_run():
    u = 2 * torch.rand(12, 2, generator=seeded(3), dtype=torch.float64) - 1
    y = torch.randn(12, generator=seeded(4), dtype=torch.float64)
    terms = torch.tensor([[0, 1, 0, 0], [0, 1, 1, 2]])
    *_, error = least_squares(u, terms, y)
    squares = []
    for i in range(12):
        kept = torch.arange(12) != i
        c, *_ = least_squares(u[kept], terms, y[kept])
        squares.append((y[i] - c[0] - products(u[i : i + 1], terms)[0] @ c[1:]) ** 2)
    assert abs(error - float(torch.stack(squares).mean().sqrt() / y.std())) < 1e-6


def test_polynomials_find_the_pairs_of_a_polynomial_and_nothing_in_noise():
    u = 2 * torch.rand(600, 10, generator=seeded(5), dtype=torch.float64) - 1
    found = sparse_trend(u, u[:, 3] ** 4 + u[:, 2] * u[:, 7] ** 2 - u[:, 1])
    assert found.error < 1e-5
    assert any({i, j} == {2, 7} for i, _, j, b in found.terms.tolist() if b)
    noise = sparse_trend(u, torch.randn(600, generator=seeded(6), dtype=torch.float64))
    assert noise.error >= 0.99


def test_polynomials_hold_no_design_of_all_candidates():
    case = CASES["d32"]
    low = case.sample(3, (1500, 10)).levels[0]
    found = sparse_trend(torch.as_tensor(low.x) / 3, torch.as_tensor(low.y))
    assert found.error < 1e-6
    assert len(found.terms) < 300


def test_graph_skips_levels_that_see_other_inputs():
    assert parents_of([(0, 1), (0,), (0, 1)]) == [(), (), (0, 1)]
    assert parents_of([(0,), (0, 1), (0, 1, 2)]) == [(), (0,), (1,)]
