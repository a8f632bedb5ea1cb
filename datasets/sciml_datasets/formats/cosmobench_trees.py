"""Merger trees of CosmoBench, `CS_tree_train.pt` or `infilling_trees_25k_200_val.pt`, and a safe layout of ours.

A published file is a pickled list of torch_geometric `Data`, one for each tree: `x` (node, 4) = log10 mass (Msun/h),
log10 concentration, log10 vmax (km/s), scale factor; `edge_index` (2, edge) progenitor -> descendant; `edge_attr`
(edge, 1) path lengths after pruning; `y` (1, 2) = Omega_m, sigma_8; `lh_id` the simulation; `node_halo_id`;
`mask_main`, the ids of the haloes on the main branch. Files for infilling add `vn_mask`, `label` and the scales of the
features that they standardise; each virtual node has three edges, from the merger it belongs to and from its two
progenitors. Nothing in such a file is executed: see `_restricted_pt`. It is never written; trees are written as
labelled NetCDF-4 (HDF5) of all nodes along one axis, which any HDF5 or xarray reader opens.

In memory and in our files the root is the first node of its tree and a descendant stands before its progenitors; the
order of a published file is kept where it is so, and `file_node` tells the place that each node had.

Source: N. Huang, R. Stiskalek, J.-Y. Lee, A. E. Bayer et al., CosmoBench, arXiv:2507.03707.
Departures: what the benchmark keeps for edges and for lists of haloes is kept for nodes: `edge_attr` at the progenitor
(0 at roots and virtual nodes), `main_branch` as a mask; a virtual node hangs on its merger node as one more progenitor.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciml_datasets.formats._h5compact import refuse
from sciml_datasets.formats._ragged import split_files
from sciml_datasets.formats._restricted_pt import Record, read_pt
from sciml_datasets.formats._tree_order import depth_of, order_of, renumber
from sciml_datasets.store import Precision, open_store, write_store

FEATURES = ("log10_mass", "log10_concentration", "log10_vmax", "scale_factor")
TARGETS = ("Omega_m", "sigma_8")
NEEDED = ("features", "descendant", "n_node", *TARGETS)
SCALES = ("x_mean_excl_time", "x_std_excl_time")
ENDINGS = (".nc", ".hdf5", ".h5")


def sniff(path: Path) -> bool:
    """Tell whether `path` is a `.pt` file or a folder that holds some."""
    return path.suffix == ".pt" if path.is_file() else any(path.glob("*.pt"))


def read(path: str | Path) -> dict[str, xr.Dataset]:
    """Return the trees by split, all nodes along one axis; a `.pt` is read whole, our own layout lazily.

    By split: `features` (node, feature), `descendant` (node) places along that axis (-1 for a root), `n_node` (tree),
    `Omega_m` and `sigma_8` (tree), coordinate `simulation` (tree); what else the file has for each node, as above.
    """
    return {split: _open(file) for split, file in split_files(Path(path), (".pt",)).items()}


def write(splits: Mapping[str, xr.Dataset], path: str | Path, *, dtype: Precision | None = None) -> None:
    """Write datasets as `read` gives them: into the file `path` (.nc, .hdf5) for one split, else `path`/<split>.nc."""
    path = Path(path)
    single = path.suffix in ENDINGS
    if path.suffix == ".pt" or (single and len(splits) != 1):
        do = "give a name that ends in .nc or .hdf5, or a folder for several splits"
        raise refuse(path, "one file of labelled HDF5 for one split", f"{path.suffix} for {sorted(splits)}", do)
    for split, dataset in splits.items():
        file = path if single else path / f"{split}.nc"
        _check(dataset, file)
        write_store(file, dataset, dtype=dtype)


def _open(path: Path) -> xr.Dataset:
    if path.suffix == ".pt":
        return read_trees(path)
    dataset = open_store(path)
    try:
        _check(dataset, path)
    except ValueError:
        dataset.close()
        raise
    return dataset


def _check(dataset: xr.Dataset, path: Path) -> None:
    missing = [name for name in (*NEEDED, "simulation") if name not in dataset.variables]
    if missing:
        raise refuse(path, f"the variables {', '.join(NEEDED)}", f"no {', '.join(missing)}", "is this a file of trees?")
    n_node, total = dataset.sizes["node"], int(dataset["n_node"].sum())
    if n_node != total:
        raise refuse(path, f"n_node that sums to {n_node} nodes", f"{total}", "write the file again")


def read_trees(path: Path) -> xr.Dataset:
    """Return the trees of one `.pt`, checked and put into order."""
    trees = [_fields(item, path, i) for i, item in enumerate(_listed(path))]
    numbers = np.array([len(tree["x"]) for tree in trees])
    size = path.stat().st_size
    if sum(tree["x"].nbytes for tree in trees) > size:  # numbers that many trees share would fill the memory
        raise refuse(path, f"trees of at most {size:,} bytes in all", "trees that share numbers", "do not trust it")
    tree = np.repeat(np.arange(len(trees)), numbers)
    virtual = _joined(trees, "vn_mask", numbers, False).astype(bool)
    descendant, edge_attr = _descendants(trees, numbers, virtual, path)
    _check_roots(descendant, tree, virtual, path)
    order = order_of(tree, descendant)
    nodes: dict[str, NDArray] = {
        "file_node": np.arange(len(tree)) - np.repeat(np.cumsum(numbers) - numbers, numbers),
        "edge_attr": edge_attr,
    }
    nodes |= _optional(trees, numbers, virtual)
    one, features = {"units": "1"}, np.concatenate([item["x"] for item in trees])
    data: dict[str, Any] = {name: (("node", f"{name}_axis")[: values.ndim], values[order], one)
                            for name, values in nodes.items()}  # fmt: skip
    data["features"] = (("node", "feature"), features[order], one)
    data["descendant"] = ("node", renumber(order, descendant), one)
    data["n_node"] = ("tree", numbers, one)
    targets = np.stack([item["y"] for item in trees])
    data |= {name: ("tree", targets[:, i], one) for i, name in enumerate(TARGETS)}
    simulation = ("tree", np.array([item["lh_id"] for item in trees], dtype=np.int64), one)
    return xr.Dataset(data, {"feature": list(FEATURES), "simulation": simulation})


def _listed(path: Path) -> list[Any]:
    content = read_pt(path)
    if not isinstance(content, list) or not content or not all(isinstance(item, Record) for item in content):
        raise refuse(path, "a list of torch_geometric Data, one for each tree", type(content).__name__, "is it trees?")
    if len({id(item) for item in content}) < len(content):
        raise refuse(path, "each tree once", "one that is listed again", "do not trust this file")
    return content


def _fields(item: Record, path: Path, number: int) -> dict[str, Any]:
    """Return the checked fields of one tree as arrays and numbers."""
    where = f"{path} tree {number}"
    store = item.state.get("_store", item)
    held = store.state.get("_mapping", store.state) if isinstance(store, Record) else {}
    fields = {name: _plain(value) for name, value in held.items()}
    missing = [name for name in ("x", "edge_index", "y", "lh_id") if not isinstance(fields.get(name), np.ndarray)]
    if missing:
        raise refuse(where, "x, edge_index, y and lh_id", f"no {', '.join(missing)}", "is this a file of trees?")
    x, edges = fields["x"], fields["edge_index"]
    if x.ndim != 2 or x.shape[1] != len(FEATURES) or not len(x) or edges.ndim != 2 or edges.shape[0] != 2:
        got = f"{x.shape} and {edges.shape}"
        raise refuse(
            where, "x (node, 4) of at least one node and edge_index (2, edge)", got, "is this a file of trees?"
        )
    if not np.isfinite(x).all():
        got = f"{(~np.isfinite(x)).sum()} NaN or infinite"
        raise refuse(where, "finite features", got, "remove the tree from the file")
    if edges.size and (edges.dtype.kind not in "iu" or edges.min() < 0 or edges.max() >= len(x)):
        raise refuse(where, f"edges between nodes 0 to {len(x) - 1}", f"{edges.dtype} others", "copy the file again")
    targets, simulation = fields["y"].ravel().astype(np.float64), fields["lh_id"].ravel()
    if targets.shape != (len(TARGETS),) or simulation.shape != (1,):
        got = f"{targets.size} and {simulation.size} numbers"
        raise refuse(where, "y of two numbers and lh_id of one", got, "is this a file of trees?")
    fields |= {"edge_index": edges.astype(np.int64), "y": targets, "lh_id": int(simulation[0])}
    return fields


def _plain(value: Any) -> Any:
    """Return numbers, lists of numbers and records of arrays as arrays; the rest as it is."""
    if isinstance(value, Record):
        return value.state if isinstance(value.state, np.ndarray) else value
    if isinstance(value, list | tuple) and not all(isinstance(item, int | float) for item in value):
        return None
    return np.asarray(value) if isinstance(value, int | float | list | tuple | np.generic | np.ndarray) else value


def _joined(trees: list[dict[str, Any]], name: str, numbers: NDArray[np.int64], fill: Any) -> NDArray:
    """Return a field of all nodes; `fill` where a tree lacks it or has it for its first nodes only."""
    parts = []
    for fields, n_node in zip(trees, numbers, strict=True):
        held = fields.get(name)
        values = held if isinstance(held, np.ndarray) and held.ndim else np.empty(0, type(fill))
        values = values[:n_node] if values.ndim == 1 else values[:n_node, 0]
        parts += [values, np.full(n_node - len(values), fill)]
    return np.concatenate(parts)


def _descendants(
    trees: list[dict[str, Any]], numbers: NDArray[np.int64], virtual: NDArray[np.bool_], path: Path
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return (node,) places of descendants, and what `edge_attr` says of the edge to them."""
    start = np.cumsum(numbers) - numbers
    edges = np.concatenate([item["edge_index"] + first for item, first in zip(trees, start, strict=True)], axis=1)
    lengths = _joined(trees, "edge_attr", np.array([item["edge_index"].shape[1] for item in trees]), 0.0)
    progenitor, target = edges
    real = ~virtual[target]
    n_out = np.bincount(progenitor[real], minlength=len(virtual))
    if (n_out > 1).any():
        node = int(np.argmax(n_out > 1))
        tree = int(np.searchsorted(start, node, side="right")) - 1
        got = f"{n_out[node]} for node {node - start[tree]}"
        do = "edges go from progenitor to descendant"
        raise refuse(f"{path} tree {tree}", "at most one descendant for each node", got, do)
    descendant = np.full(len(virtual), -1)
    descendant[progenitor[real]] = target[real]
    edge_attr = np.zeros(len(virtual), dtype=np.float32)
    edge_attr[progenitor[real]] = lengths[real]
    _hang_virtual(descendant, progenitor[~real], target[~real], virtual, path)
    return descendant, edge_attr


