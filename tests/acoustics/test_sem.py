from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from sciml_acoustics.analytic import rigid_eigenfrequencies, rigid_modal_sum, tube_images
from sciml_acoustics.geometry import ROOMS, Room, random_points, room, tube
from sciml_acoustics.pulse import gaussian_pulse, pulse_width
from sciml_acoustics.sem import SemMesh, WaveSolver
from scipy.sparse import diags
from scipy.sparse.linalg import eigsh

SIGMA = pulse_width(1000.0)
TIMES = np.arange(101) * 5e-4
INF = float("inf")


def relative(field, exact):
    return float(np.linalg.norm(np.asarray(field) - np.asarray(exact)) / np.linalg.norm(np.asarray(exact)))


def small(name, order=4, ppw=5.0, f_max=500.0):
    return SemMesh(room(name), order, ppw, f_max)


@pytest.mark.parametrize("name", list(ROOMS))
def test_mesh_weights_sum_to_areas_and_constants_have_no_stiffness(name):
    mesh = SemMesh(room(name), 5, 5.0)
    assert mesh.weights.sum() == pytest.approx(mesh.room.area, abs=1e-12)
    lengths = [np.abs(np.subtract(w.end, w.start)).sum() or 1.0 for w in mesh.room.walls]
    assert mesh.wall_weights.sum(axis=1) == pytest.approx(lengths, abs=1e-12)
    assert np.abs(mesh.stiffness @ np.ones(len(mesh.nodes))).max() < 1e-12
    assert abs(mesh.stiffness - mesh.stiffness.T).max() < 1e-12
    assert mesh.room.contains(mesh.nodes).all()


@pytest.mark.parametrize("name", ["l_shape", "furnished"])
def test_stiffness_is_the_dirichlet_integral_of_polynomials(name):
    mesh = SemMesh(room(name), 4, 4.0)
    x, y = mesh.nodes.T
    field, squared_slope = x * y, x**2 + y**2
    assert field @ (mesh.stiffness @ field) == pytest.approx(mesh.weights @ squared_slope, rel=1e-12)


@pytest.mark.parametrize(("order", "ppw", "bar"), [(6, 6.0, 1e-3), (6, 7.0, 4e-4), (8, 6.0, 2e-4)])
def test_rigid_square_follows_the_modal_sum_for_50_ms(order, ppw, bar):
    mesh = SemMesh(room("square"), order, ppw)
    sources = [[0.6, 0.6], [1.37, 0.71]]
    field = WaveSolver(mesh).solve(gaussian_pulse(sources, mesh.nodes, SIGMA), TIMES)
    assert relative(field, rigid_modal_sum(mesh.room, sources, mesh.nodes, TIMES, SIGMA)) <= bar


@pytest.mark.parametrize("xi", [1.0, 3.0, 17.98, 100.0])
def test_impedance_tube_reflects_like_the_images(xi):
    mesh = SemMesh(tube(2.0), 6, 8.0)
    times = np.arange(41) * (2.0 / 343.0 / 10)
    field = WaveSolver(mesh, xi).solve(gaussian_pulse([[1.0]], mesh.nodes, SIGMA), times).numpy()
    assert relative(field, tube_images(2.0, [1.0], mesh.nodes, times, SIGMA, (xi, xi))) <= 1e-3
    back = mesh.interpolation([[1.0]]) @ field[0, 10]  # both halves of the pulse have come back once
    assert back == pytest.approx((xi - 1.0) / (xi + 1.0), abs=1e-3)


def test_walls_keep_their_own_impedance():
    mesh = SemMesh(tube(2.0), 6, 8.0)
    field = WaveSolver(mesh, [2.0, 30.0], courant=0.4).solve(gaussian_pulse([[0.9]], mesh.nodes, SIGMA), TIMES[:40])
    exact = tube_images(2.0, [0.9], mesh.nodes, TIMES[:40], SIGMA, (2.0, 30.0))
    assert relative(field, exact) <= 3e-4
    assert relative(field, tube_images(2.0, [0.9], mesh.nodes, TIMES[:40], SIGMA, (30.0, 2.0))) > 0.1


