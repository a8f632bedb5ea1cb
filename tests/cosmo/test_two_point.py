"""The correlation function, its multipoles and the statistics of pairs against definitions and known laws."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.clustering.multipoles import multipoles, redshift_space
from sciml_cosmo.clustering.pair_moments import pair_statistics
from sciml_cosmo.clustering.two_point import (
    PAPER,
    SHIPPED,
    binning,
    correlation,
    cross_counts,
    pair_counts,
    random_pairs,
)

EDGES = np.array([1.0, 2.0, 4.0, 7.0, 11.0, 16.0, 20.0])
L = 40.0


def uniform(n_node, seed, box_size=L):
    return np.random.default_rng(seed).uniform(0, box_size, (n_node, 3))


def distances(positions, box_size):
    """Return the distances (node, node) by the definition: the nearest of 27 images."""
    shifts = box_size * np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 1, 1, 3)
    return np.linalg.norm(positions[:, None] - positions[None] + shifts, axis=-1).min(0)


def test_pair_counts_equal_the_definition_over_27_images():
    nodes = uniform(150, 3)
    r = distances(nodes, L)[~np.eye(150, dtype=bool)]
    wanted = [((r >= a) & (r < b)).sum() for a, b in pairwise(EDGES)]
    assert pair_counts(nodes, L, EDGES).tolist() == wanted


def test_cross_counts_make_the_counts_of_the_union():
    a, b = uniform(90, 5), uniform(60, 6)
    union = pair_counts(np.concatenate([a, b]), L, EDGES)
    parts = pair_counts(a, L, EDGES) + pair_counts(b, L, EDGES) + 2 * cross_counts(a, b, L, EDGES)
    np.testing.assert_array_equal(union, parts)


def test_natural_estimator_of_uniform_nodes_is_zero_within_poisson_errors():
    found = np.array([correlation(uniform(400, 100 + seed), L, EDGES) for seed in range(40)])
    # The variance of the counts of uniform pairs on a torus: 2 RR for ordered pairs.
    error = np.sqrt(2 / random_pairs(400, L, EDGES))
    assert (np.abs(found.mean(0)) < 4 * error / np.sqrt(40)).all()
    np.testing.assert_allclose(found.std(0), error, rtol=0.4)


def test_landy_szalay_of_uniform_nodes_is_zero_and_agrees_with_the_analytic_reference():
    nodes, randoms = uniform(400, 8), uniform(3000, 9)
    nodes = np.concatenate([nodes, (nodes[:100] + 0.7) % L])  # a hundred pairs at 0.7 sqrt(3) = 1.21 Mpc/h
    natural, sampled = correlation(nodes, L, EDGES), correlation(nodes, L, EDGES, randoms)
    assert natural[0] > 1
    np.testing.assert_allclose(sampled[1:], natural[1:], atol=0.06)
    assert sampled[0] == pytest.approx(natural[0], rel=0.1)
    found = np.mean([correlation(uniform(300, 200 + s), L, EDGES, randoms) for s in range(10)], axis=0)
    error = np.sqrt(2 / random_pairs(300, L, EDGES) / 10)
    assert (np.abs(found) < 4 * error + 0.02).all()  # and the noise of one set of randoms


def test_correlation_of_pairs_placed_on_purpose_counts_them_all():
    centres, step = uniform(300, 11), np.array([0.0, 1.5, 0.0])
    nodes = np.concatenate([centres, (centres + step) % L])
    random = correlation(centres, L, EDGES[:2])  # what the centres have among themselves
    wanted = 2 * 300 / random_pairs(600, L, EDGES[:2])
    found = correlation(nodes, L, EDGES[:2])
    assert found[0] == pytest.approx(wanted[0] + random[0], rel=0.25)


@pytest.mark.parametrize("statistic", ["correlation", "pair_statistics"])
def test_statistics_are_invariant_under_the_symmetries_of_the_torus(statistic):
    nodes = uniform(200, 12)
    call = {
        "correlation": lambda x: correlation(x, L, EDGES),
        "pair_statistics": lambda x: pair_statistics(x, L, EDGES),
    }[statistic]
    wanted = call(nodes)
    moved = (nodes + np.array([3.0, 17.0, 39.0])) % L
    for other in (moved, (L - nodes) % L, nodes[:, [2, 0, 1]], nodes[::-1]):
        np.testing.assert_allclose(call(other), wanted, rtol=1e-6)


def test_statistics_of_pairs_equal_their_definition():
    nodes = uniform(160, 13)
    r2 = distances(nodes, L)[np.triu_indices(160, 1)] ** 2
    for row, cut in zip(pair_statistics(nodes, L, EDGES), EDGES, strict=True):
        below = r2[r2 < cut**2]
        if len(below) >= 2:
            np.testing.assert_allclose(row[:2], [below.mean(), below.std()], rtol=1e-10)
        if len(below) >= 1000:
            np.testing.assert_allclose(row[2:], np.quantile(below, [1 / 3, 2 / 3]), rtol=0.01)


def test_statistics_below_a_cut_without_pairs_are_those_of_uniform_nodes():
    nodes = np.array([[1.0, 1, 1], [20.0, 20, 20]])
    row = pair_statistics(nodes, L, np.array([2.0, 10.0]))[1]
    np.testing.assert_allclose(row / 100, [0.6, np.sqrt(12 / 175), (1 / 3) ** (2 / 3), (2 / 3) ** (2 / 3)])


def test_merged_haloes_do_not_vanish():
    nodes = np.array([[1.0, 1, 1], [1.0, 1, 1], [2.0, 1, 1]])
    mean = pair_statistics(nodes, L, np.array([3.0]))[0, 0]
    assert mean == pytest.approx((0 + 1 + 1) / 3)


def test_monopole_is_the_correlation_and_multipoles_of_uniform_nodes_vanish():
    nodes = uniform(600, 15)
    found = multipoles(nodes, L, EDGES, (0, 2, 4))
    np.testing.assert_allclose(found[0], correlation(nodes, L, EDGES), atol=1e-10)
    draws = np.array([multipoles(uniform(300, 300 + s), L, EDGES, (2, 4)) for s in range(30)])
    error = np.sqrt(2 * np.array([[5], [9]]) / random_pairs(300, L, EDGES))  # (2l + 1) <P_l^2> = 1
    assert (np.abs(draws.mean(0)) < 4 * error / np.sqrt(30)).all()
    np.testing.assert_allclose(draws.std(0), error, rtol=0.5)


def test_quadrupole_of_pairs_along_the_line_of_sight_is_five_times_their_monopole():
    centres = uniform(400, 16)
    pairs = np.concatenate([centres, (centres + np.array([0.0, 0.0, 1.5])) % L])
    across = np.concatenate([centres, (centres + np.array([1.5, 0.0, 0.0])) % L])
    base = multipoles(centres, L, EDGES[:2])
    (along0,), (along2,) = multipoles(pairs, L, EDGES[:2])
    (_,), (across2,) = multipoles(across, L, EDGES[:2])
    assert along2 / (along0 - base[0, 0]) == pytest.approx(5, rel=0.1)
    assert across2 / (along0 - base[0, 0]) == pytest.approx(-2.5, rel=0.1)


def gaussian_cloud(beta, seed, n_node=20_000, n_mesh=32, box_size=200.0):
    """Return nodes of a Gaussian field of small amplitude with the velocities of linear theory, f = beta, bias 1."""
    generator = np.random.default_rng(seed)
    k = 2 * np.pi * np.fft.fftfreq(n_mesh, box_size / n_mesh)
    kx, ky, kz = np.meshgrid(k, k, k, indexing="ij")
    k2 = kx**2 + ky**2 + kz**2
    amplitude = np.exp(-k2 * 8.0**2 / 2) / np.maximum(k2, 1e-9) ** 0.5 * (k2 > 0)
    field = np.fft.fftn(generator.standard_normal((n_mesh,) * 3)) * amplitude
    density = np.fft.ifftn(field).real
    scale = 0.3 / density.std()
    density *= scale
    displacement = scale * np.fft.ifftn(1j * kz / np.where(k2 > 0, k2, 1) * field).real  # div psi = -delta
    chance = np.clip(1 + density, 0, None).ravel()
    cells = generator.choice(n_mesh**3, n_node, p=chance / chance.sum())
    corner = np.stack(np.unravel_index(cells, density.shape), -1)
    positions = (corner + generator.uniform(-0.5, 0.5, (n_node, 3))) * box_size / n_mesh
    velocities = np.zeros((n_node, 3))
    velocities[:, 2] = 100 * beta * displacement.ravel()[cells]
    return Cloud(positions, velocities, box_size)


def test_redshift_space_of_a_linear_field_has_the_monopole_of_kaiser():
    beta, edges = 0.6, np.array([6.0, 12.0, 18.0, 24.0])
    ratios, quadrupoles = [], []
    for seed in (21, 22, 23):
        cloud = gaussian_cloud(beta, seed)
        seen = multipoles(redshift_space(cloud).positions, cloud.box_size, edges)
        ratios.append(seen[0] / correlation(cloud.positions, cloud.box_size, edges))
        quadrupoles.append(seen[1])
    kaiser = 1 + 2 * beta / 3 + beta**2 / 5
    assert np.mean(ratios) == pytest.approx(kaiser, rel=0.1)
    assert (np.mean(quadrupoles, axis=0) < 0).all()  # coherent infall squeezes along the line of sight


def test_redshift_map_shifts_by_the_hubble_law_and_leaves_its_input():
    nodes, velocities = uniform(20, 17), 300 * np.random.default_rng(18).standard_normal((20, 3))
    cloud = Cloud(nodes, velocities, L, cosmology={"Omega_m": 0.3}, redshift=1.0)
    before = cloud.positions.copy()
    seen = redshift_space(cloud, axis=1)
    e = np.sqrt(0.3 * 8 + 0.7)
    np.testing.assert_allclose(seen.positions[:, 1], (nodes[:, 1] + velocities[:, 1] * 2 / (100 * e)) % L)
    np.testing.assert_array_equal(seen.positions[:, [0, 2]], before[:, [0, 2]])
    np.testing.assert_array_equal(cloud.positions, before)
    seen.positions[:] = 0
    np.testing.assert_array_equal(cloud.positions, before)


@pytest.mark.parametrize("suite", SHIPPED)
def test_binnings_are_those_of_script_and_paper(suite):
    low, high, n_edge = SHIPPED[suite]
    edges = binning(suite)
    assert (edges[0], edges[-1], len(edges)) == (pytest.approx(low), pytest.approx(high), n_edge)
    np.testing.assert_allclose(np.diff(np.log(edges)), np.log(high / low) / (n_edge - 1))
    assert len(binning(suite, "paper")) == 26
    assert binning(suite, "paper")[0] == pytest.approx(PAPER[suite][0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pair_counts(uniform(9, 3), L, np.array([1.0, 21.0])), "up to half the box"),
        (lambda: pair_counts(uniform(9, 3), L, np.array([2.0, 1.0])), "increasing edges"),
        (lambda: pair_counts(uniform(9, 3) + L, L, EDGES), "wrap them"),
        (lambda: pair_counts(uniform(9, 3)[:, :2], L, EDGES), "three columns"),
        (lambda: correlation(uniform(1, 3), L, EDGES), "at least 2 nodes"),
        (lambda: pair_statistics(uniform(9, 3), L, np.array([0.0, 2.0])), "above 0"),
        (lambda: multipoles(uniform(9, 3), L, EDGES, (1,)), "orders among"),
        (lambda: redshift_space(Cloud(uniform(9, 3), np.zeros((9, 3)), L, redshift=1.0)), "Omega_m"),
        (lambda: binning("illustris"), "camels-sam"),
    ],
)
def test_bad_input_is_told_in_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()
