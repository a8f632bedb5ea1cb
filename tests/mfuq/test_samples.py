from __future__ import annotations

import numpy as np
import pytest
from sciml_mfuq.samples import Level, Samples

BOX = np.array([[0.0, 1.0], [10.0, 20.0]])


def level(name="truth", n=5, seed=3, **changes):
    generator = np.random.default_rng(seed)
    x = BOX[:, 0] + generator.random((n, 2)) * (BOX[:, 1] - BOX[:, 0])
    return Level(name, x, x.sum(1), **changes)


def sentence(call):
    with pytest.raises(ValueError) as caught:
        call()
    return str(caught.value)


def test_runs_with_nan_are_left_out_with_their_noise_and_told():
    one = level(noise=np.arange(5.0))
    one.y[[1, 3]] = np.nan
    samples = Samples((level("low"), one), BOX)
    np.testing.assert_array_equal(samples.truth.noise, [0, 2, 4])
    assert len(samples.truth.x) == len(samples.truth.y) == 3
    assert "level 'truth': 2 of 5 runs returned NaN and were left out" in samples.notes


def test_field_run_with_one_missing_node_is_left_out():
    x = level().x
    y = np.ones((5, 4))
    y[2, 3] = np.nan
    assert Samples((Level("truth", x, y),), BOX).truth.y.shape == (4, 4)


def test_equal_runs_are_merged_and_keep_their_order():
    one = level()
    doubled = Level("truth", np.concatenate([one.x, one.x[1:3]]), np.concatenate([one.y, one.y[1:3]]))
    samples = Samples((doubled,), BOX)
    np.testing.assert_array_equal(samples.truth.x, one.x)
    assert "2 repeated runs were merged" in samples.notes[0]


def test_repeated_points_with_different_values_give_the_noise_between_them():
    generator = np.random.default_rng(5)
    x = np.repeat(level(n=400).x, 2, axis=0)
    noisy = Level("truth", x, x.sum(1) + 0.3 * generator.standard_normal(800))
    samples = Samples((noisy,), BOX)
    assert len(samples.truth.x) == 800
    assert samples.truth.noise == pytest.approx(0.3, rel=0.1)  # 400 degrees of freedom: one standard error is 3.5 %
    assert "counts as noisy" in samples.notes[0]


def test_empty_cheap_level_is_dropped_and_told():
    empty = Level("low", np.zeros((0, 2)), np.zeros(0))
    samples = Samples((empty, level()), BOX)
    assert [one.name for one in samples.levels] == ["truth"]
    assert samples.notes == ("level 'low': it has no run and was dropped",)


@pytest.mark.parametrize("n", [0, 1])
def test_truth_needs_two_runs(n):
    text = sentence(lambda: Samples((level("low"), level(n=n)), BOX))
    assert text == (f"level 'truth': expected at least two runs of the truth that returned numbers, got {n}; run more")


def test_two_runs_of_the_truth_are_taken_with_a_note():
    assert "only 2 runs" in Samples((level("low"), level(n=2)), BOX).notes[0]


def test_truth_outside_the_bounds_is_refused_and_names_a_run():
    one = level()
    one.x[2, 1] = 25.0
    assert "got 1 runs outside, such as [" in sentence(lambda: Samples((level("low"), one), BOX))


@pytest.mark.parametrize("bounds", [[[1.0, 0.0]], [[0.0, 0.0]], [0.0, 1.0], [[0.0, np.nan]]])
def test_bounds_that_are_none_are_refused(bounds):
    assert "expected bounds (feature, 2) with low < high" in sentence(lambda: Samples((level(),), np.array(bounds)))


def test_level_that_sees_fewer_inputs_says_which():
    cheap = Level("low", np.array([[12.0], [18.0]]), np.ones(2), columns=(1,))
    samples = Samples((cheap, level()), BOX)
    np.testing.assert_array_equal(samples.levels[0].seen(samples.truth.x), samples.truth.x[:, [1]])
    silent = Level("low", np.array([[12.0], [18.0]]), np.ones(2))
    assert "which by columns" in sentence(lambda: Samples((silent, level()), BOX))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cost": 0.0}, "expected a positive cost"),
        ({"noise": -1.0}, "expected noise >= 0"),
        ({"columns": (0,)}, "expected a column for each of 2 inputs"),
    ],
)
def test_level_refuses_what_makes_no_sense(changes, expected):
    text = sentence(lambda: level("low", **changes))
    assert text.startswith("level 'low': ")
    assert expected in text


def test_cost_counts_the_runs_that_returned_numbers():
    samples = Samples((level("low", 7, cost=2.0), level(cost=10.0)), BOX)
    assert samples.cost == 7 * 2 + 5 * 10
    assert samples.truth_only().cost == 50
    assert samples.truth_kept(np.arange(5) < 3).cost == 14 + 30


def test_unit_box_maps_back():
    samples = Samples((level(),), BOX)
    unit = samples.unit(samples.truth.x)
    np.testing.assert_allclose(BOX[:, 0] + unit * (BOX[:, 1] - BOX[:, 0]), samples.truth.x)
