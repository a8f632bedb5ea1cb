"""The conjugate direction loop and its network."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from sciml_solvers.dcdm import DcdmOptions, dcdm, identity, iterations_to, network_direction, solve_dcdm
from sciml_solvers.dcdm_fit import line_search_loss, to_torch
from sciml_solvers.dcdm_net import Cells, DcdmNet
from sciml_solvers.problems import AIR, FLUID, SOLID, MaskProblem
from sciml_solvers.solution import Status

from sciml.training import count_parameters


def system(n=16, seed=3):
    """Return a problem with a solid and an open top, its matrix and a right-hand side."""
    random = np.random.default_rng(seed)
    cells = np.full((n, n), FLUID, dtype=np.uint8)
    cells[:, -1], cells[3:6, 4:9] = AIR, SOLID
    problem = MaskProblem("box", cells, random.standard_normal((n, n)))
    return problem, problem.matrix(), problem.to_vector(problem.rhs)


def textbook_cg(matrix, b, n_steps):
    x, r = np.zeros_like(b), b.copy()
    p, found = r.copy(), []
    for _ in range(n_steps):
        product = matrix @ p
        alpha = r @ r / (p @ product)
        x, left = x + alpha * p, r - alpha * product
        p, r = left + (left @ left / (r @ r)) * p, left
        found.append(x)
    return found


def energies(matrix, b, states):
    exact = np.linalg.solve(matrix.toarray(), b)
    return np.array([(s.solution - exact) @ (matrix @ (s.solution - exact)) for s in states])


@pytest.mark.parametrize(
    ("n_axes", "topology", "n_parameters"), [(3, 64, 97_457), (3, 128, 152_881), (2, 64, 32_657), (2, 128, 51_217)]
)
def test_network_has_the_published_number_of_parameters(n_axes, topology, n_parameters):
    assert count_parameters(DcdmNet(n_axes, topology)) == n_parameters


def reference_net(weights, r, topology):
    """Evaluate the layers in SciPy, written down from the published table, one convolution at a time."""

    def conv(name, x):
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        out = [sum(scipy.ndimage.correlate(c, k, mode="constant") for c, k in zip(x, w, strict=True)) for w in weight]
        return np.stack(out) + bias.reshape(-1, *(1,) * r.ndim)

    def relu(name, x):
        return np.maximum(conv(name, x), 0)

    la = relu("fine.0", conv("first", (r / np.linalg.norm(r))[None]))
    lb = relu("fine.1", la)
    for i in range(2, {64: 4, 128: 6}[topology], 2):
        la = relu(f"fine.{i}", lb) + la
        lb = relu(f"fine.{i + 1}", la)
    low = lb
    for axis in range(1, r.ndim + 1):
        even, odd = (np.take(low, range(k, low.shape[axis], 2), axis=axis) for k in (0, 1))
        low = (even + odd) / 2
    for i in range(0, {64: 6, 128: 10}[topology], 2):
        low = relu(f"coarse.{i + 1}", relu(f"coarse.{i}", low)) + low
    for axis in range(1, r.ndim + 1):
        low = np.repeat(low, 2, axis=axis)
    top = low + lb
    for i in range(0, {64: 4, 128: 6}[topology], 2):
        top = relu(f"up.{i + 1}", relu(f"up.{i}", top)) + top
    return np.tensordot(weights["last.weight"].reshape(16), top, 1) + weights["last.bias"][0]


@pytest.mark.parametrize(("shape", "topology"), [((8, 6), 64), ((4, 4, 6), 64), ((4, 6, 4), 128)])
def test_network_equals_an_independent_evaluation(shape, topology):
    net = DcdmNet(len(shape), topology, seed=5).double()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(torch.linspace(-0.1, 0.2, len(parameter)))
    r = np.random.default_rng(4).standard_normal(shape)
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    got = net(residual=torch.from_numpy(r[None]))["direction"][0].detach().numpy()
    np.testing.assert_allclose(got, reference_net(weights, r, topology), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(9, 7), (5, 6, 3)])
def test_network_takes_odd_boxes_and_ignores_positive_scale(shape):
    net = DcdmNet(len(shape), seed=2).double()
    r = torch.randn(2, *shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    one, other = net(residual=r)["direction"], net(residual=1e-7 * r)["direction"]
    assert one.shape == r.shape
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert torch.isfinite(net(residual=torch.zeros_like(r))["direction"]).all()


def test_rms_scaling_is_the_published_network_of_a_scaled_first_layer():
    r = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    norm, rms = DcdmNet(2, seed=4).double(), DcdmNet(2, scaling="rms", seed=4).double()
    with torch.no_grad():
        norm.first.weight.mul_(8.0)
    torch.testing.assert_close(norm(residual=r)["direction"], rms(residual=r)["direction"])


def test_wrong_settings_of_the_network_are_refused():
    with pytest.raises(ValueError, match="DcdmNet: expected n_axes 2 or 3, got 1"):
        DcdmNet(1)
    with pytest.raises(ValueError, match=r"DcdmNet: expected a topology of \[64, 128\], got 32"):
        DcdmNet(2, 32)
    with pytest.raises(ValueError, match=r"expected scaling one of \('norm', 'rms'\), got 'max'"):
        DcdmNet(2, scaling="max")


def test_cells_put_vectors_on_the_grid_and_back():
    problem, _, b = system()
    cells = Cells.of_mask(problem.fluid)
    grid = cells.to_grid(torch.from_numpy(b[None]))
    np.testing.assert_array_equal(grid[0].numpy(), problem.to_grid(b))
    np.testing.assert_array_equal(cells.to_vectors(grid)[0].numpy(), b)


def test_loss_is_the_residual_after_the_exact_step_at_any_scale():
    _, matrix, _ = system()
    random = np.random.default_rng(6)
    b, q = random.standard_normal((2, 3, matrix.shape[0]))
    residuals = []
    for one_b, one_q in zip(b, q, strict=True):
        # The exact step along q minimises the energy; found here by a least-squares fit in the A norm.
        root = np.linalg.cholesky(matrix.toarray())
        step = np.linalg.lstsq(root.T @ one_q[:, None], np.linalg.solve(root, one_b), rcond=None)[0]
        residuals.append(np.sum((one_b - matrix @ one_q * step) ** 2))
    operator = to_torch(matrix, torch.float64)
    for scale in (1.0, -3e4):
        loss = line_search_loss(operator, torch.from_numpy(b), torch.from_numpy(scale * q))
        assert loss.item() == pytest.approx(np.mean(residuals), rel=1e-10)


def test_gradient_of_the_loss_is_right_and_orthogonal_to_the_direction():
    _, matrix, _ = system(8)
    generator = torch.Generator().manual_seed(5)
    b, q = torch.randn(2, 2, matrix.shape[0], generator=generator, dtype=torch.float64)
    operator = to_torch(matrix, torch.float64)
    q.requires_grad_()
    assert torch.autograd.gradcheck(lambda q: line_search_loss(operator, b, q), (q,))
    (gradient,) = torch.autograd.grad(line_search_loss(operator, b, q), q)
    assert (gradient * q).sum(1).abs().max() < 1e-10  # as the loss does not change along q


@pytest.mark.parametrize("n_previous", [1, 2, 5])
def test_identity_gives_conjugate_gradients(n_previous):
    _, matrix, b = system()
    options = DcdmOptions(tolerance=0.0, n_iterations=15, n_previous=n_previous)
    states = list(dcdm(matrix, b, identity, options))[1:]
    for state, x in zip(states, textbook_cg(matrix, b, 15), strict=True):
        np.testing.assert_allclose(state.solution, x, rtol=0, atol=1e-11 * np.abs(x).max())


@pytest.mark.parametrize("n_previous", [0, 1, 2, 4])
def test_last_directions_are_conjugate_and_the_energy_never_grows(n_previous):
    problem, matrix, b = system()
    rule = network_direction(DcdmNet(2, seed=8), Cells.of_mask(problem.fluid))
    states = list(dcdm(matrix, b, rule, DcdmOptions(n_iterations=25, n_previous=n_previous)))
    assert len(states) == 26
    p = np.array([state.direction for state in states[1:]])
    products = p @ (matrix @ p.T)
    scale = np.sqrt(np.outer(np.diag(products), np.diag(products)))
    for offset in range(1, n_previous + 1):
        assert np.abs(np.diag(products / scale, offset)).max() < 1e-12
    energy = energies(matrix, b, states)
    assert (np.diff(energy) <= 1e-13 * energy[0]).all()
    assert energy[-1] < energy[0]


@pytest.mark.parametrize("topology", [64, 128])
@pytest.mark.parametrize("shape", [(6, 6, 6), (12, 12, 12), (7, 9, 5)])
def test_published_networks_in_3d_run_at_any_size(topology, shape):
    cells = np.full(shape, FLUID, dtype=np.uint8)
    cells[..., -1], cells[2:4, 1:3, 1:3] = AIR, SOLID
    problem = MaskProblem("box", cells, np.random.default_rng(9).standard_normal(shape))
    matrix, b = problem.matrix(), problem.to_vector(problem.rhs)
    rule = network_direction(DcdmNet(3, topology, seed=8), Cells.of_mask(problem.fluid))
    states = list(dcdm(matrix, b, rule, DcdmOptions(n_iterations=8)))
    p = np.array([state.direction for state in states[1:]])
    products = p @ (matrix @ p.T)
    scale = np.sqrt(np.outer(np.diag(products), np.diag(products)))
    for offset in (1, 2):
        assert np.abs(np.diag(products / scale, offset)).max() < 1e-12
    assert (np.diff(energies(matrix, b, states)) < 0).all()
    assert states[-1].residual == np.linalg.norm(b - matrix @ states[-1].solution) / np.linalg.norm(b)


@pytest.mark.parametrize("n_previous", [1, 30])
def test_all_directions_are_conjugate_where_all_are_kept(n_previous):
    problem, matrix, b = system()
    rule = network_direction(DcdmNet(2, seed=8), Cells.of_mask(problem.fluid))
    states = list(dcdm(matrix, b, rule, DcdmOptions(n_iterations=30, n_previous=n_previous)))
    p = np.array([state.direction for state in states[1:]])
    products = p @ (matrix @ p.T)
    scale = np.sqrt(np.outer(np.diag(products), np.diag(products)))
    farthest = np.abs(np.triu(products / scale, 1)).max()
    assert farthest < 1e-11 if n_previous == 30 else farthest > 1e-3


def test_random_directions_never_raise_the_energy_and_residuals_are_true():
    _, matrix, b = system()
    random = np.random.default_rng(3)
    rule = lambda r: 10.0 ** random.integers(-200, 100) * random.standard_normal(len(r))  # noqa: E731
    states = list(dcdm(matrix, b, rule, DcdmOptions(n_iterations=60)))
    energy = energies(matrix, b, states)
    eigenvalue = np.linalg.eigvalsh(matrix.toarray())[0]
    rate = 1 - eigenvalue / abs(matrix).sum(axis=1).max()
    assert (energy[1:] <= rate * energy[:-1] + 1e-13 * energy[0]).all()
    for state in states:
        assert state.residual == np.linalg.norm(b - matrix @ state.solution) / np.linalg.norm(b)


def broken_rules(b):
    fixed = np.random.default_rng(5).standard_normal(len(b))
    return {
        "nan": lambda r: np.full_like(r, np.nan),
        "overflow": lambda r: np.full_like(r, np.inf),
        "zero": np.zeros_like,
        "no slope": lambda r: fixed - (fixed @ r) / (r @ r) * r,
    }


@pytest.mark.parametrize("name", ["nan", "overflow", "zero", "no slope"])
def test_unusable_direction_falls_back_to_the_residual_and_says_so(name):
    _, matrix, b = system()
    states = list(dcdm(matrix, b, broken_rules(b)[name], DcdmOptions(tolerance=1e-8)))
    assert states[-1].residual <= 1e-8
    assert states[1].source == "residual"
    assert states[-1].n_fallbacks == sum(state.source == "residual" for state in states)
    if name != "no slope":
        plain = list(dcdm(matrix, b, identity, DcdmOptions(tolerance=1e-8)))
        assert len(states) == len(plain)
        np.testing.assert_allclose(states[-1].solution, plain[-1].solution, rtol=1e-9)


def test_repeated_direction_is_dependent_and_replaced():
    _, matrix, b = system()
    states = list(dcdm(matrix, b, lambda r: b, DcdmOptions(n_iterations=6)))
    assert [state.source for state in states[:3]] == ["start", "rule", "residual"]
    assert (np.diff(energies(matrix, b, states)) <= 0).all()


def test_indefinite_matrix_ends_the_iteration_with_the_last_iterate():
    _, matrix, b = system()
    states = list(dcdm(-matrix, b))
    assert [state.source for state in states] == ["start", "none"]
    assert not states[-1].solution.any()


def test_zero_right_hand_side_and_exact_start_take_no_step():
    _, matrix, b = system()
    assert len(list(dcdm(matrix, np.zeros_like(b)))) == 1
    exact = np.linalg.solve(matrix.toarray(), b)
    states = list(dcdm(matrix, b, initial=exact))
    assert len(states) == 1
    assert states[0].residual < 1e-12


def test_inputs_are_not_changed_and_a_rule_cannot_change_the_residual():
    _, matrix, b = system()
    before = b.copy()

    def vandal(residual):
        residual *= 0
        return before

    states = list(dcdm(matrix, b, vandal, DcdmOptions(n_iterations=3)))
    np.testing.assert_array_equal(b, before)
    assert states[-1].residual == np.linalg.norm(b - matrix @ states[-1].solution) / np.linalg.norm(b)


def test_wrong_shapes_and_values_are_refused():
    _, matrix, b = system()
    with pytest.raises(ValueError, match="dcdm: expected a square matrix and vectors of its size"):
        next(dcdm(matrix, b[:-1]))
    with pytest.raises(ValueError, match="dcdm: expected a finite right-hand side and start, got NaN"):
        next(dcdm(matrix, b * np.nan))
    with pytest.raises(ValueError, match=r"dcdm: expected a direction of shape \(\d+,\), got \(3,\)"):
        list(dcdm(matrix, b, lambda r: r[:3]))
    with pytest.raises(ValueError, match="DcdmOptions: expected numbers >= 0"):
        DcdmOptions(n_previous=-1)


def test_iterations_are_counted_to_each_tolerance():
    _, matrix, b = system()
    states = list(dcdm(matrix, b, options=DcdmOptions(tolerance=1e-5)))
    counts = iterations_to(states, (1e-1, 1e-5, 1e-12))
    assert counts[1] == states[-1].iteration
    assert counts[0] < counts[1]
    assert counts[2] is None


def test_solution_holds_every_right_hand_side_and_how_it_ended():
    problem, matrix, b = system()
    both = MaskProblem("two", problem.cells, np.stack([problem.rhs, np.zeros_like(problem.rhs)]))
    solution = solve_dcdm(both, options=DcdmOptions(tolerance=1e-9))
    assert solution.statuses == (Status.CONVERGED, Status.CONVERGED)
    assert solution.x.shape == both.rhs.shape
    np.testing.assert_allclose(matrix @ problem.to_vector(solution.x[0]), b, atol=1e-8 * np.linalg.norm(b))
    assert not solution.x[1].any()
    assert solution.history.shape == (solution.iterations + 1, 2)
    assert solution.residual_norms[0] == solution.history[-1, 0] <= 1e-9
    assert not solution.fallback
    cut = solve_dcdm(problem, np.zeros_like, DcdmOptions(n_iterations=3))
    assert (cut.status, cut.iterations, cut.fallback) == (Status.MAXITER, 3, True)