def _hang_virtual(
    descendant: NDArray[np.int64],
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    virtual: NDArray[np.bool_],
    path: Path,
) -> None:
    """Give each virtual node its merger node as descendant: the one of its three sources that the others flow into."""
    nodes = np.flatnonzero(virtual)
    if not np.array_equal(np.bincount(target, minlength=len(virtual))[nodes], np.full(len(nodes), 3)):
        raise refuse(path, "three edges into every virtual node", "others", "is this a file for infilling?")
    sources = source[np.argsort(target, kind="stable")].reshape(-1, 3)
    is_merger = (descendant[sources][:, :, None] == sources[:, None, :]).sum(axis=1) == 2
    if not (is_merger.sum(axis=1) == 1).all():
        expected = "edges into a virtual node from a merger node and its two progenitors"
        raise refuse(path, expected, "others", "is this a file for infilling?")
    descendant[nodes] = sources[is_merger]


def _check_roots(
    descendant: NDArray[np.int64], tree: NDArray[np.int64], virtual: NDArray[np.bool_], path: Path
) -> None:
    n_root = np.bincount(tree, weights=(descendant < 0) & ~virtual)
    wrong = np.flatnonzero(n_root != 1)
    if len(wrong):
        do = "split the forest, or copy the file again"
        raise refuse(f"{path} tree {wrong[0]}", "one root", f"{int(n_root[wrong[0]])} of them", do)
    circles = np.flatnonzero(depth_of(descendant) < 0)
    if len(circles):
        raise refuse(f"{path} tree {tree[circles[0]]}", "a tree", "edges in a circle", "copy the file again")


def _optional(
    trees: list[dict[str, Any]], numbers: NDArray[np.int64], virtual: NDArray[np.bool_]
) -> dict[str, NDArray]:
    held = set().union(*trees)
    nodes: dict[str, NDArray] = {}
    if "node_halo_id" in held:
        nodes["node_halo_id"] = _joined(trees, "node_halo_id", numbers, -1)
        if "mask_main" in held:
            start = np.cumsum(numbers) - numbers
            ids = (nodes["node_halo_id"][first : first + n] for first, n in zip(start, numbers, strict=True))
            masks = [np.isin(own, item.get("mask_main", [])) for own, item in zip(ids, trees, strict=True)]
            nodes["main_branch"] = np.concatenate(masks).astype(np.int8)
    if "vn_mask" in held:
        nodes["vn_mask"] = virtual.astype(np.int8)
    if "label" in held:
        nodes["label"] = _joined(trees, "label", numbers, -1)
    for name in SCALES:
        if all(isinstance(item.get(name), np.ndarray) for item in trees):
            nodes[name] = np.repeat(np.stack([item[name].ravel() for item in trees]), numbers, axis=0)
    return nodes
