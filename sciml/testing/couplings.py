"""Whether another way of calling a surrogate gives what Python gives and refuses what Python refuses."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import xarray as xr

from sciml.surrogate import Surrogate
from sciml.testing.checks import Check, require, require_refusal, verify
from sciml.testing.inputs import example_inputs

Arrays = dict[str, np.ndarray]
Call = Callable[[Arrays], Mapping[str, np.ndarray]]
GROWTH = 4 * 2**20  # bytes that caches and the allocator may take, whatever the number of calls


def check_coupling(
    surrogate: Surrogate,
    call: Call,
    *,
    n_samples: int = 3,
    n_calls: int = 10_000,
    tolerance: float = 1e-5,
    sizes: Mapping[str, int] | None = None,
) -> list[Check]:
    """Try every sentence of what a coupling promises.

    Parameters
    ----------
    surrogate : what is called, in Python.
    call : the other way: arrays by input name, in the spec's order and units, to outputs by name; a ValueError where it
        refuses. It is called from eight threads at once.
    n_samples : largest batch that the other way takes.
    n_calls : after which memory must be as before.
    tolerance : of an output, relative to its largest number.
    sizes : of other dimensions, see :func:`example_inputs`.
    """
    data = example_inputs(surrogate.spec, n_samples, 2017, surrogate.domain, sizes)
    given = {field.name: data[field.name].values for field in surrogate.spec.inputs}
    return verify(
        {
            "the answers are those of Python": lambda: _parity(surrogate, call, data, given, tolerance),
            "wrong ranks and sizes are refused": lambda: _shapes(surrogate, call, given),
            "NaN and infinity are refused": lambda: _not_finite(call, given),
            "inputs out of range are refused": lambda: _out_of_range(surrogate, call, given),
            f"{n_calls} calls leave memory as it was": lambda: _memory(call, given, n_calls),
            "eight threads get what one gets": lambda: _threads(call, given),
        }
    )


def _parity(surrogate: Surrogate, call: Call, data: xr.Dataset, given: Arrays, tolerance: float) -> str:
    before, worst = {name: array.copy() for name, array in given.items()}, 0.0
    found, wanted = call(given), surrogate.predict(data)
    for name in (field.name for field in surrogate.spec.outputs):
        a, b = np.asarray(found[name], dtype=float), wanted[name].values.astype(float)
        require(a.shape == b.shape, f"{name!r}: expected shape {b.shape}, got {a.shape}")
        require(np.array_equal(np.isnan(a), np.isnan(b)), f"{name!r}: expected NaN in the same places")
        gap, scale = np.nanmax(np.abs(a - b), initial=0.0), np.nanmax(np.abs(b), initial=0.0)
        require(gap <= tolerance * scale, f"{name!r}: expected a difference <= {tolerance * scale:.2e}, got {gap:.2e}")
        worst = max(worst, gap / scale if scale else 0.0)
    changed = [name for name, array in given.items() if not np.array_equal(array, before[name])]
    require(not changed, f"expected inputs left unchanged, got other {', '.join(changed)}")
    return f"largest relative difference {worst:.1e}"


def _shapes(surrogate: Surrogate, call: Call, given: Arrays) -> str:
    batch, n_tried = surrogate.spec.batch_dim, 0
    for field in surrogate.spec.inputs:
        array = given[field.name]
        wrong = [array[..., None].repeat(2, -1)]
        if batch in field.dims and sum(batch in other.dims for other in surrogate.spec.inputs) > 1:
            axis = field.dims.index(batch)
            wrong.append(np.concatenate([array, array.take([0], axis)], axis))  # one sample more than its sisters
        if field.dims and field.bounds is not None and field.bounds.n_dims > 1:
            wrong.append(np.concatenate([array, array[..., :1]], -1))  # a component too many
        for bad in wrong:
            require_refusal(lambda bad=bad, field=field: call({**given, field.name: bad}))  # type: ignore[misc]
            n_tried += 1
    return f"{n_tried} tried"


def _not_finite(call: Call, given: Arrays) -> None:
    for name, array in given.items():
        for value in (np.nan, np.inf, -np.inf):
            bad = array.copy()
            bad.flat[-1] = value
            require_refusal(lambda bad=bad, name=name: call({**given, name: bad}))  # type: ignore[misc]


def _out_of_range(surrogate: Surrogate, call: Call, given: Arrays) -> str:
    n_tried = 0
    for field in surrogate.spec.inputs:
        for region in (surrogate.domain.get(field.name), field.bounds):
            low, high = (np.array(corner) for corner in region.bounding_box) if region else (np.zeros(1), np.zeros(1))
            if region is None or not np.isfinite(high).any():
                continue
            beyond = np.where(np.isfinite(high), high + np.where(np.isfinite(low), high - low, 1.0) + 1e-3, 1.0)
            bad = given[field.name].copy()
            bad[...] = beyond if region.n_dims > 1 else beyond[0]
            require_refusal(lambda bad=bad, field=field: call({**given, field.name: bad}))  # type: ignore[misc]
            n_tried += 1
    return f"{n_tried} tried" if n_tried else "no range is known"


def _memory(call: Call, given: Arrays, n_calls: int) -> str:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return "not measured: this system does not tell the memory of a process"

    def after(n: int) -> int:
        for _ in range(n):
            call(given)
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = after(max(20, n_calls // 10))
    growth = after(n_calls) - before
    require(growth <= GROWTH, f"expected at most {GROWTH} bytes more, got {growth}")
    return f"{growth} bytes more"


def _threads(call: Call, given: Arrays) -> None:
    alone = call(given)
    with ThreadPoolExecutor(8) as pool:
        answers = [future.result() for future in [pool.submit(call, given) for _ in range(64)]]
    for answer in answers:
        for name, array in alone.items():
            require(np.array_equal(answer[name], array, equal_nan=True), f"{name!r}: expected equal bits, got others")
