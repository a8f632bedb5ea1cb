"""Point clouds in the layout of CosmoBench, written here with h5py alone, and each way in which a file can be wrong."""

from __future__ import annotations

import re
from contextlib import suppress

import h5py
import numpy as np
import pytest
import xarray as xr
from sciml_datasets.formats import FORMATS, check_data, find_format
from sciml_datasets.formats.cosmobench_clouds import CloudGroups, read, write, write_groups
from sciml_datasets.formats.cosmobench_tpcf import read_tpcf

POSITION, VELOCITY = ("X", "Y", "Z"), ("VX", "VY", "VZ")


def published(path, *, key="LH", side=100.0, n_cloud=13, n_node=120, vary=0, mass=None):
    """Write a file as the benchmark does: no attributes, groups created in any order; return the numbers by cloud."""
    rng = np.random.default_rng(11)
    clouds = []
    with h5py.File(path, "w") as file:
        for i in rng.permutation(n_cloud):
            names = [*POSITION, *VELOCITY, *([mass] if mass else [])]
            n = n_node + vary * int(i)
            values = {name: rng.uniform(0, side, n).astype(np.float32) for name in names}
            for name in names:
                file[f"{key}/{key}_{i}/{name}"] = values[name]
            clouds.append((i, values))
        file["params/Omega_m"] = 0.1 + 0.01 * np.arange(n_cloud)
        file["params/sigma_8"] = 0.9 - 0.01 * np.arange(n_cloud)
        file["original_ids"] = 500 + np.arange(n_cloud)
    return [values for _, values in sorted(clouds, key=lambda item: item[0])]


def change(path, name, values=None):
    with h5py.File(path, "r+") as file:
        del file[name]
        if values is not None:
            file[name] = values


def test_cosmobench_clouds_go_by_their_number_and_not_by_the_order_of_text(tmp_path):
    path = tmp_path / "top5000_galaxies_train.hdf5"
    stored = published(path)
    with h5py.File(path) as file:
        assert list(file["LH"])[:3] == ["LH_0", "LH_1", "LH_10"]  # the trap
    groups = CloudGroups(path)
    assert len(groups) == 13
    for i in range(13):
        cloud = groups[i]
        assert np.array_equal(cloud["position"], np.stack([stored[i][name] for name in POSITION], axis=1))
        assert np.array_equal(cloud["velocity"], np.stack([stored[i][name] for name in VELOCITY], axis=1))
        assert float(cloud["Omega_m"]) == pytest.approx(0.1 + 0.01 * i)
        assert int(cloud["simulation"]) == 500 + i
    assert groups[-1].attrs["number"] == 12
    assert [cloud.attrs["number"] for cloud in groups[9:12]] == [9, 10, 11]
    with pytest.raises(IndexError, match="expected a cloud from 0 to 12, got 13"):
        groups[13]


@pytest.mark.parametrize(("key", "side", "name"), [
    ("BSQ", 1000.0, "Quijote_BSQ_rockstar_10_top5000_val.hdf5"), ("BSQ", 1000.0, "top5000_halos_val.hdf5"),
    ("LH", 100.0, "CAMELS-SAM_LH_gal_99_top5000_val.hdf5"), ("LH", 25.0, "CAMELS-TNG_galaxy_90_ALL_val.hdf5"),
])  # fmt: skip
def test_cosmobench_clouds_of_every_suite_and_name_have_the_side_of_their_box(tmp_path, key, side, name):
    published(tmp_path / name, key=key, side=side, n_cloud=2)
    (split,) = read(tmp_path / name)
    assert split == "val"
    groups = CloudGroups(tmp_path / name)
    assert (groups.key, groups.box_size) == (key, side)
    assert groups[1]["position"].attrs["units"] == "Mpc/h"
    assert groups[1]["velocity"].attrs["units"] == "km/s"


def test_cosmobench_clouds_of_varying_size_keep_their_stellar_masses(tmp_path):
    path = tmp_path / "ALL_galaxies_test.hdf5"
    stored = published(path, side=25.0, vary=7, mass="Mstar")
    groups = CloudGroups(path)
    assert [cloud.sizes["node"] for cloud in groups] == [120 + 7 * i for i in range(13)]
    assert np.array_equal(groups[11]["Mstar"], stored[11]["Mstar"])
    assert groups[11]["Mstar"].attrs["units"] == "Msun/h"


