"""Lookups: exact where interpolation is exact, honest where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from sciml_acoustics.data import Medium, Waves
from sciml_acoustics.lookup import Lookup, scattered_interpolation


def grid(*counts):
    axes = [np.linspace(0.2 * axis, 1.0 + axis, n) for axis, n in enumerate(counts)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(counts))


def waves_at(source, function=None, n_node=3):
    node = np.random.default_rng(89).uniform(size=(n_node, source.shape[1]))
    pressure = np.zeros((len(source), 2, n_node)) if function is None else function(source)
    return Waves(source, node, np.ones(n_node), np.arange(2.0), pressure.astype(np.float32), Medium())


def scattered(n_axis, n=40):
    rng = np.random.default_rng(97)
    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * n_axis, indexing="ij"), -1).reshape(-1, n_axis)
    return np.concatenate([corners, rng.uniform(size=(n, n_axis))])


@pytest.mark.parametrize("kind", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("source", [grid(6), grid(5, 6), grid(4, 5, 4), scattered(2), scattered(3)])
def test_lookup_reproduces_the_training_sources_in_any_order(kind, source):
    source = np.random.default_rng(101).permutation(source)
    weights = Lookup(waves_at(source), kind).weights(source)
    np.testing.assert_allclose(weights, np.eye(len(source)), atol=1e-8)


@pytest.mark.parametrize("source", [grid(5), grid(4, 6), grid(3, 4, 5), scattered(2), scattered(3)])
@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_linear_and_cubic_lookups_reproduce_affine_dependence_on_the_source(kind, source):
    rng = np.random.default_rng(103)
    low, high = source.min(0), source.max(0)
    wanted, slope = rng.uniform(low, high, (20, source.shape[1])), rng.normal(size=source.shape[1])
    weights = Lookup(waves_at(source), kind).weights(wanted)
    np.testing.assert_allclose(
        weights @ (source @ slope + 2.0), wanted @ slope + 2.0, atol=1e-6 if kind == "cubic" else 1e-8
    )
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-9)


@pytest.mark.parametrize("counts", [(7,), (5, 7), (4, 5, 6)])
def test_cubic_lookup_reproduces_cubic_polynomials_on_a_grid(counts):
    source = grid(*counts)
    wanted = np.random.default_rng(107).uniform(source.min(0), source.max(0), (20, len(counts)))

    def cubic(x):
        return (x**3 - 2 * x**2 + 0.5 * x).prod(1)

    np.testing.assert_allclose(
        Lookup(waves_at(source), "cubic").weights(wanted) @ cubic(source), cubic(wanted), atol=1e-9
    )
    linear = Lookup(waves_at(source), "linear").weights(wanted) @ cubic(source)
    assert np.abs(linear - cubic(wanted)).max() > 1e-3


def test_lookup_outside_the_hull_of_scattered_sources_takes_the_nearest():
    source = np.random.default_rng(109).uniform(0.3, 0.7, (25, 2))
    for kind in ("linear", "cubic"):
        weights = Lookup(waves_at(source), kind).weights(np.array([[0.0, 0.0]]))
        assert weights.argmax() == np.linalg.norm(source, axis=1).argmin()
        assert weights.sum() == weights.max() == 1.0


@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_lookup_in_a_plane_of_a_3d_room_interpolates_in_that_plane(kind):
    plane = np.concatenate([grid(4, 5), np.full((20, 1), 1.2)], 1)
    wanted = np.random.default_rng(113).uniform([0, 0.2, 1.1], [1, 2, 1.3], (6, 3))
    found = Lookup(waves_at(plane), kind).weights(wanted)
    np.testing.assert_allclose(found, Lookup(waves_at(plane[:, :2]), kind).weights(wanted[:, :2]), atol=1e-12)


@pytest.mark.parametrize("source", [np.ones((1, 2)), np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])])
@pytest.mark.parametrize("kind", ["nearest", "linear", "cubic"])
def test_lookup_with_too_few_sources_to_interpolate_takes_the_nearest(kind, source):
    weights = Lookup(waves_at(source), kind).weights(np.array([[0.1, 0.2], [1.9, 1.8]]))
    nearest = np.eye(len(source))[[0, -1]]
    np.testing.assert_array_equal(weights, nearest)


def test_lookup_predicts_through_half_precision_and_counts_its_bytes(small):
    table = Lookup(small.train, "cubic")
    assert table.n_bytes == 2 * small.train.pressure.size
    found = table.predict(small.train.source_position[3:5])
    np.testing.assert_allclose(found, small.train.pressure[3:5], atol=6e-4)


def test_lookup_at_receivers_is_the_matrix_applied_to_the_nodes(small):
    table, points = Lookup(small.train, "linear"), np.array([[0.33, 0.4], [1.2, 1.9]])
    at = small.mesh.interpolation(points)
    source = small.test.source_position
    np.testing.assert_allclose(
        table.predict(source, at), table.predict(source) @ at.toarray().T.astype(np.float32), atol=1e-6
    )


def test_grid_of_sources_in_single_precision_is_still_a_grid():
    exact = grid(5, 6)
    noisy = exact + 1e-7 * np.random.default_rng(137).uniform(-1, 1, exact.shape)
    wanted = np.random.default_rng(139).uniform(exact.min(0), exact.max(0), (8, 2))
    found, truth = (Lookup(waves_at(source), "cubic").weights(wanted) for source in (noisy, exact))
    np.testing.assert_allclose(found, truth, atol=1e-5)


@pytest.mark.parametrize("n_axis", [1, 2, 3])
def test_scattered_interpolation_reproduces_affine_fields_and_nodes(n_axis):
    nodes = scattered(n_axis)
    rng = np.random.default_rng(127)
    points, slope = rng.uniform(size=(30, n_axis)), rng.normal(size=n_axis)
    matrix = scattered_interpolation(nodes, points)
    np.testing.assert_allclose(matrix @ (nodes @ slope - 1.0), points @ slope - 1.0, atol=1e-12)
    np.testing.assert_allclose(scattered_interpolation(nodes, nodes).toarray(), np.eye(len(nodes)), atol=1e-9)


@pytest.mark.parametrize("n_axis", [1, 2])
def test_scattered_interpolation_bears_nodes_that_coincide(n_axis):
    """Discontinuous elements repeat the nodes on their faces."""
    nodes = np.repeat(scattered(n_axis), 2, axis=0)
    points = np.random.default_rng(131).uniform(size=(9, n_axis))
    matrix = scattered_interpolation(nodes, points)
    np.testing.assert_allclose(matrix @ nodes, points, atol=1e-12)


@pytest.mark.parametrize("n_axis", [1, 2, 3])
def test_scattered_interpolation_outside_the_hull_takes_the_nearest_node(n_axis):
    nodes = scattered(n_axis)
    matrix = scattered_interpolation(nodes, np.full((1, n_axis), 1.5)).toarray()
    corner = np.flatnonzero((nodes == 1.0).all(1))[0]
    assert matrix[0, corner] == 1.0
    assert np.abs(matrix).sum() == 1.0
