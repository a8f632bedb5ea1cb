"""Deliberate use of threads by experiments; solvers and networks themselves never set them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numba
import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_core() -> Iterator[None]:
    """Run torch, numba and the linear algebra of NumPy and SciPy on one thread inside the block.

    Matrices of a few hundred rows gain little from a second thread, and lose much where other work runs beside them.
    """
    n_torch, n_numba = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            numba.set_num_threads(1)
            yield
    finally:
        torch.set_num_threads(n_torch)
        numba.set_num_threads(n_numba)
