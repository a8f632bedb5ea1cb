"""The store as a format: one NetCDF-4 file, or a folder with one file per split (`train.nc`, `val.nc`, ...)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from sciml_datasets.store import Precision, open_store, write_store


def sniff(path: Path) -> bool:
    """Tell whether `path` is a `.nc` file or a folder that holds some."""
    return path.suffix == ".nc" if path.is_file() else any(path.glob("*.nc"))


def read(path: Path) -> dict[str, xr.Dataset]:
    """Return the lazy datasets by split; a single file is the split "all"."""
    if path.is_file():
        return {"all": open_store(path)}
    files = sorted(path.glob("*.nc"))
    if not files:
        raise ValueError(f"{path}: expected NetCDF-4 files named SPLIT.nc, got none; check the folder")
    return {file.stem: open_store(file) for file in files}


def write(splits: Mapping[str, xr.Dataset], path: Path, *, dtype: Precision | None = None) -> None:
    """Write one file for the single split "all" if `path` ends in `.nc`, else a folder with one file per split."""
    if path.suffix == ".nc":
        if len(splits) != 1:
            raise ValueError(f"{path}: expected one split for one file, got {sorted(splits)}; give a folder instead")
        write_store(path, next(iter(splits.values())), dtype=dtype)
        return
    for name, dataset in splits.items():
        write_store(path / f"{name}.nc", dataset, dtype=dtype)
