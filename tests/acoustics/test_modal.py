"""The modal operator: identification of synthetic modes, the formula, the fast listener, waves past the window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_acoustics.branch import sensor_grid
from sciml_acoustics.compare import relative_l2
from sciml_acoustics.data import Medium, Waves
from sciml_acoustics.modal import (
    REGULARIZATIONS,
    Delays,
    ModalOperator,
    choose_recursion,
    excitations,
    fit_modal,
    identify,
    mean_wave_number,
    unfold,
)
from sciml_acoustics.pulse import pulse_width
from sciml_acoustics.subspace import Subspace, proper_orthogonal

from sciml import Region

F_MAX, DT = 250.0, 1 / 500.0
SQUARE = Region((((0.0, 0.0), (2.0, 2.0)),))
MEDIUM = Medium(f_max=F_MAX, sigma0=pulse_width(F_MAX), amplitude=2.0)
DELTA = np.array([4.0, 9.0, 12.0, 20.0, 31.0, 16.0])  # 1/s
OMEGA = 2 * np.pi * np.array([41.0, 86.0, 121.3, 150.0, 193.0, 228.0])  # rad/s
BAND = (2 * np.pi * F_MAX / 343.0 * 1.2, 0.5)


@pytest.fixture(scope="module")
def known():
    """A modal operator with real mode shapes, complex excitations, and poles below the Nyquist rate."""
    rng = np.random.default_rng(43)
    sensors = sensor_grid(*SQUARE.bounding_box, 2.0, MEDIUM)
    network = ModalOperator(SQUARE.boxes, sensors, (MEDIUM.sigma0, MEDIUM.amplitude), len(DELTA), BAND).double()
    n_modes = len(DELTA)
    network.branch.weight.copy_(torch.as_tensor(rng.normal(size=(len(sensors), 2 * n_modes))))
    network.shapes[:, :n_modes] = torch.as_tensor(rng.normal(size=(network.frame.n_features, n_modes)))
    network.poles.copy_(torch.as_tensor(np.stack([DELTA, OMEGA])))
    return network


def waves_of(network, source, node, time, evaluate):
    pressure = evaluate(network, source, node, time, torch.float64)
    return Waves(source, node, np.full(len(node), 4 / len(node)), time, pressure, MEDIUM)


@pytest.fixture(scope="module")
def synthetic(known, evaluate):
    rng = np.random.default_rng(47)
    source, node = rng.uniform(0, 2, (40, 2)), rng.uniform(0, 2, (260, 2))
    return waves_of(known, source, node, np.arange(40) * DT, evaluate)


def test_modal_identifies_known_poles(synthetic):
    subspace = proper_orthogonal(synthetic, 1e-7, 100)
    assert subspace.shapes.shape[1] == len(DELTA)
    logarithm = np.log(choose_recursion(subspace).poles) / DT
    order = np.argsort(logarithm.imag)
    np.testing.assert_allclose(logarithm.imag[order], np.sort(OMEGA), rtol=1e-8)
    np.testing.assert_allclose(-logarithm.real[order], DELTA[np.argsort(OMEGA)], rtol=1e-8)


def test_modal_fit_continues_synthetic_waves_past_the_window_and_off_the_grid_of_times(known, synthetic, evaluate):
    rng = np.random.default_rng(53)
    network = fit_modal(synthetic, proper_orthogonal(synthetic, 1e-7, 100), SQUARE, BAND, 2.0).double()
    source, node = rng.uniform(0.2, 1.8, (5, 2)), rng.uniform(0, 2, (30, 2))
    times = np.concatenate([rng.uniform(0, 40 * DT, 20), rng.uniform(40 * DT, 160 * DT, 20)])
    found, truth = (evaluate(n, source, node, times, torch.float64) for n in (network, known))
    assert relative_l2(found[:, :20], truth[:, :20]).max() < 2e-6  # weights are stored in single precision
    assert relative_l2(found[:, 20:], truth[:, 20:]).max() < 2e-6


def test_modal_forward_is_the_sum_over_modes(known, evaluate):
    rng = np.random.default_rng(59)
    source, node, time = rng.uniform(0, 2, (3, 2)), rng.uniform(0, 2, (4, 2)), rng.uniform(0, 0.3, 9)
    n_modes = len(DELTA)
    coefficients = known.branch(torch.as_tensor(source)).numpy()
    strength = coefficients[:, :n_modes] + 1j * coefficients[:, n_modes:]
    values = (known.frame(torch.as_tensor(node)) @ known.shapes).numpy()
    shape = values[:, :n_modes] + 1j * values[:, n_modes:]
    ringing = np.exp((-DELTA + 1j * OMEGA) * time[:, None])
    direct = np.einsum("sm,nm,tm->stn", strength, shape, ringing).real
    np.testing.assert_allclose(
        evaluate(known, source, node, time, torch.float64), direct, atol=1e-11 * np.abs(direct).max()
    )


def test_modal_is_linear_in_the_amplitude_of_the_pulse(known, evaluate):
    twice = ModalOperator(**{**known.config, "pulse": [MEDIUM.sigma0, 2 * MEDIUM.amplitude]}).double()
    twice.load_state_dict(known.state_dict())
    source, node, time = np.array([[0.4, 1.1]]), np.array([[1.0, 0.2], [1.7, 1.9]]), np.array([0.0, 0.013])
    one, two = (evaluate(network, source, node, time, torch.float64) for network in (known, twice))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-13)


def test_modal_listener_is_forward_up_to_single_precision(networks, small, evaluate):
    network = networks["acoustics.modal"]
    receiver, time = np.array([1.31, 0.42]), small.long.time
    listener = network.listener(torch.tensor(receiver, dtype=torch.float32), torch.tensor(time, dtype=torch.float32))
    for source in small.test.source_position:
        given = torch.tensor(source, dtype=torch.float32)
        kept = given.clone()
        found = listener(given).numpy()
        truth = evaluate(network, source[None], receiver[None], time)[0, :, 0]
        np.testing.assert_allclose(found, truth, atol=2e-5 * np.abs(truth).max())
        assert torch.equal(given, kept)


def test_identified_poles_do_not_grow_even_where_the_data_do():
    steps = np.arange(30)
    growing = np.stack([1.01**steps * np.cos(0.6 * steps + p) for p in (0.0, 1.0, 2.0)])[:, :, None]
    recursion = identify(Delays.of(growing), 1e-13)
    assert recursion.n_clipped == 1
    np.testing.assert_allclose(np.abs(recursion.poles), 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.angle(recursion.poles), 0.6, rtol=1e-9)


def test_modal_fit_of_growing_waves_has_no_mode_that_grows(synthetic):
    pressure = synthetic.pressure * np.exp(60.0 * synthetic.time)[:, None]
    waves = Waves(**{**vars(synthetic), "pressure": pressure})
    network = fit_modal(waves, proper_orthogonal(waves, 1e-7, 100), SQUARE, BAND, 2.0)
    assert (network.poles[0] >= 0).all()


def test_unfold_finds_frequencies_above_the_nyquist_rate_by_their_wave_numbers():
    """Rates on a grid of times alias; the dispersion relation omega = c k tells the branches apart."""
    omega = 2 * np.pi * np.array([0.0, 60.0, 240.0, 260.0, 410.0, 620.0])
    true = -np.array([3.0, 8.0, 11.0, 14.0, 20.0, 25.0]) + 1j * omega
    found = unfold(np.exp(true * DT), 1.02 * omega / 343.0, DT, 343.0)
    np.testing.assert_allclose(found.real, true.real, rtol=1e-9)
    np.testing.assert_allclose(np.abs(found.imag), omega, atol=1e-8)
    np.testing.assert_allclose(np.exp(found * DT), np.exp(true * DT), atol=1e-12)


def test_mean_wave_number_of_a_standing_wave_is_its_own():
    x = (np.arange(400) + 0.5) / 400
    k = np.pi * np.array([1.0, 3.0, 7.0])
    values = np.concatenate([np.cos(x[:, None] * k), 0.3 * np.cos(x[:, None] * k)], 1)
    gradient = np.concatenate([-k * np.sin(x[:, None] * k), -0.3 * k * np.sin(x[:, None] * k)], 1)[None]
    np.testing.assert_allclose(mean_wave_number(gradient, values, np.full(400, 1 / 400)), k, rtol=1e-9)


def dense_excitations(recursion, amplitude):
    """Least squares over (time, coordinate) with real unknowns Re g and Im g."""
    powers = recursion.poles ** np.arange(amplitude.shape[1])[:, None]
    basis = (powers[:, None, :] * recursion.vectors).reshape(-1, len(recursion.poles))
    matrix = np.concatenate([basis.real, -basis.imag], 1)
    solved = np.linalg.lstsq(matrix, amplitude.reshape(len(amplitude), -1).T, rcond=None)[0].T
    return solved[:, : len(recursion.poles)] + 1j * solved[:, len(recursion.poles) :]


def ring(recursion, strength, steps):
    powers = recursion.poles ** steps[:, None]
    return np.einsum("sm,tm,cm->stc", strength, powers, recursion.vectors).real


def test_excitations_equal_dense_least_squares_for_complex_and_real_poles():
    """A real pole is its own conjugate: its two columns coincide, and their sum alone is determined."""
    rng = np.random.default_rng(61)
    steps, vectors = np.arange(24), rng.normal(size=(4, 4))
    poles = np.array([0.97 * np.exp(0.4j), 0.99 * np.exp(1.3j), 0.9, 0.95])
    strength = rng.normal(size=(6, 4)) + 1j * rng.normal(size=(6, 4)) * (poles.imag > 0)
    amplitude = np.einsum("sm,tm,cm->stc", strength, poles ** steps[:, None], vectors).real
    recursion = identify(Delays.of(amplitude), 1e-15)
    found = ring(recursion, excitations(recursion, amplitude), steps)
    np.testing.assert_allclose(found, amplitude, atol=1e-8)
    np.testing.assert_allclose(found, ring(recursion, dense_excitations(recursion, amplitude), steps), atol=1e-8)


def test_regularization_is_the_one_that_continues_left_out_training_sources_best(small):
    """By dense least squares; the only argument is the training subspace: no test source can be seen."""
    amplitude = small.subspace.amplitude[:, :, :40]
    subspace = Subspace(small.subspace.shapes[:, :40], small.subspace.strength[:40], amplitude, 0.0)
    chosen = choose_recursion(subspace)
    held, half = np.arange(len(amplitude)) % 5 == 2, amplitude.shape[1] // 2
    errors = []
    for regularization in REGULARIZATIONS:
        recursion = identify(Delays.of(amplitude[~held]), regularization)
        strength = dense_excitations(recursion, amplitude[held, :half])
        forecast = ring(recursion, strength, np.arange(half, amplitude.shape[1]))
        errors.append(np.linalg.norm(forecast - amplitude[held, half:]))
    of_chosen = errors[REGULARIZATIONS.index(chosen.regularization)]
    assert of_chosen <= 1.05 * min(errors)


def test_modal_predicts_held_out_sources_of_the_solver_and_runs_past_the_window(networks, small, evaluate):
    network, long = networks["acoustics.modal"], small.long
    found = evaluate(network, long.source_position, long.node_position, long.time)
    inside = long.time <= small.train.time[-1] + 1e-9
    assert relative_l2(found[:, inside], long.pressure[:, inside], long.node_weight).max() < 0.03
    assert relative_l2(found[:, ~inside], long.pressure[:, ~inside], long.node_weight).max() < 0.1
    assert (network.poles[0] >= 0).all()
