"""Pressures of many files as one lazy array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from sciml_datasets.formats._h5compact import open_h5, refuse


class LazyPressures(BackendArray):
    """The pressures of many files as one array (source, time, node), read and checked piece by piece."""

    def __init__(self, paths: list[Path], mesh: np.ndarray, n_times: int, stride: int, dtype: np.dtype) -> None:
        self.paths, self.mesh, self.stride, self.dtype = paths, mesh, stride, dtype
        self.shape = (len(paths), n_times, len(mesh))
        self._same_mesh = {paths[0]}

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        chosen = [np.atleast_1d(np.arange(size)[part]) for size, part in zip(self.shape, key, strict=True)]
        shape = tuple(map(len, chosen))
        _check_memory(int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize, shape)
        values = np.empty(shape, self.dtype)
        if values.size:
            for row, source in enumerate(chosen[0]):
                values[row] = self._read_file(self.paths[source], chosen[1] * self.stride, chosen[2])
        return values[tuple(0 if np.ndim(part) == 0 and not isinstance(part, slice) else slice(None) for part in key)]

    def _read_file(self, path: Path, times: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        # HDF5 reads boxes fast and scattered points slowly: read the box, then pick from it.
        step = int(times[1] - times[0]) if len(times) > 1 and (np.diff(times) == times[1] - times[0]).all() else 1
        step = max(step, 1)
        with open_h5(path) as file:
            if path not in self._same_mesh:
                if not np.array_equal(file["mesh"][()], self.mesh):
                    do = "put each mesh in its own folder"
                    raise refuse(f"{path} /mesh", f"the mesh of {self.paths[0].name}", "another one", do)
                self._same_mesh.add(path)
            box = file["pressures"][times.min() : times.max() + 1 : step, nodes.min() : nodes.max() + 1]
        if not np.isfinite(box).all():
            t, n = np.argwhere(~np.isfinite(box))[0]
            got = f"{box[t, n]} at step {times.min() + t * step}, node {nodes.min() + n}"
            raise refuse(f"{path} /pressures", "finite pressures", got, "simulate this source again or remove the file")
        rows, columns = (times - times.min()) // step, nodes - nodes.min()
        whole = box.shape == (len(rows), len(columns)) and (np.diff(rows) > 0).all() and (np.diff(columns) > 0).all()
        return box if whole else box[np.ix_(rows, columns)]


def _check_memory(n_bytes: int, shape: tuple[int, ...]) -> None:
    available = available_memory()
    if available is not None and n_bytes > available:
        raise ValueError(
            f"pressure: expected a read within the {available / 1e9:.1f} GB of free memory, got {n_bytes / 1e9:.1f} GB "
            f"for {shape}; select sources or time steps, or use batches"
        )


def available_memory() -> int | None:
    """Return the bytes that can be allocated without swapping, or None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
