"""The linear branch: sampled pulse, sensor grid, ridge regression with leave-one-out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_acoustics.branch import RIDGES, SensorBranch, fit_ridge, sensor_grid
from sciml_acoustics.data import Medium
from sciml_acoustics.pulse import gaussian_pulse


@pytest.fixture
def problem():
    rng = np.random.default_rng(31)
    samples = rng.normal(size=(12, 20)) * np.logspace(0, -3, 20)
    targets = samples @ rng.normal(size=(20, 4)) + 0.05 * rng.normal(size=(12, 4))
    return samples, targets


def weights_of(samples, targets, ridge):
    """Primal normal equations (U^T U + r I) W = U^T Z, r relative to the mean eigenvalue of U U^T."""
    shift = ridge * np.trace(samples @ samples.T) / len(samples)
    return np.linalg.solve(samples.T @ samples + shift * np.eye(samples.shape[1]), samples.T @ targets)


@pytest.mark.parametrize("ridge", [1e-4, 1e-2, 1.0])
def test_ridge_solution_equals_the_normal_equations(problem, ridge):
    weights, chosen, _ = fit_ridge(*problem, ridges=[ridge])
    assert chosen == ridge
    np.testing.assert_allclose(weights, weights_of(*problem, ridge), atol=1e-9)


@pytest.mark.parametrize("ridge", [1e-4, 1e-2, 1.0])
def test_leave_one_out_error_equals_brute_force(problem, ridge):
    samples, targets = problem
    shift = ridge * np.trace(samples @ samples.T) / len(samples)
    residuals = []
    for i in range(len(samples)):
        kept = np.arange(len(samples)) != i
        rest = samples[kept]
        weights = np.linalg.solve(rest.T @ rest + shift * np.eye(samples.shape[1]), rest.T @ targets[kept])
        residuals.append(samples[i] @ weights - targets[i])
    _, _, error = fit_ridge(samples, targets, ridges=[ridge])
    np.testing.assert_allclose(error, np.linalg.norm(residuals) / np.linalg.norm(targets), rtol=1e-8)


def test_ridge_chosen_is_the_one_with_the_least_leave_one_out_error(problem):
    ridges = [1e-6, 1e-3, 1e-1, 1e1]
    errors = [fit_ridge(*problem, ridges=[ridge])[2] for ridge in ridges]
    _, chosen, error = fit_ridge(*problem, ridges=ridges)
    assert chosen == ridges[int(np.argmin(errors))]
    assert error == pytest.approx(min(errors), rel=1e-12)


def test_ridge_with_exact_linear_data_takes_little_and_reproduces_it():
    rng = np.random.default_rng(37)
    samples = rng.normal(size=(30, 8))
    truth = rng.normal(size=(8, 2))
    weights, ridge, error = fit_ridge(samples, samples @ truth)
    np.testing.assert_allclose(weights, truth, atol=1e-9)
    assert ridge <= RIDGES[3]
    assert error < 1e-9


def test_branch_samples_the_gaussian_pulse_and_is_linear_in_it():
    sensors = sensor_grid((0.0, 0.0), (2.0, 1.0), 3.0, Medium(f_max=400.0))
    branch = SensorBranch(sensors, 0.5, 1.5, 3).double()
    branch.weight.copy_(torch.as_tensor(np.random.default_rng(41).normal(size=(len(sensors), 3))))
    source = np.array([[0.7, 0.3], [1.2, 0.9]])
    pulse = gaussian_pulse(source, branch.sensors.numpy(), 0.5, 1.5)
    np.testing.assert_allclose(branch.pulse(torch.as_tensor(source)).numpy(), pulse, atol=1e-14)
    np.testing.assert_allclose(branch(torch.as_tensor(source)).numpy(), pulse @ branch.weight.numpy(), atol=1e-12)


@pytest.mark.parametrize("n_axis", [1, 2, 3])
def test_sensor_grid_is_uniform_reaches_the_walls_and_has_enough_points(n_axis):
    medium = Medium(f_max=500.0)
    low, high = (0.0, -1.0, 0.2)[:n_axis], (2.0, 1.5, 3.0)[:n_axis]
    grid = sensor_grid(low, high, 3.0, medium)
    wanted = medium.c / medium.f_max / 3.0
    count = 1
    for axis in range(n_axis):
        line = np.unique(grid[:, axis])
        count *= len(line)
        assert (line[0], line[-1]) == (low[axis], high[axis])
        np.testing.assert_allclose(np.diff(line), line[1] - line[0])
        assert wanted / 2 < line[1] - line[0] <= wanted * (1 + 1e-12)
    assert len(np.unique(grid, axis=0)) == len(grid) == count
