"""A data set in one NetCDF-4/HDF5 file: written whole or not at all, opened lazily, every number with its unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import h5netcdf
import h5py
import numpy as np
import xarray as xr

from sciml.artifact import atomic_file

Precision = Literal["float16", "float32"]
BLOCK_BYTES = 64 * 2**20  # what is held in memory while a lazy variable is copied or checked


def write_store(
    path: str | Path,
    dataset: xr.Dataset,
    *,
    dtype: Precision | None = None,
    compression: int | None = None,
    chunks: Mapping[str, int] | None = None,
) -> None:
    """Write `dataset` into one file, block by block: a lazy variable is never whole in memory.

    Parameters
    ----------
    dataset : every numeric variable and coordinate has ``attrs["units"]``; strings need none.
    dtype : stored precision of the floating-point data variables (coordinates keep theirs); None keeps it. A float16
        file is valid HDF5 that xarray and h5py read, but NetCDF itself knows no such type.
    compression : gzip level 0..9 with byte shuffle; None writes plain numbers.
    chunks : sizes of the HDF5 chunks by dimension; a dimension that is not named is one chunk.

    Contract: ``open_store`` gives back the same dims, attributes and values to the bit, in the stored precision.
    """
    path = Path(path)
    _check_attributes(dataset.attrs, f"{path}")
    for name, variable in dataset.variables.items():
        _check_variable(variable, f"{path} {str(name)!r}")
        _check_attributes(variable.attrs, f"{path} {str(name)!r}")
        _check_text(variable, f"{path} {str(name)!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = dtype == "float16" or any(variable.dtype == np.float16 for variable in dataset.variables.values())
    with atomic_file(path) as temporary, h5netcdf.File(temporary, "w", invalid_netcdf=halves or None) as file:
        file.dimensions = {str(name): size for name, size in dataset.sizes.items()}
        extra = [str(name) for name in dataset.coords if name not in dataset.dims]
        file.attrs.update({str(key): value for key, value in dataset.attrs.items()})
        if extra:
            file.attrs["coordinates"] = " ".join(extra)
        for name, variable in dataset.variables.items():
            stored = np.dtype(dtype) if dtype and name in dataset.data_vars and variable.dtype.kind == "f" else None
            _write_variable(file, str(name), variable, stored, _layout(variable, compression, chunks or {}))


def open_store(path: str | Path) -> xr.Dataset:
    """Open a store lazily: dims, units and attributes now, values when they are asked for.

    Close it with ``dataset.close()`` or a ``with`` block. A truncated or foreign file is a ValueError naming `path`.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: expected a NetCDF-4 file, got no file; check the path")
    try:
        with h5py.File(path, "r") as file:
            # h5netcdf leaves noise behind when it meets damage: meet it first.
            file.visititems(lambda name, item: dict(item.attrs) and None)
        # Units such as "seconds" stay units: nothing is decoded into dates.
        dates: Any = {"decode_times": False, "decode_timedelta": False}
        dataset = xr.open_dataset(path, engine="h5netcdf", cache=False, phony_dims="sort", **dates)
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"{path}: expected a complete NetCDF-4 file, got {reason}; write or copy it again") from None
    try:
        if any(str(dim).startswith("phony_dim") for dim in dataset.dims):
            raise ValueError(f"{path}: expected named dimensions, got plain HDF5 without them; convert the file first")
        for name, variable in dataset.variables.items():
            _check_variable(variable, f"{path} {str(name)!r}")
    except (ValueError, TypeError):
        dataset.close()
        raise
    return dataset


def blocks(variable: xr.Variable, max_bytes: int = BLOCK_BYTES, dim: str | None = None) -> Iterator[tuple[slice, ...]]:
    """Give the slices that cover `variable` along `dim` (the first by default) in pieces of at most `max_bytes`.

    A single entry along `dim` that is larger than that is cut along the dimensions that follow.
    """
    sizes = list(variable.shape)
    order = list(range(len(sizes)))
    if dim is not None:
        order.insert(0, order.pop(variable.dims.index(dim)))
    yield from _cut(sizes, order, variable.dtype.itemsize, max_bytes, [slice(None)] * len(sizes))


