"""The velocity task from end to end on small clouds whose velocities are known, from files and in redshift space."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.files import write_clouds
from sciml_cosmo.metrics import r2
from sciml_cosmo.velocity.bench import dense_features
from sciml_cosmo.velocity.compare import explore, summarise
from sciml_cosmo.velocity.config import (
    EquivariantConfig,
    LeastSquaresConfig,
    LinearConfig,
    PublishedConfig,
    VelocityConfig,
)
from sciml_cosmo.velocity.data import in_redshift_space
from sciml_cosmo.velocity.inverse_power import Basis
from sciml_cosmo.velocity.linear_theory import flow_rate
from sciml_cosmo.velocity.mesh_fields import Mesh, fields_at
from sciml_cosmo.velocity.task import run_task

from sciml import Run
from sciml.progress import Progress

SIDE, LENGTH = 50.0, 4.0
CONFIG = VelocityConfig(
    linear=LinearConfig(16, (4.0, 8.0), (0.0, 0.5)),
    least_squares=LeastSquaresConfig(4, 2),
    published=PublishedConfig(4, 2, 0.15, n_epoch=1),
    equivariant=EquivariantConfig(4, 1, 8.0, (4.0, 8.0), n_epoch=2),
)


def cloud(number, n=150):
    """Return points around a few centres that move by linear theory with their mass-weighted, smoothed density."""
    generator = np.random.default_rng(100 + number)
    centres = generator.uniform(0, SIDE, (6, 3))
    positions = (centres[generator.integers(6, size=n)] + generator.normal(0, 6, (n, 3))) % SIDE
    masses, omega_m = generator.lognormal(28, 0.7, n), generator.uniform(0.15, 0.45)
    weights = torch.from_numpy(masses / masses.mean())[None]
    flow = fields_at(torch.from_numpy(positions), weights, SIDE, (LENGTH,), mesh=Mesh(16)).flow[0, 0, 0].numpy()
    truth = {"Omega_m": omega_m, "sigma_8": 0.8}
    return Cloud(positions, 0.6 * flow_rate(omega_m) * flow, SIDE, masses, truth, 0.0, number)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clouds")
    for name, numbers in (("train", range(5)), ("val", range(5, 7)), ("test", range(7, 10))):
        write_clouds(path / f"toy_{name}.hdf5", [cloud(number) for number in numbers])
    return path


def new_run(path):
    path.mkdir()
    return Run(path, 5, "cpu", Progress(enabled=False))


@pytest.fixture(scope="module")
def results(folder, tmp_path_factory):
    run = new_run(tmp_path_factory.mktemp("runs") / "one")
    return run_task(replace(CONFIG, files=str(folder)), run), run


def test_linear_theory_that_knows_the_cosmology_recovers_the_velocities(results):
    metrics = results[0].metrics
    assert metrics["velocity_r2_lt_mass_omega"] == pytest.approx(1, abs=1e-6)
    assert metrics["velocity_r2_lt_mass_oracle"] == pytest.approx(1, abs=1e-6)
    assert metrics["velocity_r2_lt_mass"] < 1 - 1e-3  # the amplitude follows Omega_m
    assert metrics["velocity_r2_lt_number_oracle"] < metrics["velocity_r2_lt_mass_oracle"]


def test_no_honest_row_beats_the_oracle_of_its_own_kind(results):
    metrics = results[0].metrics
    for weighting in ("number", "mass"):
        for prefix in ("velocity_r2", "velocity_redshift_r2"):
            honest = [metrics[f"{prefix}_lt_{weighting}{end}"] for end in ("", "_omega")]
            assert max(honest) <= metrics[f"{prefix}_lt_{weighting}_oracle"] + 1e-9


def test_network_begins_as_the_fitted_filter_and_keeps_the_best_on_validation(results):
    metrics = results[0].metrics
    assert metrics["velocity_r2_equivariant_mass"] > metrics["velocity_r2_filter_mass"] - 0.1
    assert all(math.isfinite(value) for value in metrics.values())


def test_every_definition_is_named_and_every_method_has_a_row(results):
    metrics = results[0].metrics
    for name in ("lt_number", "lt_mass", "lls", "gnn", "filter_mass", "equivariant_number", "equivariant_mass"):
        for end in ("", "_error", "_pooled", "_per_axis"):
            assert f"velocity_r2_{name}{end}" in metrics
    for name in ("lls", "gnn", "equivariant_mass"):
        assert f"velocity_redshift_r2_{name}" in metrics
    assert metrics["velocity_r2_best"] == metrics["velocity_r2_equivariant_mass"]


def test_report_shows_boxes_oracles_and_leaks(results, tmp_path):
    page = results[0].report.write(tmp_path).read_text()
    for word in ("oracle: fitted to these boxes", "Redshift space", "without the number of nodes", "R² per cloud"):
        assert word in page
    assert {path.stem for path in (tmp_path / "plots").iterdir()} == {"box", "scatter", "cosmology"}


def test_surrogate_predicts_what_was_judged_and_refuses_another_box(results, folder):
    import xarray as xr

    surrogate, one = results[0].surrogate, cloud(0)
    km = {"units": "Mpc"}
    inputs = xr.Dataset({
        "position": (("batch", "node", "axis"), one.positions[None], km),
        "box_size": (("batch",), [SIDE], km),
        "mass": (("batch", "node"), one.masses[None]),
    })  # fmt: skip
    found = surrogate.predict(inputs)["velocity"]
    assert found.attrs["units"] == "km/s"
    assert r2([one.velocities], [found.values[0]]) > 0.5
    with pytest.raises(ValueError, match="training domain"):
        surrogate.predict(inputs.assign(box_size=(("batch",), [2 * SIDE], km)))


def test_interrupted_run_goes_on_to_the_same_result(folder, results, tmp_path):
    config = replace(CONFIG, files=str(folder), redshift_space=False)
    run = new_run(tmp_path / "again")
    first = summarise(explore(config, run))
    again = summarise(explore(config, run))  # its checkpoints are there
    assert first == again
    assert first["velocity_r2_best"] == results[0].metrics["velocity_r2_best"]


def test_redshift_space_shifts_along_the_third_axis_only():
    one = cloud(3)
    seen = in_redshift_space(one)
    assert np.array_equal(seen.positions[:, :2], one.positions[:, :2])
    shift = (seen.positions[:, 2] - one.positions[:, 2] - one.velocities[:, 2] / 100) / SIDE
    assert np.abs(shift - np.round(shift)).max() < 1e-12
    later = Cloud(one.positions, one.velocities, SIDE, None, {"Omega_m": 1.0}, 3.0)
    expected = one.positions[:, 2] + one.velocities[:, 2] * 4 / (100 * 8)  # H = 100 (1 + z)^1.5
    assert in_redshift_space(later).positions[:, 2] == pytest.approx(expected % SIDE)
    with pytest.raises(ValueError, match="Omega_m of a cloud with a redshift"):
        in_redshift_space(Cloud(one.positions, one.velocities, SIDE, None, {}, 1.0))


def test_dense_features_of_the_bench_are_those_that_are_streamed():
    positions = torch.from_numpy(cloud(4).positions)
    streamed = torch.cat([features for _, features in Basis(5, 3).tiles(positions, SIDE)])
    dense = dense_features(positions, SIDE, 5, 3)
    assert (streamed - dense).abs().max() < 1e-11 * dense.abs().max()


def test_wrong_folder_and_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"one file \*_train\.hdf5, got 0"):
        explore(replace(CONFIG, files=str(tmp_path)), new_run(tmp_path / "run"))
    with pytest.raises(ValueError, match="heaviest >= 0"):
        VelocityConfig(heaviest=-1)
    with pytest.raises(ValueError, match=r"published\.n_epoch: expected a number above zero"):
        PublishedConfig(n_epoch=0)
