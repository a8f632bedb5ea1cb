"""The parameter task from end to end on clouds in files: metrics, report, surrogate; and its splits."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.files import write_clouds
from sciml_cosmo.parameters.config import DEFAULT_PARAMS, GraphConfig, ParametersConfig
from sciml_cosmo.parameters.data import split_boxes
from sciml_cosmo.parameters.task import run_task
from sciml_cosmo.parameters.train import TrainConfig

from sciml.config import configure
from sciml.experiment import Run
from sciml.progress import Progress

L = 90.0


def clustered(i, sigma_8):
    """Return haloes in pairs whose separation grows with sigma_8, so that positions tell it and no count does."""
    generator = np.random.default_rng((31, i))
    centres = generator.uniform(0, L, (30, 3))
    turn = generator.standard_normal((30, 3))
    step = (20 * sigma_8 - 10) * turn / np.linalg.norm(turn, axis=1, keepdims=True)
    nodes = np.concatenate([centres, centres + step])
    truth = {"Omega_m": float(generator.uniform(0.1, 0.5)), "sigma_8": sigma_8}
    masses = 1e13 * np.exp(generator.standard_normal(60))
    return Cloud(nodes, 100 * generator.standard_normal((60, 3)), L, masses, truth, 0.0, i)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clouds")
    sigma = np.random.default_rng(32).uniform(0.6, 1.0, 90)
    clouds = [clustered(i, float(s)) for i, s in enumerate(sigma)]
    for part, (first, last) in {"train": (0, 50), "val": (50, 65), "test": (65, 90)}.items():
        write_clouds(folder / f"toy_{part}.hdf5", clouds[first:last])
    config = ParametersConfig(
        files=str(folder), n_node=50, n_cut=3, n_search=2, n_seed=2,
        perceptron=TrainConfig(40, 16, 5e-3), graph=GraphConfig(8, 1, train=TrainConfig(8, 10, 1e-2)),
    )  # fmt: skip
    place = tmp_path_factory.mktemp("run")
    return config, run_task(config, Run(place, 7, "cpu", Progress(enabled=False))), clouds[65:]


def test_run_gives_every_row_with_its_error_and_the_leak_table(results):
    _, found, _ = results
    for name in ("2pcf", "2pcf_ridge", "lls", "multipoles", "gnn", "gnn_plain", "joint", "hybrid"):
        rows = [found.metrics[f"param_r2_{name}{end}"] for end in ("_om", "_s8", "")]
        assert rows[2] == pytest.approx(np.mean(rows[:2]))
        assert found.metrics[f"param_r2_{name}_error"] > 0
    best = max(found.metrics["param_r2_2pcf"], found.metrics["param_r2_gnn"])
    assert found.metrics["param_hybrid_over_best"] == pytest.approx(found.metrics["param_r2_hybrid"] - best)
    assert found.metrics["param_leak_fixed_count_om"] <= 0
    assert {"param_leak_all_mass_om", "param_leak_fixed_mass_s8", "param_coverage_90_om"} <= set(found.metrics)


def test_separations_that_tell_a_parameter_are_seen_and_the_other_is_not(results):
    _, found, _ = results
    assert found.metrics["param_r2_hybrid_s8"] > 0.5
    assert found.metrics["param_r2_hybrid_om"] < 0.3


def test_report_has_its_pictures_and_says_which_r2(results, tmp_path):
    _, found, _ = results
    page = found.report.write(tmp_path).read_text("utf-8")
    names = {path.stem for path in (tmp_path / "plots").glob("*.png")}
    assert names == {"scatter", "boxes", "two-point", "multipoles", "coverage", "training"}
    assert "Σ(truth − prediction)²" in page
    assert "count only" in page


def test_surrogate_gives_the_hybrid_of_the_run_from_positions_alone(results):
    config, found, clouds = results
    nodes = np.stack([cloud.heaviest(config.n_node).positions for cloud in clouds])
    data = xr.Dataset({a: (("batch", "node"), nodes[..., i], {"units": "Mpc"}) for i, a in enumerate("xyz")})
    answer = found.surrogate.predict(data)
    truth = np.array([cloud.cosmology["sigma_8"] for cloud in clouds])
    assert 1 - ((answer.sigma_8 - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum() > 0.5
    assert (answer.sigma_8_std > 0).all()
    moved = data.copy(deep=True)
    for axis in "xyz":
        moved[axis].values[:] = (moved[axis].values[:, ::-1] + 7.0) % L
    np.testing.assert_allclose(found.surrogate.predict(moved).Omega_m, answer.Omega_m, atol=1e-4)
    one = found.surrogate.predict(data.isel(batch=[3]))
    np.testing.assert_allclose(one.sigma_8, answer.sigma_8[[3]], atol=1e-5)
    with pytest.raises(ValueError, match="50 components"):
        found.surrogate.predict(data.isel(node=slice(0, 40)))


def test_splits_share_their_test_boxes_and_no_simulation_is_in_two_parts():
    simulations = np.repeat(np.arange(60), 2)
    splits = [split_boxes(simulations, seed) for seed in (7, 8)]
    np.testing.assert_array_equal(splits[0].test, splits[1].test)
    assert set(splits[0].val) != set(splits[1].val)
    for one in splits:
        parts = [set(simulations[index]) for index in (one.train, one.val, one.test)]
        assert sum(map(len, parts)) == len(set().union(*parts)) == 60


def test_preset_has_512_boxes_and_three_seeds():
    assert (DEFAULT_PARAMS.boxes.n_box, DEFAULT_PARAMS.n_node, DEFAULT_PARAMS.n_seed) == (512, 512, 3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sample": "lightest"}, "heaviest or random"),
        ({"suite": "illustris"}, "camels-sam"),
        ({"boxes.n_box": 5}, "at least 20"),
        ({"graph.train.loss": "l1"}, "gaussian, moments"),
        ({"n_seed": 0}, "counts of at least 1"),
    ],
)
def test_bad_settings_are_told_in_one_sentence(settings, words):
    with pytest.raises(ValueError, match=words):
        configure(ParametersConfig(), settings)
