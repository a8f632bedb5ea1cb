"""Scenes: simulated, or read from a user's files in every form that they come in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from sciml_acoustics.config import AcousticsConfig, SolverConfig
from sciml_acoustics.data import Medium, Waves
from sciml_acoustics.experiment import training_region
from sciml_acoustics.geometry import room
from sciml_acoustics.scene import make_scene

from sciml.experiment import Run
from sciml.progress import Progress

TINY = SolverConfig(
    f_max=250.0, t_max=0.02, t_long=0.05, order=4, ppw=5.0, source_ppw=3.0, padding=0.6, n_test=3, n_long=2
)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path, 7, "cpu", Progress(enabled=False))


def read(folder, run, **settings):
    return make_scene(AcousticsConfig(data=str(folder), **settings), run)


@pytest.mark.parametrize("name", ["square", "l_shape", "furnished"])
def test_simulated_scene_is_inside_the_room_and_its_parts_agree(name, run):
    padding = {"furnished": 0.2}.get(name, 0.6)
    scene = make_scene(AcousticsConfig(room=name, n_receivers=7, solver=replace(TINY, padding=padding)), run)
    place = room(name)
    for points in (scene.train.source_position, scene.test.source_position, scene.off_nodes.position):
        assert place.contains(points).all()
        assert scene.region.contains(points).all()
    assert scene.train.node_weight.sum() == pytest.approx(place.area)
    assert scene.off_nodes.truth.shape == (3, len(scene.test.time), 7)
    between = np.stack([(scene.off_nodes.interpolation @ field.T).T for field in scene.test.pressure])
    assert np.linalg.norm(between - scene.off_nodes.truth) < 0.1 * np.linalg.norm(between)
    at = [int(np.argmin(np.abs(scene.long.time - t))) for t in scene.test.time]
    # The long window is solved with other time steps: equal up to the coarse solver's error.
    gap = np.linalg.norm(scene.long.pressure[:, at] - scene.test.pressure[:2])
    assert gap < 0.01 * np.linalg.norm(scene.test.pressure[:2])
    assert training_region(scene.train.source_position).contains(scene.train.source_position).all()


def test_simulated_scene_comes_from_the_cache_to_the_bit_and_changes_with_the_seed(run):
    config = AcousticsConfig(n_receivers=3, solver=TINY)
    first, again = (make_scene(config, run) for _ in range(2))
    np.testing.assert_array_equal(first.test.pressure, again.test.pressure)
    other = make_scene(config, replace(run, seed=8))
    np.testing.assert_array_equal(first.train.source_position, other.train.source_position)
    assert not np.array_equal(first.test.source_position, other.test.source_position)


def test_solver_error_is_measured_and_falls_with_resolution(run):
    errors = []
    for ppw in (4.0, 8.0):
        config = AcousticsConfig(n_receivers=3, solver=replace(TINY, f_max=700.0, ppw=ppw, source_ppw=2.0))
        errors.append(make_scene(config, run).figures["solver_vs_analytic_rel_l2"])
    assert errors[1] < errors[0] / 4


def test_files_come_back_as_the_waves_that_were_written(small, user_folder, run):
    scene = read(user_folder, run, n_receivers=40)
    assert len(scene.off_nodes.position) == 40
    assert len(scene.train.node_position) == len(small.train.node_position) - 40
    number = {tuple(x): i for i, x in enumerate(small.train.node_position.round(9).tolist())}
    kept = [number[tuple(x)] for x in scene.train.node_position.round(9).tolist()]
    out = [number[tuple(x)] for x in scene.off_nodes.position.round(9).tolist()]
    assert sorted(kept + out) == list(range(len(number)))
    np.testing.assert_array_equal(scene.train.pressure, small.train.pressure[:, :, kept])
    np.testing.assert_array_equal(scene.off_nodes.truth, small.test.pressure[:, :, out])
    assert scene.train.medium == replace(small.train.medium, amplitude=scene.train.medium.amplitude)
    assert scene.train.medium.amplitude == pytest.approx(small.train.medium.amplitude, rel=1e-6)
    assert scene.long is None
    assert scene.train.node_weight.sum() == pytest.approx(4.0)


def test_amplitude_is_taken_from_the_sampled_pulse(small, write_published, tmp_path, run):
    def louder(waves):
        return replace(waves, medium=replace(waves.medium, amplitude=2.0), pressure=2 * waves.pressure)

    folder = write_published(tmp_path / "data", train=louder(small.train), test=louder(small.test))
    assert read(folder, run).train.medium.amplitude == pytest.approx(2.0, rel=1e-6)


def test_files_on_another_mesh_judge_at_all_of_its_nodes(small, write_published, tmp_path, run):
    """Also where both meshes happen to have equally many nodes."""
    moved = small.test.node_position[::-1].copy()
    test = replace(small.test, node_position=moved, pressure=small.test.pressure[:, :, ::-1].copy())
    scene = read(write_published(tmp_path / "data", train=small.train, val=test), run)
    np.testing.assert_array_equal(scene.train.pressure, small.train.pressure)
    np.testing.assert_array_equal(scene.off_nodes.position, moved)
    assert not scene.train.shares_nodes(scene.test)
    predicted = np.stack([(scene.off_nodes.interpolation @ field.T).T for field in small.test.pressure])
    np.testing.assert_allclose(predicted, test.pressure, atol=1e-5)


def test_flat_folder_is_split_the_same_way_for_the_same_seed(small, write_published, tmp_path, run):
    folder = write_published(tmp_path / "data", all=small.train)
    scene, again = (read(folder, run) for _ in range(2))
    assert (len(scene.train.source_position), len(scene.test.source_position)) == (40, 9)
    np.testing.assert_array_equal(scene.test.source_position, again.test.source_position)
    together = np.concatenate([scene.train.source_position, scene.test.source_position])
    assert len(np.unique(together, axis=0)) == 49


def refused(small, write_published, folder, run, words, room_name="auto", **splits):
    with pytest.raises(ValueError, match=words):
        read(write_published(folder, **splits), run, room=room_name)


def test_unusable_files_are_refused_with_a_sentence(small, write_published, tmp_path, run):
    train, test = small.train, small.test
    everything = {"train": train, "test": test}
    wide = replace(test, source_position=test.source_position + 1.5)
    quiet = replace(train, pressure=0 * train.pressure)
    cases = {
        r"expected at least two sources, .*got 1; add files": {"all": train.sources(slice(0, 1))},
        r"expected train and test or val, .*got val, test; rename": {"val": train, "test": test},
        r"expected all sources of .* inside .*got \d+ outside, the first at \[": {**everything, "test": wide},
        r"pressure: expected finite numbers, not all zero": {**everything, "train": quiet},
        r"time: expected the pulse at 0 s as first output, got 0\.1 s; shift the times": {
            name: replace(waves, time=waves.time + 0.1) for name, waves in everything.items()
        },
        r"time: expected four or more uniform times": {
            name: replace(waves, time=waves.time[:3], pressure=waves.pressure[:, :3])
            for name, waves in everything.items()
        },
    }
    for i, (words, splits) in enumerate(cases.items()):
        refused(small, write_published, tmp_path / str(i), run, words, **splits)
    words = r"room 'l_shape': expected all mesh nodes of .* inside .*choose another room"
    refused(small, write_published, tmp_path / "l", run, words, "l_shape", all=train)


def test_room_of_another_dimension_is_refused(box_waves, write_published, tmp_path, run):
    source = np.linspace(0.5, 1.5, 5)[:, None]
    words = r"room 'square': expected a room of 1 dimensions .*got 2; choose another room or auto"
    refused(None, write_published, tmp_path / "data", run, words, "square", all=box_waves(1, source))


def test_pulses_of_another_shape_are_refused(small, write_published, tmp_path, run):
    narrow = replace(small.train, medium=replace(small.train.medium, sigma0=0.3))
    folder = write_published(tmp_path / "data", all=narrow)
    read(folder, run)
    for path in folder.rglob("simulation_parameters.json"):
        path.write_text(path.read_text().replace('"sigma": 0.3', '"sigma": 0.6'))
    import h5py

    for path in folder.rglob("*.h5"):
        with h5py.File(path, "a") as file:
            file["pressures"].attrs["sigma0"] = np.array([0.6])
    with pytest.raises(ValueError, match=r"initial_pressure: expected Gaussian pulses of width sigma0 = 0\.6 m"):
        read(folder, run)


def test_folder_of_other_netcdf_files_is_refused(tmp_path, run):
    for name in ("train", "test"):
        data = xr.Dataset({"temperature": (("x",), np.ones(3), {"units": "K"})})
        data.to_netcdf(tmp_path / f"{name}.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"expected the variable 'pressure', got temperature.*room acoustics"):
        read(tmp_path, run)


def test_waves_round_trip_through_a_dataset_and_keep_the_size_of_the_room(small):
    again = Waves.from_dataset(small.train.to_dataset())
    for name in ("source_position", "node_position", "node_weight", "time", "pressure"):
        np.testing.assert_array_equal(getattr(again, name), getattr(small.train, name))
    assert again.medium == small.train.medium
    half = small.train.nodes(np.arange(0, 441, 2))
    assert half.node_weight.sum() == pytest.approx(small.train.node_weight.sum())
    assert len(small.train.sources(slice(0, 3)).pressure) == 3


def test_training_region_covers_the_grid_of_sources_but_no_hole_in_it():
    grid = np.stack(np.meshgrid(np.arange(9.0), np.arange(9.0), indexing="ij"), -1).reshape(-1, 2)
    ring = grid[np.abs(grid - 4).max(1) > 2]
    region = training_region(ring)
    assert region.contains(ring).all()
    assert not region.contains(np.array([[4.0, 4.0]]))[0]
    assert region.contains(np.array([[0.5, 0.5]]))[0]
    assert not region.contains(np.array([[-0.5, 3.0]]))[0]
    assert training_region(np.array([[1.0, 2.0]])).contains(np.array([[1.0, 2.0]]))[0]


def test_medium_defaults_are_air():
    assert (Medium().c, Medium().rho) == (343.0, 1.2)
