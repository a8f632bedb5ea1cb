"""one_core: everything on one thread inside, as it was outside."""

from __future__ import annotations

import numba
import pytest
import torch
from threadpoolctl import threadpool_info

from sciml.threads import one_core


def counts():
    return torch.get_num_threads(), numba.get_num_threads(), [pool["num_threads"] for pool in threadpool_info()]


def test_one_core_limits_every_pool_and_puts_it_back():
    before = counts()
    with one_core():
        n_torch, n_numba, pools = counts()
        assert (n_torch, n_numba, set(pools) or {1}) == (1, 1, {1})
    assert counts() == before


def test_one_core_puts_threads_back_after_an_error():
    before = counts()
    with pytest.raises(RuntimeError, match="inside"), one_core():
        raise RuntimeError("inside")
    assert counts() == before
