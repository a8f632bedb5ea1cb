"""Neighbours in a periodic box: all of them, no other ones, in one order, whatever the points and the box."""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from sciml_kernels import use_backend
from sciml_kernels.knn_graph import knn_graph
from sciml_kernels.radius_graph import radius_graph
from sciml_kernels.radius_graph.cells import RUNS, grid, walk
from sciml_kernels.radius_graph.points import wrap

CUBE, BRICK = (1.0, 1.0, 1.0), (1.0, 1.7, 0.6)


def brute_force(positions, sides, radius, pointer, loop=False):
    """Compare every point with the 27 images of every other one."""
    x, side = positions.numpy() % np.array(sides), np.array(sides)
    images = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3) * side
    edges, vectors = [], []
    for first, last in pairwise(pointer):
        for i in range(first, last):
            for j in range(first, last):
                apart = x[j] - x[i] + images
                at = (apart**2).sum(1).argmin()
                if (apart[at] ** 2).sum() <= radius**2 and (loop or i != j):
                    edges.append((j, i))
                    vectors.append(apart[at])
    return np.array(edges, int).reshape(-1, 2).T, np.array(vectors).reshape(-1, 3)


def scattered(seed, n_node, sides):
    return torch.rand(n_node, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * torch.tensor(
        sides
    )


def clumped(seed, n_node, sides):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(4, 3, generator=generator, dtype=torch.float64).repeat(n_node // 4 + 1, 1)[:n_node]
    return (centres + 0.03 * torch.randn(n_node, 3, generator=generator, dtype=torch.float64)) * torch.tensor(sides)


def duplicated(seed, n_node, sides):
    points = scattered(seed, n_node, sides)
    points[1::2] = points[: len(points[1::2])]
    return points


def on_the_faces(seed, n_node, sides):
    points = scattered(seed, n_node, sides)
    for axis, side in enumerate(sides):
        points[axis::5, axis] = 0.0
        points[axis + 1 :: 7, axis] = side
    return points


@pytest.mark.parametrize("draw", [scattered, clumped, duplicated, on_the_faces])
@pytest.mark.parametrize(("sides", "radius"), [(CUBE, 0.05), (CUBE, 0.24), (CUBE, 0.45), (BRICK, 0.15), (BRICK, 0.29)])
def test_radius_graph_is_every_pair_of_nearest_images_within_the_radius(draw, sides, radius):
    points, pointer = draw(71, 83, sides), torch.tensor([0, 40, 40, 83])
    vectors, edges, rows = radius_graph(points, sides, radius, pointer)
    wanted, apart = brute_force(points, sides, radius, pointer.tolist())
    assert np.array_equal(edges.numpy(), wanted)
    np.testing.assert_allclose(vectors.numpy(), apart, atol=1e-15)
    assert np.array_equal(rows.numpy(), np.searchsorted(wanted[1], np.arange(84)))


def test_radius_graph_has_the_nodes_themselves_where_asked():
    points = scattered(72, 31, CUBE)
    wanted, _ = brute_force(points, CUBE, 0.3, [0, 31], loop=True)
    vectors, edges, _ = radius_graph(points, 1.0, 0.3, loop=True)
    assert np.array_equal(edges.numpy(), wanted)
    assert (vectors[edges[0] == edges[1]] == 0).all()


def test_radius_graph_has_no_largest_number_of_neighbours():
    _, edges, rows = radius_graph(0.01 * scattered(73, 500, CUBE), 1.0, 0.1)
    assert edges.shape == (2, 500 * 499)
    assert (rows.diff() == 499).all()


def test_radius_graph_is_symmetric_even_where_distances_equal_the_radius():
    """A lattice, moved by a third: the distance of neighbours is the radius, up to the rounding of each pair."""
    axis = torch.arange(6, dtype=torch.float64) / 6 + 1 / 3
    points = torch.cartesian_prod(axis, axis, axis)
    _, edges, _ = radius_graph(points, 1.0, 1 / 6)
    forth, back = edges[0] * 216 + edges[1], edges[1] * 216 + edges[0]
    assert edges.shape[1] > 0
    assert torch.equal(forth.sort().values, back.sort().values)
    with use_backend("reference"):
        assert torch.equal(radius_graph(points, 1.0, 1 / 6)[1], edges)


def test_radius_graph_of_permuted_nodes_is_the_permuted_graph():
    points = clumped(74, 120, CUBE)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(75))
    vectors, edges, _ = radius_graph(points, 1.0, 0.1)
    moved, renamed, _ = radius_graph(points[order], 1.0, 0.1)
    back = order[renamed]
    sorting = (back[1] * 120 + back[0]).argsort()
    assert torch.equal(back[:, sorting], edges)
    assert torch.equal(moved[sorting], vectors)


@pytest.mark.parametrize("shift", [(0.37, 0.0, 0.0), (-0.81, 0.66, 5.5)])
def test_radius_graph_does_not_change_when_all_nodes_move_through_the_faces(shift):
    points = scattered(76, 150, BRICK)
    vectors, edges, _ = radius_graph(points, BRICK, 0.2)
    moved, other, _ = radius_graph(points + torch.tensor(shift, dtype=torch.float64), BRICK, 0.2)
    assert torch.equal(edges, other)
    torch.testing.assert_close(moved, vectors, rtol=0, atol=1e-14)


def test_graph_of_a_batch_is_the_graphs_of_its_clouds():
    clouds = [clumped(77 + n, n, BRICK) for n in (60, 1, 33, 90)]
    pointer = torch.tensor([0, 60, 61, 94, 184])
    vectors, edges, rows = radius_graph(torch.cat(clouds), BRICK, 0.1, pointer)
    alone = [radius_graph(cloud, BRICK, 0.1) for cloud in clouds]
    assert torch.equal(vectors, torch.cat([one[0] for one in alone]))
    assert torch.equal(edges, torch.cat([one[1] + n for one, n in zip(alone, pointer, strict=False)], 1))
    assert torch.equal(rows.diff(), torch.cat([one[2].diff() for one in alone]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_edges_do_not_depend_on_the_type_the_same_positions_are_stored_in(dtype):
    points = scattered(78, 200, CUBE).to(dtype)
    assert torch.equal(radius_graph(points, 1.0, 0.125)[1], radius_graph(points.double(), 1.0, 0.125)[1])
    assert torch.equal(knn_graph(points, 1.0, 7)[1], knn_graph(points.double(), 1.0, 7)[1])


@pytest.mark.parametrize("op", ["radius_graph", "knn_graph"])
def test_threads_return_the_bits_of_one(op, monkeypatch):
    points = clumped(79, 700, BRICK)

    def run():
        return radius_graph(points, BRICK, 0.1) if op == "radius_graph" else knn_graph(points, BRICK, 9)

    serial = run()
    monkeypatch.setattr(importlib.import_module(f"sciml_kernels.{op}.numba_kernel"), "PARALLEL_FROM", 1)
    assert all(torch.equal(a, b) for a, b in zip(run(), serial, strict=True))


def test_gradient_of_vectors_is_that_of_differences_to_second_order():
    points = scattered(80, 14, BRICK).requires_grad_()
    for vectors in (lambda x: radius_graph(x, BRICK, 0.29)[0], lambda x: knn_graph(x, BRICK, 3)[0]):
        assert len(vectors(points)) > 10
        assert torch.autograd.gradcheck(vectors, (points,))
        assert torch.autograd.gradgradcheck(lambda x: vectors(x).pow(3), (points,))  # noqa: B023


def test_forces_of_a_pair_potential_are_opposite_and_add_up_to_zero():
    points = scattered(81, 60, CUBE).requires_grad_()
    vectors, _, _ = radius_graph(points, 1.0, 0.3)
    force = torch.autograd.grad((0.3 - vectors.norm(dim=1)).square().sum(), points)[0]
    assert force.abs().max() > 0.1
    assert force.sum(0).abs().max() < 1e-12


def nearest_by_force(points, sides, k):
    apart = (points[None] - points[:, None]).abs()
    apart = torch.minimum(apart, torch.tensor(sides) - apart)
    square = (apart[..., 0] ** 2 + apart[..., 1] ** 2) + apart[..., 2] ** 2
    square.fill_diagonal_(torch.inf)
    return torch.tensor([sorted(range(len(points)), key=lambda j: (row[j], j))[:k] for row in square.tolist()])


@pytest.mark.parametrize("draw", [scattered, clumped, duplicated, on_the_faces])
@pytest.mark.parametrize(("sides", "k"), [(CUBE, 1), (CUBE, 6), (BRICK, 5), (BRICK, 60)])
def test_knn_graph_is_the_k_least_distances_with_ties_by_number(draw, sides, k):
    points = draw(82, 61, sides)
    vectors, edges = knn_graph(points, sides, k)
    assert torch.equal(edges[0].reshape(61, k), nearest_by_force(wrap(points, sides), sides, k))
    assert torch.equal(edges[1], torch.arange(61).repeat_interleave(k))
    assert (vectors.norm(dim=1).reshape(61, k).diff(dim=1) >= -1e-15).all()


def test_knn_graph_of_a_lattice_takes_the_smallest_numbers():
    axis = torch.arange(5, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis, axis)
    for k in (3, 6, 10):
        _, edges = knn_graph(points, 5.0, k)
        assert torch.equal(edges[0].reshape(125, k), nearest_by_force(points, (5.0, 5.0, 5.0), k))


@pytest.mark.parametrize(("n", "k"), [(5, 3), (4, 40)])
def test_triton_search_takes_the_smallest_numbers_of_equal_distances(n, k, triton_device):
    """More neighbours than one walk over the cells looks for, too."""
    axis = torch.arange(n, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis, axis)
    with use_backend("triton"):
        _, edges = knn_graph(points.to(triton_device), float(n), k)
    assert torch.equal(edges[0].reshape(n**3, k).cpu(), nearest_by_force(points, (float(n),) * 3, k))


def test_knn_graph_of_a_batch_is_the_graphs_of_its_clouds():
    clouds = [clumped(84 + n, n, BRICK) for n in (60, 9, 33)]
    _, edges = knn_graph(torch.cat(clouds), BRICK, 8, torch.tensor([0, 60, 60, 69, 102]))
    alone = [knn_graph(cloud, BRICK, 8)[1] + n for cloud, n in zip(clouds, (0, 60, 69), strict=True)]
    assert torch.equal(edges, torch.cat(alone, 1))


def test_grid_has_cells_of_the_reach_and_not_many_more_than_nodes():
    assert grid((10.0, 5.0, 2.0), 0.99, 10**6, 1).tolist() == [10, 5, 1]
    for reach, n_node, n_cloud in [(1e-7, 1000, 1), (1e-3, 50, 7), (0.2, 0, 3)]:
        shape = grid((1.0, 0.1, 3.0), reach, n_node, n_cloud)
        assert n_cloud * shape.prod() <= 4 * n_node + 64
        assert all(n == 1 or (n > 2 and side / n >= reach) for n, side in zip(shape, (1.0, 0.1, 3.0), strict=True))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 4), (4, 3, 3), (5, 7, 1)])
