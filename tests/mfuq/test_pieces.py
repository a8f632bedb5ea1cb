"""Jumps are found where there are some, and only there; the pieces know what is not known of their place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_mfuq.choose import HeldOut, best, choose
from sciml_mfuq.engines import Unsuited, fit_engine
from sciml_mfuq.kriging.covariance import Kernel
from sciml_mfuq.kriging.increment import runs_of
from sciml_mfuq.kriging.jumps import _gains, _places, _with_step, find_jump
from sciml_mfuq.kriging.pieces import fit_pieces, with_side
from sciml_mfuq.kriging.reml import Likelihood
from sciml_mfuq.kriging.scaling import scaled
from sciml_mfuq.model import evaluate
from sciml_mfuq.samples import Level, Samples
from sciml_mfuq.study.assess import Task, assess, unsuited
from sciml_mfuq.study.functions import CASES, Case
from sciml_mfuq.surrogate import Input, MultiFidelity, Output

from sciml import Surrogate, load
from sciml.testing import assert_all, check_surrogate

HERE = np.array([[0.48, 0.52]])


def box(n_feature):
    return np.tile([[0.0, 1.0]], (n_feature, 1))


def low(x):
    return np.sin(6 * x[:, 0]) + 0.7 * (x[:, 0] > 0.31)


def high(x, place=0.31):
    t = x[:, 0]
    return 1.5 * np.sin(6 * t) + t + 0.1 * np.cos(9 * t) + (1.5 * 0.7 + 1.2) * (t > place)


def plane(x):
    return np.sin(5 * x[:, 0]) * np.cos(3 * x[:, 1]) + 0.8 * (x[:, 1] > 0.43)


def cube(x):
    return 100 * np.exp(x[:, 0]) * (1 + x[:, 1] ** 2) - 60 * (x[:, 2] > 0.72)


def wave(x):
    return np.sin(6 * x[:, 0]) + x[:, -1]


def steep(x):
    return np.tanh(6 * (x[:, 0] - 0.4)) + 0.3 * x[:, -1]


def cheap(function, n, n_feature, seed, noise=0.0):
    """Return runs of a function on the unit box, and as many of the truth as must be."""
    generator = np.random.default_rng([seed, 5])
    case = Case("f", (function, function), box(n_feature), (n, 4), (1, 10))
    x = case.spread(n, generator)
    y = function(x) + noise * generator.standard_normal(n)
    return Samples((Level("cheap", x, y), Level("truth", x[:4], y[:4], 10)), box(n_feature))


@pytest.fixture(scope="module")
def pieces():
    return fit_pieces(Case("one", (low, high), box(1), (30, 6), (1, 10)).sample(104), seed=104)


@pytest.mark.parametrize("seed", [11, 12, 13])
@pytest.mark.parametrize(
    ("function", "n", "n_feature", "column", "place"),
    [(low, 30, 1, 0, 0.31), (plane, 60, 2, 1, 0.43), (cube, 90, 3, 2, 0.72)],
)
def test_jump_is_found_between_the_runs_that_enclose_it(function, n, n_feature, column, place, seed):
    samples = cheap(function, n, n_feature, seed)
    jump = find_jump(scaled(samples, 0), seed)
    assert jump.column == column
    assert jump.low <= place <= jump.high
    at = samples.levels[0].x[:, column]
    assert np.sum((at > jump.low) & (at < jump.high)) <= 2


@pytest.mark.parametrize("seed", [11, 12, 13])
@pytest.mark.parametrize(
    ("function", "n", "n_feature"), [(wave, 20, 1), (wave, 40, 3), (steep, 24, 1), (steep, 60, 2), (wave, 14, 2)]
)
def test_smooth_functions_have_no_jump(function, n, n_feature, seed):
    assert find_jump(scaled(cheap(function, n, n_feature, seed), 0), seed) is None


@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize(("case", "level"), [("c3", 0), ("currin", 0), ("park", 0), ("branin", 1), ("hartmann", 1)])
def test_smooth_test_functions_have_no_jump(case, level, seed):
    assert find_jump(scaled(CASES[case].sample(seed), level), seed) is None


def test_noise_is_no_jump_and_hides_none_that_is_large():
    assert find_jump(scaled(cheap(wave, 60, 1, 11, noise=0.2), 0), 11) is None
    jump = find_jump(scaled(cheap(plane, 80, 2, 11, noise=0.05), 0), 11)
    assert jump.column == 1
    assert jump.low <= 0.43 <= jump.high


def test_jump_does_not_depend_on_units():
    samples = cheap(plane, 60, 2, 11)
    level = samples.levels[0]
    other = Level("cheap", 50 * level.x - 7, 1e4 * level.y + 3e5)
    truth = Level("truth", 50 * samples.truth.x - 7, samples.truth.y)
    a = find_jump(scaled(samples, 0), 11)
    b = find_jump(scaled(Samples((other, truth), 50 * box(2) - 7), 0), 11)
    np.testing.assert_allclose([a.low, a.high, a.log_odds], [b.low, b.high, b.log_odds], rtol=1e-4)


def test_screen_is_the_likelihood_with_the_height_of_the_step_integrated_out():
    data = scaled(cheap(plane, 30, 2, 11), 0)
    places, runs = _places(data), runs_of(data, None, ("none", "linear"))
    smooth = Likelihood(Kernel("matern52", (data.columns,)), runs, learns_noise=True)
    theta = np.array([0.3, -0.7, -1.1, -6.0])
    gains = _gains(smooth, theta, places.steps)
    for place in (0, 7, len(gains) - 1):
        stepped = smooth.on(_with_step(runs, places.steps[:, place]))
        assert gains[place] == pytest.approx(smooth.value(theta) - stepped.value(theta), rel=1e-8, abs=1e-8)


def test_within_the_gap_it_is_the_mixture_over_where_the_jump_may_be(pieces):
    a, b = pieces.gaps[0].tolist()
    x = np.linspace(a - 0.01, b + 0.01, 9)[:, None]
    sides = [np.concatenate([x, np.full_like(x, side)], 1) for side in (0, 1)]
    (m0, s0), (m1, s1) = (evaluate(pieces.parts[0], one) for one in sides)
    above = (np.linspace(a, b, 40_001)[:, None] < x.T).mean(0)
    mean, std = evaluate(pieces, x)
    np.testing.assert_allclose(mean, m0 + above * (m1 - m0), atol=1e-3)
    second = (1 - above) * (s0**2 + m0**2) + above * (s1**2 + m1**2)
    np.testing.assert_allclose(std, np.sqrt(np.maximum(second - mean**2, 0)), atol=2e-3)


def test_intervals_near_the_jump_hold_wherever_it_lies_between_the_runs(pieces):
    """The runs are the same for every place within the gap: one model, many truths."""
    a, b = pieces.gaps[0].tolist()
    generator = np.random.default_rng(3)
    x, place = generator.uniform(a, b, (2, 4000))
    truth = high(x[:, None], place)
    mean, std = evaluate(pieces, x[:, None])
    assert 0.93 <= np.mean(np.abs(truth - mean) <= 1.96 * std) <= 0.99
    assert np.sqrt(np.mean(std**2)) == pytest.approx(np.sqrt(np.mean((truth - mean) ** 2)), rel=0.05)


def test_few_runs_of_the_truth_find_the_height_of_its_jump(pieces):
    a, b = pieces.gaps[0].tolist()
    x = np.linspace(0, 1, 301)[:, None]
    x = x[(x[:, 0] < a) | (x[:, 0] > b)]
    mean, _ = evaluate(pieces, x)
    assert np.abs(mean - high(x)).max() < 0.1  # the jump is 2.25 high


def test_run_of_the_truth_within_the_gap_tells_on_which_side_it_is(tmp_path):
    x = np.linspace(0, 1, 30)[:, None]
    inside = np.array([[0.03], [0.2], [0.305], [0.5], [0.7], [0.96]])
    model = fit_pieces(Samples((Level("cheap", x, low(x)), Level("truth", inside, high(inside), 10)), box(1)), seed=7)
    assert model.gaps.shape == (2, 2)
    assert float(model.gaps[0, 1]) == 0.305
    assert model.weights[1] > 0.95  # the jump lies above 0.305
    assert float(model.weights.sum()) == pytest.approx(1)
    Surrogate(MultiFidelity.of((Input("x"),), [Output("y")], [[model]])).save(tmp_path / "model")
    (again,) = load(tmp_path / "model").network.groups[0]
    for a, b in zip(evaluate(model, inside), evaluate(again, inside), strict=True):
        np.testing.assert_array_equal(a, b)


def test_pieces_keep_the_contract_of_a_surrogate():
    case = Case("two", (plane, lambda x: 1.2 * plane(x) + np.sin(4 * x[:, 1])), box(2), (50, 10), (1, 10))
    samples = case.sample(104)
    inputs = Input("x"), Input("y")
    network = MultiFidelity.of(inputs, [Output("f")], [[fit_pieces(samples, seed=104)]])
    assert_all(check_surrogate(Surrogate(network, domain={one.name: one.field.bounds for one in inputs})))


def test_pieces_can_be_exported(pieces):
    x = torch.rand(5, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    exported = torch.export.export(pieces, (x,)).module()
    for a, b in zip(pieces(x), exported(x), strict=True):
        assert torch.allclose(a, b, rtol=1e-12)


def test_cheap_levels_and_jump_taken_over_are_those_that_would_be_found_again(pieces):
    samples = Case("one", (low, high), box(1), (30, 6), (1, 10)).sample(104)
    kept = samples.truth_kept(np.arange(6) != 2)
    again, taken = fit_engine("pieces", kept, 104), fit_engine("pieces", kept, 104, pieces)
    for a, b in zip(evaluate(again, HERE.T), evaluate(taken, HERE.T), strict=True):
        np.testing.assert_array_equal(a, b)


def test_side_is_told_to_levels_that_see_the_input_and_runs_within_the_gap_are_left_out():
    x = np.arange(11) / 10
    square = np.stack([x, x[::-1]], 1)
    levels = Level("a", x[:, None], x, columns=(0,)), Level("b", x[:, None], x, columns=(1,)), Level("t", square, x)
    given = with_side(Samples(levels, box(2)), 1, np.array([0.25, 0.55]), np.array([0.35, 0.38]))
    a, b, truth = given.levels
    assert (a.columns, a.x.shape) == ((0,), (11, 1))
    assert b.columns == (1, 2)
    assert b.x[:, 0].round(1).tolist() == [0, 0.1, 0.2, 0.6, 0.7, 0.8, 0.9, 1]
    assert b.x[:, 1].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert truth.columns is None
    assert np.array_equal(truth.x[:, 2], square[:, 1] > 0.36)
    assert given.bounds.tolist() == [[0, 1]] * 3


def test_engine_says_in_one_sentence_that_it_is_for_jumps():
    with pytest.raises(Unsuited, match="expected a jump of level 'level 0', found none; take another engine"):
        fit_pieces(CASES["currin"].sample(5), seed=5)
    with pytest.raises(Unsuited, match="expected a cheap level of 12 to 320 runs"):
        fit_pieces(CASES["c1"].sample(5), seed=5)
    choice = choose(CASES["c1"].sample(5), ("cokriging", "pieces"), seed=5)
    assert choice.engine == "cokriging"
    assert list(choice.failures) == ["pieces"]
    assert unsuited(assess(Task("c1", "pieces", 5))) == choice.failures["pieces"]


def test_choice_trusts_the_proof_of_a_jump_unless_runs_of_the_truth_outweigh_it():
    sure, less, bad = (HeldOut(np.zeros(6), np.full(6, error), np.ones(6)) for error in (0.6, 1.0, 2.0))
    assert sure.log_density > less.log_density > bad.log_density
    assert best({"nargp": sure, "pieces": less}, "") == "pieces"
    assert best({"nargp": sure, "pieces": bad}, "") == "nargp"
    assert best({"nargp": sure, "cokriging": less}, "") == "nargp"
