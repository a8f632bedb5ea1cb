"""Chunked prediction equals prediction on the whole, loads once and holds one chunk at a time."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from small_surrogates import Spring, perceptron, spring, spring_inputs

from sciml.testing import example_inputs

dask = pytest.importorskip("dask", reason="needs the extra dask")
from sciml_couplings import chunked  # noqa: E402
from sciml_couplings.chunked import predict_chunked  # noqa: E402


@pytest.fixture
def saved(tmp_path):
    spring().save(tmp_path / "spring")
    return tmp_path / "spring"


def test_chunks_give_what_predict_gives_in_any_unit(saved):
    data = spring_inputs(25).assign_coords(batch=np.arange(100, 125))
    data = data.assign(position=(data["position"] * 100).assign_attrs(units="cm"))
    answer = predict_chunked(saved, data.chunk({"batch": 7}))
    assert all(array.chunks is not None for array in answer.data_vars.values())
    wanted = spring().predict(data)
    xr.testing.assert_allclose(answer.compute(), wanted, rtol=1e-14)
    assert answer["force"].attrs == wanted["force"].attrs


def test_shared_inputs_and_coordinates_reach_every_chunk(tmp_path):
    perceptron().save(tmp_path / "perceptron")
    data = example_inputs(perceptron().spec, 9, 71, perceptron().domain, {"query": 4})
    answer = predict_chunked(tmp_path / "perceptron", data.chunk({"batch": 2})).compute()
    wanted = perceptron().predict(data)
    np.testing.assert_allclose(answer["value"], wanted["value"], rtol=1e-5, atol=1e-6)
    xr.testing.assert_equal(answer["query"], wanted["query"])


@pytest.mark.parametrize("kind", ["netcdf", "zarr"])
def test_predictions_are_written_without_being_held(saved, tmp_path, kind, monkeypatch):
    n, largest = 2000, []
    predict = Spring.forward

    def forward(self, position, stiffness):
        largest.append(len(position))
        return predict(self, position, stiffness)

    monkeypatch.setattr(Spring, "forward", forward)
    source, target = tmp_path / f"in.{kind}", tmp_path / f"out.{kind}"
    data = spring_inputs(n)
    if kind == "zarr":
        pytest.importorskip("zarr", reason="needs the extra dask")
        data.chunk({"batch": 250}).to_zarr(source, zarr_format=2)
        predict_chunked(saved, xr.open_zarr(source)).to_zarr(target, zarr_format=2)
        found = xr.open_zarr(target).load()
    else:
        data.to_netcdf(source, engine="h5netcdf")
        with xr.open_dataset(source, engine="h5netcdf", chunks={"batch": 250}) as lazy:
            predict_chunked(saved, lazy).to_netcdf(target, engine="h5netcdf")
        found = xr.load_dataset(target, engine="h5netcdf")
    assert max(largest) == 250
    wanted = spring().predict(data)
    for name in ("energy", "force", "force_std"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-14)
        assert found[name].attrs["units"] == wanted[name].attrs["units"]


def test_the_surrogate_is_loaded_once_and_again_when_it_changes(saved, monkeypatch):
    n_loads = []
    original = chunked.load
    monkeypatch.setattr(chunked, "load", lambda place: n_loads.append(place) or original(place))
    chunked._load.cache_clear()
    answer = predict_chunked(saved, spring_inputs(64).chunk({"batch": 1}))
    with dask.config.set(scheduler="threads", num_workers=4):
        answer.compute()
    assert n_loads == [str(saved)]
    for part in saved.iterdir():
        part.unlink()
    saved.rmdir()
    spring(hardening=2.0).save(saved)
    again = predict_chunked(saved, spring_inputs(4).chunk({"batch": 2}))
    assert len(n_loads) == 2
    wanted = spring(hardening=2.0).predict(spring_inputs(4))
    np.testing.assert_allclose(again["energy"], wanted["energy"], rtol=1e-14)


def test_what_is_sent_to_a_worker_holds_the_path_and_no_model(saved):
    cloudpickle = pytest.importorskip("cloudpickle", reason="comes with dask")
    sent = cloudpickle.dumps(dict(predict_chunked(saved, spring_inputs(8).chunk({"batch": 4})).__dask_graph__()))
    assert str(saved).encode() in sent
    assert b"sciml.surrogate" not in sent
    assert b"torch" not in sent


def test_bad_chunks_and_inputs_are_told(saved):
    data = spring_inputs(8)
    data["stiffness"].values[6] = 99.0
    answer = predict_chunked(saved, data.chunk({"batch": 2}))
    answer["energy"][:6].compute()
    with pytest.raises(ValueError, match=r"'stiffness'.*training domain"):
        answer.compute()
    allowed = predict_chunked(saved, data.chunk({"batch": 2}), outside="allow").compute()
    np.testing.assert_allclose(allowed["energy"], spring().predict(data, outside="allow")["energy"], rtol=1e-14)
    with pytest.raises(ValueError, match="expected the inputs stiffness too"):
        predict_chunked(saved, data[["position"]].chunk({"batch": 2}))
    with pytest.raises(ValueError, match="one of raise, warn, allow"):
        predict_chunked(saved, data, outside="ignore")
    with pytest.raises(ValueError, match="expected"):
        predict_chunked(saved.parent / "absent", data)
