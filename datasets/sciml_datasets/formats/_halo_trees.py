"""Haloes that name their descendants by an id, as labelled trees along one axis of nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciml_datasets.formats._h5compact import refuse
from sciml_datasets.formats._tree_order import depth_of, order_of, renumber, root_of

AXES = ("x", "y", "z")
Ids = NDArray[np.int64]


def halo_trees(
    nodes: Mapping[str, tuple[NDArray, str]], ids: Ids, descendant_ids: Ids, where: str, forest: Ids | None = None
) -> xr.Dataset:
    """Return the haloes sorted into trees, one for each halo without descendant.

    Parameters
    ----------
    nodes : by name the values (node,) or (node, axis) and their unit; `scale_factor` among them.
    ids, descendant_ids : (node,); negative where a halo has no descendant.
    where : named in errors.
    forest : (node,) within which ids are unique; by default they are unique.

    Returns
    -------
    `descendant` (node) places along the axis of nodes, -1 for a root; `id` (node), `n_node` (tree), and `nodes`.

    Contract: the root is the first node of its tree, a descendant stands before its progenitors and exists at a later
    time; nothing loops over nodes in Python.
    """
    forest = np.zeros(len(ids), dtype=np.int64) if forest is None else forest
    descendant = _places(ids, descendant_ids, forest, where)
    if (depth_of(descendant) < 0).any():
        raise refuse(where, "trees", "haloes that are their own descendants", "copy the file again")
    for name, (values, _) in nodes.items():
        n_bad = int((~np.isfinite(values)).sum())
        if n_bad:
            raise refuse(f"{where} {name}", "finite numbers", f"{n_bad} NaN or infinite", "remove those trees")
    linked = np.flatnonzero(descendant >= 0)
    scale = nodes["scale_factor"][0]
    early = linked[scale[descendant[linked]] <= scale[linked]]
    if len(early):
        got = f"{len(early)} that do not, the first id {ids[early[0]]}"
        raise refuse(where, "descendants that exist later than their progenitors", got, "copy the file again")
    roots, tree = np.unique(root_of(descendant), return_inverse=True)
    order = order_of(tree, descendant)
    one = {"units": "1"}
    data: dict[str, Any] = {
        name: (("node", "axis")[: values.ndim], values[order], {"units": unit})
        for name, (values, unit) in nodes.items()
    }
    data["id"] = ("node", ids[order], one)
    data["descendant"] = ("node", renumber(order, descendant), one)
    data["n_node"] = ("tree", np.bincount(tree, minlength=len(roots)), one)
    has_axis = any(values.ndim > 1 for values, _ in nodes.values())
    return xr.Dataset(data, {"axis": list(AXES)} if has_axis else {})


def _places(ids: Ids, descendant_ids: Ids, forest: Ids, where: str) -> Ids:
    """Return the place of each halo's descendant, -1 where it has none; ids are unique within a forest."""
    if not len(ids):
        raise refuse(where, "at least one halo", "none", "check the file")
    names, code = np.unique(ids, return_inverse=True)
    key = forest * len(names) + code
    order = np.argsort(key, kind="stable")
    twice = np.flatnonzero(np.diff(key[order]) == 0)
    if len(twice):
        got = f"{len(twice)} repeated, the first {ids[order[twice[0]]]}"
        raise refuse(where, "an id of its own for each halo", got, "remove the duplicated haloes")
    linked = np.flatnonzero(descendant_ids >= 0)
    rank = np.minimum(np.searchsorted(names, descendant_ids[linked]), len(names) - 1)
    wanted = forest[linked] * len(names) + rank
    place = np.minimum(np.searchsorted(key[order], wanted), len(ids) - 1)
    lost = linked[(names[rank] != descendant_ids[linked]) | (key[order][place] != wanted)]
    if len(lost):
        got = f"{len(lost)} without, the first id {ids[lost[0]]} (descendant {descendant_ids[lost[0]]})"
        raise refuse(where, "the descendant of every halo in the file", got, "give the whole forest")
    descendant = np.full(len(ids), -1)
    descendant[linked] = order[place]
    return descendant
