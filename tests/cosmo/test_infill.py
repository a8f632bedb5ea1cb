from __future__ import annotations

import numpy as np
from sciml_cosmo.generate.merger_trees import TreesConfig, make_forest
from sciml_cosmo.trees.definitions import ladder, random_forest
from sciml_cosmo.trees.infill import infill
from sciml_cosmo.trees.transforms import binarise, coarsen, n_progenitor


def test_a_merger_at_a_dropped_snapshot_is_asked_for():
    # time runs to the left: 0 <- 1 <- (2, 3); the merger node 1 is dropped
    asked = infill(ladder([13.0, 12.9, 12.0, 11.0], [-1, 0, 1, 1]))
    assert asked.label.tolist() == [-1, -1, -1, 1]


def test_a_merger_at_a_kept_snapshot_is_not():
    asked = infill(ladder([13.0, 12.9, 12.0, 11.9, 11.0], [-1, 0, 0, 1, 2]))
    assert asked.label.tolist() == [-1, -1, -1, 0]


def test_a_merger_whose_lighter_part_is_cut_off_counts_as_dropped():
    # 0 <- 1 <- (3, 4) and 0 <- 2 <- 5: of 3, 4, 5 the lightest, 4, goes
    asked = infill(ladder([13.0, 12.9, 12.0, 11.0, 10.0, 10.5], [-1, 0, 0, 1, 1, 2]))
    assert asked.label[asked.is_virtual].tolist() == [1]
    assert len(asked.coarse.features) == 3


def test_a_third_progenitor_is_no_merger_of_its_own():
    # the lightest of three is cut off before snapshots are dropped: 1 is linear then
    asked = infill(ladder([13.0, 12.0, 11.0, 10.0, 12.0, 11.0], [-1, 0, 0, 0, 1, 2]))
    assert asked.label[asked.is_virtual].tolist() == [0]


def test_every_virtual_node_hears_its_merger_node_and_two_progenitors():
    asked = infill(random_forest(np.random.default_rng(21), 8, 200))
    n_real = len(asked.coarse.features)
    source, target = asked.edges
    assert asked.n_virtual == (n_progenitor(asked.coarse) == 2).sum() > 20
    assert np.array_equal(np.bincount(target, minlength=len(asked.features))[n_real:], np.full(asked.n_virtual, 3))
    assert source.max() < n_real
    for virtual, trio in enumerate(asked.trio, n_real):
        assert set(source[target == virtual]) == set(trio)
        assert asked.coarse.descendant[trio[1:]].tolist() == [trio[0]] * 2
        assert np.allclose(asked.features[virtual], asked.features[trio].mean(0), rtol=1e-6)
        assert asked.tree[virtual] == asked.tree[trio[0]]
    assert set(asked.label[:n_real]) == {-1}


def test_trees_do_not_see_each_other():
    forest = random_forest(np.random.default_rng(23), 5, 100)
    whole = infill(forest)
    parts = [infill(forest.take([i])) for i in range(5)]
    assert np.array_equal(whole.label[whole.is_virtual], np.concatenate([p.label[p.is_virtual] for p in parts]))


def test_coarse_trees_are_binary_and_hold_every_second_snapshot():
    forest = make_forest(TreesConfig(n_cosmology=2, n_tree_each=2), seed=11)
    asked = infill(forest)
    assert not (asked.coarse.extra["snapshot"] % 2).any()
    assert n_progenitor(asked.coarse).max() == 2
    assert asked.coarse.extra["path_length"].max() == 2
    assert len(asked.coarse.features) <= len(coarsen(binarise(forest)).features)
    assert "crossed" not in asked.coarse.extra
    share = asked.label[asked.is_virtual].mean()
    assert 0.3 < share < 0.7  # neither answer is rare
