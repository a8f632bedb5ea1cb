"""Prediction on chunked data sets that are larger than memory."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any, get_args

import numpy as np
import xarray as xr

from sciml import Surrogate, load
from sciml.surrogate import Outside

N_LOADED = 4
"""Surrogates that one worker keeps loaded."""
_LOADING = threading.Lock()  # threads of one worker that start at once still load once


def predict_chunked(path: str | Path, data: xr.Dataset, *, outside: Outside = "raise") -> xr.Dataset:
    """Return the outputs of a saved surrogate, computed chunk by chunk when they are asked for or written.

    The first sample is predicted at once, for shapes, types and units.

    Parameters
    ----------
    path : folder of the surrogate; every worker loads it from there once, and the graph of tasks holds the path alone.
    data : the inputs, chunked along the batch dimension by ``data.chunk({"batch": n})``; the other dimensions are one
        chunk each. Units are converted as `predict` does.
    outside : as of `predict`; inputs outside the training domain are found when their chunk is computed.

    *Contract*: computed, whole or in parts, it equals `predict` on the whole.
    """
    try:
        import dask.array  # noqa: F401
    except ImportError as error:
        raise ImportError("chunked: expected dask, got none; pip install 'sciml-toolkit[dask]'") from error
    if outside not in get_args(Outside):
        raise ValueError(f"chunked: expected outside= one of {', '.join(get_args(Outside))}, got {outside!r}")
    place = str(Path(path).resolve())
    spec = loaded(place).spec
    batch, names = spec.batch_dim, [field.name for field in spec.inputs]
    if absent := [name for name in names if name not in data.variables]:
        raise ValueError(
            f"chunked: expected the inputs {', '.join(absent)} too, got {sorted(map(str, data.variables))}"
        )
    if batch in data.coords:  # one label for each sample is no input, and may be as long as memory
        labels, data = data[batch], data.drop_vars(batch)
    else:
        labels = None
    first = loaded(place).predict(data[names].isel({batch: slice(0, 1)}).load(), outside="allow")
    arrays = [data[name].reset_coords(drop=True) for name in names]
    sizes = {dim: n for dim, n in first.sizes.items() if dim != batch}
    found = xr.apply_ufunc(
        functools.partial(_predict, place, [dict(array.attrs) for array in arrays], outside),
        *arrays,
        input_core_dims=[[dim for dim in field.dims if dim != batch] for field in spec.inputs],
        output_core_dims=[[dim for dim in field.dims if dim != batch] for field in spec.outputs],
        dask="parallelized",
        output_dtypes=[first[field.name].dtype for field in spec.outputs],
        dask_gufunc_kwargs={"output_sizes": sizes},
    )
    outputs = found if isinstance(found, tuple) else (found,)
    variables = {
        field.name: output.transpose(*field.dims).assign_attrs(first[field.name].attrs)
        for field, output in zip(spec.outputs, outputs, strict=True)
    }
    coords = {name: coord for name, coord in first.coords.items() if batch not in coord.dims}
    answer = xr.Dataset(variables).assign_coords(coords)
    return answer if labels is None else answer.assign_coords({batch: labels})


def loaded(place: str) -> Surrogate:
    """Return the surrogate saved at the absolute path `place`, loaded once in this process while it does not change."""
    with _LOADING:
        return _load(place, (Path(place) / "manifest.json").stat().st_mtime_ns if Path(place).is_dir() else 0)


@functools.lru_cache(maxsize=N_LOADED)
def _load(place: str, changed: int) -> Surrogate:
    return load(place)


def _predict(
    place: str, attrs: list[dict[str, Any]], outside: Outside, *arrays: np.ndarray
) -> tuple[np.ndarray, ...] | np.ndarray:
    """Predict one chunk; xarray puts the batch dimension first, where there is one."""
    surrogate = loaded(place)
    batch, variables = surrogate.spec.batch_dim, {}
    for field, array, its in zip(surrogate.spec.inputs, arrays, attrs, strict=True):
        dims = [dim for dim in field.dims if dim != batch]
        variables[field.name] = ([batch, *dims] if batch in field.dims else dims, array, its)
    answer = surrogate.predict(xr.Dataset(variables), outside=outside)
    found = []
    for field in surrogate.spec.outputs:
        dims = [dim for dim in field.dims if dim != batch]
        found.append(answer[field.name].transpose(*([batch] if batch in field.dims else []), *dims).values)
    return tuple(found) if len(found) > 1 else found[0]
