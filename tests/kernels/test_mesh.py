"""Painting and reading are adjoint, conserve what they must, and give the same bits on any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from sciml_kernels import use_backend
from sciml_kernels.mesh_paint import mesh_paint
from sciml_kernels.mesh_paint.numba_kernel import paint, sort, taps
from sciml_kernels.mesh_paint.window import axis_terms, transform
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


@each_window
def test_transform_of_a_window_is_the_sum_of_its_weights_times_waves(window):
    """Averaged over the places of the particle in a cell, as the phase of the wave takes it: no alias is left."""
    n = 4000
    x, cycles = (torch.arange(n, dtype=torch.float64) + 0.5) / n, torch.tensor([0.0, 0.2, 0.5, 1.0, 1.3]).double()
    _, weights, _ = axis_terms(x, 10, window)
    whole = x.floor() if window == "cic" else (x + 0.5).floor() - 1
    apart = whole[:, None] + torch.arange(weights.shape[1]) - x[:, None]
    found = [(weights * (2 * torch.pi * cycle * apart).cos()).sum(1).mean() for cycle in cycles]
    assert torch.allclose(torch.stack(found), transform(cycles, window), atol=1e-6)


@each_window
def test_triton_reading_is_the_adjoint_of_triton_painting_on_the_faces_too(window, triton_device):
    (positions, weights), mesh = particles(61), field()
    positions[::4] = torch.tensor(SHAPE, dtype=torch.float64)
    positions[1::4, 0], positions[2::4, 1] = 0, SHAPE[1] - 1e-12
    positions, weights, mesh = (tensor.to(triton_device) for tensor in (positions, weights, mesh))
    with use_backend("triton"):
        painted, read = mesh_paint(positions, weights, SHAPE, window), mesh_read(mesh, positions, window)
        one, none = mesh_paint(positions[:1], weights[:, :1], SHAPE, window), mesh_read(mesh, positions[:0], window)
    assert torch.isclose((painted * mesh).sum(), (weights * read).sum(), rtol=1e-12)
    assert torch.allclose(painted.sum((1, 2, 3)), weights.sum(1), rtol=1e-12)
    assert torch.allclose(one.sum((1, 2, 3)), weights[:, 0], rtol=1e-12)
    assert none.shape == (2, 0)


@each_window
def test_triton_wraps_the_upper_face_onto_the_lower_one_to_the_bit(window, triton_device):
    generator = torch.Generator().manual_seed(13)
    turns = torch.randint(-2, 3, (40, 3), generator=generator).to(triton_device)
    cells = torch.randint(0, 12, (40, 3), generator=generator).to(triton_device) % torch.tensor(SHAPE).to(triton_device)
    weights, mesh = particles(40)[1].to(triton_device), field().to(triton_device)
    inside = (cells + 0.25).double()
    outside = inside + turns * torch.tensor(SHAPE).to(triton_device)
    with use_backend("triton"):
        for wrapped, x in ((inside, outside), (inside - 0.25, outside - 0.25)):
            assert torch.equal(mesh_paint(x, weights, SHAPE, window), mesh_paint(wrapped, weights, SHAPE, window))
            assert torch.equal(mesh_read(mesh, x, window), mesh_read(mesh, wrapped, window))


def test_triton_reads_no_number_where_a_particle_is_none(triton_device):
    positions, weights = (tensor.to(triton_device) for tensor in particles(20, 1))
    positions[3, 1] = float("nan")
    with use_backend("triton"):
        assert mesh_read(field(1).to(triton_device), positions).isnan().sum() == 1
        assert mesh_paint(positions, weights, SHAPE).isnan().any()


def test_mesh_kernels_compile_for_gpus_that_are_not_here(tmp_path):
    pytest.importorskip("triton", reason="triton is not installed on this platform")
    # In a process of its own: here the kernels may have been loaded for the interpreter, which compiles nothing.
    code = """
import triton.language as tl
from sciml_kernels.mesh_paint.triton_kernel import mesh_paint_kernel
from sciml_kernels.mesh_read.triton_kernel import mesh_read_kernel
from sciml_kernels.triton_tools import compile_ahead
half = dict.fromkeys(("mesh", "positions", "out"), "*bf16") | dict.fromkeys(("t", "weights"), "*fp32")
wide = dict.fromkeys(("mesh", "positions", "out", "t", "weights"), "*fp64")
for types, width, acc, capability in ((half, 2, tl.float32, 80), (wide, 3, tl.float64, 90)):
    constants = {"WIDTH": width, "ACC": acc, "BLOCK": 128}
    assert compile_ahead(mesh_paint_kernel, {"start": "*i64", **types}, constants, capability)
    assert compile_ahead(mesh_read_kernel, types, {"SLOPE": width == 2, **constants}, capability)
print("compiled")
"""
    kept = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment = {**kept, "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.strip() == "compiled", done.stderr


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
