from __future__ import annotations

import numpy as np
import pytest
from sciml_acoustics.analytic import rigid_modal_sum
from sciml_acoustics.fdtd import FdtdSolver
from sciml_acoustics.geometry import random_points, room, tube
from sciml_acoustics.pulse import gaussian_pulse
from sciml_acoustics.sem import SemMesh, WaveSolver

TIMES = np.arange(21) * 5e-4
SOURCE = {"tube": [[1.1]], "l_shape": [[0.8, 0.75]], "furnished": [[0.9, 1.5]]}


def relative(field, exact):
    return float(np.linalg.norm(np.asarray(field) - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize(
    ("name", "xi"),
    [("tube", [1.0, 5.0]), ("l_shape", float("inf")), ("l_shape", 3.0), ("furnished", np.arange(1.0, 21))],
)
def test_finite_differences_converge_to_spectral_elements_with_second_order(name, xi):
    shape, width = room(name), 0.16
    receivers = random_points(shape, 20, np.random.default_rng(5), 0.05)
    mesh = SemMesh(shape, 7, 10.0)
    truth = WaveSolver(mesh, xi, courant=0.5).solve(gaussian_pulse(SOURCE[name], mesh.nodes, width), TIMES)
    truth = truth[0].numpy() @ mesh.interpolation(receivers).T
    errors = []
    for ppw in (13.7, 27.4):
        solver = FdtdSolver(shape, xi, ppw)
        field = solver.solve(gaussian_pulse(SOURCE[name], solver.nodes, width), TIMES)[0].numpy()
        errors.append(relative(field @ solver.interpolation(receivers).T, truth))
    assert np.log2(errors[0] / errors[1]) > 1.7, errors
    assert errors[1] < 0.05


def test_rigid_tube_follows_the_modal_sum():
    solver = FdtdSolver(tube(2.0), ppw=48.0)
    field = solver.solve(gaussian_pulse([[1.0]], solver.nodes, 0.2), TIMES)
    assert relative(field, rigid_modal_sum(tube(2.0), [[1.0]], solver.nodes, TIMES, 0.2)) < 2e-3


@pytest.mark.parametrize("xi", [0.01, 1.0, 1e3])
def test_any_impedance_is_stable(xi):
    solver = FdtdSolver(room("furnished"), xi, 6.0)
    noise = np.random.default_rng(3).standard_normal((1, len(solver.nodes)))
    field = solver.solve(noise, np.arange(0, 0.1, 0.01))
    assert float(field[:, -1].abs().max()) < float(field[:, 0].abs().max())


def test_grid_hits_every_wall():
    solver = FdtdSolver(room("furnished"), ppw=10.0)
    for wall in solver.room.walls:
        for corner in (wall.start, wall.end):
            assert np.abs(solver.nodes - corner).max(axis=1).min() < 1e-9


def test_bad_requests_are_refused():
    solver = FdtdSolver(room("furnished"), ppw=6.0)
    with pytest.raises(ValueError, match=r"got point 0 at \(1.5, 0.3\) m"):
        solver.interpolation([[1.5, 0.3]])
    with pytest.raises(ValueError, match="expected initial_pressure"):
        solver.solve(np.zeros((1, 2)), TIMES)
    with pytest.raises(ValueError, match="expected positive ppw"):
        FdtdSolver(room("square"), ppw=0.0)
