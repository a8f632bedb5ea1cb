"""Deliberate use of threads by experiments; solvers and networks themselves never set them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_core() -> Iterator[None]:
    """Run torch, numba and the linear algebra of NumPy and SciPy on one thread inside the block.

    Matrices of a few hundred rows gain little from a second thread, and lose much where other work runs beside them.
    """
    n_torch, numba = torch.get_num_threads(), sys.modules.get("numba")
    n_numba = numba.get_num_threads() if numba else 1
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            if numba:
                numba.set_num_threads(1)
            yield
    finally:
        torch.set_num_threads(n_torch)
        if numba:
            numba.set_num_threads(n_numba)