def test_walk_visits_each_neighbouring_cell_of_the_cloud_once(shape):
    """Cells of one point each, so that a run of points is a run of cells."""
    n_cloud, n_cell = 2, int(np.prod(shape))
    start, runs = np.arange(n_cloud * n_cell + 1), np.empty((RUNS, 2), np.int64)
    around = [sorted({-1, 0, 1} if n > 1 else {0}) for n in shape]
    for cell in range(n_cloud * n_cell):
        n_run = walk(runs, cell, start, np.array(shape))
        visited = [point for low, high in runs[:n_run] for point in range(low, high)]
        own = np.unravel_index(cell % n_cell, shape)
        near = [(np.array(own) + step) % shape for step in itertools.product(*around)]
        wanted = [cell // n_cell * n_cell + np.ravel_multi_index(tuple(place), shape) for place in near]
        assert sorted(visited) == sorted(wanted)


POINTS = scattered(90, 10, CUBE)
BAD_POINTS = [
    (lambda: radius_graph(POINTS, 1.0, 0.51), ValueError, "expected radius above 0 and at most 0.5, half the shortest"),
    (lambda: radius_graph(POINTS, (1.0, 0.2, 1.0), 0.11), ValueError, "at most 0.1, half the shortest side, got 0.11"),
    (lambda: radius_graph(POINTS, 1.0, float("nan")), ValueError, "got nan"),
    (lambda: radius_graph(POINTS, -1.0, 0.1), ValueError, "expected box as one or three sides above 0, got -1.0"),
    (lambda: radius_graph(POINTS, (1.0, 1.0), 0.1), ValueError, "expected box as one or three sides"),
    (lambda: radius_graph(POINTS[:, :2], 1.0, 0.1), ValueError, r"expected positions of shape \(node=10, axis=3\)"),
    (lambda: radius_graph(POINTS[0], 1.0, 0.1), ValueError, r"expected positions of shape \(node, axis\)"),
    (lambda: radius_graph(POINTS.long(), 1.0, 0.1), TypeError, "expected positions of type float64, .* got int64"),
    (lambda: radius_graph(POINTS.numpy(), 1.0, 0.1), TypeError, "expected positions as a torch.Tensor, got ndarray"),
    (lambda: radius_graph(POINTS / 0, 1.0, 0.1), ValueError, "expected finite positions, got 10 of 10 nodes"),
    (lambda: radius_graph(POINTS, 1.0, 0.1, torch.tensor([0, 11])), ValueError, "from 0 to 10 nodes, got"),
    (lambda: radius_graph(POINTS, 1.0, 0.1, torch.tensor([0, 7, 5, 10])), ValueError, "expected pointer rising"),
    (
        lambda: radius_graph(POINTS, 1.0, 0.1, torch.tensor([0.0, 10.0])),
        TypeError,
        "expected pointer as int64 of shape",
    ),
    (lambda: radius_graph(POINTS, 1.0, 0.1, [0, 10]), TypeError, "expected pointer as int64 .* got list"),
    (lambda: radius_graph(POINTS, 1.0, 0.1, torch.tensor([0, 10]).to("meta")), ValueError, "expected pointer on cpu"),
    (lambda: knn_graph(POINTS, 1.0, 0), ValueError, "expected k of one or more, got 0"),
    (lambda: knn_graph(POINTS, 1.0, 10), ValueError, "expected more than k=10 nodes in every cloud, got one of 10"),
    (lambda: knn_graph(POINTS, 1.0, 4, torch.tensor([0, 4, 10])), ValueError, "more than k=4 nodes .* got one of 4"),
]


@pytest.mark.parametrize("case", range(len(BAD_POINTS)))
def test_bad_input_is_told_in_a_sentence(case):
    call, error, sentence = BAD_POINTS[case]
    with pytest.raises(error, match=f"_graph: .*{sentence}"):
        call()


def test_search_kernels_compile_for_a_gpu_that_is_not_here(tmp_path):
    pytest.importorskip("triton", reason="triton is not installed on this platform")
    # In a process of its own: here the kernels may have been loaded for the interpreter, which compiles nothing.
    code = """
from sciml_kernels.knn_graph.triton_kernel import knn_graph_kernel
from sciml_kernels.pair_histogram.triton_kernel import pair_histogram_kernel
from sciml_kernels.radius_graph.triton_kernel import radius_graph_kernel
from sciml_kernels.triton_tools import compile_ahead
reals = dict.fromkeys(("x", "lengths", "sums"), "*fp64")
integers = ("cell", "start", "row", "source", "counts", "order")
types = reals | dict.fromkeys(integers, "*i64")
for fill, capability in ((False, 80), (True, 90)):
    assert compile_ahead(radius_graph_kernel, types, {"FILL": fill, "LOOP": fill, "BLOCK": 64}, capability)
    assert compile_ahead(pair_histogram_kernel, types, {"BLOCK": 64, "COPIES": 64}, capability)
    assert compile_ahead(knn_graph_kernel, types, {"K": 16, "BLOCK": 64}, capability)
print("compiled")
"""
    kept = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment = {**kept, "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.strip() == "compiled", done.stderr