def _cut(
    sizes: list[int], order: list[int], itemsize: int, max_bytes: int, selection: list[slice]
) -> Iterator[tuple[slice, ...]]:
    if not order:
        yield tuple(selection)
        return
    axis, rest = order[0], order[1:]
    entry = max(1, itemsize * int(np.prod([sizes[i] for i in rest], dtype=np.int64)))
    if entry > max_bytes and rest:
        for i in range(sizes[axis]):
            yield from _cut(
                sizes, rest, itemsize, max_bytes, [*selection[:axis], slice(i, i + 1), *selection[axis + 1 :]]
            )
        return
    step = max(1, max_bytes // entry)
    for start in range(0, sizes[axis], step):
        yield (*selection[:axis], slice(start, min(start + step, sizes[axis])), *selection[axis + 1 :])


def _check_variable(variable: xr.Variable, where: str) -> None:
    if variable.dtype.kind in "OUST":
        return
    if variable.dtype.kind not in "iuf":
        raise TypeError(f"{where}: expected real numbers or strings, got dtype {variable.dtype}; convert the variable")
    if not isinstance(variable.attrs.get("units"), str):
        got = variable.attrs.get("units", "none")
        raise ValueError(f"{where}: expected attrs['units'] as a string, got {got}; set it ('1' for plain numbers)")


def _check_text(variable: xr.Variable, where: str) -> None:
    if variable.dtype.kind == "O" and not all(isinstance(item, str) for item in variable.values.ravel()):
        raise TypeError(f"{where}: expected numbers or strings, got other objects; convert the variable")


def _check_attributes(attributes: Mapping[Any, Any], where: str) -> None:
    for key, value in attributes.items():
        if np.asarray(value).dtype.kind not in "iufUS":
            got = f"{type(value).__name__} for {str(key)!r}"
            raise TypeError(f"{where}: expected numbers, texts or lists of them as attributes, got {got}; convert it")


def _layout(variable: xr.Variable, compression: int | None, chunks: Mapping[str, int]) -> dict[str, Any]:
    if variable.dtype.kind in "OUST" or not variable.ndim or not variable.size:
        return {}
    layout: dict[str, Any] = {}
    if compression is not None:
        layout = {"compression": "gzip", "compression_opts": compression, "shuffle": True}
    if any(dim in chunks for dim in variable.dims):
        layout["chunks"] = tuple(min(chunks.get(str(dim), size), size) for dim, size in variable.sizes.items())
    elif compression is not None:
        # One entry of the first dimension per chunk: a sample is read without its neighbours.
        layout["chunks"] = (1, *variable.shape[1:]) if variable.ndim > 1 else variable.shape
    return layout


def _write_variable(
    file: h5netcdf.File, name: str, variable: xr.Variable, dtype: np.dtype | None, layout: dict[str, Any]
) -> None:
    is_text = variable.dtype.kind in "OUST"
    stored = h5py.string_dtype() if is_text else dtype or variable.dtype
    dims = tuple(map(str, variable.dims))
    target = file.create_variable(name, dims, stored, **layout)
    target.attrs.update({str(key): value for key, value in variable.attrs.items()})
    if is_text:
        target[...] = np.asarray(variable.values, dtype=object)
        return
    for block in blocks(variable):
        values = np.asarray(variable[block].values)
        with np.errstate(over="ignore"):  # overflow is told as an error below
            narrowed = values.astype(stored)
        if np.isfinite(values).all() and not np.isfinite(narrowed).all():
            raise ValueError(f"{name!r}: expected values that fit {stored}, got {np.abs(values).max():g}; use float32")
        target[block if block else ...] = narrowed
