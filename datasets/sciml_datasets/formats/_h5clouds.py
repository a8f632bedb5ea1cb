"""One file of point clouds in the layout of CosmoBench: what it holds, and what may be wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciml_datasets.formats._h5compact import open_h5, refuse

POSITION, VELOCITY = ("X", "Y", "Z"), ("VX", "VY", "VZ")
AXES = ("x", "y", "z")
MASSES = ("Mass", "Mvir", "M200c", "Mstar")  # the first that a file has is the mass of its nodes, Msun/h
SIDES = (25.0, 100.0, 1000.0)  # Mpc/h: CAMELS, CAMELS-SAM, Quijote
UNITS = dict.fromkeys(POSITION, "Mpc/h") | dict.fromkeys(VELOCITY, "km/s") | dict.fromkeys(MASSES, "Msun/h")
N_FILLS = 100  # so many nodes of a periodic box spread over more than half of it


class CloudGroups(Sequence[xr.Dataset]):
    """The clouds of one file in the order of their numbers, each read when it is asked for.

    Parameters
    ----------
    path : the file.
    box_size : side of the box [Mpc/h]; by default what the file says, or the smallest of `SIDES` that holds the nodes.
    duplicates : "refuse" a cloud with two nodes at one place, or "merge": keep the first of them.

    Attributes
    ----------
    key, n_cloud : name of the groups, their number. `parameters` : by name (cloud,). `simulation` : (cloud,), from
    `/original_ids`, or the numbers themselves.

    Contract: `groups[i]` is the cloud of the group `<KEY>_<i>` with the i-th label, whatever order HDF5 lists them in;
    its numbers are finite, and its nodes lie at most half a side outside the box.
    """

    def __init__(self, path: str | Path, *, box_size: float | None = None, duplicates: str = "refuse") -> None:
        if duplicates not in ("refuse", "merge"):
            raise ValueError(f"duplicates: expected 'refuse' or 'merge', got {duplicates!r}; choose one of them")
        self.path, self.duplicates = Path(path), duplicates
        with open_h5(self.path) as file:
            self.key = find_key(file, self.path)
            self.n_cloud = _count(file[self.key], self.key, self.path)
            self.parameters = read_labels(file, self.n_cloud, self.path)
            self.simulation = _simulation(file, self.n_cloud, self.path)
            told = float(box_size or file.attrs.get("box_size", 0.0))
            self.box_size = told or _side(self._group(file, 0), self.path)
            self.redshift = float(file.attrs.get("redshift", 0.0))

    def __len__(self) -> int:
        """Return the number of clouds."""
        return self.n_cloud

    @overload
    def __getitem__(self, index: int) -> xr.Dataset: ...
    @overload
    def __getitem__(self, index: slice) -> list[xr.Dataset]: ...
    def __getitem__(self, index: int | slice) -> xr.Dataset | list[xr.Dataset]:
        """Return the cloud of that number: `position`, `velocity` (node, axis) and whatever else each node has."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.n_cloud))]
        number = int(index) + (self.n_cloud if index < 0 else 0)
        if not 0 <= number < self.n_cloud:
            raise IndexError(f"{self.path}: expected a cloud from 0 to {self.n_cloud - 1}, got {index}; choose another")
        columns = self.columns(number)
        data = {"position": _vector(columns, POSITION, "Mpc/h"), "velocity": _vector(columns, VELOCITY, "km/s")}
        data |= {
            name: (("node",), values, {"units": UNITS.get(name, "1")})
            for name, values in columns.items()
            if name not in (*POSITION, *VELOCITY)
        }
        coords: dict[str, Any] = {"axis": ("axis", list(AXES)), "simulation": int(self.simulation[number])}
        coords |= {name: ((), float(values[number]), {"units": "1"}) for name, values in self.parameters.items()}
        return xr.Dataset(data, coords, {"number": number, "box_size": self.box_size, "redshift": self.redshift})

    def columns(self, number: int) -> dict[str, NDArray]:
        """Return what the file holds for each node of one cloud, checked, by the names of the file."""
        where = f"{self.path} /{self.key}/{self.key}_{number}"
        with open_h5(self.path) as file:
            columns = _read_group(self._group(file, number), where)
        positions = np.stack([columns[name] for name in POSITION], axis=1).astype(np.float64)
        check_box(positions, self.box_size, where)
        kept = _first_of_each(positions)
        if len(kept) == len(positions):
            return columns
        if self.duplicates == "refuse":
            got = f"{len(positions) - len(kept)} at the place of another"
            raise refuse(where, "nodes at distinct places", got, "give duplicates='merge' to keep the first of each")
        return {name: values[kept] for name, values in columns.items()}

    def _group(self, file: h5py.File, number: int) -> h5py.Group:
        group = file[f"{self.key}/{self.key}_{number}"]
        if not isinstance(group, h5py.Group):
            raise refuse(f"{self.path} {group.name}", "a group of one cloud", "something else", "copy the file again")
        return group


