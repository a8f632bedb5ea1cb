"""Dynamic programming against closed forms, exhaustive search and simulation."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from sciml_fishery.dp import axes_of, expectation, hat_weights, solve
from sciml_fishery.models import Bounds, Model, logistic, may
from sciml_fishery.objectives import Objective
from sciml_fishery.policies import ConstantEscapement
from sciml_fishery.rollout import simulate
from sciml_fishery.three_species import published


def test_hat_weights_are_the_integrals_of_the_hats():
    axis = torch.tensor([0.05, 0.2, 0.5, 1.1], dtype=torch.float64)
    mean, sd = torch.tensor([0.1, 0.6], dtype=torch.float64), torch.tensor([0.04, 0.3], dtype=torch.float64)
    found = hat_weights(axis, mean, sd, 0.05)
    x = torch.linspace(-3, 5, 3_200_001, dtype=torch.float64)
    hats = [torch.clamp(1 - (x - axis[0]).clamp(min=0) / 0.15, min=0) * (x > 0.05)]
    hats += [
        torch.minimum((x - axis[i - 1]) / (axis[i] - axis[i - 1]), (axis[i + 1] - x) / (axis[i + 1] - axis[i])).clamp(0)
        for i in (1, 2)
    ]
    hats += [((x - axis[2]) / 0.6).clamp(0, 1)]
    for m, s, row in zip(mean, sd, found, strict=True):
        density = torch.exp(-(((x - m) / s) ** 2) / 2) / (s * math.sqrt(2 * math.pi))
        wanted = [float(torch.trapezoid(hat * density, x)) for hat in hats]
        assert row.tolist() == pytest.approx(wanted, abs=2e-5)
        assert float(row.sum()) == pytest.approx(float(1 - torch.special.ndtr((0.05 - m) / s)), abs=1e-12)


def test_expectation_is_exact_for_multilinear_values():
    grid = [torch.linspace(0, 3, 7, dtype=torch.float64) for _ in range(3)]
    value = (1 + grid[0][:, None, None]) * (2 - grid[1][:, None]) * (0.5 + grid[2])
    mean = torch.tensor([[1.2, 0.9, 1.7], [1.0, 2.0, 1.5]], dtype=torch.float64)
    weights = [
        hat_weights(g, mean[:, i], torch.full((2,), 0.1, dtype=torch.float64), -math.inf) for i, g in enumerate(grid)
    ]
    wanted = (1 + mean[:, 0]) * (2 - mean[:, 1]) * (0.5 + mean[:, 2])
    assert expectation(value, weights).tolist() == pytest.approx(wanted.tolist(), rel=1e-9)


@pytest.mark.parametrize("discount", [1.0, 0.95])
def test_optimum_of_the_logistic_stock_is_the_closed_form(discount):
    model = Model(**{**vars(logistic(0.5, 1.0)), "n_years": 60, "initial": (0.9,)})
    optimum = solve(model, (801,), Objective(discount=discount))
    known = Bounds(0.5, 1.0, discount)
    path = simulate(model, optimum.policy.fraction, seed=3, episodes=1, keep=True).path
    escaped = path.stock[:40, 0, 0] * (1 - path.fraction[:40, 0, 0])
    assert escaped.tolist() == pytest.approx([known.escapement] * 40, abs=0.01)
    # years at the closed form, and the liquidation of what is left in the last one
    grown = known.escapement + 0.5 * known.escapement * (1 - known.escapement)
    wanted = 0.9 - known.escapement + sum(discount**t for t in range(1, 59)) * (grown - known.escapement)
    wanted += discount**59 * grown
    assert optimum.at(model.initial) == pytest.approx(wanted, rel=2e-3)


def test_running_maximum_equals_the_loop_over_escapements():
    model = Model(**{**vars(published("M3")), "n_years": 5})
    fast = solve(model, (9, 8, 7))
    # a vanishing cost makes the objective nonlinear, so that every escapement is tried
    slow = solve(model, (9, 8, 7), Objective(cost=(1e-9,)))
    assert torch.allclose(fast.value, slow.value, atol=1e-4)


@pytest.mark.parametrize(("name", "n_points"), [("M1", (201,)), ("M4", (15, 15, 33))])
def test_value_is_what_the_policy_earns_in_simulation(name, n_points):
    model = published(name)
    optimum = solve(model, n_points)
    outcome = simulate(model, optimum.policy.fraction, seed=2024, episodes=600)
    assert abs(optimum.at(model.initial) - outcome.mean) < 0.02 * outcome.mean + 3 * outcome.error


def test_value_converges_as_the_grid_is_refined():
    model = may()
    values = [solve(model, (n,)).at(model.initial) for n in (26, 51, 101, 201)]
    steps = [abs(b - a) for a, b in itertools.pairwise(values)]
    assert steps[2] < steps[1] < steps[0]


def test_no_constant_escapement_beats_the_optimum():
    model = may()
    optimum = simulate(model, solve(model, (201,)).policy.fraction, seed=2024, episodes=2000)
    for level in (0.4, 0.5, 0.6):
        other = simulate(model, ConstantEscapement(("X",), ("X",), [level]).fraction, seed=2024, episodes=2000)
        difference = (optimum.reward - other.reward).double()
        assert float(difference.mean()) > -3 * float(difference.std()) / 2000**0.5


def test_diminishing_utility_takes_less_in_the_first_year():
    model = Model(**{**vars(logistic(0.5, 1.0)), "n_years": 30, "initial": (1.2,)})
    catches = [
        simulate(model, solve(model, (161,), o).policy.fraction, seed=3, episodes=1, keep=True).path.catch[0, 0, 0]
        for o in (Objective(), Objective(exponent=0.5))
    ]
    assert catches[1] < catches[0]


def test_stocks_of_the_grid_begin_at_the_threshold():
    axes = axes_of(published("M4"), (5, 6, 7))
    assert [axis[0] for axis in axes] == pytest.approx([0.05] * 3)
    assert [len(axis) for axis in axes] == [5, 6, 7]


def test_many_species_are_refused():
    model = Model("four", ("A", "B", "C", "D"), (0,), lambda s, p, t, e: s, {}, (1.0,) * 4)
    with pytest.raises(ValueError, match="dp: expected a model with at most three species"):
        solve(model, (5,) * 4)
