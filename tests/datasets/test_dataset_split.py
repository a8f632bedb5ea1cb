"""Splits by simulation: disjoint, stable, exact where asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sciml_datasets import split_by, split_exactly

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}


def members(ids, splits):
    return {name: {ids[i] for i in index} for name, index in splits.items()}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=150, max_size=300), st.integers(1, 9999))
def test_every_sample_lands_once_and_no_simulation_in_two_splits(ids, seed):
    ids = [*range(500, 700), *ids]
    splits = split_by(ids, FRACTIONS, seed)
    assert sorted(np.concatenate(list(splits.values()))) == list(range(len(ids)))
    sets = members(ids, splits)
    assert not (sets["train"] & sets["test"])
    assert not (sets["train"] & sets["val"])
    assert not (sets["val"] & sets["test"])


def test_split_is_stable_under_permutation_and_added_simulations():
    ids = [f"room{i}" for i in range(300)]
    first = members(ids, split_by(ids, FRACTIONS, 5))
    shuffled = list(np.random.default_rng(9).permutation(ids))
    assert members(shuffled, split_by(shuffled, FRACTIONS, 5)) == first
    more = [f"new{i}" for i in range(200)] + ids
    grown = members(more, split_by(more, FRACTIONS, 5))
    assert all(first[name] <= grown[name] for name in first)
    assert first != members(ids, split_by(ids, FRACTIONS, 6))


def test_fractions_are_met_on_average():
    sizes = {name: len(index) / 20_000 for name, index in split_by(range(20_000), FRACTIONS, 3).items()}
    assert sizes == pytest.approx(FRACTIONS, abs=0.012)  # four standard deviations of the largest share


def test_split_does_not_depend_on_the_machine():
    assert split_by(range(12), {"train": 0.5, "test": 0.5}, 1)["test"].tolist() == [0, 1, 3, 9, 10]


def test_integers_and_numpy_integers_are_the_same_simulation():
    a, b = (split_by(ids, FRACTIONS, 3) for ids in (range(100), np.arange(100)))
    assert all(np.array_equal(a[name], b[name]) for name in FRACTIONS)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=20, max_size=60), st.integers(1, 99), st.integers(1, 5), st.integers(0, 5))
def test_exact_split_has_the_counts_and_keeps_simulations_together(ids, seed, n_train, n_test):
    n_ids = len(set(ids))
    counts = {"train": min(n_train, n_ids), "test": min(n_test, n_ids - min(n_train, n_ids))}
    splits = split_exactly(ids, counts, seed)
    sets = members(ids, splits)
    assert {name: len(s) for name, s in sets.items()} == counts
    assert not sets["train"] & sets["test"]
    assert all(len(splits[name]) == sum(i in sets[name] for i in ids) for name in counts)
    order = np.random.default_rng(seed).permutation(len(ids))
    shuffled = [ids[i] for i in order]
    assert members(shuffled, split_exactly(shuffled, counts, seed)) == sets


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="fractions: expected shares >= 0 that sum to 1, got"):
        split_by(range(9), {"train": 0.5, "test": 0.6}, 1)
    with pytest.raises(
        ValueError, match="split 'test': expected at least one of 2 simulations, got none; use split_exact"
    ):
        split_by(["a", "b"] * 5, {"train": 0.999999, "test": 1e-6}, 1)
    with pytest.raises(ValueError, match="counts: expected at most 9 simulations in all, got"):
        split_exactly(range(9), {"train": 8, "test": 2}, 1)
    with pytest.raises(TypeError, match=r"ids: expected names or integers of simulations, got \['float'\]"):
        split_by([0.5, 1.5], FRACTIONS, 1)
