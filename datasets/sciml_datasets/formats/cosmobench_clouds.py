"""Point clouds of CosmoBench, one HDF5 file per split: haloes or galaxies of many simulations, with their cosmology.

`/<KEY>/<KEY>_<i>/{X, Y, Z, VX, VY, VZ, ...}` hold one number for each node (cMpc/h and km/s; KEY is BSQ for Quijote, LH
for CAMELS and CAMELS-SAM), `/params/{Omega_m, sigma_8, ...}` and `/original_ids` one for each cloud, in the order of
the numbers i. HDF5 lists the groups as text (10 before 2), so everything here goes by the number.

Names: `top5000_halos_train.hdf5`, `ALL_galaxies_test.hdf5` and the like, as published, or
`Quijote_BSQ_rockstar_10_top5000_train.hdf5`, `CAMELS-SAM_LH_gal_99_top5000_val.hdf5`; only their ending says the split.

Source: N. Huang, R. Stiskalek, J.-Y. Lee, A. E. Bayer et al., CosmoBench, arXiv:2507.03707.
Departures: the files do not say the side of the box; it is the smallest one of the benchmark (25, 100, 1000 Mpc/h) that
holds the nodes, unless the caller or an attribute `box_size` says otherwise. Files written here carry that attribute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.core import indexing

from sciml.artifact import atomic_file
from sciml_datasets.formats._h5clouds import AXES, MASSES, POSITION, UNITS, VELOCITY, CloudGroups, find_key
from sciml_datasets.formats._h5compact import open_h5, refuse
from sciml_datasets.formats._ragged import LazyNodes, split_files
from sciml_datasets.store import Precision

__all__ = ["MASSES", "CloudGroups", "read", "sniff", "write", "write_groups"]
ENDINGS = (".hdf5", ".h5")


def sniff(path: Path) -> bool:
    """Tell whether `path` is an HDF5 file with groups /KEY/KEY_<i>, or a folder that holds one."""
    try:
        candidate = next(iter(split_files(path, ENDINGS, but="tpcf").values()))
        with open_h5(candidate) as file:
            return bool(find_key(file, candidate))
    except ValueError:
        return False


def read(path: str | Path, *, box_size: float | None = None) -> dict[str, xr.Dataset]:
    """Return one lazy dataset per split, the nodes of all clouds along one axis.

    By split: `position` [Mpc/h] and `velocity` [km/s] (node, axis), whatever else each node has (node), `n_node` and
    the parameters (cloud); coordinates `simulation` (cloud), `axis`; attributes box_size [Mpc/h], redshift, key.
    """
    files = split_files(Path(path), ENDINGS, but="tpcf")  # correlation functions lie beside the clouds
    return {split: _joined(CloudGroups(file, box_size=box_size)) for split, file in files.items()}


def write(splits: Mapping[str, xr.Dataset], path: str | Path, *, dtype: Precision | None = None) -> None:
    """Write datasets as `read` gives them: into the file `path` for one split, else into `path`/<split>.hdf5."""
    path = Path(path)
    if path.suffix in ENDINGS and len(splits) != 1:
        raise ValueError(f"{path}: expected one split for one file, got {sorted(splits)}; give a folder instead")
    for split, dataset in splits.items():
        file = path if path.suffix in ENDINGS else path / f"{split}.hdf5"
        missing = sorted({"position", "velocity", "n_node", "simulation"} - set(dataset.variables))
        missing += sorted({"box_size", "redshift"} - set(dataset.attrs))
        if missing or int(dataset["n_node"].sum()) != dataset.sizes["node"]:
            got = f"no {', '.join(missing)}" if missing else "n_node with another sum than there are nodes"
            raise refuse(
                file, "a dataset as read gives it", got, "give clouds, with the attributes box_size and redshift"
            )
        start = np.concatenate([[0], np.cumsum(dataset["n_node"].values.astype(np.int64))])
        clouds = (dataset.isel(cloud=i, node=slice(start[i], start[i + 1])) for i in range(len(start) - 1))
        write_groups(file, clouds, str(dataset.attrs.get("key", "LH")), dtype=dtype)


def write_groups(path: str | Path, clouds: Iterable[xr.Dataset], key: str, *, dtype: Precision | None = None) -> None:
    """Write clouds, as `CloudGroups` gives them, in the layout of the benchmark, whole or not at all.

    Parameters
    ----------
    clouds : datasets with `position`, `velocity`, other variables (node), scalar parameters and `simulation`, and the
        attributes box_size and redshift, equal for all; read one by one.
    key : name of the groups: BSQ, LH or another.
    dtype : precision of the numbers of nodes; None keeps theirs.

    Contract: `CloudGroups` of the file gives the same clouds, to the bit in the stored precision.
    """
    path, labels = Path(path), list[dict[str, Any]]()
    shared: dict[str, float] = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary, h5py.File(temporary, "w") as file:
        for i, cloud in enumerate(clouds):
            group = file.create_group(f"{key}/{key}_{i}")
            for name, values in _stored(cloud):
                group.create_dataset(name, data=_narrowed(values, dtype)).attrs["units"] = UNITS.get(name, "1")
            own = {name: float(cloud.attrs[name]) for name in ("box_size", "redshift")}
            if own != (shared := shared or own):
                raise refuse(f"{path} cloud {i}", f"{shared} as in the first", f"{own}", "write it into another file")
            labels.append({str(n): v.values.item() for n, v in cloud.variables.items() if not v.dims and n != "n_node"})
            if set(labels[i]) != set(labels[0]):
                raise refuse(f"{path} cloud {i}", f"{sorted(labels[0])}", f"{sorted(labels[i])}", "give all the same")
        if not labels:
            raise ValueError(f"{path}: expected at least one cloud, got none; give some")
        file.attrs.update({**shared, "box_size_units": "Mpc/h"})
        file["original_ids"] = np.array([label.pop("simulation") for label in labels], dtype=np.int64)
        for name in labels[0]:
            file[f"params/{name}"] = np.array([label[name] for label in labels])
            file[f"params/{name}"].attrs["units"] = "1"
        file.require_group("params")


def _stored(cloud: xr.Dataset) -> Iterator[tuple[str, NDArray]]:
    for names, variable in ((POSITION, "position"), (VELOCITY, "velocity")):
        unit = UNITS[names[0]]
        if cloud[variable].attrs.get("units") != unit:
            got = cloud[variable].attrs.get("units", "none")
            raise ValueError(f"dataset {variable!r}: expected the unit {unit}, got {got}; convert it")
        yield from zip(names, cloud[variable].transpose("axis", "node").values, strict=True)
    others = (name for name in cloud.data_vars if cloud[name].dims == ("node",))
    yield from ((str(name), cloud[name].values) for name in others)


def _narrowed(values: NDArray, dtype: Precision | None) -> NDArray:
    if dtype is None or values.dtype.kind != "f":
        return values
    with np.errstate(over="ignore"):  # overflow is told as an error below
        stored = values.astype(dtype)
    if not np.isfinite(stored).all():
        raise ValueError(f"write: expected values that fit {dtype}, got {np.abs(values).max():g}; use float32")
    return stored


def _joined(groups: CloudGroups) -> xr.Dataset:
    with open_h5(groups.path) as file:
        n_node = np.array([file[f"{groups.key}/{groups.key}_{i}/X"].shape[0] for i in range(len(groups))])
    first = groups[0]

    def variable(name: str) -> xr.Variable:
        lazy = LazyNodes(n_node, lambda i: groups[i][name].values, first[name].values[0])
        return xr.Variable(first[name].dims, indexing.LazilyIndexedArray(lazy), first[name].attrs)

    data: dict[str, Any] = {str(name): variable(str(name)) for name in first.data_vars}
    data |= {name: ("cloud", values, {"units": "1"}) for name, values in groups.parameters.items()}
    data["n_node"] = ("cloud", n_node, {"units": "1"})
    coords = {"axis": list(AXES), "simulation": ("cloud", groups.simulation, {"units": "1"})}
    return xr.Dataset(data, coords, {"box_size": groups.box_size, "redshift": groups.redshift, "key": groups.key})
