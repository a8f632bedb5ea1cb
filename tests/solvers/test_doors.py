"""The doors through which other codes call the solver."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch
from sciml_solvers.doors import PetscPC, as_operator, linear_operator, poisson_solve
from sciml_solvers.gallery import problem
from sciml_solvers.multigrid import Multigrid
from sciml_solvers.problems import AIR
from sciml_solvers.solve import solve
from scipy.sparse.linalg import cg

NAMES = ("solids", "dam", "jumps", "neumann", "two_components")


def random_columns(made, n_columns=3, seed=5):
    return np.random.default_rng(seed).standard_normal((made.n_unknowns, n_columns))


class FakeVec:
    """As much of a PETSc vector as a preconditioner uses."""

    def __init__(self, values):
        self._values = values

    def getArray(self, readonly=False):
        view = self._values.view()
        view.flags.writeable = not readonly
        return view


class FakeViewer:
    def __init__(self):
        self.text = ""

    def printfASCII(self, text):
        self.text += text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_axis", [2, 3])
def test_as_operator_equals_the_matrix(name, n_axis):
    made = problem(name, 10, n_axis)
    columns = random_columns(made)
    assert as_operator(made).matmat(columns) == pytest.approx(made.matrix() @ columns, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_linear_operator_is_symmetric_and_positive(name):
    made = problem(name, 12)
    m = linear_operator(made)
    v = random_columns(made, 6)
    products = v.T @ m.matmat(v)
    scale = np.sqrt(np.outer(products.diagonal(), products.diagonal()))
    assert (products.diagonal() > 0).all()
    assert np.abs(products - products.T).max() < 1e-5 * scale.max()


@pytest.mark.parametrize("name", NAMES)
def test_matmat_gives_the_columns_of_matvec(name):
    made = problem(name, 12)
    v = random_columns(made, 4)
    for operator in (linear_operator(made), as_operator(made)):
        alone = np.stack([operator.matvec(column) for column in v.T], axis=1)
        np.testing.assert_allclose(operator.matmat(v), alone, rtol=0, atol=1e-6 * np.abs(alone).max())
        np.testing.assert_array_equal(operator.H.matvec(v[:, 0]), operator.matvec(v[:, 0]))


@pytest.mark.parametrize("name", ["solids", "dam", "smoke", "neumann"])
def test_scipy_cg_takes_as_many_iterations_as_solve(name):
    made = problem(name, 20)
    b, count = made.to_vector(made.rhs), []
    x, info = cg(as_operator(made), b, M=linear_operator(made), rtol=1e-6, callback=lambda _: count.append(1))
    ours = solve(made, rtol=1e-6)
    assert info == 0
    assert abs(len(count) - ours.iterations) <= 1
    assert np.linalg.norm(b - made.matrix() @ x) <= 1.01e-6 * np.linalg.norm(b)


def test_linear_operator_of_a_given_multigrid_is_that_of_its_problem():
    made = problem("solids", 12)
    v = random_columns(made)
    np.testing.assert_array_equal(linear_operator(Multigrid(made)).matmat(v), linear_operator(made).matmat(v))


def test_linear_operator_refuses_a_matrix():
    with pytest.raises(TypeError, match="linear_operator: expected a MaskProblem or a Multigrid, got csr_matrix"):
        linear_operator(problem("dam", 8).matrix())


def test_petsc_preconditioner_writes_the_cycle_to_y_and_leaves_x_alone():
    made = problem("solids", 12)
    x, y = random_columns(made, 2).T.copy()
    kept, door = x.copy(), PetscPC(made)
    door.apply(None, FakeVec(x), FakeVec(y))
    np.testing.assert_array_equal(y, linear_operator(made).matvec(kept))
    np.testing.assert_array_equal(x, kept)
    transposed = np.zeros_like(y)
    door.applyTranspose(None, FakeVec(x), FakeVec(transposed))
    np.testing.assert_array_equal(transposed, y)


def test_petsc_preconditioner_takes_a_new_mask():
    first, second = problem("solids", 12), problem("dam", 12)
    door = PetscPC(first)
    door.setUp(None)
    door.update(second)
    x = random_columns(second, 1)[:, 0]
    y = np.empty_like(x)
    door.apply(None, FakeVec(x), FakeVec(y))
    np.testing.assert_array_equal(y, linear_operator(second).matvec(x))


def test_petsc_preconditioner_refuses_other_lengths_and_says_what_it_is(capsys):
    made = problem("dam", 8)
    with pytest.raises(ValueError, match=rf"PetscPC: expected a vector of {made.n_unknowns} entries"):
        PetscPC(made).apply(None, FakeVec(np.zeros(3)), FakeVec(np.zeros(3)))
    viewer = FakeViewer()
    PetscPC(made).view(None, viewer)
    PetscPC(made).view(None)
    assert viewer.text == capsys.readouterr().out
    assert f"8 x 8 x 8 cells, {made.n_unknowns} unknowns" in viewer.text


NEEDS_PETSC = pytest.mark.skipif(
    importlib.util.find_spec("petsc4py") is None,
    reason="petsc4py is not importable in this Python; a PETSc of the system is tried in test_petsc_peer.py",
)


def petsc_system(made):
    from petsc4py import PETSc

    matrix = made.matrix()
    a = PETSc.Mat().createAIJ(size=matrix.shape, csr=(matrix.indptr, matrix.indices, matrix.data))
    if not (made.cells == AIR).any():
        a.setNullSpace(PETSc.NullSpace().create(constant=True))
    return matrix, a


def petsc_solve(ksp, a, made):
    x, rhs = a.createVecs()
    rhs.setArray(made.to_vector(made.rhs))
    ksp.setOperators(a)
    ksp.setTolerances(rtol=1e-8)
    ksp.solve(rhs, x)
    return x.getArray(), ksp.getIterationNumber()


@NEEDS_PETSC
@pytest.mark.parametrize("name", ["solids", "dam", "jumps", "neumann"])
def test_petsc_takes_as_many_iterations_as_solve(name):
    from petsc4py import PETSc

    made = problem(name, 16)
    matrix, a = petsc_system(made)
    ksp = PETSc.KSP().create()
    ksp.setType("cg")
    ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
    ksp.getPC().setType("python")
    ksp.getPC().setPythonContext(PetscPC(made))
    x, iterations = petsc_solve(ksp, a, made)
    b = made.to_vector(made.rhs)
    assert np.linalg.norm(b - matrix @ x) <= 1.01e-8 * np.linalg.norm(b)
    assert abs(iterations - solve(made, rtol=1e-8).iterations) <= 1


@NEEDS_PETSC
def test_petsc_sets_up_again_where_the_matrix_has_changed():
    from petsc4py import PETSc

    first = problem("solids", 12)
    second = replace(first, coefficient=10.0 ** np.random.default_rng(5).uniform(0, 3, first.cells.shape))
    door, ksp = PetscPC(first), PETSc.KSP().create()
    ksp.setType("cg")
    ksp.getPC().setType("python")
    ksp.getPC().setPythonContext(door)
    _, a = petsc_system(first)
    petsc_solve(ksp, a, first)
    door.update(second)
    matrix, a = petsc_system(second)
    x, iterations = petsc_solve(ksp, a, second)
    b = second.to_vector(second.rhs)
    assert np.linalg.norm(b - matrix @ x) < 1e-6 * np.linalg.norm(b)
    assert iterations < 40


@pytest.mark.parametrize(("name", "n_axis"), [("dam", 2), ("jumps", 2), ("neumann", 2), ("solids", 3)])
def test_gradient_of_poisson_solve_equals_finite_differences(name, n_axis):
    made = problem(name, 6, n_axis)
    b = torch.from_numpy(np.random.default_rng(11).standard_normal((2, *made.cells.shape))).requires_grad_()
    torch.manual_seed(8)  # the check draws its directions from the global generator
    assert torch.autograd.gradcheck(lambda b: poisson_solve(made, b), b, eps=1e-3, atol=1e-6, fast_mode=True)


def test_gradient_of_poisson_solve_is_the_inverse_matrix():
    made = problem("dam", 6, 2)
    b = torch.from_numpy(made.rhs).requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda b: poisson_solve(made, b), b).numpy()
    fluid = jacobian[made.fluid][:, made.fluid]
    np.testing.assert_allclose(fluid, np.linalg.inv(made.matrix().toarray()), atol=1e-8)
    assert not jacobian[~made.fluid].any()
    assert not jacobian[:, :, ~made.fluid].any()


def test_second_derivative_of_poisson_solve_is_there():
    made = problem("dam", 6, 2)
    b = torch.from_numpy(np.random.default_rng(11).standard_normal(made.cells.shape)).requires_grad_()

    def cubic(b):
        return (poisson_solve(made, b, rtol=1e-12) ** 3).sum() / 100

    assert torch.autograd.gradgradcheck(cubic, b, eps=1e-3, atol=1e-4, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1.0, 1e200])
def test_cotangents_of_any_size_are_solved_for(size):
    made = problem("solids", 8)
    b = torch.from_numpy(made.rhs).requires_grad_()
    (unit,) = torch.autograd.grad(poisson_solve(made, b).sum(), b)
    (scaled,) = torch.autograd.grad((poisson_solve(made, b) * size).sum(), b)
    assert torch.isfinite(scaled).all()
    np.testing.assert_allclose(scaled.numpy() / size, unit.numpy(), rtol=1e-8, atol=1e-9)


def test_zero_cotangent_gives_zero():
    made = problem("solids", 8)
    b = torch.from_numpy(made.rhs).requires_grad_()
    (gradient,) = torch.autograd.grad((poisson_solve(made, b) * 0).sum(), b)
    assert not gradient.any()


def test_poisson_solve_keeps_batch_axes_and_type():
    made = problem("dam", 8, 2)
    b = torch.randn(2, 3, *made.cells.shape, generator=torch.Generator().manual_seed(3))
    x = poisson_solve(made, b)
    assert (x.shape, x.dtype) == (b.shape, torch.float32)
    alone = poisson_solve(made, b[1, 2])
    torch.testing.assert_close(x[1, 2], alone, rtol=1e-6, atol=1e-6)
    residual = made.to_vector(b[1, 2].numpy()) - made.matrix() @ made.to_vector(x[1, 2].numpy())
    assert np.linalg.norm(residual) < 1e-5 * np.linalg.norm(b[1, 2].numpy())


def test_poisson_solve_says_what_it_expects_and_that_it_failed():
    made = problem("dam", 8, 2)
    with pytest.raises(ValueError, match=r"poisson_solve: expected real b of shape \(batch..., 8, 8\) on the CPU"):
        poisson_solve(made, torch.zeros(8, 7))
    hard = replace(made, coefficient=10.0 ** np.random.default_rng(9).uniform(-8, 8, made.cells.shape))
    with pytest.raises(RuntimeError, match=r"poisson_solve: expected a relative residual of 1.0e-17, got"):
        poisson_solve(hard, torch.from_numpy(made.rhs), rtol=1e-17)
