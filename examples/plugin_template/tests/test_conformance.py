"""The plugin keeps every contract of `sciml`, and its truth is true."""

from __future__ import annotations

import numpy as np
import pytest
import sciml_heatrod.hooks
import xarray as xr
from sciml_heatrod.experiment import HeatRod, sample
from sciml_heatrod.modes import fit_modes
from sciml_heatrod.series import Rod, Series

from sciml import Surrogate, training_domain
from sciml.testing import (
    assert_all,
    check_experiment,
    check_operator,
    check_plugin_import_is_light,
    check_surrogate,
)


@pytest.fixture(scope="module")
def trained():
    data = sample(Series(), np.linspace(0.25, 0.75, 24), 200.0)
    network = fit_modes(data, 20, 16, Rod())
    return Surrogate(network, domain=training_domain(network.spec, data))


def test_hooks_are_light():
    assert_all(check_plugin_import_is_light(sciml_heatrod.hooks.__name__))


def test_operator_keeps_its_contract():
    assert_all(check_operator(Series()))


def test_surrogate_keeps_its_contract(trained):
    assert_all(check_surrogate(trained))


def test_experiment_keeps_its_contract_and_a_quick_run_leaves_its_folder(tmp_path):
    assert_all(check_experiment("heatrod", run_quick=True, out=tmp_path / "run"))


@pytest.mark.parametrize("time", [0.0, 3.0, 500.0])
def test_series_equals_the_method_of_images(time):
    rod, centre, x = Rod(), 0.31, np.linspace(0.0, 1.0, 57)
    spread = rod.width**2 + 4.0 * rod.diffusivity * time
    images = sum(
        np.exp(-((x - centre - 2 * m) ** 2) / spread) - np.exp(-((x + centre - 2 * m) ** 2) / spread)
        for m in range(-3, 4)
    )
    inputs = {"centre": ("batch", [centre], {"units": "m"}), "position": ("position", x, {"units": "m"})}
    answer = Series()(xr.Dataset({**inputs, "time": ("time", [time], {"units": "s"})}))["temperature"].values[0, 0]
    np.testing.assert_allclose(answer, rod.width / np.sqrt(spread) * images, atol=1e-13)


def test_surrogate_converges_with_the_degree():
    truth, exact = Series(), np.linspace(0.26, 0.74, 9)
    data, test = (sample(truth, centre, 200.0) for centre in (np.linspace(0.25, 0.75, 60), exact))
    errors = []
    for n_degrees in (8, 16, 24):
        network = fit_modes(data, 30, n_degrees, Rod())
        answer = Surrogate(network).predict(test)["temperature"]
        errors.append(float(abs(answer - test["temperature"]).max()))
    assert errors[1] < 0.1 * errors[0]
    assert errors[2] < 0.1 * errors[1]


def test_presets_share_one_kind():
    assert {type(config).__name__ for config in HeatRod().presets.values()} == {"Config"}
