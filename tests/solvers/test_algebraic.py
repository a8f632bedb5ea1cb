"""Solving sparse matrices that are no grid: what preconditions them, what is refused, what holds for null spaces."""

import sys

import numpy as np
import pytest
import torch
from sciml_solvers.algebraic import best_there_is, incomplete_cholesky, smoothed_aggregation
from sciml_solvers.gallery import problem
from sciml_solvers.solution import Status
from sciml_solvers.solve import solve
from sciml_solvers.system import matrix_system
from scipy import sparse

# Iterations to 1e-8 of PyAMG's own defaults with conjugate gradients, and two more.
MATRICES = {
    "airfoil": 8, "knot": 9, "bar": 41, "local_disc_galerkin_diffusion": 51, "unit_square": 9, "unit_cube": 5,
}  # fmt: skip


def example(name):
    return pytest.importorskip("pyamg").gallery.load_example(name)["A"]


def solvable(matrix, n_rhs=1, seed=3):
    return (matrix @ np.random.default_rng(seed).standard_normal((matrix.shape[0], n_rhs))).T


def path_graph(n, *, is_closed):
    matrix = sparse.diags([-1.0, 2.0, -1.0], [-1, 0, 1], (n, n), format="lil")
    if is_closed:
        matrix[0, 0] = matrix[n - 1, n - 1] = 1.0
    return matrix.tocsr()


@pytest.mark.parametrize("name", MATRICES)
def test_unstructured_matrix_converges_in_few_iterations(name):
    matrix = example(name)
    b = solvable(matrix)[0]
    found = solve(matrix, b, rtol=1e-8)
    assert found.converged
    assert not found.fallback
    assert found.note == ""
    assert np.linalg.norm(b - matrix @ found.x) <= 1e-8 * np.linalg.norm(b)
    assert found.iterations <= MATRICES[name]
    assert found.iterations < 0.4 * solve(matrix, b, rtol=1e-8, preconditioner="none").iterations


def test_complex_and_unsymmetric_matrices_are_refused():
    helmholtz, flow = example("helmholtz_2D"), example("recirc_flow")
    for choice in ("multigrid", "amg", "jacobi"):
        with pytest.raises(TypeError, match="solve: expected a real matrix, got a complex one; use a method for comp"):
            solve(helmholtz, np.ones(helmholtz.shape[0]), preconditioner=choice)
        with pytest.raises(ValueError, match=r"solve: expected a symmetric matrix, got a difference of 9\.5e-01"):
            solve(flow, np.ones(flow.shape[0]), preconditioner=choice)


@pytest.mark.parametrize("choice", ["multigrid", "amg", "jacobi", "none"])
def test_indefinite_matrix_is_named_and_not_its_preconditioner(choice):
    grid = problem("empty", 16, 2)
    matrix = grid.matrix() - 0.5 * sparse.identity(grid.n_unknowns, format="csr")
    b = np.random.default_rng(2).standard_normal(grid.n_unknowns)
    if choice == "amg":
        pytest.importorskip("pyamg")
    assert solve(matrix, b, preconditioner=choice).status is Status.INDEFINITE_A


def test_matrix_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="solve: expected a finite matrix, got NaN or infinity; repair its entries"):
        solve(sparse.csr_matrix([[np.nan, 0.0], [0.0, 1.0]]), np.ones(2))


def test_iterations_are_those_of_pyamg_but_one():
    pyamg = pytest.importorskip("pyamg")
    matrix = pyamg.gallery.poisson((24, 24, 24), format="csr")
    b, residuals = solvable(matrix)[0], []
    pyamg.smoothed_aggregation_solver(matrix).solve(b, tol=1e-6, accel="cg", residuals=residuals)
    assert abs(solve(matrix, b, preconditioner="amg").iterations - (len(residuals) - 1)) <= 1


@pytest.mark.parametrize("make", [smoothed_aggregation, incomplete_cholesky])
@pytest.mark.parametrize("name", ["solids", "neumann", "jumps"])
def test_preconditioner_is_symmetric_and_positive(make, name):
    pytest.importorskip({smoothed_aggregation: "pyamg", incomplete_cholesky: "ilupp"}[make])
    matrix = problem(name, 14, 2).matrix()
    project = matrix_system(matrix).constants.project
    vectors = project(torch.from_numpy(np.random.default_rng(4).standard_normal((8, matrix.shape[0]))))
    products = (vectors @ project(make(matrix)(vectors)).T).numpy()
    scale = np.sqrt(np.outer(products.diagonal(), products.diagonal()))
    assert (products.diagonal() > 0).all()
    assert np.abs((products - products.T) / scale).max() < 1e-10


