"""Merger trees of CosmoBench: real files of torch.save read without executing them, and attempts to misuse that."""

from __future__ import annotations

import io
import os
import pickle
import re
import zipfile
from collections import OrderedDict

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from sciml_datasets.formats import FORMATS, check_data, find_format
from sciml_datasets.formats._restricted_pt import read_pt
from sciml_datasets.formats._tree_order import depth_of, order_of, renumber, root_of
from sciml_datasets.formats.cosmobench_trees import read, write
from torch_geometric.data import Data


def random_parents(rng, n_node):
    """Return descendants of a random tree whose root is node 0 and whose nodes come in the order of the contract."""
    return np.array([-1, *(int(rng.integers(0, k)) for k in range(1, n_node))])


def tree(rng, n_node, simulation, *, shuffled=False):
    """Return one tree as the benchmark stores it, and its descendants in that order."""
    descendant = random_parents(rng, n_node)
    if shuffled:
        order = rng.permutation(n_node)
        descendant = renumber(order, descendant)
    source = np.flatnonzero(descendant >= 0)
    source = source[rng.permutation(len(source))]
    ids = rng.choice(10**12, n_node, replace=False)
    return Data(
        x=torch.tensor(rng.normal(size=(n_node, 4)), dtype=torch.float32),
        edge_index=torch.tensor(np.stack([source, descendant[source]]), dtype=torch.long),
        edge_attr=torch.tensor(source[:, None] + 2.0, dtype=torch.float32),
        y=torch.tensor([[0.1 + 0.01 * simulation, 0.9]]),
        lh_id=simulation,
        mask_main=ids[:3],  # an array of NumPy, as the benchmark leaves it
        node_halo_id=torch.tensor(ids)[:, None],
        num_nodes=n_node,
    ), descendant


def infilling(data, descendant):
    """Add virtual nodes as the benchmark does: one for each merger of two, with three edges into it."""
    n_node = len(descendant)
    mergers = [node for node in range(n_node) if (descendant == node).sum() == 2]
    edges = [[s, n_node + i] for i, m in enumerate(mergers) for s in (m, *np.flatnonzero(descendant == m))]
    data.edge_index = torch.hstack([data.edge_index, torch.tensor(edges, dtype=torch.long).T])
    data.x = torch.cat([data.x, torch.zeros(len(mergers), 4)])
    data.vn_mask = torch.arange(n_node + len(mergers)) >= n_node
    data.label = torch.where(data.vn_mask, torch.arange(n_node + len(mergers)) % 2, -1)
    data.x_mean_excl_time, data.x_std_excl_time = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.1, 0.2, 0.3])
    return data, mergers


