"""Forests of Galacticus, written here by h5py in both versions of the layout."""

from __future__ import annotations

import os
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from sciml_datasets.formats import galacticus

REAL = os.environ.get("SCIML_GALACTICUS_TREES", "")


def written(path, *, version=2, side_branch=True, **changes):
    """Write two forests with ids that repeat between them; nodes of a forest in no order; return the rows by name."""
    halos, index = ("forestHalos", "forestIndex") if version == 2 else ("haloTrees", "treeIndex")
    # forest 0: 7 <- 3 <- 9, 7 <- 4; and 5, a subhalo of 7 without descendant. forest 1: 3 <- 8
    rows = {
        "nodeIndex": [3, 9, 7, 5, 4, 8, 3],
        "descendantIndex" if version == 2 else "descendentIndex": [7, 3, -1, -1, 7, 3, -1],
        "hostIndex": [3, 9, 7, 7, 4, 8, 3],
        "nodeMass": [4.0, 2.0, 9.0, 1.0, 3.0, 1.0, 2.0],
        "redshift": [0.5, 1.0, 0.0, 0.0, 0.5, 1.0, 0.0],
        "velocityMaximum": np.arange(100.0, 107.0),
        "position": np.arange(21.0).reshape(7, 3),
        "velocity": np.arange(21.0).reshape(7, 3) - 10,
    }
    rows |= changes
    with h5py.File(path, "w") as file:
        for name, values in rows.items():
            if values is not None:
                file[f"{halos}/{name}"] = np.asarray(values)
        file[f"{index}/firstNode"], file[f"{index}/numberOfNodes"] = np.array([0, 5]), np.array([5, 2])
        units = file.create_group("units").attrs
        units["massUnitsInSI"], units["massHubbleExponent"], units["massScaleFactorExponent"] = 1.98892e40, -1, 0
        units["lengthUnitsInSI"], units["lengthHubbleExponent"], units["lengthScaleFactorExponent"] = 3.08568e22, -1, 1
        units["velocityUnitsInSI"], units["velocityHubbleExponent"], units["velocityScaleFactorExponent"] = 1e3, 0, 0
        cosmology = file.create_group("cosmology").attrs
        cosmology["HubbleParam"], cosmology["sigma_8"] = 0.7, np.array([0.9])
        cosmology["OmegaMatter" if version == 2 else "Omega0"] = 0.25
    return rows


@pytest.mark.parametrize("version", [1, 2])
def test_galacticus_forests_become_trees_with_units(tmp_path, version):
    written(tmp_path / "a.hdf5", version=version)
    dataset = galacticus.read(tmp_path / "a.hdf5")
    assert dataset["n_node"].values.tolist() == [4, 1, 2]
    assert dataset["id"].values.tolist() == [7, 3, 4, 9, 5, 3, 8]
    assert dataset["descendant"].values.tolist() == [-1, 0, 0, 1, -1, -1, 5]
    assert dataset["mass"].values == pytest.approx(np.array([9, 4, 3, 2, 1, 2, 1]) * 1e10, rel=1e-14)
    assert dataset["scale_factor"].values == pytest.approx(1 / np.array([1, 1.5, 1.5, 2, 1, 1, 2]))
    assert dataset["is_subhalo"].values.tolist() == [0, 0, 0, 0, 1, 0, 0]
    assert dataset["vmax"].values.tolist() == [102, 100, 104, 101, 103, 106, 105]
    assert dataset["position"].values[:, 0].tolist() == [6, 0, 12, 3, 9, 18, 15]
    assert dataset["velocity"].values[0].tolist() == [-4, -3, -2]
    assert {name: dataset[name].attrs["units"] for name in ("mass", "position", "velocity", "vmax")} == {
        "mass": "Msun/h", "position": "Mpc/h", "velocity": "km/s", "vmax": "km/s"}  # fmt: skip
    assert dataset.attrs == {"h": 0.7, "Omega_m": 0.25, "sigma_8": 0.9}