@pytest.mark.parametrize("xi", [INF, 17.98, 3.0, 1.0])
def test_time_stepping_is_of_fourth_order(xi):
    mesh = small("l_shape")
    pulse = gaussian_pulse([[0.8, 0.8]], mesh.nodes, 0.3)
    times = TIMES[[0, 4, 8, 12]]
    courants = (0.24, 0.12, 0.06)
    solvers = [WaveSolver(mesh, xi, courant=c) for c in courants]
    exact = WaveSolver(mesh, xi, courant=0.015).solve(pulse, times)
    errors = [relative(s.solve(pulse, times), exact) for s in solvers]
    steps = [s.time_step(times)[0] for s in solvers]
    orders = np.diff(np.log(errors)) / np.diff(np.log(steps))
    assert np.all(orders > 3.7), (orders, errors)


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_space_refinement_is_of_the_order_of_the_elements(order):
    errors = []
    for n_element in (12, 24):
        mesh = SemMesh(tube(2.0), order, order * n_element * 0.343 / 2.0 - 1e-6)
        pulse = gaussian_pulse([[1.0]], mesh.nodes, 0.25)
        field = WaveSolver(mesh, courant=0.05).solve(pulse, TIMES[:12])
        errors.append(relative(field, rigid_modal_sum(mesh.room, [[1.0]], mesh.nodes, TIMES[:12], 0.25)))
    assert np.log2(errors[0] / errors[1]) > order + 0.5


def test_raising_the_order_converges_spectrally():
    errors = []
    for order in (3, 5, 7, 9):
        mesh = SemMesh(tube(2.0), order, order * 8 * 0.343 / 2.0 - 1e-6)
        field = WaveSolver(mesh, courant=0.05).solve(gaussian_pulse([[1.0]], mesh.nodes, 0.25), TIMES[:12])
        errors.append(relative(field, rigid_modal_sum(mesh.room, [[1.0]], mesh.nodes, TIMES[:12], 0.25)))
    assert all(b < a / 8.0 for a, b in pairwise(errors)), errors


@pytest.mark.parametrize("name", ["l_shape", "tube"])
def test_discrete_energy_of_a_rigid_room_is_constant(name):
    mesh = small(name)
    pulse = gaussian_pulse(np.full((1, mesh.room.n_axis), 1.1), mesh.nodes, 0.3)
    energy = torch.stack([state.energy for state in WaveSolver(mesh, courant=0.95).march(pulse, TIMES)])
    assert float((energy / energy[0] - 1.0).abs().max()) < 1e-12


@pytest.mark.parametrize("xi", [0.1, 1.0, 17.98, 1e4])
def test_discrete_energy_never_grows_with_absorbing_walls(xi):
    mesh = small("furnished", 3)
    noise = np.random.default_rng(5).standard_normal((2, len(mesh.nodes)))
    solver = WaveSolver(mesh, xi, courant=0.99 if xi > 1.0 else 0.4)
    energy = torch.stack([state.energy for state in solver.march(noise, TIMES[:8])])
    assert bool((energy > 0.0).all())
    assert bool((energy.diff(dim=0) <= 1e-14 * energy[0]).all())
    assert bool((energy[-1] < energy[0]).all())


def test_discrete_energy_approaches_the_energy_with_the_step():
    mesh = small("square")
    pulse = gaussian_pulse([[0.9, 1.1]], mesh.nodes, 0.3)
    exact = WaveSolver(mesh).energy(pulse, np.zeros_like(pulse))
    gaps = [float((next(WaveSolver(mesh, courant=c).march(pulse, TIMES)).energy - exact).abs()) for c in (0.4, 0.1)]
    assert gaps[1] < gaps[0] / 8.0 < 0.01 * float(exact)


