"""The streamed least squares equals its dense formula and keeps the symmetries of a periodic box."""

import math

import numpy as np
import pytest
import torch
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.velocity import inverse_power
from sciml_cosmo.velocity.inverse_power import REDSHIFT, Basis, InversePower, fit, normal_equations

SIDE = 50.0


def cloud(seed, n=90):
    generator = np.random.default_rng(seed)
    return Cloud(generator.uniform(0, SIDE, (n, 3)), generator.normal(0, 200, (n, 3)), SIDE)


def streamed(basis, positions):
    return torch.cat([features for _, features in basis.tiles(torch.as_tensor(positions), SIDE)]).numpy()


def dense(basis, positions):
    step = positions[:, None] - positions[None]
    step -= SIDE * np.round(step / SIDE)
    distance = np.sqrt((step**2 * np.array([1, 1, basis.shrink**2])).sum(-1))
    inverse = np.divide(SIDE, distance, out=np.zeros_like(distance), where=distance > 0)
    waves, powers = range(1, basis.n_wave + 1), range(1, basis.n_power + 1)
    columns = [(np.sin(2 * math.pi * k * step / SIDE) * (inverse**p)[..., None]).sum(1) for p in powers for k in waves]
    return np.stack(columns, -1)


@pytest.mark.parametrize("tile", [128, 17])
@pytest.mark.parametrize("shrink", [1.0, 0.4])
def test_features_equal_the_dense_formula(monkeypatch, tile, shrink):
    monkeypatch.setattr(inverse_power, "N_TILE", tile)
    basis, positions = Basis(7, 3, shrink), cloud(1).positions
    expected = dense(basis, positions)
    assert np.abs(streamed(basis, positions) - expected).max() < 1e-11 * np.abs(expected).max()


def test_pairs_at_one_place_add_nothing():
    positions = cloud(2).positions
    positions[5] = positions[6]
    found = streamed(Basis(4, 2), positions)
    assert np.isfinite(found).all()
    assert np.allclose(found, dense(Basis(4, 2), positions), rtol=0, atol=1e-10 * np.abs(found).max())


def test_features_move_with_the_box_and_turn_with_its_axes():
    basis, positions = Basis(6, 3), cloud(3).positions
    found = streamed(basis, positions)
    scale = np.abs(found).max()
    assert np.abs(streamed(basis, (positions + np.array([3.3, 41.0, 7.7])) % SIDE) - found).max() < 1e-9 * scale
    assert np.abs(streamed(basis, positions[:, [1, 2, 0]]) - found[:, [1, 2, 0]]).max() < 1e-12 * scale
    assert np.abs(streamed(basis, -positions % SIDE) + found).max() < 1e-9 * scale


@pytest.mark.parametrize("groups", [inverse_power.REAL, REDSHIFT])
def test_normal_equations_are_the_sums_over_all_rows(groups):
    basis, one = Basis(5, 2, groups=groups), cloud(4)
    rows, equations = dense(basis, one.positions), normal_equations(basis, one)
    for group, axes in enumerate(groups):
        matrix, target = rows[:, list(axes)].reshape(-1, 10), one.velocities[:, list(axes)].ravel()
        assert np.allclose(equations.gram[group], matrix.T @ matrix, rtol=1e-10)
        assert np.allclose(equations.moment[group], matrix.T @ target, rtol=1e-8)
        assert equations.energy[group] == pytest.approx(target @ target)


@pytest.mark.parametrize("groups", [inverse_power.REAL, REDSHIFT])
def test_fit_finds_weights_that_made_the_velocities(groups):
    basis = Basis(6, 2, groups=groups)
    weights = np.random.default_rng(5).normal(size=(len(groups), 12))
    weights /= np.sqrt((dense(basis, cloud(6).positions) ** 2).mean((0, 1)))
    truth, made = InversePower(basis, weights, 0.0), []
    for seed in range(11, 15):
        places = cloud(seed)
        made.append(Cloud(places.positions, truth.predict(places), SIDE))
    equations = [normal_equations(basis, one) for one in made]
    found = fit(basis, equations[:3], equations[3:])
    assert (found.basis.n_wave, found.basis.n_power) == (6, 2)
    assert np.abs(found.predict(made[3]) - made[3].velocities).max() < 1e-6 * np.abs(made[3].velocities).max()


def test_wrong_basis_is_refused():
    with pytest.raises(ValueError, match="n_wave, n_power >= 1"):
        Basis(0, 3)
    with pytest.raises(ValueError, match="0 < shrink <= 1"):
        Basis(3, 3, 0.0)
