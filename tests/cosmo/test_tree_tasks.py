"""The two tasks on merger trees: splits, scores, probes, runs from end to end, resumption, surrogates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sciml_cosmo.files import write_forest
from sciml_cosmo.forest import Forest
from sciml_cosmo.generate.merger_trees import TreesConfig, make_forest
from sciml_cosmo.trees import infill_task, parameters_task
from sciml_cosmo.trees.bench import large_tree
from sciml_cosmo.trees.config import QUICK_INFILL, QUICK_TREES, InfillTaskConfig, TrainingConfig, TreesTaskConfig
from sciml_cosmo.trees.data import joined, mass_and_time, open_forest, uneven
from sciml_cosmo.trees.fitting import fresh, prepare, train
from sciml_cosmo.trees.infill import infill
from sciml_cosmo.trees.mpnn import VirtualNodeMpnn
from sciml_cosmo.trees.network import padded

from sciml import Run
from sciml.progress import Progress

SMALL = TreesConfig(30, 2, n_snapshot=12)


def run_in(folder, seed=5):
    folder.mkdir(parents=True, exist_ok=True)
    return Run(folder, seed, "cpu", Progress(enabled=False))


@pytest.fixture(scope="module")
def forest():
    return make_forest(SMALL, seed=5)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trees")
    return parameters_task.run_task(QUICK_TREES, run_in(folder)), folder


def test_splits_share_no_simulation_and_hold_all_of_each(tmp_path):
    forest, splits = open_forest("", SMALL, run_in(tmp_path))
    simulations = [set(forest.simulation[trees].tolist()) for trees in splits.values()]
    assert [len(own) for own in simulations] == [18, 6, 6]
    assert len(set.union(*simulations)) == 30
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(60))


def test_files_of_three_splits_are_read_and_shared_simulations_are_refused(tmp_path, forest):
    parts = {"train": range(0, 36), "val": range(36, 48), "test": range(48, 60)}
    for part, trees in parts.items():
        write_forest(tmp_path / f"trees_{part}.h5", forest.take(trees))
    found, splits = open_forest(str(tmp_path), SMALL, run_in(tmp_path / "run"))
    np.testing.assert_array_equal(found.features, forest.features)
    np.testing.assert_array_equal(found.descendant, forest.descendant)
    assert [len(trees) for trees in splits.values()] == [36, 12, 12]
    write_forest(tmp_path / "trees_test.h5", forest.take(range(47, 60)))
    with pytest.raises(ValueError, match="split by simulation"):
        open_forest(str(tmp_path), SMALL, run_in(tmp_path / "again"))
    (tmp_path / "trees_val.h5").unlink()
    with pytest.raises(ValueError, match="'val'"):
        open_forest(str(tmp_path), SMALL, run_in(tmp_path / "third"))


def test_joined_forests_are_the_forest_that_was_cut(forest):
    again = joined([forest.take(range(0, 7)), forest.take(range(7, 8)), forest.take(range(8, 60))])
    for name in ("features", "descendant", "start", "targets", "simulation"):
        np.testing.assert_array_equal(getattr(again, name), getattr(forest, name))
    np.testing.assert_array_equal(again.extra["main_branch"], forest.extra["main_branch"])


def test_uneven_outputs_keep_roots_and_the_mass_order_along_branches(forest):
    coarse = uneven(forest, 7, seed=3)
    assert len(np.unique(coarse.features[:, 3])) == 7
    np.testing.assert_array_equal(coarse.features[coarse.start[:-1]], forest.features[forest.start[:-1]])
    source, target = coarse.edge_index
    assert (coarse.features[source, 0] <= coarse.features[target, 0] + 1e-6).all()
    later = coarse.extra["snapshot"][source] - coarse.extra["snapshot"][target]
    assert later.min() == later.max() == 1


def test_scores_are_one_for_the_truth_and_zero_for_the_mean_whatever_the_draws():
    generator = np.random.default_rng(9)
    truth, simulation = np.repeat(generator.uniform(size=(12, 2)), 3, axis=0), np.repeat(np.arange(12), 3)
    for value, error in parameters_task.scores(truth, truth, simulation, 3).values():
        assert value == 1
        assert error == 0
    for value, _ in parameters_task.scores(truth, np.zeros_like(truth) + truth.mean(0), simulation, 3).values():
        assert abs(value) < 1e-12


def test_mean_over_trees_divides_independent_errors_by_their_number():
    generator = np.random.default_rng(10)
    truth, simulation = np.repeat(generator.uniform(size=(2000, 2)), 5, axis=0), np.repeat(np.arange(2000), 5)
    found = parameters_task.scores(truth, truth + 0.2 * generator.standard_normal(truth.shape), simulation, 5)
    single, mean = (1 - found[f"om_r2_{key}"][0] for key in ("single", "mean5"))
    assert abs(single / mean - 5) < 0.4


def test_probe_reads_a_count_that_follows_a_parameter():
    generator = np.random.default_rng(11)
    sizes = generator.integers(5, 200, 90)
    start = np.concatenate([[0], np.cumsum(sizes)])
    descendant = np.repeat(start[:-1], sizes)
    descendant[start[:-1]] = -1
    targets = np.stack([np.log10(sizes), generator.uniform(size=90)], 1)
    forest = Forest(generator.standard_normal((start[-1], 4)), descendant, start, targets, np.arange(90))
    splits = {"train": np.arange(50), "val": np.arange(50, 70), "test": np.arange(70, 90)}
    row = parameters_task.probes(forest, splits)["count"]
    found = parameters_task.scores(targets[70:], row.test, np.arange(20), 1)
    assert found["om_r2_single"][0] > 1 - 1e-9
    assert found["s8_r2_single"][0] < 0.3


def test_blind_forest_hides_concentration_and_speed_from_a_network(forest):
    model = fresh(VirtualNodeMpnn, 3)
    prepare(model, mass_and_time(forest), np.arange(60))
    assert model.spread[1:3].tolist() == [1, 1]
    assert model.centre[1:3].tolist() == [0, 0]


def test_killed_training_goes_on_to_the_same_weights(tmp_path, forest):
    splits = {"train": np.arange(36), "val": np.arange(36, 48), "test": np.arange(48, 60)}
    config, found = TrainingConfig(8, 4, every=2), []
    whole = train(fresh(VirtualNodeMpnn, 3), forest, splits, config, 5)

    class Killed(Exception):
        pass

    def kill(step, note=""):
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        train(fresh(VirtualNodeMpnn, 3), forest, splits, config, 5, tmp_path / "fit", kill)
    again = train(fresh(VirtualNodeMpnn, 3), forest, splits, config, 5, tmp_path / "fit", lambda s, n: found.append(s))
    assert found[0] == 5
    assert torch.equal(again.test.mean, whole.test.mean)


def test_parameters_task_tells_every_row_and_its_surrogate_predicts(results, forest):
    found, folder = results
    names = ("mean", "count", "mass", "ks", "moments", "history", "moments_mass_time", "mlp_aggregate", "deepsets",
             "mpnn", "virtual_node", "attention", "scan", "scan_mass_time")  # fmt: skip
    keys = ("om_r2_single", "s8_r2_single", "om_r2_mean5", "s8_r2_mean5")
    assert {f"tree_{name}_{key}" for name in names for key in keys} <= set(found.metrics)
    assert {f"tree_{key}" for key in keys} <= set(found.metrics)
    assert all(np.isfinite(list(found.metrics.values())))
    found.report.write(folder)
    assert (folder / "plots" / "tree-answers.png").exists()
    trees = padded(forest.take([3, 8]))
    together = found.surrogate.predict(trees, outside="allow")
    alone = found.surrogate.predict(padded(forest.take([8])), outside="allow")
    assert float(together["sigma_8_std"].min()) > 0
    np.testing.assert_allclose(alone["Omega_m"][0], together["Omega_m"][1], rtol=1e-5)


def test_infill_task_compares_message_passing_with_every_neighbour(tmp_path):
    found = infill_task.run_task(QUICK_INFILL, run_in(tmp_path))
    names = ("majority", "mass", "c", "vmax", "time", "all", "all_scaled", "mpnn", "mpnn_told")
    assert all(0 <= found.metrics[f"infill_{name}_accuracy"] <= 1 for name in names)
    gain = found.metrics["infill_mpnn_best_accuracy"] - found.metrics["infill_time_accuracy"]
    assert found.metrics["infill_gain_over_time"] == gain
    found.report.write(tmp_path)
    assert (tmp_path / "plots" / "infill-accuracy.png").exists()


def test_what_the_classifier_is_told_knows_no_held_out_label(forest):
    filled = infill(forest)
    known = np.flatnonzero(np.isin(filled.tree[filled.is_virtual], np.arange(36)))
    label = filled.label.copy()
    virtual = np.flatnonzero(filled.is_virtual)
    label[np.setdiff1d(virtual, virtual[known])] = 1
    np.testing.assert_array_equal(
        infill_task.told(filled, known), infill_task.told(replace(filled, label=label), known)
    )
    label = filled.label.copy()
    label[virtual[known[0]]] = 1 - label[virtual[known[0]]]
    changed = infill_task.told(replace(filled, label=label), known)[virtual[known[0]]]
    np.testing.assert_array_equal(changed, infill_task.told(filled, known)[virtual[known[0]]])


def test_large_tree_has_the_published_size_and_is_a_tree():
    tree = large_tree(5)
    assert len(tree.descendant) == 37_865
    assert bool((tree.descendant[1:] < torch.arange(1, 37_865)).all())
    assert int(tree.descendant[1:].min()) == 0


@pytest.mark.parametrize(("kind", "wrong"), [
    (TrainingConfig, {"n_steps": 0}), (TrainingConfig, {"weight_decay": -1.0}), (TreesTaskConfig, {"n_mean": 0}),
    (TreesTaskConfig, {"forest": TreesConfig(4)}), (InfillTaskConfig, {"n_output": 500}),
    (InfillTaskConfig, {"width": 0}),
])  # fmt: skip
def test_settings_out_of_range_are_refused(kind, wrong):
    with pytest.raises(ValueError, match="expected"):
        kind(**wrong)