@pytest.mark.parametrize(("xi", "tolerance"), [(INF, 1e-12), (3.0, 1e-5)])
def test_source_and_receiver_may_be_swapped(xi, tolerance):
    mesh = SemMesh(room("l_shape"), 6, 7.0, 500.0)
    pulses = gaussian_pulse([[0.8, 2.3], [2.2, 0.7]], mesh.nodes, 0.2)
    field = WaveSolver(mesh, xi, courant=0.3).solve(pulses, TIMES[:30]).numpy()
    heard = np.einsum("stn,rn->srt", field, pulses * mesh.weights)
    assert relative(heard[0, 1], heard[1, 0]) < tolerance


def test_mirrored_sources_give_mirrored_fields():
    mesh = small("square")
    n = round(len(mesh.nodes) ** 0.5)
    sources = np.array([[0.7, 0.9], [1.3, 0.9], [0.9, 0.7]])
    field = WaveSolver(mesh, 5.0).solve(gaussian_pulse(sources, mesh.nodes, 0.3), TIMES[:21]).reshape(3, 21, n, n)
    assert relative(field[0].flip(1), field[1]) < 1e-12
    assert relative(field[0].transpose(1, 2), field[2]) < 1e-12


def test_a_room_of_several_boxes_equals_the_same_room_in_one():
    whole = Room("whole", (((0, 0), (2, 1)),))
    cut = Room("cut", (((0, 0), (1, 1)), ((1, 0), (2, 0.5)), ((1, 0.5), (2, 1))))
    assert np.array_equal(SemMesh(cut).nodes, SemMesh(whole).nodes)


def test_seams_apply_the_assembled_operator():
    mesh = small("furnished", 3)
    pulse = np.random.default_rng(9).standard_normal((3, len(mesh.nodes)))
    solver = WaveSolver(mesh)
    dt, _ = solver.time_step([1e-9])
    step = solver.solve(pulse, [0.0, dt])[:, 1].numpy()
    operator = mesh.c**2 * diags(1.0 / mesh.weights) @ mesh.stiffness
    slope = operator @ pulse.T
    exact = pulse.T - 0.5 * dt**2 * (slope - dt**2 / 12.0 * (operator @ slope))
    assert np.abs(step - exact.T).max() < 1e-12


def test_eigenfrequencies_of_the_rectangle_are_exact():
    found = frequencies(SemMesh(room("rectangle"), 7, 6.0, 400.0), 10)
    assert found == pytest.approx(rigid_eigenfrequencies([3.0, 2.0], 10), abs=1e-3)


def test_eigenfrequencies_of_the_l_shape_agree_with_another_finite_element_code():
    skfem = pytest.importorskip("skfem", reason="scikit-fem is the independent reference of this test")
    from skfem.models.poisson import laplace, mass

    square = skfem.MeshQuad.init_tensor(np.linspace(0, 3, 41), np.linspace(0, 3, 41))
    middle = square.p[:, square.t].mean(axis=1)
    basis = skfem.Basis(square.remove_elements(np.flatnonzero((middle > 1.5).all(axis=0))), skfem.ElementQuad2())
    values = eigsh(laplace.assemble(basis), 8, mass.assemble(basis), sigma=-1.0, return_eigenvectors=False)
    reference = 343.0 / (2 * np.pi) * np.sqrt(np.maximum(np.sort(values), 0.0))
    found = frequencies(SemMesh(room("l_shape"), 8, 12.0, 500.0), 8)
    assert found[0] == pytest.approx(0.0, abs=1e-2)
    assert found[1:] == pytest.approx(reference[1:], rel=2e-3)


def frequencies(mesh, n):
    start = np.ones(len(mesh.nodes)) + np.arange(len(mesh.nodes)) % 7
    values = eigsh(mesh.stiffness, n, diags(mesh.weights).tocsr(), sigma=-1.0, v0=start, return_eigenvectors=False)
    return mesh.c / (2 * np.pi) * np.sqrt(np.maximum(np.sort(values), 0.0))


