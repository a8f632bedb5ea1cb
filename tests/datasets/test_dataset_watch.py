"""Progress by bytes read: the data stay the same, the bar ends at the total."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import xarray as xr
from sciml_datasets import write_store
from sciml_datasets.formats import check_data
from sciml_datasets.watch import watched


class Recorder:
    """Stands for the progress display and keeps what it is told."""

    def __init__(self):
        self.total, self.seen = None, []

    @contextmanager
    def track(self, total, description, *, start=0):
        self.total = total
        yield lambda done, note="": self.seen.append(done)


def test_watched_data_are_the_same_and_reads_add_up_to_the_total(labelled):
    recorder, dataset = Recorder(), labelled()
    with watched({"train": dataset}, recorder, "copy") as followed:
        np.testing.assert_array_equal(followed["train"].pressure[2, ::2].values, dataset.pressure.values[2, ::2])
        assert recorder.seen == [3 * 4 * 8]
        xr.testing.assert_identical(followed["train"].load(), dataset)
    assert recorder.seen == sorted(recorder.seen)
    assert recorder.seen[-1] == recorder.total == sum(v.nbytes for v in dataset.data_vars.values())


def test_a_check_reads_everything_once(tmp_path, labelled):
    recorder = Recorder()
    write_store(tmp_path / "train.nc", labelled())
    assert check_data(tmp_path, recorder) == []
    assert recorder.seen[-1] == recorder.total
    assert len(recorder.seen) == 3
