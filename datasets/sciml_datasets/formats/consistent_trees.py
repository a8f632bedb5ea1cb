"""Merger trees in the text layout of consistent-trees (`tree_0_0_0.dat`), as labelled trees.

The first line names the columns, `#scale(0) id(1) desc_scale(2) desc_id(3) num_prog(4) pid(5) ...`; comment lines give
Omega_M, h0 and the side of the box; then come the number of trees, and for each tree a line `#tree <root id>` and one
line for each halo. Masses are in Msun/h, radii in comoving kpc/h, positions in comoving Mpc/h, velocities in km/s.

Source: P. S. Behroozi et al., Gravitationally Consistent Halo Catalogs and Merger Trees, ApJ 763 (2013) 18, and the
comments that its files carry.
Departures: the trees are found from the descendants, so files without `#tree` lines are read as well.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciml_datasets.formats._h5compact import refuse
from sciml_datasets.formats._halo_trees import halo_trees

NEEDED = ("scale", "id", "desc_id", "mvir", "rvir", "rs", "vmax")
INTEGERS = ("id", "desc_id", "pid")
OPTIONAL = ("pid", "mmp?", "x", "y", "z", "vx", "vy", "vz")


def read(path: str | Path) -> xr.Dataset:
    """Return the trees of one file.

    Returns
    -------
    `mass` [Msun/h], `concentration` (rvir / rs), `vmax` [km/s], `scale_factor` (node); where stored `position`
    [comoving Mpc/h] and `velocity` [km/s] (node, axis), `is_subhalo` and `is_main` (most massive progenitor); `id`,
    `descendant` (node), `n_node` (tree); attributes Omega_m, h, box_size [Mpc/h] where stored.

    Contract: see `halo_trees`; ids are read as integers of 64 bit, without rounding.
    """
    path = Path(path)
    header, names = _header(path)
    columns = _columns(path, names)
    with np.errstate(divide="ignore", invalid="ignore"):  # a scale radius of 0 is told as an infinite concentration
        concentration = columns["rvir"] / columns["rs"]
    nodes: dict[str, tuple[NDArray, str]] = {
        "mass": (columns["mvir"], "Msun/h"),
        "concentration": (concentration, "1"),
        "vmax": (columns["vmax"], "km/s"),
        "scale_factor": (columns["scale"], "1"),
    }
    for name, parts, unit in (("position", "x y z", "Mpc/h"), ("velocity", "vx vy vz", "km/s")):
        if set(parts.split()) <= set(columns):
            nodes[name] = (np.stack([columns[part] for part in parts.split()], axis=1), unit)
    if "pid" in columns:
        nodes["is_subhalo"] = ((columns["pid"] >= 0).astype(np.int8), "1")
    if "mmp?" in columns:
        nodes["is_main"] = ((columns["mmp?"] > 0).astype(np.int8), "1")
    dataset = halo_trees(nodes, columns["id"], columns["desc_id"], f"{path}")
    return dataset.assign_attrs(_attributes(header))


def _header(path: Path) -> tuple[list[str], list[str]]:
    """Return the comment lines before the haloes, and the names of the columns, in small letters."""
    if not path.is_file():
        raise refuse(path, "a file", "none there", "check the path")
    header = []
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                if not line.startswith("#") or line.startswith("#tree "):
                    break
                header.append(line)
    except UnicodeDecodeError:
        raise refuse(path, "text of consistent-trees", "other bytes", "is this the right file?") from None
    names = [re.sub(r"\(\d+\)$", "", word).lower() for word in (header or [""])[0].lstrip("#").split()]
    missing = [name for name in NEEDED if name not in names]
    if missing:
        expected = f"a first line '#scale(0) id(1) ...' that names {', '.join(NEEDED)}"
        raise refuse(path, expected, f"no {', '.join(missing)}", "is this a file of consistent-trees?")
    return header, names


def _columns(path: Path, names: list[str]) -> dict[str, NDArray]:
    wanted = [name for name in (*NEEDED, *OPTIONAL) if name in names]
    kinds = np.dtype([(name, np.int64 if name in INTEGERS else np.float64) for name in wanted])
    try:
        with path.open(encoding="utf-8") as file:
            first = next((line for line in file if line.strip() and not line.startswith("#")), "")
            if len(first.split()) == 1:  # the number of trees
                first = next((line for line in file if line.strip() and not line.startswith("#")), "")
            if not first:
                raise refuse(path, "at least one halo", "none", "check the file")
            places = [names.index(name) for name in wanted]
            rows = np.loadtxt(itertools.chain([first], file), dtype=kinds, usecols=places, ndmin=1)
    except (ValueError, IndexError) as error:
        if str(error).startswith(f"{path}: "):  # a sentence of our own
            raise
        reason = str(error).split("\n")[0]
        raise refuse(path, f"{len(names)} numbers for each halo", reason, "copy the file again") from None
    return {name: rows[name] for name in wanted}


def _attributes(header: list[str]) -> dict[str, float]:
    text, number = "".join(header), r"\s*=\s*([0-9.eE+-]+)"
    patterns = {"Omega_m": rf"Omega_M{number}", "h": rf"\bh0{number}", "box_size": rf"box size{number}"}
    found = {name: re.search(pattern, text, flags=re.IGNORECASE) for name, pattern in patterns.items()}
    return {name: float(match[1]) for name, match in found.items() if match}
