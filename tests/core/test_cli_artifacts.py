"""Saved surrogates on the command line: `sciml predict`, `show` and `check`."""

# ruff: noqa: F401, F811  the fixtures `sciml` and `site` are imported, and are arguments of the tests
from __future__ import annotations

import pytest
from throwaway import rows, sciml, sentence, site

from sciml.plugins import plugins


def test_predict_reads_and_writes_netcdf_with_units(sciml, tmp_path):
    import numpy as np
    import xarray as xr

    sciml("run", "toy", "--preset", "quick", "--out", "a")
    data = xr.Dataset({"x": ("batch", [50.0, 150.0], {"units": "cm"})}, coords={"batch": [4, 7]})
    data.to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    status, out, err = sciml("predict", "a/surrogate", "in.nc", "out.nc")
    assert (status, out, err) == (0, "", "")
    result = xr.load_dataset(tmp_path / "out.nc", engine="h5netcdf")
    np.testing.assert_array_equal(result.y, [1.5, 4.5])
    assert result.y.attrs["units"] == "m"
    assert result.batch.values.tolist() == [4, 7]
    status, _, err = sciml("predict", "a", "in.nc", "out.nc")
    assert (status, sentence(err)) == (
        1,
        "out.nc: expected a new file, got an existing one; choose another or add --force",
    )
    assert sciml("predict", "a", "in.nc", "out.nc", "--force")[0] == 0
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_predict_outside_the_training_domain_does_what_it_is_told(sciml, tmp_path):
    import xarray as xr

    sciml("run", "toy", "--preset", "quick", "--out", "a")
    xr.Dataset({"x": ("batch", [1.0, 5.0], {"units": "m"})}).to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    status, _, err = sciml("predict", "a", "in.nc", "out.nc")
    assert status == 1
    assert sentence(err).startswith("input 'x': expected values inside the training domain [0, 2] m, got 5.")
    assert not (tmp_path / "out.nc").exists()
    status, _, err = sciml("predict", "a", "in.nc", "warned.nc", "--outside", "warn")
    assert status == 0
    assert sentence(err).startswith("warning: input 'x': expected values inside the training domain")
    assert sciml("predict", "a", "in.nc", "allowed.nc", "--outside", "allow") == (0, "", "")
    assert xr.load_dataset(tmp_path / "allowed.nc", engine="h5netcdf").attrs["outside_training_domain"] == "x"


@pytest.mark.parametrize("damage", ["missing", "truncated", "no unit", "seconds"])
def test_predict_refuses_bad_input_files(damage, sciml, tmp_path):
    import xarray as xr

    sciml("run", "toy", "--preset", "quick", "--out", "a")
    unit = {"no unit": {}, "seconds": {"units": "seconds"}}.get(damage, {"units": "m"})
    path = tmp_path / "in.nc"
    xr.Dataset({"x": ("batch", [1.0], unit)}).to_netcdf(path, engine="h5netcdf")
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    status, _, err = sciml("predict", "a", "in.nc", "out.nc")
    assert status == 1
    unreadable = damage in ("missing", "truncated")
    said = "in.nc: expected a readable NetCDF-4 file, got " if unreadable else "input 'x': expected "
    assert sentence(err).startswith(said)
    assert not (tmp_path / "out.nc").exists()


def test_show_describes_a_saved_surrogate_even_without_its_plugin(sciml, monkeypatch):
    sciml("run", "toy", "--preset", "quick", "--out", "a")
    monkeypatch.setenv("SCIML_PLUGINS", "")
    plugins.cache_clear()
    status, out, _ = sciml("show", "a")
    assert status == 0
    assert ["bytes:", "8"] in rows(out)
    assert ["input", "x", "batch", "m", "[0,", "2]", "place"] in rows(out)
    assert ["seed", "7"] in rows(out)


def test_check_prints_each_result_and_fails_when_one_failed(sciml, monkeypatch):
    import sciml.testing as kit
    from sciml.testing import Check

    checks = [Check("batch equals one by one", True, ""), Check("bits survive saving", False, "got 1e-9")]
    monkeypatch.setattr(kit, "check_surrogate", lambda surrogate, inputs=None: checks, raising=False)
    sciml("run", "toy", "--preset", "quick", "--out", "a")
    status, out, err = sciml("check", "a")
    assert status == 1
    assert ["bits", "survive", "saving", "failed", "got", "1e-9"] in rows(out)
    assert sentence(err) == (
        "check a: expected 2 checks to pass, got 1 failed (bits survive saving); see the details above"
    )
    del checks[1]
    assert sciml("check", "a")[0] == 0


def test_a_registered_name_goes_before_a_folder_of_that_name(sciml):
    sciml("run", "toy", "--preset", "quick", "--out", "toy")
    assert ["experiment:", "toy"] in rows(sciml("show", "toy")[1])
    assert ["surrogate:", "toy.line"] in rows(sciml("show", "./toy")[1])
