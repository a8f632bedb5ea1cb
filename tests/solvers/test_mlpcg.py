"""The flag-conditioned linear network."""

import numpy as np
import pytest
import torch
from sciml_solvers.dcdm import DcdmOptions, dcdm, identity, network_direction
from sciml_solvers.dcdm_data import ritz
from sciml_solvers.dcdm_fit import DcdmFit, System, direction_loss
from sciml_solvers.dcdm_net import Cells
from sciml_solvers.mlpcg import MlpcgNet, mlpcg_direction
from sciml_solvers.problems import AIR, FLUID, SOLID, MaskProblem

from sciml.training import count_parameters, seeded


def masked(n=16, seed=3):
    random = np.random.default_rng(seed)
    cells = np.full((n, n), FLUID, dtype=np.uint8)
    cells[:, -1], cells[n // 4 : n // 2, 3:7] = AIR, SOLID
    return MaskProblem("box", cells, random.standard_normal((n, n)))


def roughened(net, seed=4):
    """Return the net with weights far from those it starts with."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return net


@pytest.mark.parametrize(("n_axes", "n_coarsenings", "n_parameters"), [(3, 5, 46_494), (3, 1, 11_070), (2, 4, 4_284)])
def test_network_has_the_stated_number_of_parameters(n_axes, n_coarsenings, n_parameters):
    net = MlpcgNet(n_axes, n_coarsenings)
    assert count_parameters(net) == n_parameters == (4 * n_coarsenings + 1) * {2: 252, 3: 2214}[n_axes]
    stencils = sum(count_parameters(part) for part in (net.pre, net.post, net.bottom))
    assert stencils == (2 * n_coarsenings + 1) * {2: 252, 3: 2214}[n_axes]


@pytest.mark.parametrize("shape", [(8, 12), (7, 5), (5, 6, 7)])
def test_network_is_linear_in_the_residual_and_zero_outside_of_fluid(shape):
    net = roughened(MlpcgNet(len(shape), 2)).double()
    random = np.random.default_rng(5)
    cells = torch.from_numpy(random.integers(0, 3, shape).astype(np.uint8))
    r = torch.from_numpy(random.standard_normal((2, *shape)))
    both = net(residual=r, cells=cells)["direction"]
    total = net(residual=(2.5 * r[:1] - 1e3 * r[1:]), cells=cells)["direction"]
    torch.testing.assert_close(total, 2.5 * both[:1] - 1e3 * both[1:], rtol=1e-9, atol=1e-9)
    assert both.abs().max() > 0
    assert not both[:, cells != FLUID].any()
    hidden = torch.where(cells == FLUID, r, 7.0)
    torch.testing.assert_close(net(residual=hidden, cells=cells)["direction"], both, rtol=0, atol=0)


def reference(net, r, cells):
    """Evaluate one coarsening by loops over cells, from the equations in the docstring of the network."""
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    kinds = np.stack([cells == kind for kind in range(3)]).astype(float)

    def around(x, i, j):
        return np.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 1)] * 2)[..., i : i + 3, j : j + 3]

    def outputs(name, kinds):
        weight, bias, (n, m) = weights[f"{name}.weight"], weights[f"{name}.bias"], kinds.shape[1:]
        return np.array([[np.sum(weight * around(kinds, i, j), (1, 2, 3)) + bias for j in range(m)] for i in range(n)])

    def stencil(name, kinds, x):
        taps, (n, m) = outputs(name, kinds), x.shape
        return np.array([[taps[i, j] @ around(x, i, j).ravel() for j in range(m)] for i in range(n)])

    def halve(x):
        return x.reshape(*x.shape[:-2], x.shape[-2] // 2, 2, x.shape[-1] // 2, 2).mean((-3, -1))

    def up(x):
        """Interpolate linearly along each axis: weights 3/4 and 1/4, constant beyond the last centres."""
        for axis in range(2):
            before, after = (np.roll(x, shift, axis) for shift in (1, -1))
            x = np.moveaxis(x, axis, 0)
            before, after = np.moveaxis(before, axis, 0), np.moveaxis(after, axis, 0)
            before[0], after[-1] = x[0], x[-1]
            fine = np.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], 1)
            x = np.moveaxis(fine.reshape(-1, x.shape[1]), 0, axis)
        return x

    fluid = kinds[FLUID]
    top = stencil("pre.0", kinds, fluid * r)
    below = stencil("bottom", halve(kinds), halve(top))
    mixed = outputs("keep.0", kinds).mean() * top + outputs("add.0", kinds).mean() * up(below)
    return fluid * stencil("post.0", kinds, mixed)


def test_network_equals_an_independent_evaluation():
    net = roughened(MlpcgNet(2, 1)).double()
    random = np.random.default_rng(6)
    cells = random.integers(0, 3, (6, 8)).astype(np.uint8)
    r = random.standard_normal((6, 8))
    got = net(residual=torch.from_numpy(r[None]), cells=torch.from_numpy(cells))["direction"][0].detach().numpy()
    np.testing.assert_allclose(got, reference(net, r, cells), rtol=1e-10, atol=1e-10)


def test_cached_taps_give_the_same_direction_to_the_bit():
    problem = masked()
    net = roughened(MlpcgNet(2, 3))
    r = np.random.default_rng(7).standard_normal(problem.n_unknowns)
    cells = torch.from_numpy(problem.cells)
    plain = network_direction(net, Cells.of_mask(problem.fluid), cells=cells)(r)
    cached = mlpcg_direction(net, problem.cells)
    np.testing.assert_array_equal(cached(r), plain)
    np.testing.assert_array_equal(cached(r), plain)  # and the cache is not used up


def test_untrained_network_needs_fewer_iterations_than_conjugate_gradients():
    problem = masked(32)
    matrix, b = problem.matrix(), problem.to_vector(problem.rhs)
    options = DcdmOptions(tolerance=1e-6)
    learned = list(dcdm(matrix, b, mlpcg_direction(MlpcgNet(2, 3), problem.cells), options))
    plain = list(dcdm(matrix, b, identity, options))
    assert learned[-1].residual <= 1e-6
    assert learned[-1].iteration < plain[-1].iteration
    assert learned[-1].n_fallbacks == 0


def test_gradient_of_the_loss_reaches_every_parameter_for_every_mask():
    problems = [masked(seed=3), masked(8, seed=4)]
    systems = []
    for problem in problems:
        data = ritz(problem.matrix(), 20, seeded(2, "start"))
        conditions = {"cells": torch.from_numpy(problem.cells)}
        systems.append(System(problem.matrix(), Cells.of_mask(problem.fluid), data, conditions))
    net = MlpcgNet(2, 2)
    loss = direction_loss(systems, DcdmFit(n_vectors=20, batch=2))
    sum(loss(net, seeded(number, "step")) for number in range(6)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="MlpcgNet: expected n_axes 2 or 3 and n_coarsenings >= 1, got n_axes = 2 and"):
        MlpcgNet(2, 0)
