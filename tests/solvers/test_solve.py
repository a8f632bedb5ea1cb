"""Solving: the true residual, every status, and what must not change the answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from sciml_solvers.gallery import NAMES, problem
from sciml_solvers.multigrid import Multigrid
from sciml_solvers.pcg import pcg, with_dot
from sciml_solvers.problems import AIR, FLUID, MaskProblem
from sciml_solvers.solution import Status
from sciml_solvers.solve import solve

SHAPES = ((15, 12, 21), (33, 30))


def true_residual(made, x, b=None):
    b = made.to_vector(made.rhs if b is None else b)
    return np.linalg.norm(b - made.matrix() @ made.to_vector(x)) / np.linalg.norm(b)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_every_gallery_problem_converges_at_odd_sizes_to_its_true_residual(name, shape):
    made = problem(name, shape)
    found = solve(made, rtol=1e-8)
    assert found.status is Status.CONVERGED
    assert found.residual_norm_true <= 1e-8
    assert true_residual(made, found.x) == pytest.approx(found.residual_norm_true, rel=1e-3)
    assert not found.x[made.cells != FLUID].any()


@pytest.mark.parametrize(("name", "most"), [("solids", 13), ("dam", 10), ("smoke", 10), ("jumps", 14), ("empty", 9)])
def test_iterations_hardly_grow_with_the_size(name, most):
    counts = [solve(problem(name, n)).iterations for n in (16, 32, 64)]
    assert counts[2] <= most
    assert counts[2] <= 1.3 * counts[1]


def test_float64_reaches_a_tolerance_that_a_float32_iteration_cannot():
    made = problem("solids", 24)
    found = solve(made, rtol=1e-12)
    assert found.converged
    assert true_residual(made, found.x) <= 1e-12


def test_half_storage_costs_at_most_one_iteration():
    for name in ("solids", "smoke", "dam"):
        full, half = (solve(problem(name, 32), dtype=dtype) for dtype in (torch.float32, torch.float16))
        assert half.converged
        assert half.iterations <= full.iterations + 1


def test_solution_of_a_polynomial_is_exact_where_the_stencil_is():
    cells = np.full((12, 5, 4), FLUID, dtype=np.uint8)
    cells[[0, -1]] = AIR
    x = np.arange(12.0)[:, None, None]
    found = solve(MaskProblem("slab", cells, np.full(cells.shape, 2.0)), rtol=1e-12)
    assert np.allclose(found.x, np.broadcast_to(x * (11 - x), cells.shape), atol=1e-9)


def test_many_right_hand_sides_are_solved_as_one_by_one():
    made = problem("solids", (13, 10, 12))
    rhs = np.random.default_rng(3).standard_normal((3, *made.cells.shape))
    rhs[1] = 0
    together = solve(replace(made, rhs=rhs), dtype=torch.float64)
    assert together.x.shape == rhs.shape
    counts = []
    for one, x in zip(rhs, together.x, strict=True):
        alone = solve(made, one, dtype=torch.float64)
        counts.append(alone.iterations)
        assert np.allclose(alone.x, x, rtol=0, atol=1e-11 * (np.abs(x).max() or 1))
    assert together.iterations == max(counts)


def test_zero_right_hand_side_gives_zero_without_iterations():
    found = solve(replace(problem("empty", 8), rhs=np.zeros((8, 8, 8))))
    assert (found.iterations, found.status, found.residual_norm_true) == (0, Status.CONVERGED, 0.0)
    assert not found.x.any()


def test_tiny_and_huge_right_hand_sides_scale_the_answer():
    made = problem("smoke", 12)
    one = solve(made)
    for factor in (1e-60, 1e60):
        scaled = solve(replace(made, rhs=factor * made.rhs))
        assert scaled.converged
        assert np.allclose(scaled.x / factor, one.x, rtol=0, atol=1e-9 * np.abs(one.x).max())


def test_closed_components_get_mean_zero_each():
    made = problem("two_components", 12)
    found = solve(made, rtol=1e-10)
    assert found.converged
    for part in (slice(0, 6), slice(7, None)):
        assert abs(found.x[part].mean()) < 1e-12 * np.abs(found.x).max()


def test_incompatible_right_hand_side_is_reported_and_the_closest_problem_solved():
    made = problem("neumann", 12)
    shifted = np.where(made.fluid, made.rhs + 0.1, 0.0)
    found = solve(made, shifted)
    assert found.status is Status.SINGULAR_INCONSISTENT
    size = np.linalg.norm(made.to_vector(shifted))
    assert found.residual_norm_true == pytest.approx(0.1 * made.n_unknowns**0.5 / size, rel=1e-6)
    assert np.allclose(found.x, solve(made).x, atol=1e-4 * np.abs(found.x).max())


def test_isolated_cell_is_left_alone():
    made = problem("empty", 8)
    cells = made.cells.copy()
    cells[2:5, 2:5, 2:5] = 0
    cells[3, 3, 3] = FLUID
    rhs = made.rhs.copy()
    rhs[3, 3, 3] = 0
    found = solve(MaskProblem("isolated", cells, rhs))
    assert found.converged
    assert found.x[3, 3, 3] == 0


def test_indefinite_preconditioner_is_named():
    found = solve(problem("empty", 8), preconditioner=lambda r: -r)
    assert found.status is Status.INDEFINITE_M
    assert "preconditioner is not positive definite" in found.status.value


def test_nan_is_named_wherever_it_comes_from():
    made = problem("empty", 8)
    assert solve(made, preconditioner=lambda r: r * torch.nan).status is Status.NONFINITE
    b = np.ones(made.n_unknowns)
    b[3] = np.nan
    found = solve(made.matrix(), b)
    assert found.status is Status.NONFINITE
    assert not np.isnan(found.x).any()


def test_exhausted_iterations_are_named_and_the_residual_is_that_of_the_answer():
    made = problem("empty", 12)
    found = solve(made, preconditioner="jacobi", max_iterations=7)
    assert (found.status, found.iterations) == (Status.MAXITER, 7)
    assert true_residual(made, found.x) == pytest.approx(found.residual_norm_true, rel=1e-9)


def test_unreachable_tolerance_stagnates():
    assert solve(problem("solids", 10), rtol=1e-19).status is Status.STAGNATED


def test_two_runs_are_equal_to_the_bit():
    made = problem("jumps", (14, 11, 9))
    first, second = solve(made), solve(made)
    assert np.array_equal(first.x, second.x)
    assert np.array_equal(first.history, second.history)


def test_grid_and_matrix_and_any_preconditioner_agree():
    made = problem("dam", (10, 9, 12))
    wanted = made.to_vector(solve(made, rtol=1e-10).x)
    b = made.to_vector(made.rhs)
    inverse = torch.from_numpy(1 / made.matrix().diagonal())
    for found in (
        solve(made, b, rtol=1e-10),
        solve(made, b, preconditioner=lambda r: inverse * r, rtol=1e-10),
        solve(made, b, preconditioner=Multigrid(made, transfer="linear"), rtol=1e-10),
        solve(made.matrix(), b, preconditioner="none", rtol=1e-10),
    ):
        assert found.converged
        assert np.allclose(found.x, wanted, atol=1e-8 * np.abs(wanted).max())
        assert not found.fallback


def test_matrices_that_are_not_symmetric_positive_are_refused_or_named():
    eye = sparse.eye_array(4).tocsr()
    b = np.ones(4)
    with pytest.raises(ValueError, match=r"^solve: expected a symmetric matrix"):
        solve(eye + sparse.diags_array([1.0, 2.0, 3.0], offsets=1, shape=(4, 4)), b)
    with pytest.raises(TypeError, match=r"^solve: expected a real matrix, got a complex one"):
        solve(eye * 1j, b)
    with pytest.raises(TypeError, match=r"^solve: expected a MaskProblem or a sparse matrix, got ndarray"):
        solve(np.eye(4), b)
    assert solve(-eye, b).status is Status.INDEFINITE_A
    swap = sparse.csr_array(np.array([[1.0, 2.0], [2.0, 1.0]]))
    assert solve(swap, np.array([1.0, -1.0])).status is Status.INDEFINITE_A


def test_conjugate_gradients_end_after_as_many_steps_as_there_are_eigenvalues():
    values = torch.tensor([1.0, 1.0, 2.0, 5.0, 5.0, 9.0], dtype=torch.float64)
    b = torch.ones(1, 6, dtype=torch.float64)
    states = list(pcg(with_dot(lambda p: values * p), b, torch.clone, torch.tensor([1e-12], dtype=torch.float64)))
    assert states[-1].iteration == 4
    assert torch.allclose(states[-1].x, b / values)