def check_box(positions: NDArray[np.float64], box_size: float, where: str) -> None:
    """Refuse positions (node, axis) that lie far outside the box, or that leave more than half of every axis empty."""
    low, high = positions.min(0), positions.max(0)
    if (low < -box_size / 2).any() or (high > 1.5 * box_size).any():
        got = f"{low.min():.6g} to {high.max():.6g}"
        raise refuse(where, f"positions near the box [0, {box_size:g}) Mpc/h", got, "give the right box_size")
    if len(positions) >= N_FILLS and (high - low).max() < box_size / 2:
        got = f"nodes that all lie within {(high - low).max():.6g}"
        raise refuse(where, f"nodes that fill a box of {box_size:g} Mpc/h", got, "give the right box_size")


def find_key(file: h5py.File, path: Path) -> str:
    """Return the KEY of the one group that holds groups KEY_0, KEY_1, ..."""
    keys = [str(name) for name, item in file.items() if isinstance(item, h5py.Group) and name != "params"]
    keys = [key for key in keys if any(re.fullmatch(rf"{re.escape(key)}_\d+", name) for name in file[key])]
    if len(keys) != 1:
        got = f"{keys}" if keys else f"only {sorted(file)}"
        raise refuse(path, "one group /KEY with groups KEY_0, KEY_1, ... in it", got, "is this a file of point clouds?")
    return keys[0]


def _count(group: h5py.Group, key: str, path: Path) -> int:
    numbers = {int(name[len(key) + 1 :]) for name in group if re.fullmatch(rf"{re.escape(key)}_(0|[1-9]\d*)", name)}
    strange = sorted(name for name in group if not re.fullmatch(rf"{re.escape(key)}_(0|[1-9]\d*)", name))
    missing = sorted(set(range(max(numbers, default=0) + 1)) - numbers)
    if strange or missing:
        got = f"a group {strange[0]}" if strange else f"no group {key}_{missing[0]}"
        raise refuse(f"{path} /{key}", f"groups {key}_0 to {key}_{max(numbers, default=0)}", got, "copy the file again")
    return len(numbers)


def read_labels(file: h5py.File, n_cloud: int, path: Path) -> dict[str, NDArray[np.float64]]:
    """Return what `/params` holds, (cloud,) by name, checked; nothing where there is no such group."""
    if "params" not in file:
        return {}
    labels = {}
    for name, item in file["params"].items():
        where = f"{path} /params/{name}"
        if not isinstance(item, h5py.Dataset):
            raise refuse(where, f"one label for each of {n_cloud} clouds", "something else", "copy the file again")
        labels[str(name)] = values = np.asarray(item[()]).ravel()
        if values.shape != (n_cloud,):
            raise refuse(where, f"one label for each of {n_cloud} clouds", f"{values.size}", "copy the file again")
        if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            raise refuse(where, "finite numbers", f"{values.dtype} or NaN", "copy the file again")
    return {name: values.astype(np.float64) for name, values in labels.items()}


def _simulation(file: h5py.File, n_cloud: int, path: Path) -> NDArray[np.int64]:
    if "original_ids" not in file:
        return np.arange(n_cloud)
    item = file["original_ids"]
    values = np.asarray(item[()] if isinstance(item, h5py.Dataset) else []).ravel()
    if values.shape != (n_cloud,) or values.dtype.kind not in "iu":
        got = f"{values.size} of {values.dtype}"
        raise refuse(f"{path} /original_ids", f"an integer for each of {n_cloud} clouds", got, "copy the file again")
    return values.astype(np.int64)


def _side(group: h5py.Group, path: Path) -> float:
    columns = _read_group(group, f"{path} {group.name}")
    reach = max(np.abs(columns[name]).max() for name in POSITION)
    side = next((side for side in SIDES if reach <= 1.01 * side), None)
    if side is None:
        raise refuse(path, f"positions in a box of {SIDES} Mpc/h", f"{reach:.6g} Mpc/h", "give the box_size")
    return side


def _read_group(group: h5py.Group, where: str) -> dict[str, NDArray]:
    missing = [name for name in (*POSITION, *VELOCITY) if not isinstance(group.get(name), h5py.Dataset)]
    if missing:
        raise refuse(where, "the data sets X, Y, Z, VX, VY, VZ", f"no {', '.join(missing)}", "copy the file again")
    n_node = group["X"].shape[0] if group["X"].ndim else 0
    if not n_node:
        raise refuse(where, "at least one node", "none", "leave empty clouds out")
    columns = {}
    for name, item in group.items():
        if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "iuf":
            continue
        if item.shape != (n_node,):
            raise refuse(f"{where}/{name}", f"{n_node} numbers as in X", f"shape {item.shape}", "copy the file again")
        unit = item.attrs.get("units", UNITS.get(name, "1"))
        if name in UNITS and unit != UNITS[name]:
            raise refuse(f"{where}/{name}", f"the unit {UNITS[name]}", f"{unit}", "convert the file")
        columns[str(name)] = item[()]
        n_bad = int((~np.isfinite(columns[name])).sum())
        if n_bad:
            raise refuse(f"{where}/{name}", "finite numbers", f"{n_bad} NaN or infinite", "remove those nodes")
    return columns


def _first_of_each(positions: NDArray[np.float64]) -> NDArray[np.int64]:
    rows = np.ascontiguousarray(positions + 0.0).view("V24").ravel()  # + 0.0: -0 is 0
    return np.sort(np.unique(rows, return_index=True)[1])


def _vector(columns: Mapping[str, NDArray], names: tuple[str, ...], unit: str) -> tuple[Any, ...]:
    return ("node", "axis"), np.stack([columns[name] for name in names], axis=1), {"units": unit}
