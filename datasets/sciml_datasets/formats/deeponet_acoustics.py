"""Room-acoustic pressure fields, one HDF5 file per source ("H5Compact"), as dtu-act/deeponet-acoustic-wave-prop reads.

A folder per split, named `train`, `val`, `test` or ending in `_train`, `_val`, `_test`; in it one file per source, flat
or one sub-folder deep (names containing "rectilinear" are skipped). A folder without such splits is the split "all".
Each file holds `/mesh` (N, d), `/umesh` (M, d) with attribute `umesh_shape`, `/upressures` (M), `/pressures` (T, N)
with attribute `time_steps` in seconds, `/source_position` (d), perhaps `/conn`; beside it `simulation_parameters.json`.

Source: N. Borrel-Jensen, S. Goswami, A. P. Engsig-Karup, G. E. Karniadakis, C.-H. Jeong, PNAS 121 (2024) e2312159120.
Departures: all meshes, times and parameters of a split are compared, where the published code trusts the first file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from xarray.core import indexing

from sciml.artifact import atomic_folder, write_json
from sciml.progress import Progress
from sciml_datasets.formats._h5compact import (
    PARAMETERS,
    PHYSICS,
    SourceFile,
    check_comparable,
    check_same,
    open_h5,
    read_source,
    refuse,
)
from sciml_datasets.formats._h5pressures import LazyPressures
from sciml_datasets.store import Precision

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
AXES = ("x", "y", "z")


def sniff(path: Path) -> bool:
    """Tell whether `path` is a folder with HDF5 files at most two folders deep."""
    return path.is_dir() and any(next(path.glob(pattern), None) for pattern in ("*.h5", "*/*.h5", "*/*/*.h5"))


def read(
    path: str | Path,
    *,
    time_stride: int = 1,
    t_max: float = np.inf,
    dtype: Precision | None = "float32",
    sources: slice = slice(None),
    progress: Progress | None = None,
) -> dict[str, xr.Dataset]:
    """Return one lazy dataset per split; pressures are read from the files when they are asked for.

    Parameters
    ----------
    path : folder of splits, or of files.
    time_stride, t_max : keep every so many time steps, up to `t_max` [s].
    dtype : precision that pressures are given in; None keeps that of the files.
    sources : the part of the sources of each split, in the order of their paths.
    progress : shows how many files are opened; none by default.

    Returns
    -------
    By split: `pressure` (source, time, node) [Pa], `initial_pressure` (source, sensor) [Pa], `source_position`
    (source, axis) [m], `node_position` (node, axis) [m], `sensor_position` (sensor, axis) [m], `connectivity` (element,
    vertex) if stored; coordinates `time` [s], `simulation` (source), `axis`; attributes c [m/s], rho [kg/m3], f_max
    [Hz], sigma0 [m], umesh_shape. Sensors, times and attributes agree between splits; meshes may differ.

    Contract: a value read is finite, or the read raises; `write` of what was read gives the same numbers to the bit.
    """
    root = Path(path)
    if time_stride < 1:
        raise ValueError(f"time_stride: expected an integer >= 1, got {time_stride}; 1 keeps every step")
    splits, heads = {}, []
    for name, folder in find_splits(root).items():
        files = _read_split(folder, root, sources, t_max, progress or Progress(enabled=False))
        heads.append(files[0])
        check_comparable(heads[0], files[0])
        splits[name] = _dataset(files, folder, time_stride, np.dtype(dtype) if dtype else None)
    return splits


def iter_sources(path: str | Path, **options: Any) -> Iterator[tuple[str, xr.Dataset]]:
    """Give (split, dataset of one source), loaded, one file at a time; `options` as for :func:`read`."""
    for split, dataset in read(path, **options).items():
        for i in range(dataset.sizes["source"]):
            yield split, dataset.isel(source=slice(i, i + 1)).load()


def find_splits(root: Path) -> dict[str, Path]:
    """Return the folder of each split of `root`: train, val, test, or "all" for `root` itself."""
    if not root.is_dir():
        do = "give the folder that holds the train and val folders"
        raise refuse(root, "a folder", "a file" if root.exists() else "nothing there", do)
    found: dict[str, Path] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        split = SPLITS.get(re.split(r"[_\-. ]", folder.name.lower())[-1])
        if split in found:
            got = f"{found[split].name} and {folder.name}"
            raise refuse(root, f"one folder for the split {split!r}", got, "give each room a folder of its own")
        if split:
            found[split] = folder
    return {name: found[name] for name in ("train", "val", "test") if name in found} or {"all": root}


def _h5_files(folder: Path) -> list[Path]:
    files = [file for pattern in ("*.h5", "*/*.h5") for file in folder.glob(pattern)]
    return sorted(file for file in files if "rectilinear" not in file.name)


def _read_split(folder: Path, root: Path, sources: slice, t_max: float, progress: Progress) -> list[SourceFile]:
    paths = _h5_files(folder)[sources]
    if not paths:
        raise refuse(folder, "HDF5 files (*.h5), one per source", "none", "check the folder")
    files: list[SourceFile] = []
    with progress.track(len(paths), f"open {folder}") as update:
        for path in paths:
            files.append(_cut(read_source(path, root), t_max))
            check_same(files[0], files[-1])
            update(len(files))
    return files


def _cut(source: SourceFile, t_max: float) -> SourceFile:
    kept = source.time[source.time <= t_max]
    if not len(kept):
        raise ValueError(f"t_max: expected at least {source.time[0]:g} s, got {t_max:g}; raise it")
    return replace(source, time=kept)


def _dataset(files: list[SourceFile], folder: Path, stride: int, dtype: np.dtype | None) -> xr.Dataset:
    first = files[0]
    with open_h5(first.path) as file:
        mesh = file["mesh"][()]
        connectivity = file["conn"][()] if "conn" in file else None
    precision = dtype or np.result_type(*{file.dtype for file in files})
    pressure = LazyPressures([file.path for file in files], mesh, len(first.time[::stride]), stride, precision)
    metres, pascals = {"units": "m"}, {"units": "Pa", "standard_name": "acoustic_pressure"}
    initial = np.stack([file.arrays["upressures"] for file in files])
    data: dict[str, Any] = {
        "pressure": xr.Variable(("source", "time", "node"), indexing.LazilyIndexedArray(pressure), pascals),
        "initial_pressure": (("source", "sensor"), initial.astype(dtype) if dtype else initial, pascals),
        "source_position": (("source", "axis"), np.stack([file.arrays["source_position"] for file in files]), metres),
        "node_position": (("node", "axis"), mesh, metres),
        "sensor_position": (("sensor", "axis"), first.arrays["umesh"], metres),
    }
    if connectivity is not None and connectivity.ndim == 2:
        data["connectivity"] = (("element", "vertex"), connectivity, {"units": "1"})
    coords = {
        "time": ("time", first.time[::stride], {"units": "s"}),
        "simulation": ("source", [_identity(file.path.relative_to(folder)) for file in files]),
        "axis": ("axis", list(AXES[: mesh.shape[1]])),
    }
    return xr.Dataset(data, coords, {**first.physics, "umesh_shape": list(first.sensor_shape)})


def _identity(path: Path) -> str:
    """Return the name of a simulation: its path without ending; a file named like its folder counts once."""
    parts = path.with_suffix("").parts
    return parts[-1] if len(parts) > 1 and parts[-1] == parts[-2] else "/".join(parts)


def write(splits: Mapping[str, xr.Dataset], path: str | Path, *, dtype: Precision | None = None) -> None:
    """Write datasets as `read` gives them in the same layout, source by source, into a new folder.

    Parameters
    ----------
    splits : by name train, val, test, or the single "all", which gets no folder of its own.
    dtype : stored precision of `pressure` and `initial_pressure`; None keeps that of the dataset.
    """
    path = Path(path)
    unknown = sorted(set(splits) - set(SPLITS.values()))
    if (unknown and set(splits) != {"all"}) or not splits:
        raise ValueError(
            f"splits: expected some of train, val, test or the single all, got {sorted(splits)}; rename them"
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise refuse(path, "a new or empty folder", "one with content", "choose another path")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(path) as folder:
        for name, dataset in splits.items():
            _write_split(dataset, folder if name == "all" else folder / name, dtype)


def _write_split(dataset: xr.Dataset, folder: Path, dtype: Precision | None) -> None:
    folder.mkdir(exist_ok=True)
    _check_units(dataset)
    n_sources = dataset.sizes["source"]
    names = [f"source_{i:05d}" for i in range(n_sources)]
    if "simulation" in dataset.coords:
        names = [str(name) for name in dataset["simulation"].values]
    if len(set(names)) != n_sources or not all(
        re.fullmatch(r"[\w\-+=]+[\w\-.+=]*(/[\w\-+=]+[\w\-.+=]*)?", n) for n in names
    ):
        raise ValueError(
            f"simulation: expected distinct file names, got {names[:4]}; drop the coordinate or rename them"
        )
    parameters = _simulation_parameters(dataset)
    write_json(folder / PARAMETERS, {"SimulationParameters": {**parameters, "SourcePosition": []}})
    for i, name in enumerate(names):
        file = folder / (f"{name}.h5" if "/" in name else f"{name}/{name}.h5")
        file.parent.mkdir(parents=True, exist_ok=True)
        source = dataset.isel(source=i)
        _write_source(source, file, np.dtype(dtype) if dtype else None, parameters)
        position = source["source_position"].values.tolist()
        write_json(file.parent / PARAMETERS, {"SimulationParameters": {**parameters, "SourcePosition": position}})


def _check_units(dataset: xr.Dataset) -> None:
    expected = {"pressure": ("Pa", ("source", "time", "node")), "initial_pressure": ("Pa", ("source", "sensor"))}
    expected |= {"source_position": ("m", ("source", "axis")), "node_position": ("m", ("node", "axis"))}
    expected |= {"sensor_position": ("m", ("sensor", "axis")), "time": ("s", ("time",))}
    for name, (unit, dims) in expected.items():
        if name not in dataset.variables:
            raise ValueError(
                f"dataset: expected the variable {name!r}, got none; have {sorted(map(str, dataset.variables))}"
            )
        got = (dataset[name].attrs.get("units"), dataset[name].dims)
        if got != (unit, dims):
            raise ValueError(
                f"dataset {name!r}: expected unit {unit!r} and dims {dims}, got {got[0]!r} and {got[1]}; convert it"
            )
    missing = [name for name in ("c", "f_max", "umesh_shape") if name not in dataset.attrs]
    if missing:
        raise ValueError(
            f"dataset: expected the attributes c [m/s], f_max [Hz] and umesh_shape, got no {missing}; set them"
        )


def _simulation_parameters(dataset: xr.Dataset) -> dict[str, float]:
    time = dataset["time"].values
    physics = {key: float(dataset.attrs[name]) for name, (_, key) in PHYSICS.items() if name in dataset.attrs}
    return {**physics, "dt": float(time[1] - time[0]) if len(time) > 1 else 0.0}


def _write_source(source: xr.Dataset, path: Path, dtype: np.dtype | None, parameters: Mapping[str, float]) -> None:
    time = source["time"].values
    # HDF5 before 1.8 keeps attributes below 64 kB; longer recordings need the newer file format.
    with h5py.File(path, "w", libver="latest" if time.nbytes > 60_000 else None) as file:
        file["mesh"] = source["node_position"].values
        file["umesh"] = source["sensor_position"].values
        file["umesh"].attrs["umesh_shape"] = np.array(source.attrs["umesh_shape"], dtype=np.int64).ravel()
        file["source_position"] = source["source_position"].values
        if "connectivity" in source:
            file["conn"] = source["connectivity"].values
        for name, variable in (("pressures", "pressure"), ("upressures", "initial_pressure")):
            values = source[variable].values
            with np.errstate(over="ignore"):  # overflow is told as an error below
                stored = values.astype(dtype or values.dtype)
            if not np.isfinite(stored).all():
                raise refuse(
                    f"{path} /{name}", f"finite pressures that fit {stored.dtype}", "NaN or overflow", "use float32"
                )
            file[name] = stored
        attributes = {"sigma0" if key == "sigma" else key: value for key, value in parameters.items()}
        for key, value in {**attributes, "tmax": float(time[-1])}.items():
            file["pressures"].attrs[key] = np.array([value])
        file["pressures"].attrs["time_steps"] = time
