"""Kriging: closed forms against definitions, honest deviations, memory and inducing points."""

from __future__ import annotations

import gpytorch
import numpy as np
import pytest
import torch
from sciml_mfuq.kriging import covariance as covariance_module
from sciml_mfuq.kriging import process as process_module
from sciml_mfuq.kriging.covariance import N_BLOCK, Kernel, cholesky, solve_lower
from sciml_mfuq.kriging.gp import GPOptions, fit_gp
from sciml_mfuq.kriging.process import Process
from sciml_mfuq.kriging.reml import Likelihood, Runs
from sciml_mfuq.samples import Level, Samples
from sciml_mfuq.study.functions import CASES


def runs_of(n_run=14, n_column=2, seed=3):
    generator = np.random.default_rng(seed)
    u = torch.as_tensor(generator.random((n_run, n_column)))
    y = torch.sin(5 * u[:, 0]) + u[:, 1] ** 2
    basis = torch.cat([torch.ones(n_run, 1, dtype=u.dtype), u - 0.5], 1)
    precision = torch.tensor([0.0, *[0.2] * n_column], dtype=u.dtype)
    return Runs(u, basis, y, torch.full((n_run,), 1e-3, dtype=u.dtype), precision)


def smooth(n_run, seed, noise=0.0):
    generator = np.random.default_rng(seed)
    x = generator.random((n_run, 2))
    y = np.sin(4 * x[:, 0]) + x[:, 1] ** 2 + noise * generator.standard_normal(n_run)
    return Samples((Level("truth", x, y),), np.array([[0.0, 1.0], [0.0, 1.0]]))


@pytest.mark.parametrize("kind", ["rbf", "matern52"])
def test_correlation_equals_that_of_gpytorch(kind):
    a, b = torch.rand(5, 3, dtype=torch.float64), torch.rand(7, 3, dtype=torch.float64)
    length = torch.tensor([0.3, 0.7, 2.0], dtype=torch.float64)
    theirs = gpytorch.kernels.RBFKernel if kind == "rbf" else gpytorch.kernels.MaternKernel
    other = theirs(ard_num_dims=3).double()
    other.lengthscale = length
    theta = torch.cat([torch.zeros(1, dtype=torch.float64), length.log()])
    assert torch.allclose(Kernel(kind, ((0, 1, 2),))(theta, a, b), other(a, b).to_dense(), atol=1e-12)


@pytest.mark.parametrize("kind", ["rbf", "matern52"])
def test_gradient_of_the_likelihood_equals_differences(kind):
    likelihood = Likelihood(Kernel(kind, ((0, 1), (1,))), runs_of(), learns_noise=True)
    theta = np.array([0.1, -0.6, 0.2, -1.0, -0.4, -5.0])
    _, gradient = likelihood.value_and_gradient(theta)
    steps = np.eye(len(theta)) * 1e-5
    differences = [(likelihood.value(theta + s) - likelihood.value(theta - s)) / 2e-5 for s in steps]
    assert gradient == pytest.approx(differences, rel=1e-5, abs=1e-5)


def test_leave_one_out_equals_leaving_one_out():
    runs, kernel = runs_of(), Kernel("matern52", ((0, 1),))
    theta = torch.tensor([0.2, -0.5, 0.1], dtype=torch.float64)
    residual, variance = Likelihood(kernel, runs).leave_one_out(theta)
    for left in (0, 5):
        rows = torch.as_tensor([row for row in range(len(runs.target)) if row != left])
        belief = Process(kernel, len(rows), 3, 1).fill(runs.some(rows), theta[None]).given()
        belief = belief.at(runs.points[left : left + 1], runs.basis[left : left + 1])
        assert float(residual[left]) == pytest.approx(float(runs.target[left] - belief.mean), rel=1e-6)
        assert float(variance[left]) == pytest.approx(float(belief.variance + runs.noise[left]), rel=1e-6)


def test_trend_is_reproduced_exactly_and_runs_are_interpolated():
    x = np.random.default_rng(5).random((9, 2))
    line = Samples((Level("truth", x, 3 + 2 * x[:, 0] - x[:, 1]),), np.array([[0.0, 1.0]] * 2))
    model = fit_gp(line, seed=2)
    far = np.random.default_rng(6).random((50, 2))
    with torch.no_grad():
        assert model(torch.as_tensor(far))[0].numpy() == pytest.approx(3 + 2 * far[:, 0] - far[:, 1], abs=0.02)
        mean, std = model(torch.as_tensor(x))
    assert mean.numpy() == pytest.approx(line.truth.y, abs=1e-6)
    assert float(std.max()) < 1e-3


def test_saved_numbers_give_equal_predictions_to_the_bit():
    model = fit_gp(smooth(12, 4), seed=2)
    twin = type(model)(**model.config)
    twin.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
    x = torch.rand(40, 2, dtype=torch.float64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model(x), twin(x), strict=True))


