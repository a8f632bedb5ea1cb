from __future__ import annotations

import numpy as np
import pytest
from sciml_mfuq.study.functions import (
    CASES,
    borehole,
    borehole_low,
    branin,
    currin,
    forrester,
    hartmann,
    jump,
    jump_low,
    meng,
    park,
    ridges,
    shifted_wave,
    squared_wave,
)


def test_forrester_has_its_known_minimum():
    x = np.linspace(0, 1, 200_001)[:, None]
    values = forrester(x)
    assert values.min() == pytest.approx(-6.02074, abs=1e-5)
    assert x[values.argmin(), 0] == pytest.approx(0.757249, abs=1e-5)


def test_jump_is_ten_high_in_the_truth_and_three_in_the_cheap_level():
    either = np.array([[0.5], [0.5 + 1e-12]])
    assert np.diff(jump_low(either)) == pytest.approx(3, abs=1e-6)
    assert np.diff(jump(either)) == pytest.approx(10, abs=1e-6)


def test_waves_meet_their_formulas_where_sines_are_known():
    quarter = np.array([[1 / 16], [0.0]])  # sin(pi / 2), sin 0
    np.testing.assert_allclose(squared_wave(quarter), [1 / 16 - np.sqrt(2), 0], atol=1e-12)
    np.testing.assert_allclose(shifted_wave(quarter), [1 / 256 + np.cos(np.pi / 10) ** 2, np.sin(np.pi / 10) ** 2])


def test_currin_is_continuous_at_its_edge():
    at = currin(np.array([[0.3, 0.0], [0.3, 1e-4]]))
    assert at[0] == pytest.approx(at[1])


def test_park_has_its_value_at_the_corner_of_ones():
    expected = 0.5 * (np.sqrt(3) - 1) + 4 * np.exp(1 + np.sin(1))
    assert park(np.ones((1, 4)))[0] == pytest.approx(expected, rel=1e-12)
    near = park(np.array([[0.0, 0.5, 0.5, 0.5], [1e-7, 0.5, 0.5, 0.5]]))
    assert near[0] == pytest.approx(near[1], rel=1e-5)


def test_borehole_grows_with_the_head_difference_in_proportion():
    x = CASES["borehole"].test_points(50, seed=3)
    higher = x.copy()
    higher[:, 3] = x[:, 5] + 2 * (x[:, 3] - x[:, 5])
    np.testing.assert_allclose(borehole(higher), 2 * borehole(x))
    assert (borehole_low(x) < borehole(x)).all()


def test_branin_has_its_three_minima():
    at = np.array([[-np.pi, 12.275], [np.pi, 2.275], [9.42478, 2.475]])
    np.testing.assert_allclose(branin(at) + 22.5 * at[:, 1], 0.397887, atol=1e-5)


def test_hartmann_has_its_minimum():
    assert hartmann(0)(np.array([[0.114614, 0.555649, 0.852547]]))[0] == pytest.approx(-3.86278, abs=1e-5)


def test_meng_vanishes_at_its_only_exact_zero():
    chain = [1.0]
    for _ in range(9):
        chain.append(np.sqrt(chain[-1] / 2))
    assert meng(np.array([chain]))[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "correlation"),
    [("c1", 0.735), ("c2", 0.962), ("c3", -0.102), ("c4", -0.125), ("currin", 0.9973), ("park", 0.9937)],
)
def test_levels_are_as_alike_as_the_literature_says(name, correlation):
    case = CASES[name]
    x = case.test_points(40_000, seed=5)
    found = np.corrcoef(case.levels[-1](x), case.levels[0](x))[0, 1]
    assert found == pytest.approx(correlation, abs=0.02)


def test_no_cubic_of_the_cheap_level_explains_the_ridges():
    case = CASES["n32"]
    x = case.test_points(40_000, seed=7)
    low, high = case.levels[0](x), ridges(x)
    powers = np.stack([low**k for k in range(4)], 1)
    rest = high - powers @ np.linalg.lstsq(powers, high, rcond=None)[0]
    assert rest.std() / high.std() == pytest.approx(0.30, abs=0.02)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"d32", "d100", "n100"}))
def test_design_is_repeatable_within_bounds_and_of_the_asked_size(name):
    case = CASES[name]
    one, two, other = case.sample(5), case.sample(5), case.sample(6)
    assert tuple(len(level.x) for level in one.levels) == case.counts
    assert [level.cost for level in one.levels] == list(case.costs)
    for a, b in zip(one.levels, two.levels, strict=True):
        np.testing.assert_array_equal(a.x, b.x)
        np.testing.assert_array_equal(a.y, b.y)
    assert not one.notes
    if case.truth_at is None:
        assert not np.array_equal(one.truth.x, other.truth.x)
    unit = (one.truth.x - case.bounds[:, 0]) / np.diff(case.bounds.T, axis=0)
    assert ((unit >= 0) & (unit <= 1)).all()


def test_latin_hypercube_has_one_point_in_each_slice():
    case = CASES["park"]
    slices = np.floor(12 * case.sample(3).truth.x).astype(int)
    assert all(sorted(column) == list(range(12)) for column in slices.T)
