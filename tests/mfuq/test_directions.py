"""Directions of a ridge function are found, none are claimed without structure, and a level gains by seeing them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sciml_mfuq.kriging.increment import GPOptions
from sciml_mfuq.networks.directions import active_directions, fit_link_along
from sciml_mfuq.networks.links import Evidence, Link
from sciml_mfuq.networks.nets import NetOptions
from sciml_mfuq.networks.residual import Residual, ResidualOptions, fit_residual
from sciml_mfuq.samples import Level, Samples

from sciml.training import seeded

N_INPUT = 16
PROCESS = GPOptions(kernel="matern52", n_draw=1)
QUICK = ResidualOptions(low="net", process=PROCESS, net=NetOptions(width=16, n_adam=300, n_lbfgs=150, trend="none"))


def orthonormal(n_input, n, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n_input, n)))[0]


def ridge(x, along):
    u, v = (x @ along).T
    return u + 0.5 * np.sin(2 * v)


def angle(a, b):
    """Return the largest angle between the spans of orthonormal columns, in degrees."""
    return np.degrees(np.arccos(np.clip(np.linalg.svd(a.T @ b)[1].min(), -1, 1)))


def samples_of(n_cheap, n_truth, truth):
    along, generator = orthonormal(N_INPUT, 2, 5), np.random.default_rng(8)
    cheap, dear = (generator.uniform(-1, 1, (n, N_INPUT)) for n in (n_cheap, n_truth))
    levels = (Level("cheap", cheap, ridge(cheap, along)), Level("truth", dear, truth(dear, along)))
    return Samples(levels, np.tile([[-1.0, 1.0]], (N_INPUT, 1))), along


def bent(x, along):
    return ridge(x, along) ** 2 + np.tanh(3 * (x @ along[:, 1]))


@pytest.fixture(scope="module")
def ridges():
    samples, along = samples_of(800, 120, bent)
    return samples, along, fit_residual(samples, seed=3, options=QUICK)


def test_directions_of_exact_slopes_are_exact():
    along = orthonormal(20, 2, 3)
    x = np.random.default_rng(4).uniform(-1, 1, (500, 20))
    slopes = np.stack([np.ones(500), np.cos(2 * x @ along[:, 1])], 1) @ along.T
    found = active_directions(torch.as_tensor(slopes)).numpy()
    assert found.shape == (20, 2)
    assert angle(along, found) < 1e-4
    np.testing.assert_allclose(found.T @ found, np.eye(2), atol=1e-12)


def test_directions_turn_with_the_inputs():
    slopes = torch.randn(300, 2, generator=seeded(3), dtype=torch.float64) @ torch.as_tensor(orthonormal(16, 2, 4)).T
    turn = torch.as_tensor(orthonormal(16, 16, 6))
    one, other = active_directions(slopes), active_directions(slopes @ turn)
    torch.testing.assert_close(turn.T @ one @ one.T @ turn, other @ other.T)


def test_directions_are_not_claimed_without_structure():
    isotropic = torch.randn(400, 32, generator=seeded(3), dtype=torch.float64)
    assert active_directions(isotropic).shape == (32, 0)
    assert active_directions(torch.zeros(9, 32)).shape == (32, 0)
    few = torch.ones(9, 4)  # one direction, of too few inputs to need it
    assert active_directions(few).shape == (4, 0)


def test_directions_of_a_fitted_ridge_are_found_to_two_degrees(ridges):
    samples, along, model = ridges
    found = model.directions(samples, 1).numpy()
    assert found.shape == (N_INPUT, 2)
    assert angle(along, found) < 2


def test_directions_help_the_truth_and_are_not_taken_when_refused(ridges):
    samples, along, model = ridges
    x = np.random.default_rng(9).uniform(-1, 1, (1000, N_INPUT))
    blind = fit_residual(samples, seed=3, options=replace(QUICK, directions="none"), lower=model)
    assert [one.models[1].directions.shape[1] for one in (model, blind)] == [2, 0]
    with torch.no_grad():
        seeing, other = (np.std(one(torch.as_tensor(x))[0].numpy() - bent(x, along)) for one in (model, blind))
    assert seeing < 0.1 * bent(x, along).std()
    assert seeing < 0.5 * other


def test_directions_are_saved_to_the_bit(ridges):
    samples, _, model = ridges
    other = Residual(**model.config)
    other.load_state_dict(model.state_dict(), assign=True)
    x = torch.as_tensor(samples.truth.x[:50])
    with torch.no_grad():
        for one, two in zip(model(x), other(x), strict=True):
            assert torch.equal(one, two)


def test_directions_are_part_of_an_exported_program(ridges):
    samples, _, model = ridges
    x = torch.as_tensor(samples.truth.x[:20])
    with torch.no_grad():
        model(x)  # what is computed once is a constant of the program
        program = torch.export.export(model, (x,))
        for one, two in zip(model(x), program.module()(x), strict=True):
            torch.testing.assert_close(one, two)


def test_directions_are_left_alone_where_left_out_runs_gain_nothing():
    x = torch.rand(60, 8, generator=seeded(3), dtype=torch.float64)
    box = torch.tensor([[0.0, 1.0]], dtype=torch.float64).repeat(8, 1)
    low, none = x.sum(1, keepdim=True), torch.zeros(60, dtype=torch.float64)
    truth = low[:, 0] + torch.sin(6 * x[:, 0])
    useless = torch.as_tensor(orthonormal(8, 2, 11))
    evidence = Evidence(x, low, truth, none, box, useless)
    link = fit_link_along(evidence, torch.zeros_like(low), PROCESS, 5)
    assert isinstance(link, Link)
    assert not link.directions.shape[1]