def test_constants_of_every_closed_component_are_left_out():
    pytest.importorskip("pyamg")
    matrix = sparse.block_diag([path_graph(40, is_closed=True), problem("neumann", 12, 2).matrix()], format="csr")
    b = solvable(matrix)[0]
    found = solve(matrix, b, preconditioner="amg", rtol=1e-10)
    assert found.converged
    for part in (slice(0, 40), slice(40, None)):
        assert abs(found.x[part].mean()) < 1e-12 * np.abs(found.x).max()
    shifted = solve(matrix, b + 1.0, preconditioner="amg", rtol=1e-10)
    assert shifted.status is Status.SINGULAR_INCONSISTENT
    np.testing.assert_allclose(shifted.x, found.x, atol=1e-7 * np.abs(found.x).max())


def test_several_right_hand_sides_are_solved_as_one_by_one():
    matrix = example("unit_square")
    b = solvable(matrix, 3)
    together = solve(matrix, b, preconditioner="amg")
    alone = [solve(matrix, one, preconditioner="amg") for one in b]
    assert together.iterations == max(one.iterations for one in alone)
    np.testing.assert_allclose(together.x, [one.x for one in alone], rtol=0, atol=1e-12 * np.abs(together.x).max())


def test_the_same_matrix_gives_the_same_answer_to_the_bit_and_no_random_number_is_drawn():
    matrix = example("airfoil")
    b, state = solvable(matrix)[0], np.random.get_state()[1:3]  # noqa: NPY002
    first, second = (solve(matrix, b, preconditioner="amg").x for _ in range(2))
    np.testing.assert_array_equal(first, second)
    after = np.random.get_state()[1:3]  # noqa: NPY002
    assert state[1] == after[1]
    np.testing.assert_array_equal(state[0], after[0])


def test_rigid_motions_help_an_elastic_body():
    data = pytest.importorskip("pyamg").gallery.load_example("bar")
    matrix, b = data["A"], solvable(data["A"])[0]
    blind, told = (smoothed_aggregation(sparse.csr_matrix(matrix), c) for c in (None, data["B"]))
    needed = [solve(matrix, b, preconditioner=p, rtol=1e-8).iterations for p in (blind, told)]
    assert needed[1] < 0.6 * needed[0]


def test_grid_problem_takes_smoothed_aggregation_too():
    pytest.importorskip("pyamg")
    made = problem("maze", 24, 2)
    found = solve(made, preconditioner="amg", rtol=1e-8)
    b = made.to_vector(made.rhs)
    assert found.converged
    assert np.linalg.norm(b - made.matrix() @ made.to_vector(found.x)) <= 1e-8 * np.linalg.norm(b)


def test_indices_of_64_bits_are_taken():
    pytest.importorskip("pyamg")
    matrix = path_graph(30, is_closed=False)
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    assert solve(matrix, np.ones(30)).converged


def test_what_is_missing_is_told_in_a_sentence_and_the_next_best_does_the_work(monkeypatch):
    matrix = path_graph(60, is_closed=True)
    b = solvable(matrix)[0]
    monkeypatch.setitem(sys.modules, "pyamg", None)
    with pytest.raises(ImportError, match=r"smoothed_aggregation: expected the package pyamg, .*sciml-toolkit\[bench"):
        solve(matrix, b, preconditioner="amg")
    monkeypatch.setitem(sys.modules, "ilupp", None)
    last = solve(matrix, b)
    assert last.converged
    assert last.fallback
    assert last.note.startswith("The diagonal alone did the work, as PyAMG is not installed: pip install 'sciml-")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "pyamg", None)
    pytest.importorskip("ilupp")
    factored = solve(matrix, b)
    assert factored.converged
    assert factored.fallback
    assert factored.note.startswith("Incomplete Cholesky factors did the work")
    assert factored.iterations < last.iterations / 3


def test_factors_that_do_not_exist_are_not_used(monkeypatch):
    pytest.importorskip("ilupp")
    monkeypatch.setitem(sys.modules, "pyamg", None)
    swap = sparse.csr_matrix([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ArithmeticError, match="incomplete_cholesky: expected positive pivots, got others"):
        incomplete_cholesky(swap)
    assert best_there_is(swap)[0] is None
