"""Deliberate use of threads by experiments; solvers and networks themselves never set them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_core() -> Iterator[None]:
    """Run torch and the linear algebra of NumPy and SciPy on one thread inside the block.

    Matrices of a few hundred rows gain little from a second thread, and lose much where other work runs beside them.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(n_threads)
