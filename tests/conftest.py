"""One thread per worker, a cache that is thrown away, and nothing seeded behind a test's back."""

from __future__ import annotations

import os

import pytest

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before any of the libraries reads it


@pytest.fixture(autouse=True, scope="session")
def one_thread_per_worker():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def throw_away_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SCIML_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
