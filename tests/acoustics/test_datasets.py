"""The registered data sets: card, files and the wave equation agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from sciml_acoustics.config import SolverConfig
from sciml_acoustics.data import Waves
from sciml_acoustics.datasets import L_SHAPE, SMALL, SQUARE, RoomWaves
from sciml_acoustics.experiment import Acoustics
from sciml_acoustics.scene import make_scene
from sciml_datasets import check_card, open_store, read_card, write_card
from sciml_datasets.cli import data as command
from sciml_datasets.formats import deeponet_acoustics

from sciml.config import configure
from sciml.experiment import Run
from sciml.plugins import plugins
from sciml.progress import Progress
from sciml.testing import assert_all, check_dataset

TINY = SolverConfig(f_max=250.0, t_max=0.02, source_ppw=3.0, n_test=3)


@pytest.fixture(scope="module", params=["square", "l_shape"])
def made(request, tmp_path_factory):
    source, folder = RoomWaves(request.param, TINY), tmp_path_factory.mktemp(request.param)
    source.make(folder, seed=5)
    write_card(folder, source.card)
    return source, folder


def test_card_and_files_agree_and_pass_the_kit(made):
    source, folder = made
    assert check_card(folder) == []
    assert_all(check_dataset(folder))
    assert read_card(folder) == source.card
    for split in ("train", "test"):
        with open_store(folder / f"{split}.nc") as dataset:
            for field in source.card.fields:
                assert dataset[field.name].attrs["long_name"] == field.description


def test_weights_sum_to_the_area_and_the_first_step_is_the_pulse(made):
    source, folder = made
    area = {"square": 4.0, "l_shape": 6.75}[source.room_name]
    with open_store(folder / "test.nc") as dataset:
        waves = Waves.from_dataset(dataset)
        assert float(dataset["node_weight"].sum()) == pytest.approx(area, rel=1e-12)
        offset = np.linalg.norm(waves.node_position - waves.source_position[:, None], axis=-1)
        pulse = np.exp(-((offset / waves.medium.sigma0) ** 2))
        np.testing.assert_allclose(waves.pressure[:, 0], pulse, atol=1e-6)
    assert waves.medium.amplitude == pytest.approx(1.0, rel=1e-6)


def test_mean_pressure_is_lost_to_the_walls_only(made):
    # The integral of p over the room obeys m_tt = -(c / xi) times that of p_t over the walls: rigid walls keep it.
    source, _ = made
    rigid = replace(source, solver=replace(TINY, impedance=np.inf, t_max=0.012))
    means = []
    for case in (rigid, replace(rigid, solver=replace(rigid.solver, impedance=5.0))):
        waves = case_waves(case)
        means.append(waves.pressure.astype(float) @ waves.node_weight)
    rigid_mean, damped_mean = means
    assert np.abs(rigid_mean - rigid_mean[:, :1]).max() < 1e-5 * np.abs(rigid_mean).max()
    assert (damped_mean[:, -1] < 0.95 * damped_mean[:, 0]).all()


def case_waves(source):
    from sciml_acoustics.sem import SemMesh
    from sciml_acoustics.simulate import simulate, window

    solver = source.solver
    mesh = SemMesh(source._place, solver.order, solver.ppw, solver.f_max)
    return simulate(mesh, solver, source._sources(5)["test"], window(solver, solver.t_max))


def test_seed_moves_the_held_out_sources_alone(made, tmp_path):
    source, folder = made
    for name, seed in (("same", 5), ("other", 6)):
        (tmp_path / name).mkdir()
        source.make(tmp_path / name, seed=seed)
    first, same, other = (
        {split: xr.load_dataset(at / f"{split}.nc", decode_times=False) for split in ("train", "test")}
        for at in (folder, tmp_path / "same", tmp_path / "other")
    )
    assert all(first[split].identical(same[split]) for split in first)
    assert first["train"].identical(other["train"])
    assert not first["test"]["source_position"].equals(other["test"]["source_position"])


def test_published_layout_holds_the_same_numbers_and_the_experiment_reads_it(made, tmp_path):
    _, folder = made
    result = CliRunner().invoke(command, ["convert", str(folder), str(tmp_path / "e"), "--to", "deeponet_acoustics"])
    assert result.exit_code == 0, result.output
    splits = deeponet_acoustics.read(tmp_path / "e")
    assert set(splits) == {"train", "test"}
    with open_store(folder / "train.nc") as stored:
        for name in ("pressure", "initial_pressure", "source_position", "node_position", "sensor_position"):
            np.testing.assert_allclose(splits["train"][name].values, stored[name].values, rtol=1e-6)
        assert sorted(splits["train"]["simulation"].values) == sorted(stored["simulation"].values)
    config = configure(Acoustics().presets["quick"], {"data": str(tmp_path / "e"), "n_receivers": 10})
    scene = make_scene(config, Run(tmp_path, 3, "cpu", Progress(enabled=False)))
    assert scene.train.medium.f_max == TINY.f_max
    assert len(scene.test.source_position) == TINY.n_test


@pytest.mark.parametrize(("name", "source"), [("acoustics.square", SQUARE), ("acoustics.l_shape", L_SHAPE)])
def test_registered_sources_are_small(name, source):
    assert plugins().resolve("datasets", name) is source
    card = source.card
    assert card.name == name
    n_numbers = sum(card.sampling.splits.values()) * card.sampling.grid["n_nodes"] * card.sampling.grid["n_times"]
    assert 4 * n_numbers < 20e6
    assert source.solver == SMALL


def test_unknown_room_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="room: expected one of square, rectangle, l_shape"):
        _ = RoomWaves("cathedral").card
