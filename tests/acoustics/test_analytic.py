from __future__ import annotations

import numpy as np
import pytest
from sciml_acoustics.analytic import (
    gaussian_mean,
    reflection_coefficient,
    rigid_eigenfrequencies,
    rigid_modal_sum,
    tube_images,
)
from sciml_acoustics.geometry import room, tube
from sciml_acoustics.pulse import gaussian_pulse, pulse_width

SIGMA = pulse_width(1000.0)


def test_modal_sum_starts_as_the_pulse():
    points = np.random.default_rng(1).uniform(0.0, [3.0, 2.0], (30, 2))
    field = rigid_modal_sum(room("rectangle"), [[1.3, 1.1]], points, [0.0], SIGMA, amplitude=2.0)
    assert np.abs(field[:, 0] - gaussian_pulse([[1.3, 1.1]], points, SIGMA, 2.0)).max() < 1e-6


def test_modal_sum_equals_images_in_a_rigid_tube():
    points, times = np.linspace(0.0, 3.0, 41)[:, None], np.linspace(0.0, 0.05, 31)
    modes = rigid_modal_sum(tube(3.0), [[1.4]], points, times, SIGMA)
    images = tube_images(3.0, [[1.4]], points, times, SIGMA, (np.inf, np.inf))
    assert np.abs(modes - images).max() < 1e-9


def test_modal_sum_keeps_the_mean_pressure():
    x = (np.arange(200) + 0.5) / 100.0
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    field = rigid_modal_sum(room("square"), [[0.9, 1.2]], points, [0.0, 0.013], SIGMA)
    exact = gaussian_mean(0.9, 2.0, SIGMA) * gaussian_mean(1.2, 2.0, SIGMA)
    assert field.mean(axis=2) == pytest.approx(exact, abs=1e-7)


def test_images_satisfy_the_wall_condition():
    xi, c, h = (2.5, 0.7), 343.0, 1e-6
    times = np.linspace(0.001, 0.02, 50)
    ends = {0.0: (xi[0], 1.0), 2.0: (xi[1], -1.0)}
    for end, (impedance, inward) in ends.items():
        points = [end, end + inward * h]
        here, inner = tube_images(2.0, [1.0], points, times, SIGMA, xi, c)[0].T
        later = tube_images(2.0, [1.0], points, times + h / c, SIGMA, xi, c)[0, :, 0]
        outward_slope = (here - inner) / h
        rate = (later - here) / (h / c)
        assert np.abs(outward_slope + rate / (c * impedance)).max() < 1e-3 * np.abs(outward_slope).max()


def test_images_return_the_reflection_coefficient():
    for xi in (1.0, 3.0, 17.98, 100.0):
        back = tube_images(2.0, [1.0], [1.0], [2.0 / 343.0], SIGMA, (xi, xi))[0, 0, 0]
        assert back == pytest.approx((xi - 1.0) / (xi + 1.0), abs=1e-9)


def test_reflection_coefficient_limits():
    assert reflection_coefficient([1.0, 3.0, np.inf]) == pytest.approx([0.0, 0.5, 1.0], abs=1e-15)
    assert reflection_coefficient(2.0, np.pi / 3) == pytest.approx(0.0, abs=1e-15)


def test_eigenfrequencies_of_the_square():
    first = rigid_eigenfrequencies([2.0, 2.0], 6)
    assert first == pytest.approx(85.75 * np.sqrt([0.0, 1.0, 1.0, 2.0, 4.0, 4.0]))
    many = rigid_eigenfrequencies([3.0, 2.0], 40)
    orders = np.hypot(*np.meshgrid(np.arange(60) / 3.0, np.arange(60) / 2.0)).ravel()
    assert many == pytest.approx(0.5 * 343.0 * np.sort(orders)[:40])


def test_modal_sum_refuses_a_room_of_several_boxes():
    with pytest.raises(ValueError, match="expected a room of one box, got 'l_shape' with 2"):
        rigid_modal_sum(room("l_shape"), [[1.0, 1.0]], [[1.0, 1.0]], [0.0], SIGMA)


def test_pulse_spectrum_at_the_highest_frequency_is_exp_minus_4():
    x = np.linspace(-3.0, 3.0, 4001)[:, None]
    pulse = gaussian_pulse([[0.0]], x, SIGMA)[0]
    ratio = (pulse @ np.cos(2.0 * np.pi * 1000.0 / 343.0 * x[:, 0])) / pulse.sum()
    assert ratio == pytest.approx(np.exp(-4.0), rel=1e-9)


def test_bad_pulses_are_refused():
    with pytest.raises(ValueError, match="expected positive f_max and c"):
        pulse_width(0.0)
    with pytest.raises(ValueError, match="with the same d"):
        gaussian_pulse([[0.0, 1.0]], [[0.0]], 0.2)
    with pytest.raises(ValueError, match="expected a positive sigma0"):
        gaussian_pulse([[0.0]], [[0.0]], 0.0)