def members(path, **content):
    """Write a zip archive as torch.save lays it out, from the raw bytes of its members."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(f"archive/{name.replace('__', '/').replace('_pkl', '.pkl')}", data)
    return path


@pytest.fixture
def rng():
    return np.random.default_rng(23)


def test_order_of_trees_puts_descendants_first_and_leaves_sorted_ones_alone(rng):
    descendant = random_parents(rng, 300)
    assert np.array_equal(order_of(np.zeros(300, int), descendant), np.arange(300))
    depth = [0] * 300
    for node in range(1, 300):
        depth[node] = depth[descendant[node]] + 1
    assert np.array_equal(depth_of(descendant), depth)
    mixed = renumber(rng.permutation(300), descendant)
    order = order_of(np.zeros(300, int), mixed)
    again = renumber(order, mixed)
    assert again[0] == -1
    assert (again[1:] < np.arange(1, 300)).all()
    assert (again[1:] >= 0).all()
    assert np.array_equal(np.sort(depth_of(again)), np.sort(depth))


def test_order_of_a_chain_of_a_hundred_thousand_needs_no_recursion(rng):
    chain = np.arange(-1, 99_999)
    assert np.array_equal(depth_of(chain), np.arange(100_000))
    assert (root_of(chain) == 0).all()
    assert (depth_of(np.roll(np.arange(8), 1)) == -1).all()


def test_cosmobench_trees_are_read_as_torch_geometric_reads_them(tmp_path, rng):
    path = tmp_path / "CS_tree_train.pt"
    pairs = [tree(rng, n_node, simulation) for n_node, simulation in ((40, 3), (1, 3), (150, 12))]
    torch.save([data for data, _ in pairs], path)
    assert find_format(path) == "cosmobench_trees"
    dataset = read(path)["train"]
    assert dataset["n_node"].values.tolist() == [40, 1, 150]
    assert dataset["simulation"].values.tolist() == [3, 3, 12]
    assert dataset["Omega_m"].values == pytest.approx([0.13, 0.13, 0.22])
    assert np.array_equal(dataset["features"], np.concatenate([data.x.numpy() for data, _ in pairs]))
    for (data, descendant), start in zip(pairs, (0, 40, 41), strict=True):
        part = dataset.isel(node=slice(start, start + len(descendant)))
        assert np.array_equal(part["descendant"], np.where(descendant < 0, -1, descendant + start))
        assert np.array_equal(part["edge_attr"], np.where(descendant < 0, 0, np.arange(len(descendant)) + 2))
        assert np.array_equal(part["node_halo_id"], data.node_halo_id[:, 0])
        assert np.array_equal(part["main_branch"], np.arange(len(descendant)) < 3)
        assert np.array_equal(part["file_node"], np.arange(len(descendant)))


def test_cosmobench_unsorted_trees_are_put_into_order_and_keep_their_ids(tmp_path, rng):
    path = tmp_path / "CS_tree_val.pt"
    pairs = [tree(rng, n_node, 5, shuffled=True) for n_node in (60, 90)]
    torch.save([data for data, _ in pairs], path)
    dataset = read(path)["val"]
    start = np.repeat([0, 60], [60, 90])
    back = dataset["file_node"].values + start
    descendant = dataset["descendant"].values
    original = np.concatenate([pairs[0][1], np.where(pairs[1][1] < 0, -1, pairs[1][1] + 60)])
    linked = descendant >= 0
    assert np.array_equal(back[descendant[linked]], original[back[linked]])
    assert (descendant < np.arange(150)).all()
    assert np.flatnonzero(~linked).tolist() == [0, 60]
    ids = np.concatenate([data.node_halo_id[:, 0] for data, _ in pairs])
    x = np.concatenate([data.x for data, _ in pairs])
    assert np.array_equal(dataset["node_halo_id"], ids[back])
    assert np.array_equal(dataset["features"], x[back])
    assert np.array_equal(dataset["edge_attr"], np.where(linked, dataset["file_node"] + 2, 0))


def test_cosmobench_infilling_trees_hang_their_virtual_nodes_on_the_mergers(tmp_path, rng):
    path = tmp_path / "infilling_trees_25k_200_test.pt"
    data, descendant = tree(rng, 120, 8)
    data, mergers = infilling(data, descendant)
    torch.save([data], path)
    dataset = read(path)["test"]
    virtual = dataset["vn_mask"].values == 1
    assert virtual.sum() == len(mergers) > 10
    real, hung = dataset["file_node"].values, dataset["descendant"].values
    assert np.array_equal(np.sort(real[hung[virtual]]), mergers)
    assert set(dataset["label"].values[virtual]) == {0, 1}
    assert (dataset["label"].values[~virtual] == -1).all()
    assert (dataset["node_halo_id"].values[virtual] == -1).all()
    assert (dataset["edge_attr"].values[virtual] == 0).all()
    assert dataset["x_std_excl_time"].values[[0, -1]] == pytest.approx(np.tile([0.1, 0.2, 0.3], (2, 1)))


def test_cosmobench_trees_of_both_pickle_protocols_read_the_same(tmp_path, rng):
    trees = [tree(rng, 30, 4)[0] for _ in range(3)]
    for protocol in (2, 4):
        torch.save(trees, tmp_path / f"p{protocol}.pt", pickle_protocol=protocol)
    first = read(tmp_path / "p2.pt")["all"]
    xr.testing.assert_identical(read(tmp_path / "p4.pt")["all"], first)


def test_cosmobench_trees_convert_to_hdf5_and_back_to_the_bit(tmp_path, rng):
    for split, n_tree in (("train", 4), ("test", 2)):
        torch.save([tree(rng, 50, 10 * n_tree + i)[0] for i in range(n_tree)], tmp_path / f"CS_tree_{split}.pt")
    splits = FORMATS["cosmobench_trees"].read(tmp_path)
    write(splits, tmp_path / "safe")
    write({"all": splits["train"]}, tmp_path / "one.hdf5")
    for name in splits:
        with read(tmp_path / "safe" / f"{name}.nc")[name] as again:
            xr.testing.assert_identical(again.load(), splits[name])
    with h5py.File(tmp_path / "one.hdf5") as file:
        assert np.array_equal(file["descendant"], splits["train"]["descendant"])
        assert file["features"].shape == (200, 4)
    assert find_format(tmp_path / "safe") == "netcdf"
    assert check_data(tmp_path / "safe") == []
    with pytest.raises(ValueError, match=r"x.pt: expected one file of labelled HDF5 .*; give a name that ends in .nc"):
        write({"all": splits["train"]}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"expected the variables features, descendant, n_node, .*, got no descendant"):
        write({"all": splits["train"].drop_vars("descendant")}, tmp_path / "x.nc")


class Payload:
    """What a pickle of an attacker holds: a call that leaves a file behind."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("place", ["list", "inside a tree", "as the state"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_cosmobench_pickled_code_is_refused_by_name_and_not_executed(tmp_path, rng, place, protocol):
    sign = tmp_path / "executed"
    bad = Payload(os.system, f"touch {sign}")
    data = tree(rng, 10, 4)[0]
    if place == "inside a tree":
        data.lh_id = bad
    if place == "as the state":
        data.__dict__["more"] = bad
    path = tmp_path / "trees.pt"
    torch.save([data, bad] if place == "list" else [data], path, pickle_protocol=protocol)
    sentence = r"expected only tensors and torch_geometric Data, got the name (posix|nt)\.system; nothing was executed"
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {sentence}"):
        read(path)
    assert not sign.exists()
    torch.load(path, weights_only=False)  # the payload is a real one
    assert sign.exists()