def test_gradients_of_mean_and_deviation_equal_differences():
    model = fit_gp(smooth(12, 4), seed=2)
    x = torch.tensor([[0.31, 0.77], [0.62, 0.18]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: model(x), (x,), eps=1e-6, atol=1e-5, rtol=1e-4)


def test_a_batch_equals_its_points_one_by_one():
    model = fit_gp(smooth(12, 4), seed=2)
    x = torch.rand(7, 2, dtype=torch.float64)
    with torch.no_grad():
        single = torch.cat([torch.stack(model(row[None])) for row in x], 1)
        assert torch.allclose(torch.stack(model(x)), single, atol=1e-9)


def test_known_and_learned_noise_are_told():
    learned = fit_gp(smooth(120, 3, noise=0.2), seed=1)
    assert float(learned.noise_std) == pytest.approx(0.2, rel=0.25)
    noisy = smooth(40, 3, noise=0.2).truth
    level = Level("truth", noisy.x, noisy.y, noise=np.full(40, 0.2))
    known = fit_gp(Samples((level,), np.array([[0.0, 1.0]] * 2)), seed=1)
    assert float(known.noise_std) == pytest.approx(0.2)


def test_intervals_of_few_runs_hold_the_truth():
    case, covered = CASES["park"], []
    for seed in (1, 2, 3):
        x = case.test_points(300, seed)
        with torch.no_grad():
            mean, std = fit_gp(case.sample(seed), seed=seed)(torch.as_tensor(x))
        covered.append(np.mean(np.abs(mean.numpy() - case.levels[-1](x)) <= 1.96 * std.numpy()))
    assert np.mean(covered) >= 0.9


def test_inducing_points_at_all_runs_give_the_exact_posterior():
    runs, kernel = runs_of(), Kernel("matern52", ((0, 1),))
    theta = torch.tensor([[0.2, -0.5, 0.1]], dtype=torch.float64)
    exact = Process(kernel, 14, 3, 1).fill(runs, theta).given()
    seen = Process(kernel, 14, 3, 1, n_inducing=14).fill(runs, theta, runs.points).given()
    x = torch.rand(20, 2, dtype=torch.float64)
    basis = torch.cat([torch.ones(20, 1, dtype=x.dtype), x - 0.5], 1)
    known, found = exact.at(x, basis), seen.at(x, basis)
    assert torch.allclose(known.mean, found.mean, atol=1e-5)
    assert torch.allclose(known.variance, found.variance, atol=1e-5)


def test_many_runs_are_seen_through_inducing_points():
    options = GPOptions(max_exact=300, n_inducing=60)
    model = fit_gp(smooth(400, 5), seed=1, options=options)
    assert model.config["increment"]["process"]["sizes"][-1] <= 60
    x = np.random.default_rng(8).random((200, 2))
    with torch.no_grad():
        mean, std = (value.numpy() for value in model(torch.as_tensor(x)))
    error = mean - np.sin(4 * x[:, 0]) - x[:, 1] ** 2
    assert np.sqrt((error**2).mean()) < 2e-3
    assert np.isfinite(std).all()


def test_a_model_too_large_for_memory_is_refused_with_the_bytes(monkeypatch):
    monkeypatch.setattr(covariance_module, "_available", lambda: 10_000)
    with pytest.raises(ValueError, match=r"22,400 bytes of 10,000"):
        fit_gp(smooth(20, 5), seed=1)


@pytest.mark.parametrize("n", [3, N_BLOCK, 2 * N_BLOCK + 5])
def test_solving_by_blocks_equals_a_triangular_solve(n):
    generator = np.random.default_rng(4)
    a = torch.as_tensor(generator.standard_normal((2, n, n)))
    factor = torch.linalg.cholesky(a @ a.mT + n * torch.eye(n, dtype=a.dtype))
    right = torch.as_tensor(generator.standard_normal((2, n, 7)))
    expected = torch.linalg.solve_triangular(factor, right, upper=False)
    assert torch.allclose(solve_lower(factor, right), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("inducing", [False, True])
def test_moments_in_blocks_equal_those_of_the_whole(inducing, monkeypatch):
    runs, kernel = runs_of(), Kernel("matern52", ((0, 1),))
    theta = torch.tensor([[0.2, -0.5, 0.1], [0.3, -0.7, 0.2]], dtype=torch.float64)
    process = Process(kernel, 14, 3, 2, n_inducing=6 * inducing).fill(
        runs, theta, runs.points[:6] if inducing else None
    )
    posterior = process.given()
    x = torch.as_tensor(np.random.default_rng(9).random((20, 2)))
    basis = torch.cat([torch.ones(20, 1, dtype=x.dtype), x - 0.5], 1)
    whole = posterior.at(x, basis)
    monkeypatch.setattr(process_module, "N_BLOCK", 3)
    monkeypatch.setattr(process_module, "N_CACHED", 1)
    mean, variance = posterior.moments(x, basis)
    assert torch.allclose(mean, whole.mean, rtol=1e-12)
    assert torch.allclose(variance, whole.variance, rtol=1e-9, atol=1e-12)
    assert torch.allclose(posterior.mean(x, basis), whole.mean, rtol=1e-9)


def test_jitter_mends_a_singular_matrix_and_refuses_an_indefinite_one():
    ones = torch.ones(4, 4, dtype=torch.float64)
    factor = cholesky(ones)
    assert torch.allclose(factor @ factor.T, ones, atol=1e-8)
    with pytest.raises(ValueError, match="positive semi-definite"):
        cholesky(torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64))


def test_an_unknown_kind_of_correlation_is_refused():
    with pytest.raises(ValueError, match="matern52"):
        Kernel("cubic", ((0,),))
