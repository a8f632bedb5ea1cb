"""Streaming statistics against NumPy, and the map and its inverse in xarray and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sciml_datasets import Normalization, normalize, open_store, split_exactly, store, write_store


def test_statistics_are_those_of_the_training_split_alone(tmp_path, labelled):
    dataset = labelled(40)
    write_store(tmp_path / "a.nc", dataset)
    train = split_exactly(dataset.simulation.values, {"train": 25, "test": 15}, 4)["train"]
    with open_store(tmp_path / "a.nc") as stored:
        fitted = Normalization.fit(stored.isel(source=train), ["pressure"], ["source", "time"])
    values = dataset.pressure.values[train]
    moments = fitted.moments["pressure"]
    assert moments.mean.shape == (1, 1, 4)
    assert moments.unit == "Pa"
    np.testing.assert_allclose(moments.mean, values.mean((0, 1), keepdims=True), rtol=1e-13)
    np.testing.assert_allclose(moments.scale, values.std((0, 1), keepdims=True), rtol=1e-13)
    assert not np.allclose(moments.mean, dataset.pressure.values.mean((0, 1), keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("dims", [["source"], ["time"], ["node", "source"], ["source", "time", "node"]])
def test_statistics_do_not_depend_on_blocks_or_parts(labelled, monkeypatch, dims):
    dataset = labelled(11)
    axes = tuple(i for i, dim in enumerate(dataset.pressure.dims) if dim in dims)
    values = dataset.pressure.values
    monkeypatch.setattr(normalize, "blocks", lambda variable: store.blocks(variable, 40))
    parts = [dataset] if "source" not in dims else [dataset.isel(source=slice(i, i + 4)) for i in (0, 4, 8)]
    moments = Normalization.fit(iter(parts), ["pressure"], dims).moments["pressure"]
    np.testing.assert_allclose(moments.mean, values.mean(axes, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(moments.scale, values.std(axes, keepdims=True), rtol=1e-12)


def test_variance_survives_a_large_mean():
    values = 1e8 + np.random.default_rng(5).normal(size=4000)
    data = xr.Dataset({"p": ("batch", values, {"units": "Pa"})})
    moments = Normalization.fit([data[{"batch": slice(i, i + 100)}] for i in range(0, 4000, 100)], ["p"], ["batch"])
    np.testing.assert_allclose(moments.moments["p"].scale, values.std(), rtol=1e-8)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float64, (4, 3), elements=st.floats(-1e6, 1e6)))
def test_invert_of_apply_is_the_identity_up_to_rounding(values):
    data = xr.Dataset({"p": (("batch", "node"), values, {"units": "Pa", "long_name": "pressure"})})
    fitted = Normalization.fit(data, ["p"], ["batch"])
    scaled = fitted.apply(data)
    assert scaled.p.attrs["units"] == "1"
    back = fitted.invert(scaled)
    np.testing.assert_allclose(back.p.values, values, rtol=0, atol=8e-16 * (1 + np.abs(values).max()) * 4)
    assert back.p.attrs == data.p.attrs
    tensors = {"p": torch.from_numpy(values), "other": torch.ones(1)}
    got = fitted.apply(tensors)
    assert torch.equal(got["p"], torch.from_numpy(scaled.p.values))
    assert got["other"] is tensors["other"]
    assert torch.equal(fitted.invert(got)["p"], torch.from_numpy(back.p.values))


def test_a_constant_is_centred_not_scaled_and_comes_back_exactly():
    values = np.full((5, 2), 0.1)
    values[:, 1] = [0, 1, 2, 3, 4]
    data = xr.Dataset({"p": (("batch", "node"), values, {"units": "m"})})
    fitted = Normalization.fit(data, ["p"], ["batch"])
    assert fitted.moments["p"].scale[0, 0] == 1
    assert fitted.moments["p"].scale[0, 1] == pytest.approx(np.sqrt(2))
    assert (fitted.apply(data).p.values[:, 0] == 0).all()
    np.testing.assert_array_equal(fitted.invert(fitted.apply(data)).p.values[:, 0], values[:, 0])


def test_apply_converts_units_transposes_nothing_and_mutates_nothing(labelled):
    dataset = labelled()
    before = dataset.copy(deep=True)
    fitted = Normalization.fit(dataset, ["pressure", "amplitude"], ["source", "time", "node"])
    kilo = dataset.copy(deep=True)
    kilo["pressure"] = (dataset.pressure / 1000).transpose("node", "source", "time").assign_attrs(units="kPa")
    np.testing.assert_allclose(
        fitted.apply(kilo).pressure.transpose("source", "time", "node").values, fitted.apply(dataset).pressure.values
    )
    xr.testing.assert_identical(dataset, before)
    kilo.pressure.attrs["units"] = "m"
    with pytest.raises(ValueError, match="normalization 'pressure': expected a unit of the kind 'Pa', got 'm'"):
        fitted.apply(kilo)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [("float16", "float32"), ("float32", "float32"), ("float64", "float64"), ("int32", "float64")],
)
def test_precision_stays_but_for_halves_and_integers(given_, expected):
    values = np.arange(6).reshape(3, 2).astype(given_)
    data = xr.Dataset({"p": (("batch", "node"), values, {"units": "1"})})
    fitted = Normalization.fit(data, ["p"], ["batch"])
    assert fitted.apply(data).p.dtype == expected
    assert fitted.apply({"p": torch.from_numpy(values)})["p"].dtype == getattr(torch, expected)


def test_saved_statistics_are_equal_to_the_bit(tmp_path, labelled):
    dataset = labelled()
    fitted = Normalization.fit(dataset, ["pressure", "amplitude"], ["source"])
    fitted.save(tmp_path / "n.json")
    loaded = Normalization.load(tmp_path / "n.json")
    xr.testing.assert_identical(loaded.apply(dataset), fitted.apply(dataset))
    assert loaded.to_json() == fitted.to_json()
    (tmp_path / "n.json").write_text('{"p": {"mean": 1}}')
    with pytest.raises(ValueError, match=r"n.json: expected statistics written by save, got .*; fit and save again"):
        Normalization.load(tmp_path / "n.json")


def test_bad_data_are_refused(labelled):
    dataset = labelled()
    with pytest.raises(ValueError, match="fit: expected the variable 'velocity', got"):
        Normalization.fit(dataset, ["velocity"], ["source"])
    with pytest.raises(ValueError, match="fit 'node_position': expected one of the dims"):
        Normalization.fit(dataset, ["node_position"], ["source"])
    with pytest.raises(ValueError, match="expected at least one sample"):
        Normalization.fit([], ["pressure"], ["source"])
    with pytest.raises(ValueError, match="fit 'pressure': expected at least one sample, got none"):
        Normalization.fit(dataset.isel(source=[]), ["pressure"], ["source"])
    with pytest.raises(ValueError, match="fit 'pressure': expected parts with"):
        Normalization.fit([dataset, dataset.isel(node=[0])], ["pressure"], ["source"])
    fitted = Normalization.fit(dataset, ["pressure"], ["source"])
    with pytest.raises(ValueError, match=r"normalization: expected some of \['pressure'\], got"):
        fitted.apply({"velocity": torch.ones(2)})
    with pytest.raises(ValueError, match="normalization 'pressure': expected axes"):
        fitted.apply({"pressure": torch.ones(2, 5, 3)})
    dataset.pressure[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="fit 'pressure': expected finite numbers, got NaN or infinity"):
        Normalization.fit(dataset, ["pressure"], ["source"])
