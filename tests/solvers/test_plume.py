"""The time loop of a smoke plume and its warm start."""

import itertools

import numpy as np
import pytest
from sciml_solvers.gallery import problem
from sciml_solvers.plume import PlumeSettings, fischer_guess, plume
from sciml_solvers.problems import FLUID, SOLID

N_STEPS = 12


@pytest.fixture(scope="module")
def steps():
    return list(plume(N_STEPS, PlumeSettings(n=32), compare=True))


def a_norm(matrix, vector):
    return np.sqrt(vector @ (matrix @ vector))


def nearby_solutions(n_solutions=5, seed=13):
    """Return a matrix, a right-hand side, its solution, and solutions for right-hand sides nearby."""
    made = problem("smoke", 14, 2)
    matrix, random = made.matrix(), np.random.default_rng(seed)
    b = random.standard_normal(made.n_unknowns)
    others = b + 0.3 * random.standard_normal((n_solutions, len(b)))
    dense = np.linalg.inv(matrix.toarray())
    return matrix, b, dense @ b, others @ dense


def test_divergence_falls_to_the_tolerance(steps):
    for step in steps:
        assert step.divergence_after <= 1.01e-6 * step.divergence_before


def test_pressure_solves_the_problem_of_its_step(steps):
    for step in steps:
        b = step.problem.to_vector(step.problem.rhs)
        residual = b - step.problem.matrix() @ step.problem.to_vector(step.pressure)
        assert np.linalg.norm(residual) <= 1e-6 * np.linalg.norm(b)
        assert np.linalg.norm(residual) == pytest.approx(step.divergence_after, rel=1e-3, abs=1e-13)


def test_smoke_is_conserved_while_the_solid_sweeps_through_it():
    amount, covered, out, last = 0.0, 0, 0.0, None
    emitted = next(plume(1, PlumeSettings(n=24, time_step=0.03))).smoke_gained
    for step in plume(50, PlumeSettings(n=24, time_step=0.03)):
        assert step.smoke.sum() - amount == pytest.approx(step.smoke_gained, abs=1e-10)
        amount, out = step.smoke.sum(), out + emitted - step.smoke_gained
        solid = step.problem.cells == SOLID
        assert not step.smoke[solid].any()
        assert step.smoke.min() >= 0
        if last is not None:
            covered += np.count_nonzero(solid & (last.smoke > 0) & (last.problem.cells == FLUID))
        last = step
    assert covered > 0
    assert out > 0


def test_smoke_rises(steps):
    heights = [(step.smoke.sum(0) @ np.arange(32)) / step.smoke.sum() for step in steps]
    assert heights[-1] > heights[0] + 0.3


def test_solid_moves_and_the_plume_without_it_is_symmetric():
    moving = [step.problem.cells for step in plume(6, PlumeSettings(n=24))]
    assert any((a != b).any() for a, b in itertools.pairwise(moving))
    for step in plume(6, PlumeSettings(n=24, solid_speed=0.0, rtol=1e-10)):
        np.testing.assert_allclose(step.smoke, step.smoke[::-1], atol=1e-7)


def test_plume_is_deterministic(steps):
    again = list(plume(N_STEPS, PlumeSettings(n=32), compare=True))
    for a, b in zip(steps, again, strict=True):
        np.testing.assert_array_equal(a.pressure, b.pressure)
        np.testing.assert_array_equal(a.smoke, b.smoke)


def test_warm_start_saves_iterations_in_sum_and_never_raises_the_error(steps):
    assert all(step.guess_error <= 1 + 1e-6 for step in steps)
    assert sum(step.iterations for step in steps) < sum(step.iterations_cold for step in steps)


def test_cold_loop_takes_the_cold_iterations():
    for step in plume(4, PlumeSettings(n=24, n_kept=0), compare=True):
        assert step.iterations == step.iterations_cold


def test_guess_is_made_from_the_last_pressures(monkeypatch):
    spans = []

    def watched(apply, previous, b):
        spans.append(previous)
        return fischer_guess(apply, previous, b)

    monkeypatch.setattr("sciml_solvers.plume.fischer_guess", watched)
    made = list(plume(7, PlumeSettings(n=16, n_kept=3, solid_speed=0.0)))
    assert [len(span) for span in spans] == [0, 1, 2, 3, 3, 3, 3]
    last = [step.problem.to_vector(step.pressure) for step in made[3:6]]
    np.testing.assert_array_equal(spans[6], last)


def test_guess_never_increases_the_energy_norm_of_the_error():
    matrix, b, x, others = nearby_solutions()
    unrelated = np.random.default_rng(17).standard_normal((4, len(b)))
    for previous in (others, unrelated, others[:1], np.concatenate([others, others])):
        guess = fischer_guess(lambda v: (matrix @ v.T).T, previous, b)
        assert a_norm(matrix, x - guess) <= a_norm(matrix, x) * (1 + 1e-12)


def test_guess_is_the_best_in_the_span():
    matrix, b, x, others = nearby_solutions()
    guess = fischer_guess(lambda v: (matrix @ v.T).T, others, b)
    assert others @ (matrix @ (x - guess)) == pytest.approx(0, abs=1e-9 * np.abs(others @ b).max())
    assert a_norm(matrix, x - guess) < 0.5 * a_norm(matrix, x)


def test_guess_of_a_solution_in_the_span_is_exact():
    matrix, b, x, others = nearby_solutions()
    guess = fischer_guess(lambda v: (matrix @ v.T).T, np.concatenate([others, 3 * x[None]]), b)
    assert np.linalg.norm(guess - x) < 1e-8 * np.linalg.norm(x)


def test_guess_from_nothing_and_from_zeros_is_zero():
    matrix, b, _, others = nearby_solutions()
    for previous in (others[:0], 0 * others):
        assert not fischer_guess(lambda v: (matrix @ v.T).T, previous, b).any()


def test_settings_say_what_is_wrong():
    with pytest.raises(ValueError, match="PlumeSettings: expected n >= 16"):
        PlumeSettings(n=8)
    with pytest.raises(ValueError, match=r"expected a solid_speed of at most 0.9, got 3.0"):
        PlumeSettings(solid_speed=3.0)
