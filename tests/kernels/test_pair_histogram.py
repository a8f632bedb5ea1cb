"""Pair counts of a periodic box: every pair once, in the bin that its distance lies in, to the last one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sciml_kernels import use_backend
from sciml_kernels.pair_histogram import numba_kernel, pair_histogram

CUBE, BRICK = (1.0, 1.0, 1.0), (1.0, 1.7, 0.6)


def scattered(seed, n_node, sides):
    return torch.rand(n_node, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * torch.tensor(
        sides
    )


def clumped(seed, n_node, sides):
    points = scattered(seed, n_node, sides)
    noise = torch.randn(n_node, 3, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    points = torch.where(torch.arange(n_node)[:, None] % 2 == 0, points, points[0] + 0.02 * noise)
    points[-3:] = points[:3]
    return points


def brute_force(points, sides, edges, n_mu=1):
    """Count pairs in a histogram of numpy's, whose last bin alone holds its upper edge."""
    x = points.numpy() % np.array(sides)
    counts, sums = np.zeros((len(edges) - 1, n_mu), int), np.zeros((len(edges) - 1, 2))
    for i in range(len(x)):
        apart = np.abs(x[i + 1 :] - x[i])
        apart = np.minimum(apart, np.array(sides) - apart)
        d = np.sqrt((apart**2).sum(1))
        mu = np.divide(apart[:, 2], d, out=np.zeros_like(d), where=d > 0)
        counts += np.histogram2d(d, mu, [edges, np.linspace(0, 1, n_mu + 1)])[0].astype(int)
        for p in (0, 1):
            sums[:, p] += np.histogram(d, edges, weights=d ** (2 * p + 2))[0]
    return counts, sums


@pytest.mark.parametrize("draw", [scattered, clumped])
@pytest.mark.parametrize("sides", [CUBE, BRICK])
@pytest.mark.parametrize("edges", [[0.0, 0.013, 0.05, 0.11], np.geomspace(0.003, 0.29, 21), np.linspace(0, 0.3, 128)])
def test_pair_histogram_is_the_histogram_of_all_distances(draw, sides, edges):
    points = draw(101, 260, sides)
    wanted, powers = brute_force(points, sides, edges)
    counts, sums = pair_histogram(points, sides, list(edges))
    assert np.array_equal(counts.numpy(), wanted[:, 0])
    assert counts.sum() > 0
    np.testing.assert_allclose(sums.numpy(), powers, rtol=1e-12)


@pytest.mark.parametrize(("sides", "longest"), [(CUBE, 0.5), (BRICK, 0.12)])
def test_bins_of_mu_split_the_counts_by_the_cosine_to_the_line_of_sight(sides, longest):
    points, edges = clumped(102, 300, sides), np.geomspace(0.01, longest, 6)
    wanted, _ = brute_force(points, sides, edges, n_mu=7)
    counts, _ = pair_histogram(points, sides, edges.tolist(), n_mu=7)
    assert np.array_equal(counts.numpy(), wanted)
    assert torch.equal(counts.sum(1), pair_histogram(points, sides, edges.tolist())[0])


def test_pairs_along_and_across_the_line_of_sight_are_in_the_last_and_the_first_bin():
    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.125], [0.25, 0.0, 0.125]])
    counts, _ = pair_histogram(points, 1.0, [0.1, 0.2, 0.26, 0.3], n_mu=4)
    # two legs of a triangle, and its hypotenuse with a cosine of 1 / sqrt(5)
    assert counts.tolist() == [[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]]


