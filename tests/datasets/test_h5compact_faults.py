"""Faults of published room-acoustics files: each is refused by name, with the reason and what to do."""

from __future__ import annotations

import re

import h5py
import numpy as np
import pytest
from sciml_datasets.formats import FORMATS, check_data, deeponet_acoustics, find_format

read = deeponet_acoustics.read


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


@pytest.mark.parametrize("kind", ["h5", "nc"])
def test_no_damage_to_the_bytes_of_a_file_escapes_as_another_error(tmp_path, published, kind):
    published.write_room(tmp_path / "room", 2)
    path, folder = tmp_path / "room" / "src1" / "src1.h5", tmp_path / "room"
    if kind == "nc":
        FORMATS["netcdf"].write(read(folder), tmp_path / "store")
        path, folder = tmp_path / "store" / "all.nc", tmp_path / "store"
    good, rng = path.read_bytes(), np.random.default_rng(17)
    found = 0
    for _ in range(40):
        damaged = np.frombuffer(good, np.uint8).copy()
        damaged[rng.integers(0, len(good) // 2, 16)] = rng.integers(0, 256, 16)
        path.write_bytes(damaged.tobytes())
        found += bool(check_data(folder))
    assert found > 10  # damage among the numbers themselves may stay unseen
