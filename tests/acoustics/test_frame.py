"""The cosine frame: spectral accuracy, gradients, counts, and the weighted fit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sciml_acoustics.frame import CosineFrame, weighted_fit


def band_limited(points, k, seed=11):
    """A sum of plane waves of wave number `k` in random directions at `points` (n, d)."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(12, points.shape[1]))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return np.cos(k * points @ direction.T + rng.uniform(0, 2 * np.pi, 12)).sum(1)


def features(frame, points):
    return frame(torch.as_tensor(points)).numpy()


def fit_error(low, high, k, k_max, margin, inside=lambda x: np.ones(len(x), bool)):
    """Relative error off the nodes of a field of wave number `k`, fitted at scattered nodes."""
    rng = np.random.default_rng(5)
    draw = rng.uniform(low, high, (4000, len(low)))
    nodes, points = draw[:3000][inside(draw[:3000])], draw[3000:][inside(draw[3000:])]
    frame = CosineFrame(low, high, k_max, margin)
    fitted = weighted_fit(features(frame, nodes), band_limited(nodes, k)[:, None], np.ones(len(nodes)), 1e-10)
    truth = band_limited(points, k)
    return np.linalg.norm((features(frame, points) @ fitted)[:, 0] - truth) / np.linalg.norm(truth)


def test_frame_represents_band_limited_fields_spectrally():
    errors = [fit_error((0.0, 0.0), (2.0, 1.5), 8.0, k_max, 0.4) for k_max in (6.0, 10.0, 14.0, 18.0)]
    assert errors[0] > 0.05  # the field is not in the band yet
    assert all(later < earlier / 8 for earlier, later in itertools.pairwise(errors))
    assert errors[-1] < 1e-4


def test_frame_knows_nothing_of_walls_an_l_shape_is_as_good():
    def inside(x):
        return ~((x[:, 0] > 1.0) & (x[:, 1] > 1.0))

    assert fit_error((0.0, 0.0), (2.0, 2.0), 8.0, 18.0, 0.4, inside) < 1e-4


def test_frame_fit_is_as_good_off_the_nodes_as_on_them():
    rng = np.random.default_rng(17)
    nodes, points = rng.uniform(0, 2, (900, 2)), rng.uniform(0, 2, (300, 2))
    frame = CosineFrame((0.0, 0.0), (2.0, 2.0), 14.0, 0.5)
    fitted = weighted_fit(features(frame, nodes), band_limited(nodes, 8.0)[:, None], np.ones(900), 1e-8)
    on, off = (
        np.linalg.norm((features(frame, x) @ fitted)[:, 0] - band_limited(x, 8.0)) / np.sqrt(len(x))
        for x in (nodes, points)
    )
    assert off < 3 * on + 1e-9


@pytest.mark.parametrize("n_axis", [1, 2, 3])
def test_frame_counts_the_orders_inside_the_ball(n_axis):
    low, high, k_max, margin = [0.0, 0.5, -1.0][:n_axis], [2.0, 2.0, 0.2][:n_axis], 9.0, 0.3
    frame = CosineFrame(low, high, k_max, margin)
    lengths = np.array(high) - low + 2 * margin
    orders = np.stack(np.meshgrid(*[np.arange(12)] * n_axis, indexing="ij"), -1).reshape(-1, n_axis)
    expected = orders[((np.pi * orders / lengths) ** 2).sum(1) <= k_max**2]
    assert frame.n_features == len(expected)
    assert set(map(tuple, frame.orders.T.tolist())) == set(map(tuple, expected.tolist()))
    x = np.random.default_rng(2).uniform(low, high, (7, n_axis))
    direct = np.cos(np.pi * (x - np.array(low) + margin)[:, None, :] * frame.orders.numpy().T / lengths).prod(-1)
    np.testing.assert_allclose(features(frame, x), direct, atol=1e-13)


def test_frame_gradient_in_position_equals_central_differences():
    frame = CosineFrame((0.0, 0.0), (2.0, 1.0), 12.0, 0.3)
    x = torch.tensor([[0.31, 0.77], [1.6, 0.02]], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda y: frame(y).sum(0), x)
    step = 1e-6
    for point in range(2):
        for axis in range(2):
            moved = torch.zeros_like(x)
            moved[point, axis] = step
            numeric = ((frame(x + moved) - frame(x - moved)) / (2 * step)).sum(0)
            torch.testing.assert_close(jacobian[:, point, axis], numeric, rtol=0, atol=1e-7)


def test_frame_gradient_method_equals_autograd():
    frame = CosineFrame((0.0, 0.0, 0.0), (2.0, 1.0, 0.7), 9.0, 0.3)
    x = torch.tensor([[0.31, 0.77, 0.1], [1.6, 0.02, 0.6]], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda y: frame(y).sum(0), x)  # (feature, receiver, axis)
    torch.testing.assert_close(frame.gradient(x), jacobian.permute(2, 1, 0), rtol=0, atol=1e-12)


def test_weighted_fit_solves_the_weighted_normal_equations():
    rng = np.random.default_rng(23)
    a, b, w = rng.normal(size=(40, 6)), rng.normal(size=(40, 3)), rng.uniform(0.1, 2, 40)
    np.testing.assert_allclose(weighted_fit(a, b, w), np.linalg.solve((a.T * w) @ a, (a.T * w) @ b), atol=1e-12)


def test_weighted_fit_leaves_out_directions_below_the_cutoff():
    rng = np.random.default_rng(29)
    column = rng.normal(size=(30, 1))
    twin = np.concatenate([column, column * (1 + 1e-9 * rng.normal(size=(30, 1)))], 1)
    fitted = weighted_fit(twin, column, np.ones(30), 1e-6)
    np.testing.assert_allclose(fitted[:, 0], [0.5, 0.5], atol=1e-6)  # shared, not blown up
