"""The reader and writer of published room-acoustics files."""

from __future__ import annotations

import json
import re

import h5py
import numpy as np
import pytest
import xarray as xr
from sciml_datasets import batches
from sciml_datasets.formats import FORMATS, check_data, deeponet_acoustics, find_format

read, write = deeponet_acoustics.read, deeponet_acoustics.write


@pytest.fixture
def rooms(tmp_path, published):
    """A folder with a training and a validation split whose meshes differ, as in the published data."""
    stored = {"train": published.write_room(tmp_path / "cube_p6_6ppw_train")}
    stored["val"] = published.write_room(tmp_path / "cube_p4_5ppw_val", 2, published.room(n_nodes=6))
    return tmp_path, stored


def change(path, name, value=None, **attrs):
    """Replace a data set of a file, keeping its attributes, or set attributes, or delete it (value is ...)."""
    with h5py.File(path, "r+") as file:
        if value is not None:
            kept = dict(file[name].attrs)
            del file[name]
            if value is not ...:
                file[name] = value
                file[name].attrs.update(kept)
        for key, item in attrs.items():
            file[name].attrs[key] = item


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


def damage(case, path, published):
    """Damage one file of a split and return the sentence that must name it."""
    shared = published.room()
    match case:
        case "truncated":
            path.write_bytes(path.read_bytes()[:900])
            return "expected a complete HDF5 file, got .*; copy or generate it again"
        case "foreign":
            path.write_text("pressures")
            return "expected a complete HDF5 file"
        case "no source_position":
            change(path, "source_position", ...)
            return "got no source_position; add /source_position with the d coordinates of the source in metres"
        case "multi-source":
            change(path, "source_position", ...)
            change(path, "mesh")
            with h5py.File(path, "r+") as file:
                file["x0_srcs"] = [[0.0, 0.0]]
            return "this is the multi-source layout"
        case "umesh_shape":
            change(path, "umesh", umesh_shape=[4, 5])
            return (
                r"/umesh: expected a umesh_shape whose product is 16 sensors, got umesh_shape \(4, 5\) with product 20"
            )
        case "nodes":
            change(path, "pressures", np.zeros((5, 8), np.float32))
            return r"/pressures: expected shape \(time, node\) = \(5, 7\) from time_steps and /mesh, got \(5, 8\)"
        case "transposed":
            change(path, "pressures", np.zeros((7, 5), np.float32))
            return r"got \(7, 5\); transpose /pressures"
        case "no time":
            with h5py.File(path, "r+") as file:
                del file["pressures"].attrs["time_steps"]
            return "expected the attribute time_steps in seconds, got none"
        case "unsorted time":
            change(path, "pressures", time_steps=shared.time[::-1])
            return "expected increasing times from 0 s on"
        case "normalised time":
            change(path, "pressures", time_steps=shared.time * 343)
            return r"time_steps: expected at least 2 steps per period of fmax = 1000 Hz, got steps of 0.172 s"
        case "c = 1":
            change(path, "pressures", c=np.array([1.0]))
            return r"expected c in m/s with time_steps in seconds, got c = 1 \(normalised time in metres\); divide"
        case "c = 0":
            change(path, "pressures", c=np.array([0.0]))
            return "expected one positive number"
        case "millimetres":
            change(path, "mesh", shared.mesh * 1000)
            change(path, "umesh", shared.umesh * 1000)
            change(path, "source_position", np.array([200.0, 100.0]))
            return r"/umesh: expected positions in metres: wavelength c/fmax = 0.343 m, got sensors 167 apart"
        case "mesh in millimetres":
            change(path, "mesh", shared.mesh * 1000)
            return "/mesh: expected nodes in the box of the sensors of /umesh, got nodes far outside it"
        case "source in millimetres":
            change(path, "source_position", np.array([200.0, 100.0]))
            return "/source_position: expected a point in the box of /umesh"
        case "other times":
            change(path, "pressures", time_steps=shared.time * 0.9)
            return r"expected the time steps of src0/src0.h5 \(5 steps 0.0005 s apart up to 0.002 s\), got 5 steps"
        case "other mesh":
            change(path, "mesh", shared.mesh[::-1])
            return "/mesh: expected the mesh of src0.h5, got another one"
        case "other sensors":
            change(path, "umesh", shared.umesh * 0.9)
            return "/umesh: expected the sensors of src0/src0.h5, got other ones"
        case "other medium":
            change(path, "pressures", c=np.array([300.0]))
            return "expected c = 343.0 as in src0/src0.h5, got 300.0"
        case "two dims":
            published.write_file(path, published.room(n_axes=3), 1)
            return "expected files of one dimension in a split, got 3 dimensions where src0.h5 has 2"
        case "NaN position":
            change(path, "source_position", np.array([np.nan, 0.1]))
            return "/source_position: expected finite numbers, got NaN or infinity"
        case "values":
            change(path, "upressures", np.zeros(15, np.float32))
            return "/upressures: expected 16 values, one per sensor of /umesh, got 15"
        case "coordinates":
            change(path, "source_position", np.array([0.1, 0.1, 0.1]))
            return "expected 2 coordinates as in /mesh, got /umesh with 2 and /source_position with 3"
    raise AssertionError(case)


