"""The truth solvers as operators, the registered surrogates, and points outside the room."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sciml_acoustics.data import queries, room_spec
from sciml_acoustics.operators import FiniteDifferences, SpectralElements, output_grid

import sciml
from sciml import FieldSpec, Region, Surrogate, load
from sciml.cli import run_command
from sciml.testing import assert_all, check_operator, check_plugin_import_is_light, check_surrogate

SMALL = {"f_max": 250.0, "order": 4, "ppw": 5.0}
SURROGATES = ["acoustics.modal", "acoustics.linear", "acoustics.two_step", "acoustics.deeponet"]
SOURCE, RECEIVER = np.array([[0.6, 1.5], [1.7, 1.0]]), np.array([[0.4, 0.5], [2.1, 2.8], [0.3, 1.9]])
TIME = np.arange(9) * 2e-3


@pytest.fixture(scope="module")
def furnished():
    return SpectralElements("furnished", **SMALL)


def test_spectral_elements_keep_the_operators_contract(furnished):
    assert_all(check_operator(furnished, queries(SOURCE, RECEIVER, TIME)))


def test_finite_differences_keep_the_operators_contract():
    assert_all(check_operator(FiniteDifferences("square", f_max=200.0, ppw=8.0)))


def test_finite_differences_agree_with_spectral_elements():
    source, receiver = np.array([[0.8, 0.9]]), np.array([[0.2, 0.3], [1.7, 0.4], [1.1, 1.6]])
    given = queries(source, receiver, np.arange(11) * 2e-3)
    truth = SpectralElements("square", f_max=500.0)(given)["pressure"].values
    errors = [
        np.linalg.norm(FiniteDifferences("square", f_max=500.0, ppw=ppw)(given)["pressure"].values - truth)
        / np.linalg.norm(truth)
        for ppw in (8.0, 16.0)
    ]
    assert errors[1] < 0.01
    assert errors[1] < errors[0] / 3  # second order


def test_solver_answers_at_any_times_in_any_order(furnished):
    times = np.array([0.011, 0.0, 0.0035])
    every = furnished(queries(SOURCE, RECEIVER, np.arange(23) * 5e-4))["pressure"].values
    found = furnished(queries(SOURCE, RECEIVER, times))["pressure"].values
    np.testing.assert_allclose(found, every[:, :, [22, 0, 7]], atol=1e-12)


def test_solver_with_no_receivers_or_sources_answers_with_nothing(furnished):
    assert furnished(queries(SOURCE, np.zeros((0, 2)), TIME))["pressure"].shape == (2, 0, 9)
    assert furnished(queries(np.zeros((0, 2)), RECEIVER, TIME))["pressure"].shape == (0, 3, 9)


def test_output_grid_contains_the_times_and_refuses_those_off_the_microsecond():
    times = np.array([0.0035, 0.0, 0.011])
    grid, index = output_grid(times)
    np.testing.assert_allclose(grid[index], times, atol=1e-15)
    np.testing.assert_allclose(np.diff(grid), 5e-4)
    for bad in ([1e-3 / 3], [-1e-3], []):
        with pytest.raises(ValueError, match="time: expected non-negative multiples of one microsecond"):
            output_grid(np.array(bad))


def test_initial_response_is_the_pulse(furnished):
    medium = furnished.medium
    found = furnished(queries(SOURCE, RECEIVER, [0.0]))["pressure"].values[:, :, 0]
    squared = ((SOURCE[:, None] - RECEIVER[None]) ** 2).sum(-1)
    np.testing.assert_allclose(found, np.exp(-squared / medium.sigma0**2), atol=2e-3)  # interpolated between nodes


DESK = np.array([[0.6, 2.85]])  # inside the furniture of the furnished room, inside its bounding box


@pytest.mark.parametrize(
    ("name", "point"),
    [("receiver_position", [3.5, 1.0]), ("receiver_position", DESK[0]), ("source_position", DESK[0])],
)
def test_solver_names_a_point_outside_the_room_or_inside_furniture(furnished, name, point):
    given = queries(SOURCE, RECEIVER, TIME).copy(deep=True)
    given[name].values[1] = point
    with pytest.raises(
        ValueError, match=rf"'{name}': expected values inside .*, got \[{point[0]:g}[. ]*, *{point[1]:g}[. ]*\]"
    ):
        furnished(given)


@pytest.fixture(scope="module")
def furnished_surrogate(furnished):
    """A modal operator of the furnished room, untrained: only its room matters here."""
    from sciml_acoustics.modal import ModalOperator

    boxes = [[list(low), list(high)] for low, high in furnished.room.boxes]
    return Surrogate(ModalOperator(boxes, [[0.5, 0.5]], [0.5, 1.0], 3, [5.0, 0.3]))


def test_surrogate_names_a_point_inside_furniture(furnished_surrogate):
    with pytest.raises(ValueError, match=r"'receiver_position': expected values inside .* got \[0\.6 *, *2\.85\]"):
        furnished_surrogate.predict(queries(SOURCE, DESK, TIME))


def test_predict_command_names_a_point_inside_furniture_and_writes_nothing(furnished_surrogate, tmp_path, capsys):
    furnished_surrogate.save(tmp_path / "surrogate")
    queries(SOURCE, np.concatenate([RECEIVER, DESK]), TIME).to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    arguments = ["predict", str(tmp_path / "surrogate"), str(tmp_path / "in.nc"), str(tmp_path / "out.nc")]
    assert run_command(arguments) == 1
    told = capsys.readouterr().err
    assert "'receiver_position': expected values inside" in told
    assert re.search(r"got \[0\.6 *, *2\.85\]", told)
    assert "Traceback" not in told
    assert not (tmp_path / "out.nc").exists()


def test_predict_command_answers_inside_the_room(furnished_surrogate, tmp_path):
    furnished_surrogate.save(tmp_path / "surrogate")
    queries(SOURCE, RECEIVER, TIME).to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    assert run_command(["predict", str(tmp_path / "surrogate"), str(tmp_path / "in.nc"), str(tmp_path / "out.nc")]) == 0
    assert (tmp_path / "out.nc").exists()


@pytest.mark.parametrize("name", SURROGATES)
def test_registered_surrogate_keeps_the_contract(networks, small, name):
    domain = {"source_position": Region.around(small.train.source_position)}
    assert_all(check_surrogate(Surrogate(networks[name], domain=domain)))


@pytest.mark.parametrize("name", SURROGATES)
def test_saved_surrogate_is_equal_to_the_bit(networks, small, name, tmp_path):
    given = queries(small.test.source_position, small.test.node_position[::9], small.test.time)
    surrogate = Surrogate(networks[name])
    surrogate.save(tmp_path / "s")
    again = load(tmp_path / "s")
    for key, tensor in surrogate.network.state_dict().items():
        assert np.array_equal(tensor.numpy(), again.network.state_dict()[key].numpy()), key
    assert np.array_equal(surrogate.predict(given)["pressure"], again.predict(given)["pressure"])


def test_all_registered_surrogates_are_tested_here():
    registered = {entry.registration.name for entry in sciml.catalogue() if entry.kind == "surrogates"}
    registered = {name for name in registered if name.startswith("acoustics.")}
    assert registered == set(SURROGATES)


def test_hooks_import_is_light():
    assert_all(check_plugin_import_is_light("sciml_acoustics.hooks"))


@pytest.mark.parametrize("n_axis", [1, 2, 3])
def test_room_spec_says_what_goes_in_and_out(n_axis):
    region = Region((((0.0,) * n_axis, (1.0,) * n_axis),))
    fixed, free = room_spec(n_axis, region, (0.0, 1.0)), room_spec(n_axis, region)
    assert [field.name for field in fixed.inputs] == ["source_position", "receiver_position"]
    assert isinstance(free.inputs[2], FieldSpec)
    assert free.inputs[2].unit == "s"
    assert fixed.coords["time"] == ("s", (0.0, 1.0))
    with pytest.raises(ValueError, match=f"expected boxes of {n_axis + 1} dimensions, got {n_axis}"):
        room_spec(n_axis + 1, region)
