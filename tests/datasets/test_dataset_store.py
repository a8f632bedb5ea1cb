"""The NetCDF-4 store: round trips, laziness, units, damage."""

from __future__ import annotations

import re

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from sciml_datasets import open_store, write_store
from sciml_datasets.store import blocks


def test_store_gives_back_the_dataset_to_the_bit(tmp_path, labelled):
    dataset = labelled()
    write_store(tmp_path / "new" / "a.nc", dataset)
    with open_store(tmp_path / "new" / "a.nc") as stored:
        assert stored.time.attrs["units"] == "seconds"
        assert stored.time.dtype == np.float64
        xr.testing.assert_identical(stored.load(), dataset)
        assert all(stored[name].dtype == dataset[name].dtype for name in dataset.variables)


def test_open_reads_no_values_until_asked(tmp_path, labelled):
    write_store(tmp_path / "a.nc", labelled())
    with open_store(tmp_path / "a.nc") as stored:
        assert not stored.pressure.variable._in_memory
        stored.pressure[2].values  # noqa: B018  a read of one sample
        assert not stored.pressure.variable._in_memory


@pytest.mark.parametrize(("dtype", "bits"), [("float16", 16), ("float32", 32)])
def test_narrow_storage_rounds_data_but_not_coordinates(tmp_path, labelled, dtype, bits):
    dataset = labelled()
    write_store(tmp_path / "a.nc", dataset, dtype=dtype, compression=4, chunks={"source": 2})
    with open_store(tmp_path / "a.nc") as stored:
        assert stored.pressure.dtype.itemsize * 8 == bits
        assert stored.time.dtype == np.float64
        assert stored.pressure.encoding["chunksizes"] == (2, 5, 4)
        np.testing.assert_array_equal(stored.pressure.values, dataset.pressure.values.astype(dtype))


def test_half_precision_data_are_stored_as_they_are(tmp_path, labelled):
    dataset = labelled()
    dataset["amplitude"] = dataset.amplitude.astype(np.float16)
    write_store(tmp_path / "a.nc", dataset)
    with open_store(tmp_path / "a.nc") as stored:
        xr.testing.assert_identical(stored.load(), dataset)
        assert stored.amplitude.dtype == np.float16


def test_packed_files_of_others_are_unpacked(tmp_path):
    packed = xr.Dataset({"t": ("x", [10.0, 12.5, np.nan], {"units": "K"})})
    encoding = {"t": {"dtype": "int16", "scale_factor": 0.5, "add_offset": 5.0, "_FillValue": -1}}
    packed.to_netcdf(tmp_path / "a.nc", engine="h5netcdf", encoding=encoding)
    with open_store(tmp_path / "a.nc") as stored:
        np.testing.assert_array_equal(stored.t.values, [10.0, 12.5, np.nan])


def test_compressed_store_keeps_one_sample_per_chunk(tmp_path, labelled):
    write_store(tmp_path / "a.nc", labelled(), compression=1)
    with h5py.File(tmp_path / "a.nc") as file:
        assert file["pressure"].chunks == (1, 5, 4)
        assert file["pressure"].shuffle


def test_write_refuses_missing_units_other_kinds_and_overflow_and_leaves_no_file(tmp_path, labelled):
    path = tmp_path / "a.nc"
    bare = labelled()
    bare.amplitude.attrs = {}
    sentence = f"{path} 'amplitude': expected attrs['units'] as a string, got none; set it ('1' for plain numbers)"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        write_store(path, bare)
    with pytest.raises(TypeError, match="expected real numbers or strings, got dtype complex128"):
        write_store(path, labelled().assign(z=("source", np.zeros(6, complex), {"units": "1"})))
    for value in (None, {"a": 1}, True):
        with pytest.raises(TypeError, match=r"a.nc: expected numbers, texts or lists of them .*, got .* for 'k'"):
            write_store(path, labelled().assign_attrs(k=value))
    with pytest.raises(TypeError, match=r"'mixed': expected numbers or strings, got other objects"):
        write_store(path, labelled().assign(mixed=("source", np.array([1, "a", None] * 2, dtype=object))))
    loud = labelled()
    loud["amplitude"] = loud.amplitude * np.float32(1e9)
    loud.amplitude.attrs["units"] = "Pa"
    with pytest.raises(ValueError, match=r"'amplitude': expected values that fit float16, got .*; use float32"):
        write_store(path, loud, dtype="float16")
    assert not list(tmp_path.iterdir())


def test_truncated_foreign_and_missing_files_are_refused_by_name(tmp_path, labelled):
    path = tmp_path / "a.nc"
    write_store(path, labelled())
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:10], b"", b"time,pressure\n0,1\n"):
        path.write_bytes(damaged)
        with pytest.raises(
            ValueError, match=f"^{re.escape(str(path))}: expected a complete NetCDF-4 file, got .*again$"
        ):
            open_store(path)
    with h5py.File(path, "w") as file:
        file["x"] = [1.0, 2.0]
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: expected named dimensions, got plain HDF5"):
        open_store(path)
    with pytest.raises(ValueError, match="expected a NetCDF-4 file, got no file"):
        open_store(tmp_path / "absent.nc")


def test_a_store_can_be_rewritten_from_its_own_lazy_data(tmp_path, labelled):
    path = tmp_path / "a.nc"
    write_store(path, labelled())
    with open_store(path) as stored:
        write_store(path, stored.isel(source=slice(0, 2)))
    with open_store(path) as stored:
        xr.testing.assert_identical(stored.load(), labelled().isel(source=slice(0, 2)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=0, max_size=3), st.integers(8, 500), st.integers(0, 2))
def test_blocks_cover_every_number_once_within_the_limit(shape, max_bytes, axis):
    dims = tuple("abc"[: len(shape)])
    variable = xr.Variable(dims, np.zeros(shape))
    seen = np.zeros(shape, int)
    for block in blocks(variable, max_bytes, dim=dims[axis] if axis < len(shape) else None):
        assert variable[block].nbytes <= max(max_bytes, 8)
        seen[block] += 1
    assert (seen == 1).all()
