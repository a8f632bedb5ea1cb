"""The learned cycle: symmetric and positive for any weights, watched by a guard, trained by differentiable steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_solvers.features import FEATURES, level_features
from sciml_solvers.gallery import problem, random_mask
from sciml_solvers.guard import GuardedCycle
from sciml_solvers.learned import LearnedCycle, learned_cycle, learned_levels, predicted_levels
from sciml_solvers.learned_fit import LearnedFit, Sample, error_ratio, fit_cycle, held_out, samples, start_errors
from sciml_solvers.looks import few_looks
from sciml_solvers.multigrid import Multigrid
from sciml_solvers.problems import MaskProblem
from sciml_solvers.solution import Status
from sciml_solvers.solve import solve

from sciml.training import count_parameters, seeded

SMALL = LearnedFit(shapes=((12, 10, 8), (16, 12)), n_masks=6, n_pcg=3, n_steps=30, learning_rate=1e-2)


def scattered(scale: float, seed: int) -> LearnedCycle:
    """Return a network with normal weights of a given size."""
    network, generator = LearnedCycle(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return network


def masks(seed: int) -> list[MaskProblem]:
    """Return small problems with solids, thin walls, jumps and anisotropy, some of them closed."""
    generator = np.random.default_rng(seed)
    return [random_mask(shape, generator) for shape in ((7, 6, 9), (10, 9), (6, 8, 6), (9, 12), (8, 7, 6))]


def dense(cycle: Multigrid, made: MaskProblem) -> np.ndarray:
    """Return the matrix of a cycle over the unknowns."""
    grids = torch.from_numpy(made.to_grid(np.eye(made.n_unknowns)))
    return made.to_vector(cycle.apply(grids).numpy())


def test_the_network_has_about_a_thousand_parameters_and_is_rebuilt_from_its_config() -> None:
    network = LearnedCycle(seed=5)
    assert count_parameters(network) == 972
    again = LearnedCycle(**network.config)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    assert len(network.spec.inputs) == 1
    assert [field.name for field in network.spec.outputs] == [
        "omega",
        "gain",
        "conductance",
    ]


@pytest.mark.parametrize("scale", [0.3, 3.0, 1e3])
def test_the_cycle_is_symmetric_and_positive_for_any_weights(scale: float) -> None:
    for number, made in enumerate(masks(311)):
        cycle = learned_cycle(scattered(scale, 60 + number), made, dtype=torch.float64)
        matrix = dense(cycle, made)
        size = np.abs(matrix).max()
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-10 * size)
        # On what the matrix of the problem sees: closed rooms may keep their constants.
        values, vectors = np.linalg.eigh(made.matrix().toarray())
        seen = vectors[:, values > 1e-9 * values.max()]
        assert np.linalg.eigvalsh(seen.T @ (matrix + matrix.T) @ seen / 2).min() > 0


def test_a_network_whose_last_layer_is_zero_is_the_classical_cycle() -> None:
    network = scattered(1.0, 77)
    with torch.no_grad():
        network.last.weight.zero_()
        network.last.bias.zero_()
    generator = torch.Generator().manual_seed(8)
    for made in masks(312):
        r = torch.randn(2, *made.cells.shape, dtype=torch.float64, generator=generator) * torch.from_numpy(made.fluid)
        classical = Multigrid(made, smoothing=(1, 1), dtype=torch.float64).apply(r)
        z = learned_cycle(network, made, dtype=torch.float64).apply(r)
        assert float((z - classical).abs().max()) <= 1e-9 * float(classical.abs().max())


def test_features_do_not_change_with_the_units_and_see_jumps_and_anisotropy() -> None:
    made = masks(313)[0]
    scaled = MaskProblem("scaled", made.cells, made.rhs, np.full(made.cells.shape, 37.0) if made.coefficient is None
                         else 37.0 * made.coefficient, made.spacing)  # fmt: skip
    for a, b in zip(Sample.of(made).features, Sample.of(scaled).features, strict=True):
        assert a.shape[0] == len(FEATURES)
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    jump, weak = FEATURES.index("jump"), FEATURES.index("weakest_axis")
    plain, jumps, thin = (Sample.of(problem(name, 16)).features[0] for name in ("empty", "jumps", "anisotropic"))
    inner = (slice(2, -2),) * 3
    assert float(plain[jump][inner].abs().max()) < 1e-9 < 0.5 < float(jumps[jump][inner].abs().max())
    assert float(thin[weak][inner].max()) < 0.02 < 0.3 < float(plain[weak][inner].min())


def test_several_grids_at_once_give_what_they_give_one_by_one() -> None:
    network = scattered(0.5, 9)
    grids = [Sample.of(made).features[0].float() for made in (problem("smoke", 8), problem("dam", 8))]
    together = network(features=torch.stack(grids))
    for number, grid in enumerate(grids):
        alone = network(features=grid[None])
        assert all(torch.allclose(together[key][number], alone[key][0], atol=1e-6) for key in alone)


def test_values_without_gradients_are_those_with() -> None:
    network = scattered(0.5, 19)
    for grid in Sample.of(problem("solids", (16, 12, 14))).features:
        traced = network(features=grid[None].float())
        with torch.no_grad():
            quick = network(features=grid[None].float())
        assert all(torch.allclose(quick[key], traced[key], atol=1e-5) for key in traced)


def test_the_gradient_of_the_loss_is_that_of_finite_differences() -> None:
    made = problem("dam", (6, 10, 9))
    network = scattered(0.3, 21).double()
    sample = Sample.of(made)
    error = start_errors(sample, 2, seeded(4))

    def value() -> torch.Tensor:
        return error_ratio(sample, learned_levels(network, sample.levels, sample.features), error, 3)

    value().backward()
    generator, h = torch.Generator().manual_seed(3), 1e-5
    for parameter in network.parameters():
        assert parameter.grad is not None
        way = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
        expected = float((parameter.grad * way).sum())
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * h * way)
                ends.append(float(value()))
                parameter.sub_(sign * h * way)
        assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_the_error_ratio_of_untrained_weights_is_the_classical_one() -> None:
    sample = Sample.of(problem("dam", (8, 8)))
    error = start_errors(sample, 2, seeded(6))
    classical = error_ratio(sample, sample.levels, error, 3)
    learned = error_ratio(sample, learned_levels(LearnedCycle(), sample.levels, sample.features), error, 3)
    assert float(learned.detach()) == pytest.approx(float(classical), rel=1e-6)
    assert float(classical) < np.log(0.6)


def test_the_same_seed_trains_to_the_same_bits_and_another_does_not() -> None:
    def trained(seed: int) -> torch.Tensor:
        network = LearnedCycle()
        options = LearnedFit(shapes=((8, 8, 6),), n_masks=3, n_pcg=2, n_steps=4)
        list(fit_cycle(network, options, seed=seed))
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    first = trained(13)
    assert torch.equal(first, trained(13))
    assert not torch.equal(first, trained(14))


def test_a_few_steps_leave_less_error_on_masks_that_training_did_not_see() -> None:
    network = LearnedCycle()
    unseen = samples(SMALL, 555)
    before = held_out(network, unseen, SMALL, 8)
    for state in fit_cycle(network, SMALL, seed=12):
        assert np.isfinite(state.loss)
    # The error in the A-norm that three steps leave, as a factor.
    assert np.exp(3 * (held_out(network, unseen, SMALL, 8) - before)) < 0.9


def test_nan_weights_fall_back_and_say_so() -> None:
    made = problem("solids", 12)
    network = LearnedCycle()
    with torch.no_grad():
        network.second.bias[3] = torch.nan
    with pytest.raises(FloatingPointError, match="expected finite factors on level 0, got NaN or infinity"):
        learned_cycle(network, made)
    found = GuardedCycle(made, network).solve()
    plain = solve(made, preconditioner=Multigrid(made, smoothing=(1, 1)))
    assert found.fallback
    assert found.converged
    np.testing.assert_allclose(found.x, plain.x, atol=1e-6 * np.abs(plain.x).max())


def test_bad_weights_fall_back_and_converge_in_the_classical_number_of_iterations() -> None:
    made = problem("solids", 16)
    network = scattered(1e3, 90)
    alone = solve(made, preconditioner=learned_cycle(network, made))
    plain = solve(made, preconditioner=Multigrid(made, smoothing=(1, 1)))
    assert alone.converged
    assert alone.iterations > 2 * plain.iterations
    guard = GuardedCycle(made, network)
    found = guard.solve()
    assert found.fallback
    assert guard.fallback
    assert found.converged
    assert found.iterations == plain.iterations
    np.testing.assert_allclose(found.x, plain.x, atol=1e-6 * np.abs(plain.x).max())


def test_the_guard_keeps_a_network_that_is_no_worse() -> None:
    made = problem("smoke", 12)
    guard = GuardedCycle(made, LearnedCycle())
    found = guard.solve()
    assert not found.fallback
    assert found.converged
    assert found.x.shape == made.cells.shape
    assert guard.solve(np.stack([made.rhs, 2 * made.rhs])).x.shape == (2, *made.cells.shape)


def test_right_hand_sides_that_arrive_at_different_times_are_solved_under_the_guard() -> None:
    made = problem("dam", 12)
    easy = np.zeros(made.cells.shape)
    easy[0, 0, 0] = 1.0
    found = GuardedCycle(made, LearnedCycle()).solve(np.stack([made.rhs, 0 * easy, easy]), rtol=0.2)
    assert found.converged
    assert float(found.residual_norms.max()) <= 0.2


def test_the_guard_spends_its_trial_on_the_first_solve_only() -> None:
    made = problem("dam", 12)
    counted = []

    class Counting(Multigrid):
        def apply(self, residual: torch.Tensor) -> torch.Tensor:
            counted.append(len(residual))
            return super().apply(residual)

    guard = GuardedCycle(made, LearnedCycle(), classical=Counting(made, smoothing=(1, 1)))
    assert guard.solve().status is Status.CONVERGED
    assert len(counted) == 1
    assert guard.solve().status is Status.CONVERGED
    assert len(counted) == 1


def test_the_cycle_that_wins_the_trial_is_not_spent_twice() -> None:
    made = problem("dam", 12)
    counted = []

    class Counting(Multigrid):
        def apply(self, residual: torch.Tensor) -> torch.Tensor:
            counted.append(len(residual))
            return super().apply(residual)

    guard = GuardedCycle(made, scattered(1e3, 90), classical=Counting(made, smoothing=(1, 1)))
    found = guard.solve()
    assert found.fallback
    assert len(counted) == found.iterations


def test_a_learned_cycle_that_is_late_is_relieved_and_its_iterate_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sciml_solvers.guard.PER_DECADE", 0.5)
    made = problem("solids", 16)
    guard = GuardedCycle(made, LearnedCycle())
    found = guard.solve()
    plain = solve(made, preconditioner=Multigrid(made, smoothing=(1, 1)))
    assert found.fallback
    assert found.converged
    assert plain.iterations <= found.iterations < plain.iterations + 3  # a restart loses directions, not the iterate
    assert len(found.history) == found.iterations + 1
    np.testing.assert_allclose(found.x, plain.x, atol=1e-5 * np.abs(plain.x).max())
    assert guard.solve().iterations == plain.iterations


def test_where_no_two_cells_look_alike_the_network_is_not_asked() -> None:
    made = problem("lognormal", (20, 18, 16))
    guard = GuardedCycle(made, LearnedCycle())
    assert guard.fallback
    found = guard.solve()
    assert found.fallback
    assert found.iterations == solve(made, preconditioner=Multigrid(made, smoothing=(1, 1))).iterations


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cells_that_look_alike_are_predicted_as_each_would_be(dtype: torch.dtype) -> None:
    network = scattered(0.5, 29)
    for name, shape in (("jumps", (20, 17, 18)), ("solids", (21, 30, 18)), ("anisotropic", (16, 20, 13)),
                        ("maze", (40, 31)), ("neumann", (14, 15, 16)), ("porous", (9, 9, 9))):  # fmt: skip
        levels = Multigrid(problem(name, shape), dtype=dtype).hierarchy
        with torch.no_grad():
            wanted = learned_levels(network, levels, level_features(levels))
        found = predicted_levels(network, levels, only_few=True)
        assert found is not None
        for a, b in zip(wanted, found, strict=True):
            torch.testing.assert_close(b.omega, a.omega, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(b.gain, a.gain, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(b.faces, a.faces, rtol=1e-5, atol=1e-6 * float(a.faces.abs().max()))


def test_looks_are_as_many_as_an_empty_box_has_under_its_symmetries() -> None:
    cells = np.ones(
        (12, 12, 12), dtype=np.uint8
    )  # closed: inside, and the first three layers from faces, edges, corners
    level = Multigrid(MaskProblem("closed", cells, np.zeros(cells.shape))).hierarchy[0]
    looks = few_looks(level, torch.ones(cells.shape))
    assert looks is not None
    distance = np.minimum(np.minimum(np.arange(12), np.arange(12)[::-1]), 2)  # a wall is seen from two cells
    kinds = {tuple(sorted((distance[i], distance[j], distance[k]))) for i, j, k in np.ndindex(12, 12, 12)}
    assert len(looks.first) == len(kinds)
    assert torch.equal(looks.number, looks.number.permute(2, 0, 1).flip(1))


def test_wrong_shapes_and_options_are_refused() -> None:
    made = problem("dam", (8, 8))
    with pytest.raises(ValueError, match=r"expected b of shape \(8, 8\) or \(rhs, \*\(8, 8\)\), got \(7, 8\); reshape"):
        GuardedCycle(made, LearnedCycle()).solve(np.ones((7, 8)))
    with pytest.raises(ValueError, match="expected n_hidden >= 1, got 0"):
        LearnedCycle(n_hidden=0)
    with pytest.raises(ValueError, match="expected positive counts"):
        LearnedFit(n_pcg=0)
    assert len(level_features(Sample.of(made).levels)) == len(Sample.of(made).levels) - 1