def test_cosmobench_folder_is_one_lazy_axis_of_nodes_for_each_split(tmp_path, monkeypatch):
    stored = published(tmp_path / "ALL_galaxies_train.hdf5", vary=3)
    published(tmp_path / "ALL_galaxies_val.hdf5", n_cloud=2)
    (tmp_path / "tpcf_train.hdf5").write_bytes(b"correlation functions lie beside the clouds")
    assert find_format(tmp_path) == "cosmobench_clouds"
    splits = FORMATS["cosmobench_clouds"].read(tmp_path)
    assert list(splits) == ["train", "val"]
    train = splits["train"]
    opened = []
    columns = CloudGroups.columns
    monkeypatch.setattr(CloudGroups, "columns", lambda self, i: opened.append(i) or columns(self, i))
    start = np.cumsum([0, *train["n_node"].values])
    part = train["position"][start[4] - 2 : start[5] + 1, 1].values
    y = np.concatenate([values["Y"] for values in stored])
    assert np.array_equal(part, y[start[4] - 2 : start[5] + 1])
    assert opened == [3, 4, 5]
    assert np.array_equal(train["velocity"].values, np.concatenate([
        np.stack([values[name] for name in VELOCITY], axis=1) for values in stored]))  # fmt: skip
    assert float(train["position"][start[9], 2]) == float(stored[9]["Z"][0])
    assert check_data(tmp_path) == []
    for path in tmp_path.glob("ALL*"):
        path.rename(path.with_suffix(".h5"))
    assert find_format(tmp_path) == "cosmobench_clouds"


def test_cosmobench_clouds_written_and_read_are_the_same_to_the_bit(tmp_path):
    published(tmp_path / "a_train.hdf5", vary=3, mass="Mvir")
    published(tmp_path / "a_val.hdf5", n_cloud=2, mass="Mvir")
    splits = read(tmp_path)
    write(splits, tmp_path / "again")
    again = read(tmp_path / "again")
    for name in splits:
        xr.testing.assert_identical(again[name].load(), splits[name].load())
    write({"train": splits["train"]}, tmp_path / "half.hdf5", dtype="float32")
    assert CloudGroups(tmp_path / "half.hdf5")[3]["position"].dtype == np.float32
    with pytest.raises(ValueError, match="expected one split for one file"):
        write(splits, tmp_path / "two.hdf5")
    with pytest.raises(ValueError, match="expected values that fit float16"):
        write(
            {"train": splits["train"].assign(Mvir=splits["train"]["Mvir"] * 1e6)}, tmp_path / "b.hdf5", dtype="float16"
        )
    with pytest.raises(
        ValueError, match=r"expected a dataset as read gives it, got no velocity, box_size; give clouds"
    ):
        write({"all": splits["val"].drop_vars("velocity").drop_attrs().assign_attrs(redshift=0)}, tmp_path / "b.hdf5")


