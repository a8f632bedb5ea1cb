"""One file of the H5Compact layout: what it holds, and what may be wrong with it."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sciml.artifact import read_json

DATASETS = ("mesh", "umesh", "upressures", "pressures", "source_position")
N_PROBES = 64  # nodes compared when a file is listed; the whole mesh is compared when its pressures are first read
PARAMETERS = "simulation_parameters.json"
PHYSICS = {"c": ("c", "c"), "rho": ("rho", "rho"), "f_max": ("fmax", "fmax"), "sigma0": ("sigma0", "sigma")}


def refuse(where: Any, expected: str, got: str, do: str) -> ValueError:
    """Return the error of the house: where, expected, got, what to do."""
    return ValueError(f"{where}: expected {expected}, got {got}; {do}")


@contextmanager
def open_h5(path: Path) -> Iterator[h5py.File]:
    """Open one HDF5 file for reading; a truncated or foreign one, and a read that fails, is a ValueError naming it."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:  # whatever HDF5 says of a damaged file
        reason = str(error).split("\n")[0]
        raise refuse(path, "a complete HDF5 file", reason, "copy or generate it again") from None


@dataclass(frozen=True)
class SourceFile:
    """Everything of one file but its pressures; arrays as stored.

    `mesh_shape` is (node, axis); `time` (time) is in seconds, `dtype` that of the pressures. `arrays` holds by name
    of the data set `mesh`, some rows of it (probe, axis) [m]; `umesh` (sensor, axis) [m]; `upressures` (sensor) [Pa];
    `source_position` (axis) [m]. `physics` holds c, f_max and what else is stored.
    """

    path: Path
    mesh_shape: tuple[int, int]
    sensor_shape: tuple[int, ...]
    arrays: Mapping[str, np.ndarray]
    time: np.ndarray
    dtype: np.dtype
    physics: Mapping[str, float] = field(default_factory=dict)


