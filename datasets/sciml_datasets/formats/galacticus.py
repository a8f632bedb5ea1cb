"""Merger forests in the HDF5 layout of Galacticus, versions 1 and 2, as labelled trees.

`/forestHalos/{nodeIndex, descendantIndex, nodeMass, redshift, position, velocity, ...}` hold one row for each halo of
all forests, `/forestIndex/{firstNode, numberOfNodes}` where each forest lies; `/units` and `/cosmology` say the rest as
attributes. Version 1 names the groups haloTrees and treeIndex, and both occur with descendentIndex.

Source: the Galacticus documentation, "Merger Tree File Format" (galacticus.readthedocs.io).
Departures: a forest with several haloes that have no descendant (as subhaloes at the last time) gives as many trees.
Units of mass and length that lie within a thousandth of a power of ten solar masses or megaparsecs count as that power:
the constants of the writers differ in the fourth digit. Files that give only the time of a halo are refused.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciml_datasets.formats._h5compact import open_h5, refuse
from sciml_datasets.formats._halo_trees import halo_trees

HALOS, INDEX = ("forestHalos", "haloTrees"), ("forestIndex", "treeIndex")
DESCENDANT = ("descendantIndex", "descendentIndex")
SOLAR_MASS, MEGAPARSEC, KILOMETRE = 1.98841e30, 3.0856775815e22, 1e3  # kg, m, m: IAU 2015 nominal values
QUANTITIES = {"mass": (SOLAR_MASS, -1, 0), "length": (MEGAPARSEC, -1, 1), "velocity": (KILOMETRE, 0, 0)}
COLUMNS = {  # name here: name there, quantity, unit
    "mass": ("nodeMass", "mass", "Msun/h"),
    "position": ("position", "length", "Mpc/h"),
    "velocity": ("velocity", "velocity", "km/s"),
    "vmax": ("velocityMaximum", "velocity", "km/s"),
    "scale_radius": ("scaleRadius", "length", "Mpc/h"),
}


def read(path: str | Path) -> xr.Dataset:
    """Return the trees of one file.

    Returns
    -------
    `mass` [Msun/h] and `scale_factor` (node); where stored `position` [comoving Mpc/h] and `velocity` [km/s] (node,
    axis), `vmax` [km/s] and `scale_radius` [comoving Mpc/h] (node), `is_subhalo` (node); `id`, `descendant` (node),
    `n_node` (tree); attributes Omega_m, sigma_8, h where stored.

    Contract: see `halo_trees`; ids are unique within a forest at least.
    """
    path = Path(path)
    with open_h5(path) as file:
        halos, index = _group(file, HALOS, path), _group(file, INDEX, path)
        ids, descendants = _integers(halos, ("nodeIndex",), path), _integers(halos, DESCENDANT, path)
        scale = _scale_factor(halos, len(ids), path)
        cosmology = _cosmology(file)
        nodes: dict[str, tuple[NDArray, str]] = {"scale_factor": (scale, "1")}
        for name, (stored, quantity, unit) in COLUMNS.items():
            if stored in halos:
                values = _numbers(halos, stored, len(ids), path)
                factor = _factor(file, quantity, cosmology.get("h"), scale, path)
                nodes[name] = (values * (factor[:, None] if values.ndim == 2 else factor), unit)
        if "mass" not in nodes:
            raise refuse(f"{path} /{halos.name}", "the data set nodeMass", "none", "is this a file of merger trees?")
        if "hostIndex" in halos:
            nodes["is_subhalo"] = ((_integers(halos, ("hostIndex",), path) != ids).astype(np.int8), "1")
        forest = _forest(index, len(ids), path)
    return halo_trees(nodes, ids, descendants, f"{path}", forest).assign_attrs(cosmology)


def _group(file: h5py.File, names: tuple[str, ...], path: Path) -> h5py.Group:
    name = next((name for name in names if isinstance(file.get(name), h5py.Group)), None)
    if name is None:
        raise refuse(path, f"a group {' or '.join(names)}", f"only {sorted(file)}", "is this a file of Galacticus?")
    return file[name]


def _numbers(group: h5py.Group, name: str, n_node: int, path: Path) -> NDArray[np.float64]:
    item = group[name]
    shapes = ((n_node,), (n_node, 3))
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "iuf" or item.shape not in shapes:
        got = f"{getattr(item, 'shape', 'a group')}"
        raise refuse(f"{path} {group.name}/{name}", f"numbers for each of {n_node} haloes", got, "copy the file again")
    return np.asarray(item[()], dtype=np.float64)


def _integers(group: h5py.Group, names: tuple[str, ...], path: Path) -> NDArray[np.int64]:
    for name in names:  # one of them may be a link under the other's name
        item = group.get(name)
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "iu" and item.ndim == 1:
            return np.asarray(item[()], dtype=np.int64)
    raise refuse(f"{path} {group.name}", f"integers {' or '.join(names)}", "none", "is this a file of merger trees?")


def _scale_factor(halos: h5py.Group, n_node: int, path: Path) -> NDArray[np.float64]:
    if "expansionFactor" in halos:
        scale = _numbers(halos, "expansionFactor", n_node, path)
    elif "redshift" in halos:
        scale = 1 / (1 + _numbers(halos, "redshift", n_node, path))
    else:
        raise refuse(f"{path} {halos.name}", "expansionFactor or redshift", "neither", "add the redshift of each halo")
    if not ((scale > 0) & (scale <= 1.1)).all():
        got = f"{scale.min():.4g} to {scale.max():.4g}"
        raise refuse(f"{path} {halos.name}", "scale factors between 0 and 1", got, "correct the redshifts")
    return scale


def _cosmology(file: h5py.File) -> dict[str, float]:
    stored = dict(file["cosmology"].attrs) if "cosmology" in file else {}
    names = {"h": ("HubbleParam",), "Omega_m": ("OmegaMatter", "Omega0"), "sigma_8": ("sigma_8",)}
    found = {name: next((stored[key] for key in keys if key in stored), None) for name, keys in names.items()}
    return {name: float(np.ravel(value)[0]) for name, value in found.items() if value is not None}


def _factor(
    file: h5py.File, quantity: str, h: float | None, scale: NDArray[np.float64], path: Path
) -> NDArray[np.float64]:
    """Return what turns stored numbers into Msun/h, comoving Mpc/h or km/s: a physical value is x unit h^n a^m."""
    stored = dict(file["units"].attrs) if "units" in file else {}
    keys = [f"{quantity}{key}" for key in ("UnitsInSI", "HubbleExponent", "ScaleFactorExponent")]
    if not all(key in stored for key in keys):
        raise refuse(f"{path} /units", f"the attributes {', '.join(keys)}", "not all of them", "add them")
    unit, in_h, in_a = (float(np.ravel(stored[key])[0]) for key in keys)
    reference, to_h, to_a = QUANTITIES[quantity]
    ratio = unit / reference
    power = 10.0 ** np.rint(np.log10(ratio)) if ratio > 0 else 0.0
    ratio = power if abs(ratio / power - 1 if power else 1) < 1e-3 else ratio
    if in_h != to_h and h is None:
        raise refuse(f"{path} /cosmology", "the attribute HubbleParam", "none", f"add it, as {quantity} has no h")
    return ratio * (h or 1.0) ** (in_h - to_h) * scale ** (in_a - to_a)


def _forest(index: h5py.Group, n_node: int, path: Path) -> NDArray[np.int64]:
    first, number = _integers(index, ("firstNode",), path), _integers(index, ("numberOfNodes",), path)
    order = np.argsort(first, kind="stable")
    ends = np.cumsum(number[order])
    if len(first) != len(number) or (number < 0).any() or (first[order] != ends - number[order]).any():
        raise refuse(f"{path} {index.name}", "forests one after the other", "gaps or overlaps", "copy the file again")
    if (ends[-1] if len(ends) else 0) != n_node:
        got = f"forests of {ends[-1] if len(ends) else 0} haloes in all"
        raise refuse(f"{path} {index.name}", f"{n_node} haloes as in nodeIndex", got, "copy the file again")
    return np.repeat(order, number[order])
