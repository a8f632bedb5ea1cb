"""Tiny files in the published layout, written by h5py alone, and a small labelled dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import xarray as xr

C, F_MAX = 343.0, 1000.0


def room(n_axes: int = 2, n_nodes: int = 7, n_times: int = 5, n_sensors: int = 4) -> SimpleNamespace:
    """Return what the files of one room share: mesh, sensor grid and times at two steps per period."""
    rng = np.random.default_rng(7)
    grid = np.meshgrid(*[np.linspace(0, 0.5, n_sensors)] * n_axes, indexing="ij")
    return SimpleNamespace(
        mesh=rng.uniform(0, 0.5, (n_nodes, n_axes)).astype(np.float32),
        umesh=np.stack([x.ravel() for x in grid], -1).astype(np.float32),
        shape=(n_sensors,) * n_axes,
        time=(np.arange(n_times) / (2 * F_MAX)).astype(np.float32),
        conn=np.array([[0, 1, 2], [2, 3, 4]], dtype=np.uint16),
    )


def write_file(path: Path, shared: SimpleNamespace, number: int, dtype: str = "float16") -> np.ndarray:
    """Write one source in the published layout and return its pressures as stored."""
    rng = np.random.default_rng(number + 100)
    pressures = rng.normal(size=(len(shared.time), len(shared.mesh))).astype(dtype)
    position = rng.uniform(0, 0.5, shared.mesh.shape[1]).astype(np.float32)
    sigma0 = C / (np.pi * F_MAX / 2)
    initial = np.exp(-((shared.umesh - position) ** 2).sum(-1) / sigma0**2).astype(dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("mesh", data=shared.mesh)
        file.create_dataset("conn", data=shared.conn)
        file.create_dataset("umesh", data=shared.umesh).attrs.create("umesh_shape", shared.shape, dtype=np.float32)
        file.create_dataset("upressures", data=initial)
        stored = file.create_dataset("pressures", data=pressures)
        stored.attrs.create("time_steps", shared.time, dtype=np.float32)
        stored.attrs["rho"] = np.array([1.2])
        file.create_dataset("source_position", data=position)
    return pressures


def write_room(
    folder: Path, n_sources: int = 3, shared: SimpleNamespace | None = None, **options: str
) -> list[np.ndarray]:
    """Write one split: a sub-folder per source, a rectilinear twin to be skipped, and the parameter file."""
    shared = shared or room()
    stored = [write_file(folder / f"src{i}" / f"src{i}.h5", shared, i, **options) for i in range(n_sources)]
    (folder / "src0" / "src0_rectilinear.h5").write_bytes(b"not for us")
    parameters = {"fmax": F_MAX, "c": C, "dt": 1e-5, "rho": 1.2, "sigma": C / (np.pi * F_MAX / 2)}
    parameters |= {"SourcePosition": [], "sampleRate": 2000, "dtSim": 1e-5}
    (folder / "simulation_parameters.json").write_text(json.dumps({"SimulationParameters": parameters}))
    return stored


@pytest.fixture
def published() -> SimpleNamespace:
    return SimpleNamespace(room=room, write_file=write_file, write_room=write_room)


@pytest.fixture
def labelled() -> Callable[..., xr.Dataset]:
    def build(n_samples: int = 6, seed: int = 3) -> xr.Dataset:
        rng = np.random.default_rng(seed)
        return xr.Dataset(
            {
                "pressure": (("source", "time", "node"), rng.normal(2, 3, (n_samples, 5, 4)), {"units": "Pa"}),
                "amplitude": (("source",), rng.normal(size=n_samples).astype(np.float32), {"units": "Pa"}),
                "node_position": (("node", "axis"), rng.normal(size=(4, 2)), {"units": "m"}),
            },
            coords={
                "time": ("time", np.arange(5.0), {"units": "seconds"}),
                "simulation": ("source", [f"{seed}-{i}" for i in range(n_samples)]),
            },
            attrs={"c": 343.0, "umesh_shape": [2, 3], "room": "cube"},
        )

    return build
