"""Progress of work that reads lazy datasets, told by the bytes that are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

if TYPE_CHECKING:
    from sciml.progress import Progress


@contextmanager
def watched(
    splits: Mapping[str, xr.Dataset], progress: Progress | None, description: str
) -> Iterator[Mapping[str, xr.Dataset]]:
    """Give the same lazy datasets; every read of their data variables moves the bar of `progress` forward."""
    if progress is None:
        yield splits
        return
    total = sum(variable.nbytes for dataset in splits.values() for variable in dataset.data_vars.values())
    with progress.track(total, description) as update:
        done = 0

        def on_read(n_bytes: int) -> None:
            nonlocal done
            done = min(done + n_bytes, total)  # small variables may be read more than once
            update(done)

        yield {name: _watch(dataset, on_read) for name, dataset in splits.items()}


def _watch(dataset: xr.Dataset, on_read: Callable[[int], None]) -> xr.Dataset:
    lazy = {name: indexing.LazilyIndexedArray(_Watched(v.variable, on_read)) for name, v in dataset.data_vars.items()}
    result = dataset.assign({name: xr.Variable(dataset[name].dims, lazy[name], dataset[name].attrs) for name in lazy})
    result.set_close(dataset.close)
    return result


class _Watched(BackendArray):
    """A variable that tells how many bytes each read of it gives."""

    def __init__(self, variable: xr.Variable, on_read: Callable[[int], None]) -> None:
        self.variable, self.on_read = variable, on_read
        self.shape, self.dtype = variable.shape, variable.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        values = np.asarray(self.variable[key].values)
        self.on_read(values.nbytes)
        return values