@pytest.mark.parametrize("function", [eval, exec, open, getattr, __import__, print, os.remove, torch.load, np.load])
def test_cosmobench_no_other_name_is_ever_looked_up(tmp_path, function):
    path = members(tmp_path / "a.pt", data_pkl=pickle.dumps([Payload(function, "1")], protocol=2))
    name = re.escape(f"{function.__module__}.{function.__qualname__}").replace("builtins", "(builtins|__builtin__)")
    with pytest.raises(ValueError, match=f"got the name {name}; nothing was executed") as caught:
        read_pt(path)
    assert "\n" not in str(caught.value)


def test_cosmobench_known_names_are_not_called_with_anything_unknown(tmp_path, rng):
    import torch_geometric.data.data as home

    for item in [
        Payload(OrderedDict, [("a", 1)]),
        Payload(np.dtype, "O"),
        Payload(home.Data, 1),
        Payload(np.ndarray, (2,)),
    ]:
        path = members(tmp_path / "a.pt", data_pkl=pickle.dumps([item], protocol=2))
        with pytest.raises(ValueError, match=r"a.pt: expected a well-formed pickle of trees, got TypeError"):
            read_pt(path)
    for instruction in (b"ctorch\nFloatStorage\n)R.", b"(i__main__\nx\n.", b"\x80\x02\x82\x01.", b"\x95", b"N"):
        path = members(tmp_path / "a.pt", data_pkl=instruction)
        with pytest.raises(ValueError, match=r"^.*a.pt: expected"):
            read_pt(path)


