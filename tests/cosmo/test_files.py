"""Clouds and forests in files come back as they went, whatever layout they are in."""

from __future__ import annotations

import os
from functools import partial

import h5py
import numpy as np
import pytest
import torch
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.datasets import BOXES, TREES, Boxes, Trees
from sciml_cosmo.files import (
    PUBLISHED,
    fetch_published,
    mean_concentration,
    read_clouds,
    read_forest,
    read_haloes,
    split_by_simulation,
    write_clouds,
    write_forest,
)
from sciml_cosmo.forest import Forest
from sciml_cosmo.generate.boxes import BoxesConfig, SimulationConfig, make_boxes
from sciml_cosmo.generate.merger_trees import TreesConfig
from sciml_datasets import check_card, write_card
from sciml_datasets.formats import FORMATS, find_format
from torch_geometric.data import Data

from sciml.testing import check_dataset


def clouds(n_cloud=13, side=100.0, seed=4):
    rng = np.random.default_rng(seed)
    return [
        Cloud(
            rng.uniform(-5, side, (150 + i, 3)), rng.normal(0, 300, (150 + i, 3)), side, rng.uniform(1, 9, 150 + i),
            {"Omega_m": 0.1 + 0.02 * i, "sigma_8": 0.9}, 0.5, 70 + i,
        )
        for i in range(n_cloud)
    ]  # fmt: skip