def test_bins_hold_their_lower_edge_and_not_their_upper_one():
    """Distances on a lattice are equal to edges to the bit; the shells of the cubic lattice are known."""
    axis = torch.arange(8, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis, axis)
    counts, sums = pair_histogram(points, 8.0, [1.0, math.sqrt(2) * (1 - 1e-15), 1.8, 2.0, 3.0])
    shells = {1: 6, 2: 12, 3: 8, 4: 6, 5: 24, 6: 24, 8: 12}  # neighbours by squared distance
    bins = [(1,), (2, 3), (), (4, 5, 6, 8)]
    assert counts.tolist() == [512 * sum(shells[s] for s in shell) // 2 for shell in bins]
    assert sums[:, 0].tolist() == [512 * sum(s * shells[s] for s in shell) / 2 for shell in bins]
    assert sums[:, 1].tolist() == [512 * sum(s * s * shells[s] for s in shell) / 2 for shell in bins]


def test_points_at_one_place_are_pairs_of_distance_zero_and_of_mu_zero():
    points = torch.full((9, 3), 0.25)
    counts, sums = pair_histogram(points, 1.0, [0.0, 0.1, 0.2], n_mu=3)
    assert counts.tolist() == [[36, 0, 0], [0, 0, 0]]
    assert not sums.any()
    assert not pair_histogram(points, 1.0, [1e-9, 0.2])[0].any()


def test_every_pair_within_half_the_box_counts_once():
    points = 0.2 * scattered(103, 400, CUBE)
    assert pair_histogram(points, 1.0, [0.0, 0.5])[0].tolist() == [400 * 399 // 2]


def test_counts_of_uniform_points_are_the_volumes_of_the_shells():
    n_node, edges = 20_000, np.array([0.01, 0.03, 0.06, 0.1])
    counts, _ = pair_histogram(scattered(104, n_node, CUBE), 1.0, edges.tolist())
    expected = n_node * (n_node - 1) / 2 * 4 / 3 * np.pi * np.diff(edges**3)
    assert (np.abs(counts.numpy() - expected) < 4 * np.sqrt(expected)).all()


def test_counts_do_not_change_with_the_order_or_through_the_faces():
    points, edges = clumped(105, 300, BRICK), [0.0, 0.05, 0.1, 0.25]
    wanted, _ = pair_histogram(points, BRICK, edges)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(106))
    assert torch.equal(pair_histogram(points[order], BRICK, edges)[0], wanted)
    assert torch.equal(pair_histogram(points + torch.tensor([0.3, -2.0, 0.71]), BRICK, edges)[0], wanted)


def test_counts_of_a_batch_are_those_of_its_clouds():
    clouds, edges = [clumped(107 + n, n, BRICK) for n in (600, 3, 77)], [0.02, 0.1, 0.15]
    together = pair_histogram(torch.cat(clouds), BRICK, edges, torch.tensor([0, 600, 600, 603, 680]), n_mu=2)
    for found, cloud in zip((0, 2, 3), clouds, strict=True):
        counts, sums = pair_histogram(cloud, BRICK, edges, n_mu=2)
        assert torch.equal(together[0][found], counts)
        torch.testing.assert_close(together[1][found], sums, rtol=1e-13, atol=0)
    assert not together[0][1].any()


def test_pairs_across_two_sets_are_those_of_both_less_those_of_each():
    data, randoms, edges = scattered(108, 90, CUBE), scattered(109, 150, CUBE), [0.0, 0.1, 0.2]
    both, first, second = (pair_histogram(x, 1.0, edges)[0] for x in (torch.cat([data, randoms]), data, randoms))
    apart = (data[:, None] - randoms).abs()
    square = torch.minimum(apart, 1 - apart).square().sum(-1)
    assert (both - first - second).tolist() == [
        int((square < 0.01).sum()),
        int(((square >= 0.01) & (square < 0.04)).sum()),
    ]


def test_threads_return_the_bits_of_one(monkeypatch):
    points, edges = clumped(110, 1500, BRICK), np.geomspace(0.01, 0.3, 9).tolist()
    serial = pair_histogram(points, BRICK, edges, n_mu=3)
    monkeypatch.setattr(numba_kernel, "PARALLEL_FROM", 1)
    assert all(torch.equal(a, b) for a, b in zip(pair_histogram(points, BRICK, edges, n_mu=3), serial, strict=True))


def test_kernel_and_reference_agree_to_the_last_pair_where_distances_equal_edges():
    axis = torch.arange(7, dtype=torch.float64) / 7 + 1 / 3
    points = torch.cartesian_prod(axis, axis, axis)
    edges = [k / 7 for k in range(4)]
    counts, _ = pair_histogram(points, 1.0, edges, n_mu=10)
    with use_backend("reference"):
        assert torch.equal(pair_histogram(points, 1.0, edges, n_mu=10)[0], counts)


def test_table_never_begins_above_the_bin():
    """Whatever the edges: the entry of a squared distance is its bin, or one that the search upwards passes."""
    generator = np.random.default_rng(111)
    for edges in ([0.0, 0.5, 3.0], [0.5, 1.0, 2.0], np.geomspace(1e-9, 1e3, 40), np.sort(generator.uniform(0, 9, 300))):
        squares = np.square(edges)
        table, base = numba_kernel._table(squares)
        low, high = max(squares[0], 1e-30), squares[-1]
        tried = np.concatenate([generator.uniform(low, high, 500), np.geomspace(low, 0.999 * high, 500), squares[:-1]])
        entry = table[np.maximum((tried.view(np.int64) >> numba_kernel.SHIFT) - base, 0)]
        bins = np.searchsorted(squares, tried, "right") - 1
        assert (entry <= bins).all()


POINTS = scattered(112, 10, CUBE)
BAD = [
    (lambda: pair_histogram(POINTS, 1.0, [0.1]), "expected two or more rising edges from zero on, got"),
    (lambda: pair_histogram(POINTS, 1.0, [0.1, 0.1]), "expected two or more rising edges"),
    (lambda: pair_histogram(POINTS, 1.0, [-0.1, 0.1]), "expected two or more rising edges"),
    (lambda: pair_histogram(POINTS, 1.0, [0.1, float("nan")]), "expected two or more rising edges"),
    (lambda: pair_histogram(POINTS, BRICK, [0.1, 0.31]), "expected the last edge above 0 and at most 0.3, half the"),
    (lambda: pair_histogram(POINTS, 1.0, [0.1, 0.2], n_mu=0), "expected n_mu of one or more, got 0"),
    (lambda: pair_histogram(POINTS * torch.nan, 1.0, [0.1, 0.2]), "expected finite positions, got 10 of 10 nodes"),
    (lambda: pair_histogram(POINTS, 1.0, [0.1, 0.2], torch.tensor([1, 10])), "expected pointer rising from 0 to 10"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_input_of_pair_histogram_is_told_in_a_sentence(case):
    call, sentence = BAD[case]
    with pytest.raises(ValueError, match=f"pair_histogram: {sentence}"):
        call()
