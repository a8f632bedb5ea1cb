"""The reader and writer of published room-acoustics files."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import xarray as xr
from sciml_datasets import batches
from sciml_datasets.formats import FORMATS, deeponet_acoustics, find_format

read, write = deeponet_acoustics.read, deeponet_acoustics.write


@pytest.fixture
def rooms(tmp_path, published):
    """A folder with a training and a validation split whose meshes differ, as in the published data."""
    stored = {"train": published.write_room(tmp_path / "cube_p6_6ppw_train")}
    stored["val"] = published.write_room(tmp_path / "cube_p4_5ppw_val", 2, published.room(n_nodes=6))
    return tmp_path, stored


def test_read_gives_the_stored_numbers_with_dims_and_units(rooms):
    folder, stored = rooms
    splits = read(folder)
    assert list(splits) == ["train", "val"]
    train = splits["train"]
    assert dict(train.sizes) == {"source": 3, "time": 5, "node": 7, "sensor": 16, "axis": 2, "element": 2, "vertex": 3}
    np.testing.assert_array_equal(train.pressure.values, np.stack(stored["train"]).astype(np.float32))
    np.testing.assert_array_equal(splits["val"].pressure.values, np.stack(stored["val"]).astype(np.float32))
    units = {name: train[name].attrs["units"] for name in (*train.data_vars, "time")}
    assert units == {
        "pressure": "Pa",
        "initial_pressure": "Pa",
        "source_position": "m",
        "node_position": "m",
        "sensor_position": "m",
        "connectivity": "1",
        "time": "s",
    }
    assert train.attrs["c"] == 343
    assert train.attrs["f_max"] == 1000
    assert train.attrs["rho"] == 1.2
    assert train.attrs["umesh_shape"] == [4, 4]
    assert train.attrs["sigma0"] == pytest.approx(0.2184, rel=1e-3)
    assert train.simulation.values.tolist() == ["src0", "src1", "src2"]


def test_a_flat_folder_is_one_split(tmp_path, published):
    published.write_room(tmp_path)
    for i in range(3):
        (tmp_path / f"src{i}" / f"src{i}.h5").rename(tmp_path / f"src{i}.h5")
    splits = read(tmp_path)
    assert list(splits) == ["all"]
    assert splits["all"].simulation.values.tolist() == ["src0", "src1", "src2"]


@pytest.mark.parametrize("n_axes", [1, 2, 3])
def test_rooms_of_every_dimension_are_read(tmp_path, published, n_axes):
    published.write_room(tmp_path, 2, published.room(n_axes=n_axes))
    assert read(tmp_path)["all"].sizes["axis"] == n_axes


def test_reading_is_lazy_and_any_selection_equals_numpy(rooms):
    folder, stored = rooms
    pressure = read(folder, dtype=None)["train"].pressure
    whole = np.stack(stored["train"])
    assert not pressure.variable._in_memory
    assert pressure.dtype == np.float16
    for key in [
        (slice(None), slice(None), slice(None)),
        (1, slice(1, 4), slice(2, 5)),
        ([2, 0], slice(None, None, 2), [5, 1, 1]),
        (slice(None, None, -1), slice(4, None, -2), slice(3, 0, -1)),
        (-1, -2, -3),
        (slice(0, 0), slice(None), [0]),
        ([0, 2], [4, 1, 2], slice(None)),
    ]:
        expected = whole
        for axis in (2, 1, 0):
            expected = np.take(expected, np.arange(whole.shape[axis])[key[axis]], axis=axis)
        np.testing.assert_array_equal(pressure[key].values, expected, err_msg=str(key))


def test_time_stride_t_max_and_sources_select_before_reading(rooms):
    folder, stored = rooms
    train = read(folder, time_stride=2, t_max=0.0016, sources=slice(1, 3))["train"]
    np.testing.assert_allclose(train.time.values, [0, 0.001])
    np.testing.assert_array_equal(train.pressure.values, np.stack(stored["train"])[1:, 0:4:2].astype(np.float32))
    with pytest.raises(ValueError, match="t_max: expected at least 0 s, got -1; raise it"):
        read(folder, t_max=-1)
    with pytest.raises(ValueError, match="time_stride: expected an integer >= 1, got 0"):
        read(folder, time_stride=0)


def test_iter_sources_gives_every_source_loaded_once(rooms):
    folder, stored = rooms
    items = list(deeponet_acoustics.iter_sources(folder, dtype=None))
    assert [split for split, _ in items] == ["train"] * 3 + ["val"] * 2
    for (_, dataset), expected in zip(items, stored["train"] + stored["val"], strict=True):
        assert dataset.pressure.variable._in_memory
        np.testing.assert_array_equal(dataset.pressure.values[0], expected)


def test_loader_reads_batches_from_the_files(rooms):
    folder, stored = rooms
    got = list(batches(read(folder)["train"], 2, batch_dim="source", seed=11))
    assert [len(batch["pressure"]) for batch in got] == [2, 1]
    rows = sorted(float(row.sum()) for batch in got for row in batch["pressure"].double())
    np.testing.assert_allclose(rows, sorted(p.astype(float).sum() for p in stored["train"]), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_write_read_write_is_equal_to_the_bit(tmp_path, published, dtype):
    for i, split in enumerate(("train", "test")):
        published.write_room(tmp_path / "in" / split, 2 + i, dtype=dtype)
    write(read(tmp_path / "in"), tmp_path / "out", dtype=dtype)
    for split, n_sources in (("train", 2), ("test", 3)):
        assert (tmp_path / "out" / split / "simulation_parameters.json").is_file()
        for i in range(n_sources):
            name = f"{split}/src{i}/src{i}.h5"
            with h5py.File(tmp_path / "in" / name) as a, h5py.File(tmp_path / "out" / name) as b:
                assert set(a) == set(b)
                for key in a:
                    assert a[key].dtype == b[key].dtype, key
                    np.testing.assert_array_equal(a[key][()], b[key][()])
                np.testing.assert_array_equal(a["pressures"].attrs["time_steps"], b["pressures"].attrs["time_steps"])
                np.testing.assert_array_equal(a["umesh"].attrs["umesh_shape"], b["umesh"].attrs["umesh_shape"])
                assert b["pressures"].attrs["c"].shape == (1,)
    for split, dataset in read(tmp_path / "out").items():
        xr.testing.assert_identical(dataset.load(), read(tmp_path / "in")[split].load())


def test_long_recordings_keep_their_time_steps(tmp_path, published):
    published.write_room(tmp_path / "in", 1)
    short = read(tmp_path / "in")["all"].load()
    time = np.arange(20_000) / 2000.0
    long = short.drop_vars(["pressure", "time"]).assign_coords(time=("time", time, {"units": "s"}))
    long["pressure"] = (("source", "time", "node"), np.zeros((1, len(time), 7), np.float32), {"units": "Pa"})
    write({"all": long}, tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out")["all"].time.values, time)


def test_write_gives_the_parameter_file_that_users_scripts_read(rooms, tmp_path):
    write(read(rooms[0]), tmp_path / "out")
    parameters = json.loads((tmp_path / "out/train/src1/simulation_parameters.json").read_text())[
        "SimulationParameters"
    ]
    assert {"fmax", "c", "dt", "rho", "sigma", "SourcePosition"} == set(parameters)
    assert parameters["dt"] == pytest.approx(5e-4)
    np.testing.assert_allclose(parameters["SourcePosition"], read(rooms[0])["train"].source_position[1].values)


def test_write_refuses_overflow_units_and_full_folders_and_leaves_nothing(rooms, tmp_path):
    splits = {name: dataset.load() for name, dataset in read(rooms[0]).items()}
    loud = {"train": splits["train"].assign(pressure=splits["train"].pressure * 1e6)}
    with pytest.raises(ValueError, match="finite pressures that fit float16, got NaN or overflow; use float32"):
        write({"train": loud["train"].assign_coords(time=splits["train"].time)}, tmp_path / "new", dtype="float16")
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".new*"))
    bare = splits["train"].copy()
    bare["pressure"].attrs = {}
    with pytest.raises(ValueError, match="dataset 'pressure': expected unit 'Pa'"):
        write({"train": bare}, tmp_path / "new")
    with pytest.raises(ValueError, match="expected a new or empty folder, got one with content"):
        write(splits, rooms[0])
    with pytest.raises(ValueError, match="expected some of train, val, test or the single all"):
        write({"holdout": splits["train"]}, tmp_path / "new")
    names = splits["train"].assign_coords(simulation=("source", ["../a", "b", "c"]))
    with pytest.raises(ValueError, match="simulation: expected distinct file names"):
        write({"train": names}, tmp_path / "new")


def test_both_formats_convert_into_each_other_to_the_bit(rooms, tmp_path):
    FORMATS["netcdf"].write(read(rooms[0]), tmp_path / "store")
    assert find_format(tmp_path / "store") == "netcdf"
    write(FORMATS["netcdf"].read(tmp_path / "store"), tmp_path / "back", dtype="float16")
    original, back = read(rooms[0], dtype=None), read(tmp_path / "back", dtype=None)
    for split in original:
        xr.testing.assert_identical(original[split].load(), back[split].load())