def random_forest(seed=9, n_tree=6):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 80, n_tree)
    start = np.concatenate([[0], np.cumsum(lengths)])
    trees = [
        [-1, *(int(first + rng.integers(0, k)) for k in range(1, n))] for first, n in zip(start, lengths, strict=False)
    ]
    extra = {"main_branch": rng.random(start[-1]) < 0.3, "id": rng.integers(0, 10**15, start[-1]),
             "position": rng.random((start[-1], 3))}  # fmt: skip
    features = rng.normal(size=(start[-1], 4)).astype(np.float32)
    return Forest(features, np.concatenate(trees), start, rng.random((n_tree, 2)), np.arange(n_tree) // 2, extra)


def same(one, other):
    assert np.array_equal(one.positions, other.positions)
    assert np.array_equal(one.velocities, other.velocities)
    assert (one.masses is None) == (other.masses is None)
    assert one.masses is None or np.array_equal(one.masses, other.masses)
    assert (one.box_size, one.redshift, one.simulation) == (other.box_size, other.redshift, other.simulation)
    assert dict(one.cosmology) == dict(other.cosmology)


def test_files_give_back_every_cloud_by_its_number_to_the_bit(tmp_path):
    made = clouds()
    write_clouds(tmp_path / "boxes.hdf5", iter(made), "BSQ")
    read = read_clouds(tmp_path / "boxes.hdf5")
    assert len(read) == 13
    for one, other in zip(made, read, strict=True):
        same(one, other)
    same(made[-1], read[-1])
    assert [len(cloud) for cloud in read[9:12]] == [159, 160, 161]
    assert read.simulation.tolist() == list(range(70, 83))
    assert read.parameters["Omega_m"] == pytest.approx(0.1 + 0.02 * np.arange(13))


def test_files_without_masses_and_labels_are_clouds_too(tmp_path):
    cloud = clouds(1)[0]
    bare = Cloud(cloud.positions, cloud.velocities, cloud.box_size)
    write_clouds(tmp_path / "a.hdf5", [bare])
    same(read_clouds(tmp_path / "a.hdf5")[0], bare)


def test_files_of_the_benchmark_are_wrapped_into_the_box(tmp_path):
    with h5py.File(tmp_path / "top5000_galaxies_val.hdf5", "w") as file:
        for name in ("X", "Y", "Z", "VX", "VY", "VZ"):
            file[f"LH/LH_0/{name}"] = np.linspace(-1.0, 100.5, 200, dtype=np.float32)
        file["LH/LH_0/Mstar"] = np.full(200, 1e10)
        file["params/Omega_m"], file["params/sigma_8"] = [0.3], [0.8]
    (cloud,) = read_clouds(tmp_path / "top5000_galaxies_val.hdf5")
    assert cloud.box_size == 100
    assert cloud.positions[0].tolist() == [99, 99, 99]
    assert cloud.positions[-1].tolist() == [0.5, 0.5, 0.5]
    assert cloud.masses[0] == 1e10
    assert cloud.cosmology == {"Omega_m": 0.3, "sigma_8": 0.8}


@pytest.mark.parametrize("name", ["trees.nc", "trees.hdf5"])
def test_files_give_back_a_forest_to_the_bit(tmp_path, name):
    forest = random_forest()
    write_forest(tmp_path / name, forest)
    read = read_forest(tmp_path / name)
    for field in ("features", "descendant", "start", "targets", "simulation"):
        assert np.array_equal(getattr(read, field), getattr(forest, field))
        assert getattr(read, field).dtype == getattr(forest, field).dtype
    assert set(read.extra) == set(forest.extra)
    for field, values in forest.extra.items():
        assert np.array_equal(read.extra[field], values)
        assert read.extra[field].dtype == values.dtype


def test_files_of_torch_become_a_forest_that_converts_without_loss(tmp_path):
    forest = random_forest()
    trees = [forest.take([i]) for i in range(forest.n_tree)]
    torch.save([
        Data(x=torch.tensor(one.features), edge_index=torch.tensor(one.edge_index), lh_id=int(one.simulation[0]),
             y=torch.tensor(one.targets)) for one in trees
    ], tmp_path / "CS_tree_train.pt")  # fmt: skip
    read = read_forest(tmp_path / "CS_tree_train.pt")
    for field in ("features", "descendant", "start", "targets", "simulation"):
        assert np.array_equal(getattr(read, field), getattr(forest, field))
    write_forest(tmp_path / "safe.nc", read)
    assert np.array_equal(read_forest(tmp_path / "safe.nc").descendant, forest.descendant)
    with pytest.raises(ValueError, match=r"x.pt: expected one file of labelled HDF5"):
        write_forest(tmp_path / "x.pt", read)


def test_files_with_code_in_them_are_refused_here_too(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    torch.save([Payload()], tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"only tensors and torch_geometric Data, got the name .*nothing was executed"):
        read_forest(tmp_path / "a.pt")
    assert not (tmp_path / "executed").exists()


def galacticus(path, **changes):
    rows = {"nodeIndex": [5, 6, 7], "descendantIndex": [-1, 5, 5], "nodeMass": [9.0, 4.0, 3.0], "redshift": [0.0, 1, 1],
            "velocityMaximum": [300.0, 200.0, 100.0]} | changes  # fmt: skip
    with h5py.File(path, "w") as file:
        for name, values in rows.items():
            if values is not None:
                file[f"forestHalos/{name}"] = values
        file["forestIndex/firstNode"], file["forestIndex/numberOfNodes"] = [0], [3]
        units = file.create_group("units").attrs
        for quantity, unit in (("mass", 1.98892e40), ("velocity", 1e3)):
            units[f"{quantity}UnitsInSI"] = unit
            units[f"{quantity}HubbleExponent"] = -1 if quantity == "mass" else 0
            units[f"{quantity}ScaleFactorExponent"] = 0
        file.create_group("cosmology").attrs.update({"OmegaMatter": 0.25, "sigma_8": 0.9, "HubbleParam": 0.7})


def test_files_of_haloes_without_concentrations_are_refused_or_filled_by_the_named_relation(tmp_path):
    galacticus(tmp_path / "a.hdf5")
    with pytest.raises(ValueError, match="expected the concentration of each halo, got none; give concentration='rel"):
        read_haloes(tmp_path / "a.hdf5")
    forest = read_haloes(tmp_path / "a.hdf5", simulation=3, concentration="relation")
    mass, scale = np.array([9e10, 4e10, 3e10]), np.array([1.0, 0.5, 0.5])
    wanted = np.stack([np.log10(mass), np.log10(mean_concentration(mass, 1 / scale - 1)),
                       np.log10([300.0, 200.0, 100.0]), scale], axis=1)  # fmt: skip
    assert forest.features == pytest.approx(wanted, rel=1e-6)
    assert forest.targets.tolist() == [[0.25, 0.9]]
    assert forest.simulation.tolist() == [3]
    assert forest.descendant.tolist() == [-1, 0, 0]
    galacticus(tmp_path / "b.hdf5", velocityMaximum=None)
    with pytest.raises(ValueError, match="expected the vmax of each halo, got none; add it to the file"):
        read_haloes(tmp_path / "b.hdf5", concentration="relation")
    galacticus(tmp_path / "c.hdf5", velocityMaximum=[300.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="vmax: expected numbers above 0, got others"):
        read_haloes(tmp_path / "c.hdf5", concentration="relation")


def test_files_of_consistent_trees_take_the_sigma_8_that_they_lack(tmp_path):
    path = tmp_path / "tree_0_0_0.dat"
    path.write_text(
        "#scale(0) id(1) desc_id(2) mvir(3) rvir(4) rs(5) vmax(6)\n#Omega_M = 0.27; h0 = 0.7\n1\n#tree 1\n"
        "1.0 1 -1 1e12 200 20 150\n0.5 2 1 1e11 100 20 90\n"
    )
    with pytest.raises(ValueError, match="expected Omega_m in the file and sigma_8, got no sigma_8; give sigma_8"):
        read_haloes(path)
    forest = read_haloes(path, sigma_8=0.82)
    assert forest.targets.tolist() == [[0.27, 0.82]]
    assert forest.features[1] == pytest.approx([11, np.log10(5), np.log10(90), 0.5], rel=1e-6)


def test_mean_concentration_follows_its_power_laws():
    mass, redshift = np.array([2e12, 2e14, 2e12]), np.array([0.0, 0.0, 1.0])
    c = mean_concentration(mass, redshift)
    assert c == pytest.approx([5.71, 5.71 * 100**-0.084, 5.71 * 2**-0.47])


def test_splits_share_no_simulation_and_do_not_depend_on_the_order():
    simulations = np.repeat(np.arange(40), 5)
    parts = split_by_simulation(simulations, seed=3)
    homes = {name: set(simulations[index]) for name, index in parts.items()}
    assert {name: len(home) for name, home in homes.items()} == {"train": 24, "val": 8, "test": 8}
    assert set.union(*homes.values()) == set(range(40))
    assert sum(map(len, parts.values())) == 200
    order = np.random.default_rng(1).permutation(200)
    again = split_by_simulation(simulations[order], seed=3)
    assert all(set(simulations[order][again[name]]) == homes[name] for name in parts)
    assert set(simulations[split_by_simulation(simulations, seed=4)["test"]]) != homes["test"]
    with pytest.raises(ValueError, match=r"split 'test': expected at least one of 2 simulations, got none"):
        split_by_simulation([1, 2])
    with pytest.raises(ValueError, match="fractions: expected shares >= 0 that sum to 1"):
        split_by_simulation([1, 2], {"train": 0.5})


def test_published_files_are_asked_for_under_their_names(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "sciml_cosmo.files.fetch_all", lambda base, names, folder, progress: asked.append((base, *names))
    )
    assert fetch_published("trees", tmp_path)[0] == tmp_path / "CS_tree_train.pt"
    assert asked == [("https://users.flatironinstitute.org/~fvillaescusa/CosmoBench/CAMELS-SAM/trees",
                      "CS_tree_train.pt", "CS_tree_val.pt", "CS_tree_test.pt")]  # fmt: skip
    with pytest.raises(ValueError, match=f"suite: expected one of {', '.join(PUBLISHED)}, got 'tng'"):
        fetch_published("tng", tmp_path)


SMALL = SimulationConfig(box_size=60.0, n_particle=24, n_mesh=32, n_step=4, least=5)


@pytest.mark.parametrize(("source", "kind"), [
    (Boxes(BoxesConfig(n_box=5, simulation=SMALL)), "cosmobench_clouds"),
    (Trees(TreesConfig(n_cosmology=5, n_tree_each=2)), "netcdf"),
])  # fmt: skip
def test_generated_data_sets_agree_with_their_cards_and_share_no_simulation(tmp_path, monkeypatch, source, kind):
    monkeypatch.setenv("SCIML_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sciml_cosmo.datasets.make_boxes", partial(make_boxes, n_worker=1))
    folder = tmp_path / "data"
    folder.mkdir()
    source.make(folder, seed=5)
    write_card(folder, source.card)
    assert find_format(folder) == kind
    assert check_card(folder) == []
    failed = [check for check in check_dataset(FORMATS[kind].read(folder)) if not check.passed]
    assert not failed


def test_registered_data_sets_are_small():
    assert BOXES.card.name == "cosmo.boxes"
    assert TREES.card.name == "cosmo.trees"
    assert sum(BOXES.card.sampling.splits.values()) == 20
    assert sum(TREES.card.sampling.splits.values()) == 200
