"""Batches of tensors from a lazy dataset, read ahead in a background thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import xarray as xr


def batches(
    dataset: xr.Dataset,
    batch_size: int,
    *,
    batch_dim: str = "batch",
    seed: int,
    epoch: int = 0,
    shuffle: bool = True,
    prefetch: int = 2,
    drop_last: bool = False,
) -> Iterator[dict[str, torch.Tensor]]:
    """Return one epoch of batches: every numeric data variable that has `batch_dim`, which comes first.

    Parameters
    ----------
    dataset : lazy or not; only the samples of a batch are read.
    batch_size : number of samples; the last batch may be smaller unless `drop_last`.
    seed, epoch : fix the order of the samples.
    prefetch : batches read ahead in a background thread; 0 reads in the caller's thread.

    Contract: equal (seed, epoch) give equal batches whatever `prefetch` is; without `drop_last` an epoch holds every
    sample once. Within a batch the samples are in their stored order, since HDF5 reads forwards faster. An error while
    reading is raised in the caller; closing or dropping the iterator ends the thread.

    >>> data = xr.Dataset({"x": ("batch", np.arange(4.0), {"units": "m"})})
    >>> [b["x"].tolist() for b in batches(data, 2, seed=3, shuffle=False)]
    [[0.0, 1.0], [2.0, 3.0]]
    """
    if batch_dim not in dataset.dims:
        raise ValueError(f"batches: expected the dimension {batch_dim!r}, got {tuple(dataset.dims)}; set batch_dim")
    if batch_size < 1 or prefetch < 0:
        raise ValueError(f"batches: expected batch_size >= 1 and prefetch >= 0, got {batch_size} and {prefetch}")
    names = [name for name, v in dataset.data_vars.items() if batch_dim in v.dims and v.dtype.kind in "iufb"]
    if not names:
        raise ValueError(f"batches: expected a numeric variable along {batch_dim!r}, got none; have {list(dataset)}")
    n_samples = dataset.sizes[batch_dim]
    order = np.random.default_rng([seed, epoch]).permutation(n_samples) if shuffle else np.arange(n_samples)
    end = n_samples - n_samples % batch_size if drop_last else n_samples
    reader = _read(dataset[names], batch_dim, [np.sort(order[i : i + batch_size]) for i in range(0, end, batch_size)])
    return _ahead(reader, prefetch) if prefetch else reader


def _read(dataset: xr.Dataset, batch_dim: str, indices: list[np.ndarray]) -> Iterator[dict[str, torch.Tensor]]:
    dataset = dataset.reset_coords(drop=True).drop_vars(list(dataset.coords), errors="ignore")
    for index in indices:
        contiguous = index[-1] - index[0] + 1 == len(index)
        samples = dataset.isel({batch_dim: slice(index[0], index[-1] + 1) if contiguous else index})
        yield {str(name): _tensor(array.transpose(batch_dim, ...).values) for name, array in samples.items()}


def _tensor(values: np.ndarray) -> torch.Tensor:
    # A copy: the tensor is writable and the caller's dataset is never changed through it.
    return torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("="), order="C"))


def _ahead(source: Iterator[Any], depth: int) -> Iterator[Any]:
    """Give the items of `source`, at most `depth` of them computed ahead."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def fill() -> None:
        try:
            for item in source:
                ready.put(("item", item))
                if stop.is_set():
                    return
            ready.put(("end", None))
        except BaseException as error:  # whatever it is, the caller must see it
            ready.put(("error", error))

    thread = threading.Thread(target=fill, name="sciml-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        stop.set()
        while thread.is_alive():
            _drain(ready)  # room for the item that the thread may be waiting to hand over
            thread.join(0.005)


def _drain(ready: queue.Queue[tuple[str, Any]]) -> None:
    while True:
        try:
            ready.get_nowait()
        except queue.Empty:
            return
