from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sciml_cosmo.forest import Forest
from sciml_cosmo.trees.definitions import differing, ladder, random_forest
from sciml_cosmo.trees.transforms import binarise, coarsen, even, n_progenitor, prune, select, trim

SEEDS = st.integers(1, 10**9)


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(1, 60))
def test_transforms_equal_their_recursive_definitions(seed, n_tree, n_node):
    forest = random_forest(np.random.default_rng(seed), n_tree, n_node)
    assert differing(forest, 10**10.5) == []


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_transforms_done_twice_change_nothing_more(seed):
    forest = random_forest(np.random.default_rng(seed), 3, 50)
    for once, twice in [(f(forest), f(f(forest))) for f in (binarise, prune, lambda f: trim(f, 10**11.0))]:
        assert np.array_equal(once.features, twice.features)
        assert np.array_equal(once.descendant, twice.descendant)
        assert np.array_equal(once.extra["path_length"], twice.extra["path_length"])


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_path_lengths_to_the_root_stay(seed):
    forest = random_forest(np.random.default_rng(seed), 2, 60)
    depth = {}
    for name, one in (("all", forest), ("some", coarsen(prune(forest, 10**11.0)))):
        length = one.extra.get("path_length", one.descendant >= 0)
        total = np.zeros(len(length), int)
        for i, below in enumerate(one.descendant):
            total[i] = length[i] + (total[below] if below >= 0 else 0)
        depth[name] = total
    kept = replace(forest, extra={**forest.extra, "depth": depth["all"]})
    assert np.array_equal(coarsen(prune(kept, 10**11.0)).extra["depth"], depth["some"])


def test_trees_do_not_see_each_other():
    forest = random_forest(np.random.default_rng(5), 6, 40)
    for f in (binarise, prune, coarsen, lambda f: trim(f, 10**11.0)):
        one, all_ = f(forest.take([3])), f(forest).take([3])
        assert np.array_equal(one.features, all_.features)
        assert np.array_equal(one.descendant, all_.descendant)


def test_binary_trees_have_at_most_two_progenitors_and_they_are_the_heaviest():
    forest = random_forest(np.random.default_rng(9), 5, 80)
    binary = binarise(forest)
    assert n_progenitor(binary).max() == 2
    assert n_progenitor(forest).max() > 2


def test_snapshots_without_numbers_are_those_of_the_scale_factors():
    forest = random_forest(np.random.default_rng(11), 4, 60)
    assert set(forest.extra["snapshot"]) == set(range(forest.extra["snapshot"].max() + 1))
    bare = replace(forest, extra={})
    assert np.array_equal(even(bare), even(forest))
    assert np.array_equal(coarsen(bare).descendant, coarsen(forest).descendant)


def test_a_chain_of_a_hundred_thousand_nodes_needs_no_recursion():
    n = 100_001
    features = np.stack([np.linspace(13, 10, n), np.zeros(n), np.zeros(n), np.ones(n)], 1)
    chain = Forest(features, np.arange(-1, n - 1), np.array([0, n]), np.ones((1, 2)), np.zeros(1),
                   {"snapshot": np.arange(n)})  # fmt: skip
    assert len(coarsen(chain).features) == 50_001
    assert prune(chain).extra["path_length"].tolist() == [0, n - 1]
    assert trim(chain, 1e11).features[-1, 0] >= 11


def test_a_root_below_the_mass_stays():
    assert len(trim(ladder([9.0, 8.0], [-1, 0]), 1e10).features) == 1


def test_dropping_a_root_is_refused():
    with pytest.raises(ValueError, match="select: expected every root to be kept"):
        select(ladder([13.0, 12.0], [-1, 0]), np.array([False, True]))


def test_inputs_are_left_as_they_are():
    forest = random_forest(np.random.default_rng(13), 3, 30)
    before = (forest.features.copy(), forest.descendant.copy(), forest.start.copy())
    for f in (binarise, prune, coarsen, lambda f: trim(f, 10**11.0)):
        f(forest)
    for array, copy in zip((forest.features, forest.descendant, forest.start), before, strict=True):
        assert np.array_equal(array, copy)
