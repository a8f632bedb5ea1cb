"""Painting and reading are adjoint, conserve what they must, and give the same bits on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_kernels.mesh_paint import mesh_paint
from sciml_kernels.mesh_paint.numba_kernel import paint, sort, taps
from sciml_kernels.mesh_read import mesh_read, mesh_slope

SHAPE = (12, 5, 9)
each_window = pytest.mark.parametrize("window", ["cic", "tsc"])


def particles(n_node=200, n_channel=2, seed=11, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    positions = torch.tensor(SHAPE) * (3 * torch.rand(n_node, 3, generator=generator, dtype=dtype) - 1)
    return positions, torch.randn(n_channel, n_node, generator=generator, dtype=dtype)


def field(n_channel=2, seed=12):
    return torch.randn(n_channel, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@each_window
def test_reading_is_the_adjoint_of_painting(window):
    (positions, weights), mesh = particles(), field()
    painted = (mesh_paint(positions, weights, SHAPE, window) * mesh).sum()
    read = (weights * mesh_read(mesh, positions, window)).sum()
    assert torch.isclose(painted, read, rtol=1e-12)


@each_window
def test_painting_conserves_the_weight_and_reading_a_constant(window):
    positions, weights = particles()
    mesh = mesh_paint(positions, weights, SHAPE, window)
    assert torch.allclose(mesh.sum((1, 2, 3)), weights.sum(1), rtol=1e-12, atol=1e-12)
    constant = torch.full((1, *SHAPE), 2.5, dtype=torch.float64)
    assert torch.allclose(mesh_read(constant, positions, window), constant[0, 0, 0, 0], rtol=1e-14)


@each_window
def test_painting_conserves_the_centre_of_mass(window):
    """Both windows reproduce linear functions: the first moment on the mesh is that of the particles."""
    positions = torch.tensor([[4.3, 2.2, 3.9], [5.8, 1.7, 4.4]], dtype=torch.float64)
    weights = torch.tensor([[1.5, 0.5]], dtype=torch.float64)
    mesh = mesh_paint(positions, weights, SHAPE, window)[0]
    for axis, n in enumerate(SHAPE):
        rest = [other for other in range(3) if other != axis]
        moment = (mesh.sum(rest) * torch.arange(n)).sum()
        assert torch.isclose(moment, (weights[0] * positions[:, axis]).sum(), rtol=1e-13)


@each_window
def test_moving_particles_by_a_cell_rolls_the_mesh(window):
    positions, weights = particles(dtype=torch.float64)
    moved = mesh_paint(positions + torch.tensor([1.0, -2.0, 9.0]), weights, SHAPE, window)
    rolled = mesh_paint(positions, weights, SHAPE, window).roll((1, -2, 9), (1, 2, 3))
    assert torch.allclose(moved, rolled, atol=1e-12)


@each_window
def test_slope_is_the_derivative_of_what_is_read(window):
    (positions, _), mesh, step = particles(50), field(), 1e-6
    slopes = mesh_slope(mesh, positions, window)
    for axis in range(3):
        move = torch.zeros(3, dtype=torch.float64)
        move[axis] = step
        rise = mesh_read(mesh, positions + move, window) - mesh_read(mesh, positions - move, window)
        assert torch.allclose(rise / (2 * step), slopes[:, :, axis], atol=1e-7)


def test_a_particle_on_a_point_goes_to_that_point_alone():
    mesh = mesh_paint(torch.tensor([[3.0, 4.0, 8.0]]), torch.ones(1, 1), SHAPE, "cic")[0]
    assert mesh[3, 4, 8] == 1
    assert int((mesh != 0).sum()) == 1


@each_window
def test_sums_have_one_order_on_any_number_of_threads(window):
    positions, weights = (tensor.numpy() for tensor in particles(5000, dtype=torch.float32))
    order, begin = sort(positions, SHAPE[0], 6, len(taps(window)))
    meshes = [np.zeros((2, *SHAPE), np.float32) for _ in range(2)]
    for form, mesh in enumerate(meshes):
        paint[form](mesh.reshape(-1), positions, weights, order, begin, SHAPE, taps(window))
    assert (meshes[0] == meshes[1]).all()
    assert sorted(order) == list(range(5000))


def test_what_is_no_number_spoils_only_what_it_touches():
    positions, weights = particles(20, 1)
    positions[3, 1] = float("nan")
    values = mesh_read(field(1), positions)
    assert values.isnan().sum() == 1
    assert mesh_paint(positions, weights, SHAPE).isnan().any()


def test_wrong_arguments_are_told_in_a_sentence():
    positions, weights = particles(4)
    with pytest.raises(ValueError, match=r"mesh_paint: expected window cic or tsc, got 'ngp'"):
        mesh_paint(positions, weights, SHAPE, "ngp")
    with pytest.raises(ValueError, match=r"mesh_paint: expected three lengths of at least 1 as shape, got \(4, 0, 4\)"):
        mesh_paint(positions, weights, (4, 0, 4))
    with pytest.raises(ValueError, match=r"mesh_paint: expected weights of shape \(channel=2, node=4\), got \(2, 3\)"):
        mesh_paint(positions, weights[:, :3], SHAPE)
    with pytest.raises(ValueError, match=r"mesh_read: expected mesh of shape \(channel, n_x, n_y, n_z\)"):
        mesh_read(field()[0], positions)
    with pytest.raises(ValueError, match=r"mesh_read: expected a mesh with at least one point along each axis"):
        mesh_read(torch.zeros(1, 3, 0, 3, dtype=torch.float64), positions)