def test_cosmobench_writer_leaves_no_file_when_a_cloud_does_not_fit_the_others(tmp_path):
    published(tmp_path / "a.hdf5", n_cloud=3)
    clouds = CloudGroups(tmp_path / "a.hdf5")[:3]
    target = tmp_path / "b.hdf5"
    for wrong, sentence in [
        (clouds[2].assign_attrs(box_size=25.0), "cloud 2: expected .*100.0.* as in the first, got .*25.0"),
        (clouds[2].drop_vars("sigma_8"), r"cloud 2: expected \['Omega_m', 'sigma_8', 'simulation'\], got"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            write_groups(target, [*clouds[:2], wrong], "LH")
        assert not target.exists()
    with pytest.raises(ValueError, match="expected at least one cloud, got none"):
        write_groups(target, [], "LH")
    assert [path.name for path in tmp_path.iterdir()] == ["a.hdf5"]


def damage(case, path):
    """Make a good file wrong; return the sentence that the reading or the cloud 3 must give."""
    match case:
        case "no clouds":
            change(path, "LH")
            return r"expected one group /KEY with groups KEY_0, KEY_1, ... in it, got only \['original_ids', 'params'\]"
        case "missing group":
            change(path, "LH/LH_7")
            return "/LH: expected groups LH_0 to LH_12, got no group LH_7"
        case "padded number":
            with h5py.File(path, "r+") as file:
                file.move("LH/LH_7", "LH/LH_07")
            return "/LH: expected groups LH_0 to LH_12, got a group LH_07"
        case "two keys":
            with h5py.File(path, "r+") as file:
                file.copy("LH/LH_1", "BSQ/BSQ_0")
            return r"expected one group /KEY .*, got \['BSQ', 'LH'\]"
        case "few labels":
            change(path, "params/sigma_8", np.ones(12))
            return "/params/sigma_8: expected one label for each of 13 clouds, got 12"
        case "NaN label":
            change(path, "params/sigma_8", np.full(13, np.nan))
            return "/params/sigma_8: expected finite numbers"
        case "few ids":
            change(path, "original_ids", np.arange(12))
            return "/original_ids: expected an integer for each of 13 clouds, got 12"
        case "missing data set":
            change(path, "LH/LH_3/VY")
            return "/LH/LH_3: expected the data sets X, Y, Z, VX, VY, VZ, got no VY"
        case "empty cloud":
            for name in (*POSITION, *VELOCITY):
                change(path, f"LH/LH_3/{name}", np.empty(0))
            return "/LH/LH_3: expected at least one node, got none; leave empty clouds out"
        case "one short":
            change(path, "LH/LH_3/VZ", np.ones(119))
            return r"/LH/LH_3/VZ: expected 120 numbers as in X, got shape \(119,\)"
        case "NaN position":
            change(path, "LH/LH_3/Y", np.full(120, np.nan))
            return "/LH/LH_3/Y: expected finite numbers, got 120 NaN or infinite"
        case "other unit":
            with h5py.File(path, "r+") as file:
                file["LH/LH_3/X"].attrs["units"] = "kpc/h"
            return "/LH/LH_3/X: expected the unit Mpc/h, got kpc/h; convert the file"
        case "duplicates":
            for name in POSITION:
                with h5py.File(path, "r+") as file:
                    file[f"LH/LH_3/{name}"][5] = file[f"LH/LH_3/{name}"][90]
            return "/LH/LH_3: expected nodes at distinct places, got 1 at the place of another; give duplicates='merge'"
        case "outside":
            change(path, "LH/LH_3/X", np.linspace(0, 400, 120))
            return r"/LH/LH_3: expected positions near the box \[0, 100\) Mpc/h, got .* to 400"
        case "small":
            for name in POSITION:
                change(path, f"LH/LH_3/{name}", np.linspace(0, 25, 120))
            return "/LH/LH_3: expected nodes that fill a box of 100 Mpc/h, got nodes that all lie within 25"
    raise AssertionError(case)


CASES = ["no clouds", "missing group", "padded number", "two keys", "few labels", "NaN label", "few ids", "empty cloud",
         "missing data set", "one short", "NaN position", "other unit", "duplicates", "outside", "small"]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_cosmobench_bad_cloud_file_is_refused_by_name_in_one_sentence(tmp_path, case):
    path = tmp_path / "clouds.hdf5"
    published(path)
    sentence = damage(case, path)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}.*{sentence}") as caught:
        CloudGroups(path)[3]
    assert "\n" not in str(caught.value)


def test_cosmobench_duplicates_are_merged_into_the_first_of_each_when_asked(tmp_path):
    path = tmp_path / "clouds.hdf5"
    stored = published(path)[3]
    damage("duplicates", path)
    kept = CloudGroups(path, duplicates="merge")[3]["velocity"].values
    assert np.array_equal(kept[:, 0], np.delete(stored["VX"], 90))
    with pytest.raises(ValueError, match="expected 'refuse' or 'merge', got 'keep'"):
        CloudGroups(path, duplicates="keep")


def test_cosmobench_wrong_side_of_the_box_is_told_from_either_direction(tmp_path):
    path = tmp_path / "clouds.hdf5"
    published(path)
    for side, sentence in [(25.0, r"expected positions near the box \[0, 25\)"), (1000.0, "expected nodes that fill")]:
        with pytest.raises(ValueError, match=sentence):
            CloudGroups(path, box_size=side)[0]
    change(path, "LH/LH_0/X", np.linspace(0, 5000, 120))
    with pytest.raises(ValueError, match=r"expected positions in a box of .*, got 5000 Mpc/h; give the box_size"):
        CloudGroups(path)


def test_cosmobench_truncated_and_damaged_files_never_fail_otherwise(tmp_path):
    path = tmp_path / "clouds.hdf5"
    published(path, n_cloud=3)
    good, rng = path.read_bytes(), np.random.default_rng(19)
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match=r"clouds.hdf5: expected a complete HDF5 file, got .*; copy or generate it"):
        CloudGroups(path)
    with pytest.raises(ValueError, match="expected a complete HDF5 file"):
        CloudGroups(tmp_path / "absent.hdf5")
    for _ in range(40):
        damaged = np.frombuffer(good, np.uint8).copy()
        damaged[rng.integers(0, len(good), 24)] = rng.integers(0, 256, 24)
        path.write_bytes(damaged.tobytes())
        with suppress(ValueError):  # anything else fails the test
            list(CloudGroups(path))


def test_cosmobench_correlation_functions_come_with_their_labels(tmp_path):
    path = tmp_path / "tpcf_train.hdf5"
    rows = np.random.default_rng(3).normal(size=(13, 24))
    with h5py.File(path, "w") as file:
        file["tpcf"], file["r"] = rows, np.linspace(2, 80, 24)
        file["params/Omega_m"] = np.linspace(0.1, 0.5, 13)
    dataset = read_tpcf(path)
    assert np.array_equal(dataset["tpcf"], rows)
    assert dataset["separation"].attrs["units"] == "Mpc/h"
    assert dataset["Omega_m"].sizes == {"cloud": 13}
    for name, values, sentence in [
        ("r", np.ones(23), "/r: expected 24 separations"),
        ("params/Omega_m", np.ones(12), "/params/Omega_m: expected one label for each of 13 clouds, got 12"),
        ("tpcf", rows[:, 0], r"expected correlation functions /tpcf \(cloud, bin\), got \(13,\)"),
        ("tpcf", None, r"expected correlation functions /tpcf \(cloud, bin\), got only \['params', 'r'\]"),
        ("tpcf", np.where(rows == rows[4, 2], np.nan, rows), "/tpcf: expected finite numbers, got NaN .* in row 4"),
    ]:
        with h5py.File(path, "r+") as file:
            saved = {key: file[key][()] for key in ("tpcf", "r", "params/Omega_m")}
        change(path, name, values)
        with pytest.raises(ValueError, match=sentence):
            read_tpcf(path)
        with h5py.File(path, "a") as file:
            for key, kept in saved.items():
                if key in file:
                    del file[key]
                file[key] = kept
