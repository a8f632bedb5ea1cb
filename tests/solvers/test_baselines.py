"""Every classical solver under one rule, and what each of them is made of."""

import importlib.util

import numba
import numpy as np
import pytest
import sciml_solvers.baselines as baselines
import scipy.linalg
from sciml_solvers.baselines import METHODS, measure
from sciml_solvers.deflation import DeflatedCG, ritz_vectors
from sciml_solvers.fast_poisson import box_poisson
from sciml_solvers.gallery import problem
from sciml_solvers.problems import AIR, FLUID, SOLID, MaskProblem
from sciml_solvers.solution import Status

PEERS = {"ic0": "ilupp", "pyamg_sa": "pyamg", "pyamg_rs": "pyamg"}


def needs_peer(name):
    package = PEERS.get(name)
    missing = package is not None and importlib.util.find_spec(package) is None
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason=f"{package} is not installed"))


def box(shape, *, open_ends, spacing=(), seed=19):
    """Return a box full of fluid, open at the given (axis, end)."""
    cells = np.full(shape, FLUID, dtype=np.uint8)
    for axis, end in open_ends:
        np.moveaxis(cells, axis, 0)[end] = AIR
    return MaskProblem("box", cells, np.random.default_rng(seed).standard_normal(shape), spacing=spacing)


@pytest.mark.parametrize("name", [needs_peer(name) for name in METHODS])
@pytest.mark.parametrize(("mask", "n_axis"), [("solids", 3), ("neumann", 2), ("jumps", 2)])
def test_every_method_reaches_the_same_true_residual(name, mask, n_axis):
    made = problem(mask, 16, n_axis)
    try:
        found = measure(name, made, 1e-7, n_repeats=1)
    except ImportError as error:  # PETSc comes with no extra of ours
        pytest.skip(str(error))
    assert found.status is Status.CONVERGED
    assert 0 < found.residual_true <= 1e-7
    assert found.iterations > 0
    assert found.name == name
    assert min(found.setup_s, found.solve_s, found.setup_wall_s, found.solve_wall_s) >= 0
    assert found.bytes is None or found.bytes >= 0


def test_preconditioned_methods_take_fewer_iterations_than_plain_cg():
    made = problem("solids", 20)
    needed = {name: measure(name, made, 1e-6, n_repeats=1).iterations for name in ("cg", "deflated", "box_dct")}
    assert needed["box_dct"] < needed["deflated"] < needed["cg"]
    assert measure("multigrid", made, 1e-6, n_repeats=1).iterations < needed["cg"] / 5


def test_method_that_stops_too_early_is_sent_on(monkeypatch):
    def lazy(task):
        def step(b, x, goal, n_most):
            return x + 0.9 * np.linalg.solve(task.matrix.toarray(), b - task.matrix @ x), 1

        return baselines._until_true(step, task)

    monkeypatch.setitem(METHODS, "lazy", lazy)
    assert measure("lazy", problem("dam", 8, 2), 2e-5, n_repeats=1).iterations == 5
    unreached = measure("lazy", problem("dam", 8, 2), 1e-9, n_repeats=1)
    assert unreached.status is Status.MAXITER
    assert unreached.residual_true == pytest.approx(1e-6, rel=1e-3)


def test_method_that_returns_nan_is_not_converged(monkeypatch):
    monkeypatch.setitem(METHODS, "broken", lambda task: lambda b, rtol: (b * np.nan, 1))
    assert measure("broken", problem("dam", 8, 2), 1e-5, n_repeats=1).status is Status.NONFINITE


def test_peak_memory_sees_what_a_method_holds(monkeypatch):
    def greedy(task):
        held = np.ones(20_000_000)  # 160 MB: beyond 32 MiB an array gets pages of its own, never memory freed before
        return lambda b, rtol: (b * held[0], 1)

    monkeypatch.setitem(METHODS, "greedy", greedy)
    found = measure("greedy", problem("dam", 8, 2), 1e-6, n_repeats=1)
    if found.bytes is None:
        pytest.skip("this system does not account for resident memory")
    assert 150e6 < found.bytes < 200e6


def test_several_right_hand_sides_report_the_worst():
    made = problem("solids", 12, 2)
    random = np.random.default_rng(23)
    several = MaskProblem("several", made.cells, np.stack([made.rhs, random.standard_normal(made.cells.shape)]))
    worst = max(
        measure("jacobi", MaskProblem("one", made.cells, b), 1e-6, n_repeats=1).iterations for b in several.each_rhs()
    )
    assert measure("jacobi", several, 1e-6, n_repeats=1).iterations == worst


def test_zero_right_hand_side_needs_no_iterations():
    made = problem("solids", 12, 2)
    for name in ("cg", "deflated", "box_dct", "multigrid"):
        found = measure(name, MaskProblem("zero", made.cells, 0 * made.rhs), 1e-6, n_repeats=1)
        assert (found.iterations, found.residual_true, found.status) == (0, 0.0, Status.CONVERGED)


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyamg", None)
    with pytest.raises(ImportError, match=r"expected the package pyamg, got none; .*'sciml-toolkit\[bench\]'"):
        measure("pyamg_sa", problem("dam", 8, 2), 1e-6)


def test_measure_says_what_it_expects():
    with pytest.raises(ValueError, match=r"measure: expected one of cg, jacobi, .*, got 'magic'"):
        measure("magic", problem("dam", 8, 2), 1e-6)
    with pytest.raises(ValueError, match=r"measure: expected positive rtol, threads and n_repeats, got 0.0, 1, 3"):
        measure("cg", problem("dam", 8, 2), 0.0)