def test_cosmobench_any_damage_to_a_pickle_ends_in_one_sentence(tmp_path, rng):
    buffer = io.BytesIO()
    torch.save([tree(rng, 20, 4)[0]], buffer)
    with zipfile.ZipFile(buffer) as archive:
        content = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    good, sentences = content.pop("data.pkl"), []
    for i in range(300):
        bad = np.frombuffer(good, np.uint8).copy()
        bad[rng.integers(0, len(bad), 1 + i % 4)] = rng.integers(0, 256, 1 + i % 4)
        path = tmp_path / "damaged.pt"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in (("data.pkl", bad[: len(bad) - i % 7 * 50].tobytes()), *content.items()):
                archive.writestr(f"archive/{name}", data)
        try:
            read(path)
        except ValueError as error:
            sentences.append(str(error))
    assert len(sentences) > 200
    assert all(sentence.startswith(str(path)) and "\n" not in sentence for sentence in sentences)


def rebuilt(storage="torch FloatStorage", key="0", n_number=4, offset=0, size=(4,), stride=(1,)):
    """Return the bytes of a pickle of one tensor, written instruction by instruction."""

    def number(value):
        return pickle.dumps(value, protocol=2)[2:-1]

    module, name = storage.split()
    reference = (
        b"(" + number("storage") + f"c{module}\n{name}\n".encode() + number(key) + number("cpu") + number(n_number)
    )
    shape = b"(" + b"".join(number(n) for n in size) + b"t(" + b"".join(number(n) for n in stride) + b"t"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + reference + b"tQ" + number(offset) + shape + b"\x89}tR."


def test_cosmobench_a_tensor_lies_within_its_storage(tmp_path):
    content = np.arange(4, dtype="<f4").tobytes()
    good = members(tmp_path / "a.pt", data_pkl=rebuilt(), data__0=content)
    assert read_pt(good).tolist() == [0, 1, 2, 3]
    columns = members(tmp_path / "a.pt", data_pkl=rebuilt(size=(2, 2), stride=(1, 2)), data__0=content)
    assert read_pt(columns).tolist() == [[0, 2], [1, 3]]
    for wrong in [
        {"size": (5,)}, {"offset": 1}, {"offset": -1}, {"stride": (2,)}, {"size": (-4,)},
        {"stride": (-1,), "offset": 3}, {"size": (10**12,), "stride": (0,)}, {"size": (0, 10**12), "stride": (1, 1)},
        {"size": (10**9, 10**9, 10**9), "stride": (0, 0, 0)},
    ]:  # fmt: skip
        path = members(tmp_path / "a.pt", data_pkl=rebuilt(**wrong), data__0=content)
        with pytest.raises(ValueError, match=r"a.pt: expected a tensor within its 4 numbers, got shape"):
            read_pt(path)


def test_cosmobench_a_storage_has_exactly_the_bytes_of_its_member(tmp_path):
    content = np.arange(4, dtype="<f4").tobytes()
    for wrong, sentence in [
        ({"n_number": 10**12}, r"expected 1,000,000,000,000 numbers of 4 bytes in data/0, got 16 bytes"),
        ({"n_number": 3}, "expected 3 numbers of 4 bytes in data/0, got 16 bytes"),
        ({"storage": "torch DoubleStorage"}, "expected 4 numbers of 8 bytes in data/0, got 16 bytes"),
        ({"key": "1"}, "expected 4 numbers of 4 bytes in data/1, got no such member"),
        ({"key": "../data.pkl"}, "got no such member"),
    ]:
        path = members(tmp_path / "a.pt", data_pkl=rebuilt(**wrong), data__0=content)
        with pytest.raises(ValueError, match=sentence):
            read_pt(path)


