"""Batches: complete, deterministic, read ahead in a thread that ends."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
import torch
import xarray as xr
from sciml_datasets import batches, loader, open_store, write_store


def numbered(n_samples: int = 23) -> xr.Dataset:
    values = np.arange(n_samples * 3.0).reshape(n_samples, 3)
    return xr.Dataset(
        {
            "x": (("node", "batch"), values.T, {"units": "m"}),
            "half": ("batch", values[:, 0].astype(np.float16), {"units": "m"}),
            "fixed": ("node", np.ones(3), {"units": "m"}),
            "label": ("batch", [f"s{i}" for i in range(n_samples)]),
        }
    )


def prefetching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sciml-prefetch"]


@pytest.mark.parametrize("prefetch", [0, 1, 5])
def test_an_epoch_holds_every_sample_once_batch_first(prefetch):
    got = list(batches(numbered(), 5, seed=3, prefetch=prefetch))
    assert [len(batch["x"]) for batch in got] == [5, 5, 5, 5, 3]
    assert set(got[0]) == {"x", "half"}
    assert got[0]["half"].dtype == torch.float16
    rows = torch.cat([batch["x"] for batch in got])
    assert torch.equal(rows[rows[:, 0].argsort()], torch.from_numpy(numbered().x.values.T))
    assert len(list(batches(numbered(), 5, seed=3, prefetch=prefetch, drop_last=True))) == 4
    assert list(batches(numbered(4), 5, seed=3, prefetch=prefetch, drop_last=True)) == []


def test_batches_are_fixed_by_seed_and_epoch_whatever_is_read_ahead():
    def order(**options):
        return torch.cat([batch["x"][:, 0] for batch in batches(numbered(), 4, **options)]).tolist()

    reference = order(seed=3, epoch=2)
    assert order(seed=3, epoch=2, prefetch=0) == reference == order(seed=3, epoch=2, prefetch=7)
    assert len({tuple(reference), tuple(order(seed=3, epoch=3)), tuple(order(seed=2, epoch=3))}) == 3
    assert order(seed=3, shuffle=False) == sorted(reference)


def test_store_is_read_forwards_within_a_batch(tmp_path):
    write_store(tmp_path / "a.nc", numbered())
    with open_store(tmp_path / "a.nc") as stored:
        for batch in batches(stored, 6, seed=5):
            assert (batch["x"][:, 0].diff() > 0).all()


def test_tensors_do_not_share_memory_with_the_dataset():
    dataset = numbered()
    for batch in batches(dataset, 23, seed=3, shuffle=False):
        batch["x"] += 1
        batch["half"] += 1
    xr.testing.assert_identical(dataset, numbered())


class Failing:
    """An array of samples whose later ones cannot be read."""

    def __init__(self, error):
        self.error, self.read = error, []

    def __iter__(self):
        for i in range(50):
            if i == 3:
                raise self.error
            self.read.append(i)
            yield i


def test_an_error_in_the_thread_reaches_the_caller_after_the_good_items():
    got = []
    with pytest.raises(OSError, match="disk gone"):
        got.extend(loader._ahead(iter(Failing(OSError("disk gone"))), 2))
    assert not prefetching()
    items = loader._ahead(iter(Failing(OSError("disk gone"))), 2)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="disk gone"):
        next(items)


def test_a_damaged_sample_is_an_error_in_the_caller(tmp_path, published):
    from sciml_datasets.formats import deeponet_acoustics

    published.write_room(tmp_path)
    dataset = deeponet_acoustics.read(tmp_path)["all"]
    (tmp_path / "src2" / "src2.h5").write_bytes(b"")
    with pytest.raises(ValueError, match=r"src2.h5: expected a complete HDF5 file"):
        list(batches(dataset, 1, batch_dim="source", seed=3))


def test_the_queue_is_bounded_and_the_thread_ends_when_the_iterator_is_closed_or_dropped():
    source = Failing(None)
    read = threading.Semaphore(0)

    def slow():
        for i in range(50):
            source.read.append(i)
            read.release()
            yield i

    items = loader._ahead(slow(), 2)
    assert next(items) == 0
    for _ in range(4):  # one given, two waiting, one in the hand of the thread
        assert read.acquire(timeout=30)
    assert not read.acquire(timeout=0.05)
    assert len(source.read) == 4
    items.close()
    assert not prefetching()
    items = batches(numbered(), 2, seed=3)
    next(items)
    assert len(prefetching()) == 1
    del items
    gc.collect()
    assert not prefetching()


def test_bad_requests_are_refused_at_the_call():
    with pytest.raises(ValueError, match=r"batches: expected the dimension 'source', got .*; set batch_dim"):
        batches(numbered(), 2, batch_dim="source", seed=3)
    with pytest.raises(ValueError, match="batches: expected batch_size >= 1 and prefetch >= 0, got 0 and 2"):
        batches(numbered(), 0, seed=3)
    with pytest.raises(ValueError, match="batches: expected a numeric variable along 'batch', got none"):
        batches(numbered()[["label"]], 2, seed=3)
