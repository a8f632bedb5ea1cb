"""Layouts of files that users hold, by name; a format is a module that offers the three functions of `Format`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import xarray as xr

from sciml_datasets.formats import cosmobench_clouds, cosmobench_trees, deeponet_acoustics, netcdf
from sciml_datasets.store import Precision, blocks
from sciml_datasets.watch import watched

if TYPE_CHECKING:
    from sciml.progress import Progress


class Format(Protocol):
    """What a format offers: recognise, read and write splits of labelled data with units."""

    def sniff(self, path: Path) -> bool:
        """Tell whether `path` looks like this layout, without raising."""

    def read(self, path: Path) -> dict[str, xr.Dataset]:
        """Return lazy datasets by split; a path without splits gives the single split "all"."""

    def write(self, splits: Mapping[str, xr.Dataset], path: Path, *, dtype: Precision | None = None) -> None:
        """Write the splits into the new path, floating-point data in the precision `dtype` (None: as they are)."""


FORMATS: dict[str, Format] = {
    "netcdf": netcdf,
    "cosmobench_clouds": cosmobench_clouds,  # it looks into a file, the last one only at names
    "cosmobench_trees": cosmobench_trees,
    "deeponet_acoustics": deeponet_acoustics,
}


def find_format(path: str | Path) -> str:
    """Return the name of the format that recognises `path`."""
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: expected a file or folder, got nothing there; check the path")
    for name, module in FORMATS.items():
        if module.sniff(path):
            return name
    raise ValueError(f"{path}: expected one of the formats {sorted(FORMATS)}, got none of them; check the folder")


def check_data(path: str | Path, progress: Progress | None = None) -> list[str]:
    """Read all of `path`, block by block, and return what is wrong with it: nothing, or one sentence per problem."""
    try:
        splits = FORMATS[find_format(path)].read(Path(path))
    except ValueError as error:
        return [str(error)]
    problems = []
    with watched(splits, progress, f"check {path}") as followed:
        for split, dataset in followed.items():
            for name, variable in dataset.variables.items():
                try:
                    _check_finite(variable, f"{path} {split} {str(name)!r}")
                except ValueError as error:
                    problems.append(str(error))
            dataset.close()
    return problems


def _check_finite(variable: xr.Variable, where: str) -> None:
    if variable.dtype.kind != "f":
        return
    for block in blocks(variable):
        if not np.isfinite(variable[block].values).all():
            raise ValueError(f"{where}: expected finite numbers, got NaN or infinity; compute it again")