CASES = [
    *("truncated", "foreign", "no source_position", "multi-source", "umesh_shape", "nodes", "transposed", "no time"),
    *("unsorted time", "normalised time", "c = 1", "c = 0", "millimetres", "mesh in millimetres", "values"),
    *("source in millimetres", "other times", "other mesh", "other sensors", "other medium", "two dims", "coordinates"),
    "NaN position",
]


@pytest.mark.parametrize("case", CASES)
def test_bad_file_is_refused_by_name_with_the_reason(tmp_path, published, case):
    published.write_room(tmp_path)
    path = tmp_path / "src1" / "src1.h5"
    sentence = damage(case, path, published)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}.*{sentence}"):
        read(tmp_path)
    assert len(check_data(tmp_path)) == 1


def test_nan_in_pressures_is_refused_when_it_is_read_and_reported_by_check(rooms):
    folder, stored = rooms
    path = folder / "cube_p6_6ppw_train" / "src2" / "src2.h5"
    values = stored["train"][2].copy()
    values[3, 4] = np.nan
    change(path, "pressures", values)
    train = read(folder)["train"]
    assert np.isfinite(train.pressure[:2].values).all()
    sentence = re.escape(
        f"{path} /pressures: expected finite pressures, got nan at step 3, node 4; simulate this source"
    )
    with pytest.raises(ValueError, match=sentence):
        train.pressure.load()
    (problem,) = check_data(folder)
    assert re.match(sentence, problem)


def test_a_mesh_that_differs_between_the_probed_nodes_is_found_when_pressures_are_read(tmp_path, published):
    shared = published.room(n_nodes=200)
    published.write_room(tmp_path, 2, shared)
    shared.mesh[1] += 0.01
    change(tmp_path / "src1" / "src1.h5", "mesh", shared.mesh)
    dataset = read(tmp_path)["all"]
    with pytest.raises(ValueError, match=r"src1.h5 /mesh: expected the mesh of src0.h5, got another one"):
        dataset.pressure.load()


def test_splits_with_other_times_or_sensors_are_refused(tmp_path, published):
    published.write_room(tmp_path / "train")
    published.write_room(tmp_path / "val", 1, published.room(n_times=9))
    with pytest.raises(ValueError, match=r"time_steps: expected the time steps of src0/src0.h5 .*, got 9 steps"):
        read(tmp_path)
    assert read(tmp_path, t_max=0.00201)["val"].sizes["time"] == 5
    published.write_room(tmp_path / "val", 1, published.room(n_sensors=5))
    with pytest.raises(ValueError, match=r"/umesh: expected the sensors of src0/src0.h5, got other ones"):
        read(tmp_path)


def test_empty_missing_and_ambiguous_folders_are_refused(tmp_path, published):
    with pytest.raises(ValueError, match=r"expected HDF5 files \(\*\.h5\), one per source, got none; check the folder"):
        read(tmp_path)
    with pytest.raises(ValueError, match="expected a folder, got nothing there"):
        read(tmp_path / "absent")
    with pytest.raises(ValueError, match="expected one of the formats"):
        find_format(tmp_path)
    published.write_room(tmp_path / "cube_train")
    assert find_format(tmp_path) == "deeponet_acoustics"
    with pytest.raises(ValueError, match="expected a folder, got a file"):
        read(tmp_path / "cube_train" / "src1" / "src1.h5")
    published.write_room(tmp_path / "dome_train")
    with pytest.raises(ValueError, match="expected one folder for the split 'train', got cube_train and dome_train"):
        read(tmp_path)


def test_parameters_that_are_missing_or_broken_are_refused(tmp_path, published):
    published.write_room(tmp_path)
    parameters = tmp_path / "simulation_parameters.json"
    parameters.write_text("{")
    with pytest.raises(ValueError, match=r"simulation_parameters.json: expected a readable JSON file"):
        read(tmp_path)
    parameters.write_text("[]")
    with pytest.raises(ValueError, match="expected an object SimulationParameters, got something else"):
        read(tmp_path)
    parameters.unlink()
    with pytest.raises(ValueError, match=r"expected c and fmax as attributes of /pressures or in .*, got no c, f_max"):
        read(tmp_path)
    for i in range(3):
        change(tmp_path / f"src{i}" / f"src{i}.h5", "pressures", c=[343.0], fmax=[1000.0])
    assert read(tmp_path)["all"].attrs["sigma0"] == pytest.approx(343 / (np.pi * 500))


def test_a_read_larger_than_memory_is_refused_before_it_starts(rooms, monkeypatch):
    from sciml_datasets.formats import _h5pressures

    monkeypatch.setattr(_h5pressures, "available_memory", lambda: 400)
    train = read(rooms[0])["train"]
    assert train.pressure[0].values.nbytes == 140
    with pytest.raises(ValueError, match=r"pressure: expected a read within .* for \(3, 5, 7\); select sources"):
        train.pressure.load()
    monkeypatch.undo()
    assert _h5pressures.available_memory() is None or _h5pressures.available_memory() > 0


def test_both_formats_convert_into_each_other_to_the_bit(rooms, tmp_path):
    FORMATS["netcdf"].write(read(rooms[0]), tmp_path / "store")
    assert find_format(tmp_path / "store") == "netcdf"
    write(FORMATS["netcdf"].read(tmp_path / "store"), tmp_path / "back", dtype="float16")
    original, back = read(rooms[0], dtype=None), read(tmp_path / "back", dtype=None)
    for split in original:
        xr.testing.assert_identical(original[split].load(), back[split].load())
