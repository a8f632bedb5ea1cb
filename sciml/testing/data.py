"""Conformance of data sets: a folder with a card and NetCDF files that anybody can open."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from sciml.testing.checks import Check, require, verify

Files = dict[str, xr.Dataset]


def check_dataset(source: str | Path | Mapping[str, xr.Dataset]) -> list[Check]:
    """Check a folder with README.md and NetCDF files, one or more per split, or datasets by split.

    A file ``train.nc`` or ``train/part.nc`` belongs to the split ``train``. A variable ``simulation`` holds the
    numbers of the simulations that its rows come from; no simulation may be in two splits. Where one file holds all
    splits, a variable ``split`` along the same dimension names them.
    """
    if isinstance(source, Mapping):
        return _check_files(dict(source))
    folder = Path(source)
    checks = verify({"the folder has a card": lambda: _has_card(folder), "files are there": lambda: _has_files(folder)})
    files: Files = {}
    for path in sorted(folder.rglob("*.nc")):
        name = path.relative_to(folder).as_posix()
        checks += verify({f"{name} opens": lambda path=path, name=name: _open(path, name, files)})  # type: ignore[misc]
    return checks + (_check_files(files) if files else [])


def _check_files(files: Files) -> list[Check]:
    statements: dict[str, Callable[[], str | None]] = {
        "every variable has a unit": lambda: _have_units(files),
        "every number is finite": lambda: _are_finite(files),
        "no variable is empty": lambda: _are_not_empty(files),
        "no simulation is in two splits": lambda: _splits_are_disjoint(files),
    }
    return verify(statements)


def _has_card(folder: Path) -> None:
    card = folder / "README.md"
    require(card.is_file() and card.read_text(encoding="utf-8").strip(), f"expected a card {card}, got none; write it")


def _has_files(folder: Path) -> str:
    paths = list(folder.rglob("*.nc"))
    require(paths, f"expected NetCDF files below {folder}, got none")
    return f"{len(paths)} files"


def _open(path: Path, name: str, files: Files) -> None:
    # Times stay numbers with a unit: decoded ones would lose attrs["units"].
    with xr.open_dataset(path, engine="h5netcdf", decode_times=False) as data:
        files[name] = data.load()


def _numeric(files: Files) -> list[tuple[str, xr.Variable]]:
    return [
        (f"{name}: {key}", array)
        for name, data in files.items()
        for key, array in data.variables.items()
        if array.dtype.kind in "iufc" and key not in ("simulation", "split")
    ]


def _have_units(files: Files) -> None:
    bare = [name for name, array in _numeric(files) if array.dtype.kind in "fc" and "units" not in array.attrs]
    require(not bare, f"expected attrs['units'] on floating-point variables, got none on {', '.join(bare[:5])}")


def _are_finite(files: Files) -> None:
    for name, array in _numeric(files):
        n_bad = int((~np.isfinite(array.values)).sum())
        require(not n_bad, f"{name}: expected finite numbers, got {n_bad} others")


def _are_not_empty(files: Files) -> None:
    empty = [name for name, array in _numeric(files) if array.size == 0]
    require(not empty, f"expected at least one number, got none in {', '.join(empty)}")


def _splits_are_disjoint(files: Files) -> str:
    members: dict[str, set[object]] = {}
    for name, data in files.items():
        if "simulation" not in data.variables:
            continue
        simulations = data["simulation"]
        if "split" in data.variables:
            labels = np.broadcast_to(data["split"].values, simulations.shape).ravel()
        else:
            labels = np.full(simulations.size, Path(name).parts[0].removesuffix(".nc"))
        for label, simulation in zip(labels, simulations.values.ravel(), strict=True):
            members.setdefault(str(label), set()).add(simulation.item())
    require(members, "expected a variable 'simulation' that says where rows come from, got none")
    for (a, in_a), (b, in_b) in itertools.combinations(members.items(), 2):
        shared = sorted(in_a & in_b, key=str)
        require(not shared, f"expected splits without a common simulation, got {shared[:5]} in both {a!r} and {b!r}")
    return ", ".join(f"{name}: {len(ids)} simulations" for name, ids in sorted(members.items()))