@pytest.mark.parametrize("name", ["l_shape", "furnished", "tube"])
def test_interpolation_between_nodes_is_spectrally_accurate(name):
    points = random_points(room(name), 60, np.random.default_rng(2))
    errors = []
    for order in (4, 6, 8, 10):
        mesh = SemMesh(room(name), order, order * 0.343 / 0.5)

        def wave(x):
            return np.cos(5.0 * x + 0.3).prod(axis=1)

        errors.append(np.abs(mesh.interpolation(points) @ wave(mesh.nodes) - wave(points)).max())
    assert all(b < a / 10.0 for a, b in pairwise(errors)), errors
    assert abs(mesh.interpolation(mesh.nodes) - diags(np.ones(len(mesh.nodes)))).max() < 1e-12


def test_receivers_outside_are_named():
    with pytest.raises(ValueError, match=r"'furnished', got point 1 at \(1.5, 0.3\) m"):
        small("furnished").interpolation([[0.5, 0.5], [1.5, 0.3]])


def test_batch_equals_one_by_one_and_later_times_equal_all_times():
    mesh = small("l_shape")
    solver, pulses = WaveSolver(mesh, 4.0), gaussian_pulse([[0.8, 0.9], [2.0, 0.7]], mesh.nodes, 0.3)
    fractions = []
    both = solver.solve(pulses, TIMES[:9], fractions.append)
    assert relative(solver.solve(pulses[1:], TIMES[:9])[0], both[1]) < 1e-13
    assert relative(solver.solve(pulses, TIMES[[4, 6, 8]])[:, 1], both[:, 6]) < 1e-3
    assert fractions == pytest.approx(np.arange(9) / 8)
    assert torch.equal(both, solver.solve(pulses, TIMES[:9]))


@pytest.mark.parametrize("xi", [INF, 17.98])
@pytest.mark.parametrize("name", ["square", "l_shape"])
def test_single_precision_differs_by_rounding_only(name, xi):
    mesh = SemMesh(room(name), 6, 6.0)
    pulse = gaussian_pulse([[0.8, 0.7]], mesh.nodes, SIGMA)
    single, double = (WaveSolver(mesh, xi, dtype=d).solve(pulse, TIMES) for d in (torch.float32, torch.float64))
    assert single.dtype == torch.float32
    assert relative(single, double) < 3e-5


def test_work_counts_two_applies_per_step():
    solver = WaveSolver(small("square"))
    _, n_sub = solver.time_step(TIMES)
    work = solver.work(7, TIMES)
    assert work.n_applies == 2 * work.n_steps == 2 * (100 * n_sub + 1)
    assert work.node_updates == work.n_applies * 7 * len(solver.mesh.nodes)


def test_bad_requests_are_refused():
    mesh = small("square")
    with pytest.raises(ValueError, match="expected an order from 2 to 10, got 1"):
        SemMesh(room("square"), 1)
    with pytest.raises(ValueError, match="expected one value > 0 or one for each of the 4 walls"):
        WaveSolver(mesh, [1.0, 2.0])
    with pytest.raises(ValueError, match="expected one value > 0"):
        WaveSolver(mesh, 0.0)
    with pytest.raises(ValueError, match="1 is the stability limit"):
        WaveSolver(mesh, courant=1.0)
    with pytest.raises(ValueError, match="expected initial_pressure"):
        WaveSolver(mesh).solve(np.zeros((1, 3)), TIMES)
    with pytest.raises(ValueError, match="expected multiples of their spacing"):
        WaveSolver(mesh).solve(np.zeros((1, len(mesh.nodes))), [0.0, 1e-3, 2.5e-3])
    with pytest.raises(ValueError, match="expected ascending values"):
        WaveSolver(mesh).time_step([1e-3, 1e-3])
