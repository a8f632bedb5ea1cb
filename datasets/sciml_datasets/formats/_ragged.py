"""What layouts of many sets of nodes share: splits by the ending of a name, and one lazy axis over all nodes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from sciml_datasets.formats._h5compact import refuse

SPLITS = ("train", "val", "test")


def split_of(path: Path) -> str:
    """Return the split that a name ends in, `name_train.hdf5`, or "all"."""
    ending = re.split(r"[_\-.]", path.stem.lower())[-1]
    return ending if ending in SPLITS else "all"


def split_files(path: Path, endings: tuple[str, ...], *, but: str = "\n") -> dict[str, Path]:
    """Return the file of each split: `path` itself, or the folder's files with these endings, none named `but`*."""
    if path.is_file():
        return {split_of(path): path}
    found: dict[str, Path] = {}
    for file in sorted(file for file in path.glob("*") if file.suffix in endings and not file.name.startswith(but)):
        split = split_of(file)
        if split in found:
            got = f"{found[split].name} and {file.name}"
            raise refuse(
                path, f"one file for the split {split!r}", got, "give one of the files, or sort them in folders"
            )
        found[split] = file
    if not found:
        raise refuse(path, f"files ending in {' or '.join(endings)}", "none", "check the path")
    return {name: found[name] for name in (*SPLITS, "all") if name in found}


class LazyNodes(BackendArray):
    """The nodes of many sets, one after the other along the first axis, read set by set.

    `sizes` (set,) are the numbers of nodes; `read(i)` gives the rows of one set, of the shape and type of `row`.
    """

    def __init__(self, sizes: NDArray[np.int64], read: Callable[[int], NDArray], row: NDArray) -> None:
        self.start = np.concatenate([[0], np.cumsum(sizes)])
        self.read, self.dtype = read, row.dtype
        self.shape = (int(self.start[-1]), *row.shape)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        first, rest = key[0], key[1:]
        nodes = np.atleast_1d(np.arange(self.shape[0])[first])
        home = np.searchsorted(self.start, nodes, side="right") - 1
        values = np.empty((len(nodes), *self.shape[1:]), self.dtype)
        for i in np.unique(home):
            values[home == i] = self.read(int(i))[nodes[home == i] - self.start[i]]
        picked = values[(slice(None), *rest)]
        return picked if isinstance(first, slice) or np.ndim(first) else picked[0]