def test_galacticus_units_with_powers_of_h_and_a_are_converted(tmp_path):
    written(tmp_path / "a.hdf5")
    plain = galacticus.read(tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5", "r+") as file:
        units = file["units"].attrs
        units["massHubbleExponent"], units["lengthScaleFactorExponent"], units["velocityUnitsInSI"] = 0, 0, 1.0
    other = galacticus.read(tmp_path / "a.hdf5")
    assert other["mass"].values == pytest.approx(plain["mass"].values * 0.7)  # M_sun are 0.7 M_sun/h
    comoving = plain["position"] / plain["scale_factor"]  # physical lengths stretch to comoving ones
    assert other["position"].values == pytest.approx(comoving.values)
    assert other["velocity"].values == pytest.approx(plain["velocity"].values / 1e3)


def test_galacticus_ten_thousand_nodes_are_linked_as_one_by_one(tmp_path):
    rng = np.random.default_rng(5)
    n_node = 10_000
    ids = rng.choice(10**15, n_node, replace=False)
    parent = np.array([-1, *(int(rng.integers(max(0, k - 50), k)) for k in range(1, n_node))])
    depth = [0] * n_node
    for node in range(1, n_node):
        depth[node] = depth[parent[node]] + 1
    order = rng.permutation(n_node)
    rows = {
        "nodeIndex": ids[order],
        "descendantIndex": np.where(parent < 0, -1, ids[parent])[order],
        "redshift": 0.01 * np.array(depth, dtype=float)[order],
        "nodeMass": 1.0 + order,
        "hostIndex": None, "velocityMaximum": None, "position": None, "velocity": None,
    }  # fmt: skip
    written(tmp_path / "a.hdf5", **rows)
    with h5py.File(tmp_path / "a.hdf5", "r+") as file:
        file["forestIndex/firstNode"][...], file["forestIndex/numberOfNodes"][...] = [0, n_node], [n_node, 0]
    dataset = galacticus.read(tmp_path / "a.hdf5")
    place = {int(name): i for i, name in enumerate(ids)}
    original = np.array([place[int(name)] for name in dataset["id"].values])
    descendant = dataset["descendant"].values
    assert np.array_equal(original[descendant[1:]], parent[original[1:]])
    assert dataset["mass"].values == pytest.approx((1.0 + original) * 1e10)


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"nodeIndex": [3, 9, 7, 3, 4, 8, 3]}, r"expected an id of its own for each halo, got 1 repeated, the first 3"),
    ({"descendantIndex": [7, 3, -1, -1, 6, 3, -1]}, r"got 1 without, the first id 4 \(descendant 6\); give the whole"),
    ({"descendantIndex": [7, 3, -1, -1, 8, 3, -1]}, r"got 1 without, the first id 4 \(descendant 8\)"),
    ({"descendantIndex": [9, 3, -1, -1, 7, 3, -1]}, "expected trees, got haloes that are their own descendants"),
    ({"redshift": [0.0, 1.0, 0.0, 0.0, 0.5, 1.0, 0.0]}, "descendants that exist later .*, got 1 .* first id 3"),
    ({"redshift": None}, "/forestHalos: expected expansionFactor or redshift, got neither"),
    ({"redshift": [-0.5] * 7}, "/forestHalos: expected scale factors between 0 and 1, got 2 to 2"),
    ({"nodeMass": None}, "expected the data set nodeMass, got none"),
    ({"nodeMass": [1.0, 2.0]}, r"/forestHalos/nodeMass: expected numbers for each of 7 haloes, got \(2,\)"),
    ({"position": np.full((7, 3), np.nan)}, "position: expected finite numbers, got 21 NaN or infinite"),
    ({"nodeIndex": None}, "/forestHalos: expected integers nodeIndex, got none"),
])  # fmt: skip
def test_galacticus_bad_forest_is_named_in_one_sentence(tmp_path, changes, sentence):
    path = tmp_path / "a.hdf5"
    written(path, **changes)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}.*{sentence}") as caught:
        galacticus.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda file: file.__delitem__("forestHalos"), "expected a group forestHalos or haloTrees, got only"),
    (lambda file: file["units"].attrs.__delitem__("massUnitsInSI"), "/units: expected the attributes massUnitsInSI, "),
    (lambda file: file["forestIndex/numberOfNodes"].__setitem__(0, 4), "expected forests one after the other, got"),
    (lambda file: file["forestIndex/numberOfNodes"].__setitem__(1, 3), "expected 7 haloes .*, got forests of 8 haloes"),
])  # fmt: skip
def test_galacticus_bad_groups_are_named(tmp_path, change, sentence):
    path = tmp_path / "a.hdf5"
    written(path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}.*{sentence}"):
        galacticus.read(path)


def test_galacticus_truncated_file_is_named(tmp_path):
    path = tmp_path / "a.hdf5"
    written(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"a.hdf5: expected a complete HDF5 file"):
        galacticus.read(path)


@pytest.mark.skipif(not REAL, reason="SCIML_GALACTICUS_TREES names no folder with splitForests-*.hdf5 of Galacticus")
def test_galacticus_real_forests_are_whole():
    paths = sorted(Path(REAL).glob("splitForests-*.hdf5"))
    assert paths
    for path in paths:
        dataset = galacticus.read(path)
        linked = dataset["descendant"].values >= 0
        with h5py.File(path) as file:
            ids, descendants = file["forestHalos/nodeIndex"][()], file["forestHalos/descendentIndex"][()]
            assert linked.sum() == (descendants >= 0).sum()
            wanted = dict(zip(ids.tolist(), descendants.tolist(), strict=True))
        own = dataset["id"].values
        assert [wanted[i] for i in own[linked].tolist()] == own[dataset["descendant"].values[linked]].tolist()
