"""Compile loops for the CPU: once for all cores, once for one, cached where the file system allows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from torch import Tensor

# Cells below which starting the threads costs more than they save.
PARALLEL_FROM = 16384


def compiled(function: Callable[..., Any], contract: bool = True) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the serial and the parallel form of a function whose outer loop is a `numba.prange`.

    Products and sums may be contracted, nothing else is reordered: both forms give the same bits on any number of
    threads; without `contract` they give the bits of plain torch. Nothing is compiled before the first call.
    """
    return _njit(function, False, contract), _njit(function, True, contract)


def arrays(*tensors: Tensor) -> list[Any]:
    """Return tensors on the CPU as arrays in C order."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _njit(function: Callable[..., Any], parallel: bool, contract: bool) -> Callable[..., Any]:
    fast: Any = {"contract"} if contract else False
    options: dict[str, Any] = {"parallel": parallel, "fastmath": fast, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to cache in, as in a read-only installation without NUMBA_CACHE_DIR
        return numba.njit(**options)(function)
