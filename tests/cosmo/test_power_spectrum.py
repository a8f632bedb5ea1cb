"""Power spectra of fields and points whose spectrum is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_cosmo.clustering.power_spectrum import field_spectrum, power_spectrum

BOX = 80.0


def test_plane_wave_has_its_power_in_one_shell():
    """cos(k x) of amplitude A has A^2 / 4 in each of two modes: P = V A^2 / 4, over the modes of the shell."""
    n, wave, amplitude = 24, 3, 0.3
    x = np.arange(n) * BOX / n
    field = amplitude * np.cos(2 * np.pi * wave * x / BOX)[None, :, None] * np.ones((n, n, n))
    found = field_spectrum(torch.fft.rfftn(torch.from_numpy(field)), BOX)
    shell = wave - 1
    assert found.power[shell] * found.n_mode[shell] == pytest.approx(2 * BOX**3 * amplitude**2 / 4, rel=1e-12)
    assert np.delete(found.power, shell) == pytest.approx(0, abs=1e-20)


def test_sum_over_all_modes_is_the_variance():
    n = 10
    field = torch.randn(n, n, n, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = field_spectrum(torch.fft.rfftn(field), BOX, edges=np.array([1e-6, 10.0]))
    variance = float(field.var(correction=0))
    assert found.n_mode.tolist() == [n**3 - 1]
    assert found.power[0] * found.n_mode[0] / BOX**3 == pytest.approx(variance, rel=1e-12)


def test_modes_of_a_shell_are_counted_with_both_signs():
    n = 8
    found = field_spectrum(torch.zeros(n, n, n // 2 + 1, dtype=torch.complex128), BOX)
    axis = np.fft.fftfreq(n, 1 / n)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2)
    wanted = [int(((radius >= shell - 0.5) & (radius < shell + 0.5)).sum()) for shell in range(1, n // 3 + 1)]
    assert found.n_mode.tolist() == wanted


def test_multipoles_of_redshift_space_are_those_of_kaiser():
    """A field (1 + beta mu^2) eps has P0 = 1 + 2/3 b + b^2/5, P2 = 4/3 b + 4/7 b^2, P4 = 8/35 b^2 times the power."""
    n, beta = 32, 0.6
    k = [np.fft.fftfreq(n)[:, None, None], np.fft.fftfreq(n)[None, :, None], np.fft.rfftfreq(n)[None, None, :]]
    square = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    mu2 = np.divide(k[2] ** 2, square, out=np.zeros_like(square), where=square > 0)
    field = torch.from_numpy((1 + beta * mu2) * np.sqrt((n**2 / BOX) ** 3) + 0j)
    edges = 2 * np.pi / BOX * np.array([8.0, 15.0])
    found = field_spectrum(field, BOX, edges, orders=(0, 2, 4))
    wanted = [1 + 2 / 3 * beta + beta**2 / 5, 4 / 3 * beta + 4 / 7 * beta**2, 8 / 35 * beta**2]
    assert found.multipoles[:, 0] == pytest.approx(wanted, abs=0.02)


def test_points_without_clustering_have_only_shot_noise():
    boxes = [np.random.default_rng([8, i]).uniform(0, BOX, (400, 3)) for i in range(24)]
    found = [power_spectrum(points, BOX, 16) for points in boxes]
    mean = np.mean([one.power for one in found], axis=0)
    error = found[0].shot_noise * np.sqrt(2 / found[0].n_mode / len(boxes))
    assert found[0].shot_noise == pytest.approx(BOX**3 / 400)
    assert (np.abs(mean) < 4 * error).all()
    assert (np.abs(mean)[-2:] < 0.03 * found[0].shot_noise).all()


def test_weights_set_shot_noise_and_copies_of_points_do_not_cluster_more():
    points = np.random.default_rng(9).uniform(0, BOX, (300, 3))
    twice = power_spectrum(np.concatenate([points, points]), BOX, 16)
    double = power_spectrum(points, BOX, 16, weights=np.full(300, 2.0))
    once = power_spectrum(points, BOX, 16)
    assert double.power == pytest.approx(once.power, rel=1e-9)
    # every point has its twin, which counts as clustering
    assert twice.shot_noise == pytest.approx(once.shot_noise / 2)
    assert (twice.power > once.power).all()


def test_points_drawn_along_a_wave_show_its_power():
    """A density 1 + A cos(k x) has V A^2 / 4 in each of two modes, beside the shot noise."""
    rng, amplitude, wave = np.random.default_rng(13), 0.8, 2
    points = rng.uniform(0, BOX, (200_000, 3))
    kept = rng.uniform(0, 1 + amplitude, len(points)) < 1 + amplitude * np.cos(2 * np.pi * wave * points[:, 0] / BOX)
    found = power_spectrum(points[kept], BOX, 32)
    assert found.power[wave - 1] * found.n_mode[wave - 1] == pytest.approx(BOX**3 * amplitude**2 / 2, rel=0.02)


def test_wrong_arguments_are_told_in_a_sentence():
    with pytest.raises(ValueError, match="expected points with weights, got 0"):
        power_spectrum(np.zeros((0, 3)), BOX)
    with pytest.raises(ValueError, match="expected multipoles 0 and any of 2 and 4, got"):
        power_spectrum(np.zeros((1, 3)), BOX, orders=(1,))