def test_cosmobench_zip_bombs_are_refused_before_a_byte_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", rebuilt(n_number=25_000_000))
        archive.writestr("archive/data/0", bytes(100_000_000))
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("read"))
    with pytest.raises(ValueError, match=r"expected members stored as they are, .*, got the member .*; do not trust"):
        read_pt(path)
    overlapping = tmp_path / "overlap.pt"
    with zipfile.ZipFile(overlapping, "w") as archive:
        archive.writestr("archive/data.pkl", rebuilt())
        archive.writestr("archive/data/0", bytes(10_000))
        archive.filelist += [archive.filelist[-1]] * 50
    with pytest.raises(ValueError, match=r"expected members of at most [\d,]+ bytes in all, got 5[\d,]+; do not trust"):
        read_pt(overlapping)


def test_cosmobench_trees_that_share_numbers_do_not_fill_the_memory(tmp_path, rng):
    path = tmp_path / "many.pt"
    first = tree(rng, 2000, 4)[0]
    torch.save([first] * 200_000, path)
    with pytest.raises(
        ValueError, match="expected each tree once, got one that is listed again; do not trust this file"
    ):
        read(path)
    torch.save([Data(**first.to_dict()) for _ in range(40)], path)
    with pytest.raises(
        ValueError, match=r"expected trees of at most [\d,]+ bytes in all, got trees that share numbers"
    ):
        read(path)


def test_cosmobench_files_that_are_no_trees_are_refused(tmp_path, rng):
    path = tmp_path / "a.pt"
    path.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(
        ValueError, match=r"a.pt: expected a complete zip archive, as torch.save writes since torch 1.6"
    ):
        read(path)
    torch.save([tree(rng, 500, 4)[0]], path)
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(ValueError, match="expected a complete zip archive"):
        read(path)
    with pytest.raises(ValueError, match=r"absent.nc: expected"):
        read(tmp_path / "absent.nc")
    for content in ({"a": 1}, [], [1.5], torch.ones(3)):
        torch.save(content, path)
        with pytest.raises(ValueError, match=r"a.pt: expected a list of torch_geometric Data, one for each tree"):
            read(path)


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda d: d.__delattr__("y"), "tree 1: expected x, edge_index, y and lh_id, got no y"),
    (lambda d: d.x.__setitem__((3, 1), float("nan")), "tree 1: expected finite features, got 1 NaN or infinite"),
    (lambda d: setattr(d, "x", d.x[:, :3]), r"tree 1: expected x \(node, 4\) of at least one node"),
    (lambda d: setattr(d, "x", d.x[:5]), "tree 1: expected edges between nodes 0 to 4"),
    (lambda d: d.edge_index.__setitem__((0, 2), d.edge_index[0, 1].clone()), "tree 1: expected at most one descendant"),
    (lambda d: setattr(d, "edge_index", d.edge_index.flip(0)), "tree 1: expected at most one descendant .* progenitor"),
    (lambda d: setattr(d, "edge_index", d.edge_index[:, 1:]), "tree 1: expected one root, got 2 of them"),
    (lambda d: setattr(d, "edge_index", torch.tensor([[1, 2, *range(3, 20)], [2, 1, *[0] * 17]])),
     "tree 1: expected a tree, got edges in a circle"),
    (lambda d: setattr(d, "y", torch.ones(1, 3)), "tree 1: expected y of two numbers and lh_id of one, got 3 and 1"),
    (lambda d: setattr(d, "vn_mask", torch.arange(20) == 19), "expected three edges into every virtual node"),
])  # fmt: skip
def test_cosmobench_bad_tree_is_named_in_one_sentence(tmp_path, rng, change, sentence):
    first, second = tree(rng, 12, 4)[0], tree(rng, 20, 5)[0]
    change(second)
    torch.save([first, second], tmp_path / "a.pt")
    with pytest.raises(ValueError, match=f"a.pt.*{sentence}") as caught:
        read(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)