def read_source(path: Path, root: Path) -> SourceFile:
    """Read and check one file; `root` is the folder up to which `simulation_parameters.json` is looked for."""
    with open_h5(path) as file:
        missing = [name for name in DATASETS if not isinstance(file.get(name), h5py.Dataset)]
        if missing:
            raise refuse(
                path, f"the data sets {', '.join(DATASETS)}", f"no {', '.join(missing)}", _advice(file, missing)
            )
        mesh, sensors = file["mesh"], file["umesh"][()]
        for name, shape in (("mesh", mesh.shape), ("umesh", sensors.shape)):
            if len(shape) != 2 or not 1 <= shape[1] <= 3 or not shape[0]:
                raise refuse(f"{path} /{name}", "positions (n, d) with d = 1, 2 or 3", f"shape {shape}", "reshape it")
        time = _time(file["pressures"], mesh.shape[0], path)
        physics = _physics(file, path, root)
        source = SourceFile(
            path=path,
            mesh_shape=mesh.shape,
            sensor_shape=_sensor_shape(file["umesh"], path),
            arrays={
                "mesh": mesh[:: max(1, mesh.shape[0] // N_PROBES)],
                "umesh": sensors,
                "upressures": file["upressures"][()].ravel(),
                "source_position": file["source_position"][()].ravel(),
            },
            time=time,
            dtype=file["pressures"].dtype,
            physics=physics,
        )
    _check_arrays(source)
    _check_scales(source)
    return source


def _advice(file: h5py.File, missing: list[str]) -> str:
    if "x0_srcs" in file:
        return "this is the multi-source layout (x0_srcs): split it into one file per source"
    if missing == ["source_position"]:
        return "add /source_position with the d coordinates of the source in metres"
    return "check that these are pressure files, one per source"


def _time(pressures: h5py.Dataset, n_nodes: int, path: Path) -> np.ndarray:
    where = f"{path} /pressures"
    if pressures.ndim != 2 or pressures.dtype.kind != "f":
        do = (
            "split a multi-source file into one file per source"
            if pressures.ndim == 3
            else "store floating-point numbers"
        )
        raise refuse(where, "numbers (time, node)", f"shape {pressures.shape} of {pressures.dtype}", do)
    if "time_steps" not in pressures.attrs:
        raise refuse(where, "the attribute time_steps in seconds", "none", "store the time of each row")
    time = np.asarray(pressures.attrs["time_steps"]).ravel()
    if pressures.shape != (len(time), n_nodes):
        swapped = pressures.shape == (n_nodes, len(time))
        do = "transpose /pressures" if swapped else "make /pressures, /mesh and time_steps agree"
        expected = f"shape (time, node) = {(len(time), n_nodes)} from time_steps and /mesh"
        raise refuse(where, expected, str(pressures.shape), do)
    if not np.isfinite(time).all() or not (np.diff(time) > 0).all() or time[0] < 0:
        raise refuse(f"{where} time_steps", "increasing times from 0 s on", np.array2string(time[:4]), "sort the steps")
    return time


def _sensor_shape(umesh: h5py.Dataset, path: Path) -> tuple[int, ...]:
    where = f"{path} /umesh"
    # One writer of this layout stores the attribute with a leading slash.
    stored = umesh.attrs.get("umesh_shape", umesh.attrs.get("/umesh_shape"))
    if stored is None:
        raise refuse(where, "the attribute umesh_shape", "none", "store the number of sensors along each axis")
    shape = tuple(int(n) for n in np.ravel(stored))
    if math.prod(shape) != umesh.shape[0]:
        got = f"umesh_shape {shape} with product {math.prod(shape)}"
        raise refuse(where, f"a umesh_shape whose product is {umesh.shape[0]} sensors", got, "correct the attribute")
    return shape


def _check_arrays(source: SourceFile) -> None:
    n_axes, path = source.mesh_shape[1], source.path
    if source.arrays["umesh"].shape[1] != n_axes or len(source.arrays["source_position"]) != n_axes:
        n_umesh, n_source = source.arrays["umesh"].shape[1], len(source.arrays["source_position"])
        got = f"/umesh with {n_umesh} and /source_position with {n_source}"
        raise refuse(path, f"{n_axes} coordinates as in /mesh", got, "give all positions the same dimension")
    if len(source.arrays["upressures"]) != len(source.arrays["umesh"]):
        expected = f"{len(source.arrays['umesh'])} values, one per sensor of /umesh"
        raise refuse(f"{path} /upressures", expected, str(len(source.arrays["upressures"])), "sample it on /umesh")
    for name, values in source.arrays.items():
        if not np.isfinite(values).all():
            raise refuse(f"{path} /{name}", "finite numbers", "NaN or infinity", "generate the file again")


def _check_scales(source: SourceFile) -> None:
    """Refuse normalised time and lengths that are not metres, judged by what the wave can be at f_max."""
    path, c, f_max = source.path, source.physics["c"], source.physics["f_max"]
    if c == 1:
        do = "divide time_steps by the speed of sound and store c and fmax in m/s and Hz"
        raise refuse(path, "c in m/s with time_steps in seconds", "c = 1 (normalised time in metres)", do)
    steps = np.diff(source.time)
    if len(steps) and steps.max() * f_max * 2 > 1.01:
        got = f"steps of {steps.max():.3g} s, {1 / (steps.max() * f_max):.2g} per period"
        do = "store seconds (normalised time divided by c), or correct fmax"
        raise refuse(f"{path} time_steps", f"at least 2 steps per period of fmax = {f_max:g} Hz", got, do)
    extent = np.ptp(source.arrays["umesh"].astype(float), axis=0)
    spacing = (extent / np.maximum(np.array(source.sensor_shape or (2,)).max() - 1, 1)).max()
    if spacing * f_max > 10 * c:
        got = f"sensors {spacing:.3g} apart, {spacing * f_max / c:.3g} wavelengths"
        do = "are /mesh and /umesh in millimetres? store metres"
        raise refuse(f"{path} /umesh", f"positions in metres: wavelength c/fmax = {c / f_max:.3g} m", got, do)
    slack = 0.5 * max(extent.max(), c / f_max)
    low, high = source.arrays["umesh"].min(0) - slack, source.arrays["umesh"].max(0) + slack
    if (source.arrays["mesh"] < low).any() or (source.arrays["mesh"] > high).any():
        do = "store /mesh and /umesh in metres"
        raise refuse(f"{path} /mesh", "nodes in the box of the sensors of /umesh", "nodes far outside it", do)
    if (source.arrays["source_position"] < low).any() or (source.arrays["source_position"] > high).any():
        got = np.array2string(source.arrays["source_position"], separator=", ")
        raise refuse(f"{path} /source_position", "a point in the box of /umesh", got, "store it in metres")


def _physics(file: h5py.File, path: Path, root: Path) -> dict[str, float]:
    """Return c, f_max and, where stored, rho and sigma0: from attributes first, then from the parameter file."""
    attributes = {**file.attrs, **file["mesh"].attrs, **file["pressures"].attrs}
    parameters = _parameters(path.parent, root)
    found = {}
    for name, (attribute, key) in PHYSICS.items():
        value = attributes.get(attribute, parameters.get(key))
        if value is None:
            continue
        number = np.ravel(value)
        if number.dtype.kind not in "iuf" or number.size != 1 or not (np.isfinite(number[0]) and number[0] > 0):
            raise refuse(f"{path} {attribute}", "one positive number", str(value), "correct it")
        found[name] = float(number[0])
    missing = [name for name in ("c", "f_max") if name not in found]
    if missing:
        where = f"attributes of /pressures or in {PARAMETERS}"
        raise refuse(path, f"c and fmax as {where}", f"no {', '.join(missing)}", f"add {PARAMETERS} beside the files")
    # The pulse exp(-r^2/sigma0^2) of this layout resolves up to f_max.
    return {"sigma0": found["c"] / (math.pi * found["f_max"] / 2), **found}


@functools.lru_cache(maxsize=1)
def _read_parameters(path: Path, modified: float) -> Mapping[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("SimulationParameters"), dict):
        raise refuse(path, "an object SimulationParameters", "something else", "copy it from the simulation")
    return content["SimulationParameters"]


def _parameters(folder: Path, root: Path) -> Mapping[str, Any]:
    """Return the parameters from the file nearest to `folder`, no further up than `root`."""
    for place in (folder, *folder.parents):
        file = place / PARAMETERS
        if file.is_file():
            return _read_parameters(file, file.stat().st_mtime)
        if place == root:
            break
    return {}


def check_same(first: SourceFile, other: SourceFile) -> None:
    """Refuse a file whose mesh, sensors, times or physics differ from the first of its split."""
    where = other.path
    if first.mesh_shape[1] != other.mesh_shape[1]:
        got = f"{other.mesh_shape[1]} dimensions where {first.path.name} has {first.mesh_shape[1]}"
        raise refuse(where, "files of one dimension in a split", got, "separate the rooms")
    if first.mesh_shape != other.mesh_shape or not np.array_equal(first.arrays["mesh"], other.arrays["mesh"]):
        raise refuse(
            f"{where} /mesh", f"the mesh of {first.path.name}", "another one", "put each mesh in its own folder"
        )
    check_comparable(first, other)


def check_comparable(first: SourceFile, other: SourceFile) -> None:
    """Refuse what no model can be shared across: other sensors, times or physics (meshes may differ between splits)."""
    where, name = other.path, f"{first.path.parent.name}/{first.path.name}"
    sensors = first.arrays["umesh"], other.arrays["umesh"]
    if first.sensor_shape != other.sensor_shape or not np.allclose(*sensors, rtol=1e-5, atol=1e-5):
        raise refuse(f"{where} /umesh", f"the sensors of {name}", "other ones", "sample the sources on one grid")
    check_times(first, other)
    for key in first.physics.keys() | other.physics.keys():
        pair = (first.physics.get(key), other.physics.get(key))
        if None in pair or not math.isclose(*pair, rel_tol=1e-5):  # type: ignore[arg-type]
            raise refuse(where, f"{key} = {pair[0]} as in {name}", str(pair[1]), "separate the simulations")


def check_times(first: SourceFile, other: SourceFile) -> None:
    """Refuse time steps that differ by more than a thousandth of a step."""
    tolerance = 1e-3 * np.diff(first.time).min() if len(first.time) > 1 else 1e-12
    if len(first.time) == len(other.time) and np.abs(first.time - other.time).max() <= tolerance:
        return
    do = "resample one of them (t_max= cuts longer recordings)"
    expected = f"the time steps of {first.path.parent.name}/{first.path.name} ({describe(first.time)})"
    raise refuse(f"{other.path} time_steps", expected, describe(other.time), do)


def describe(time: np.ndarray) -> str:
    """Return number, step and end of a time axis."""
    step = f"{time[1] - time[0]:.4g} s apart" if len(time) > 1 else "single"
    return f"{len(time)} steps {step} up to {time[-1]:.4g} s"