def test_threads_of_compiled_loops_are_asked_for_and_never_set():
    n_threads = numba.get_num_threads()
    with pytest.raises(ValueError, match=rf"compiled loops on {n_threads + 1} threads, got {n_threads}; start Python"):
        measure("multigrid", problem("dam", 8, 2), 1e-6, threads=n_threads + 1)


@pytest.mark.parametrize(
    "open_ends", [[(1, -1)], [(1, 0)], [(0, 0), (0, -1)], [(0, 0), (0, -1), (1, 0)], [(0, 0), (1, 0), (1, -1)]]
)
@pytest.mark.parametrize("shape", [(9, 12), (6, 9, 7)])
def test_box_preconditioner_is_the_inverse_in_an_empty_box(shape, open_ends):
    spacing = (0.5, 2.0, 1.5)[: len(shape)]
    made = box(shape, open_ends=open_ends, spacing=spacing)
    x = np.random.default_rng(3).standard_normal(made.n_unknowns)
    np.testing.assert_allclose(box_poisson(made).matvec(made.matrix() @ x), x, atol=1e-12 * len(x))


@pytest.mark.parametrize("n_axis", [2, 3])
def test_box_preconditioner_solves_an_empty_box_in_one_or_two_iterations(n_axis):
    assert measure("box_dct", problem("empty", 12, n_axis), 1e-9, n_repeats=1).iterations <= 2
    closed = box((10, 8, 6)[:n_axis], open_ends=[])
    assert measure("box_dct", closed, 1e-9, n_repeats=1).iterations <= 2


@pytest.mark.parametrize("name", ["solids", "dam", "neumann", "jumps"])
def test_box_preconditioner_is_symmetric_and_positive(name):
    made = problem(name, 10, 2)
    dense = box_poisson(made) @ np.eye(made.n_unknowns)
    np.testing.assert_allclose(dense, dense.T, atol=1e-12)
    assert np.linalg.eigvalsh(dense).min() > 0


def test_ritz_vectors_of_the_full_krylov_space_are_eigenvectors():
    made = problem("dam", 8, 2)
    matrix = made.matrix()
    n = made.n_unknowns
    vectors = ritz_vectors(matrix, made.to_vector(made.rhs), n_vectors=5, n_steps=n)
    exact = scipy.linalg.eigvalsh(matrix.toarray())[:5]
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(5), atol=1e-10)
    np.testing.assert_allclose(vectors.T @ (matrix @ vectors), np.diag(exact), atol=1e-8)


def test_ritz_values_are_stationary_in_the_krylov_space():
    made = problem("solids", 20, 2)
    matrix = made.matrix()
    vectors = ritz_vectors(matrix, made.to_vector(made.rhs), n_vectors=6, n_steps=12)
    projected = vectors.T @ (matrix @ vectors)
    np.testing.assert_allclose(projected, np.diag(np.diag(projected)), atol=1e-10)
    assert (np.diff(np.diag(projected)) > 0).all()


def test_ritz_vectors_stop_where_the_krylov_space_ends():
    matrix = problem("dam", 8, 2).matrix()
    eigenvectors = scipy.linalg.eigh(matrix.toarray())[1]
    start = eigenvectors[:, [3, 17]] @ np.array([1.0, 2.0])
    assert ritz_vectors(matrix, start, n_vectors=5, n_steps=9).shape[1] == 2
    assert ritz_vectors(matrix, 0 * start).shape[1] == 0


def test_deflated_residuals_stay_orthogonal_to_the_deflated_vectors():
    made = problem("solids", 16, 2)
    matrix, b = made.matrix(), made.to_vector(made.rhs)
    vectors = ritz_vectors(matrix, b, n_vectors=6, n_steps=20)
    residuals = []
    DeflatedCG(matrix, vectors).solve(b, 0 * b, 1e-8, 200, lambda x: residuals.append(b - matrix @ x))
    assert len(residuals) > 10
    assert np.abs(np.stack(residuals) @ vectors).max() < 1e-10 * np.linalg.norm(b)


def test_deflation_of_an_eigenvector_removes_its_eigenvalue():
    matrix = problem("dam", 10, 2).matrix()
    b = np.random.default_rng(29).standard_normal(matrix.shape[0])
    values, vectors = scipy.linalg.eigh(matrix.toarray(), np.diag(matrix.diagonal()))
    needed = []
    for n_deflated in (0, 8):
        steps = []
        DeflatedCG(matrix, vectors[:, :n_deflated]).solve(b, 0 * b, 1e-8, 500, lambda _: steps.append(1))  # noqa: B023
        needed.append(len(steps))
    ratio = np.sqrt(values[0] / values[8])
    assert needed[1] < needed[0] * (0.6 + 0.4 * ratio)


def test_solids_do_not_disturb_the_fluid_of_the_box():
    made = box((8, 8), open_ends=[(1, -1)])
    cells = made.cells.copy()
    cells[2:4, 3:5] = SOLID
    inner = MaskProblem("inner", cells, made.rhs)
    r = np.random.default_rng(31).standard_normal(inner.n_unknowns)
    whole = made.to_grid(box_poisson(made).matvec(made.to_vector(inner.to_grid(r))))
    np.testing.assert_allclose(box_poisson(inner).matvec(r), inner.to_vector(whole), atol=1e-13)
