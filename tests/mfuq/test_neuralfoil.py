"""NeuralFoil as an operator."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import xarray as xr
from sciml_mfuq.simulators.airfoil import naca4
from sciml_mfuq.simulators.neuralfoil import NeuralFoil

from sciml.testing import assert_all, check_operator


def conditions(angle, reynolds=1e6):
    angle = np.asarray(angle, dtype=float)
    return xr.Dataset(
        {
            "angle_of_attack": ("batch", angle, {"units": "degree"}),
            "reynolds": ("batch", np.full(angle.shape, reynolds), {"units": "1"}),
        }
    )


@pytest.fixture(scope="module")
def operator():
    pytest.importorskip("neuralfoil", reason="needs NeuralFoil: pip install 'sciml-toolkit[airfoil]'")
    return NeuralFoil()


def test_operator_keeps_its_contract(operator):
    assert_all(check_operator(operator))


def test_polar_is_near_that_of_xfoil(operator):
    found = operator(conditions([0.0, 4.0, 8.0, 12.0]))
    np.testing.assert_allclose(found["lift_coefficient"], [0.0, 0.4299, 0.9153, 1.2495], rtol=0, atol=0.01)
    np.testing.assert_allclose(found["drag_coefficient"], [0.00542, 0.00731, 0.01221, 0.01986], rtol=0, atol=1e-3)
    assert found.attrs["program"].startswith("NeuralFoil ")


def test_symmetric_aerofoil_has_a_symmetric_polar(operator):
    up, down = operator(conditions([2.0, 6.0])), operator(conditions([-2.0, -6.0]))
    np.testing.assert_allclose(up["lift_coefficient"], -down["lift_coefficient"], rtol=1e-6)
    np.testing.assert_allclose(up["drag_coefficient"], down["drag_coefficient"], rtol=1e-6)


def test_confidence_falls_where_no_attached_flow_is_possible(operator):
    sure, unsure = operator(conditions([4.0, 25.0]))["analysis_confidence"].values
    assert 0 <= unsure < 0.5 < 0.9 < sure <= 1


def test_what_is_no_input_is_fixed(operator):
    angle = conditions([4.0]).drop_vars("reynolds")
    fixed = NeuralFoil(naca4("0012"), inputs=("angle_of_attack",), reynolds=2e5)(angle)
    assert fixed["drag_coefficient"].item() == operator(conditions([4.0], 2e5))["drag_coefficient"].item()
    with pytest.raises(ValueError, match="mach"):
        NeuralFoil(inputs=("angle_of_attack", "mach"))
    with pytest.raises(ValueError, match="angle_of_attack"):
        NeuralFoil(inputs=("reynolds",))


def test_absent_package_is_told_with_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "neuralfoil", None)
    with pytest.raises(ImportError, match=r"sciml-toolkit\[airfoil\]"):
        NeuralFoil()(conditions([4.0]))
