from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from sciml_mfuq.surrogate import Input, Output
from sciml_mfuq.tables import operator_function, samples_of, to_dataset, to_matrix

from sciml import FieldSpec, Operator, Spec

INPUTS = (Input("angle", "degree", -10.0, 10.0), Input("speed", "m/s", 1.0, 30.0))
LIFT = Output("lift", "N")


def table(**variables):
    return xr.Dataset(
        {name: ("batch", np.array(values), {"units": unit}) for name, (values, unit) in variables.items()}
    )


def test_units_are_converted_and_missing_runs_marked():
    low = table(angle=([0.0, np.pi / 36], "rad"), speed=([36.0, 72.0], "km/h"), lift=([1.0, 2.0], "kN"))
    high = table(angle=([0.0, 5.0, 6.0], "degree"), speed=([10.0, 20.0, 5.0], "m/s"), lift=([1.0, np.nan, 3.0], "N"))
    samples = samples_of({"low": low, "high": high}, INPUTS, LIFT, costs={"high": 100.0}, noises={"high": 0.1})
    np.testing.assert_allclose(samples.levels[0].x, [[0, 10], [5, 20]])
    np.testing.assert_allclose(samples.levels[0].y, [1000, 2000])
    assert (samples.truth.cost, samples.truth.noise, len(samples.truth.x)) == (100.0, 0.1, 2)
    assert "1 of 3 runs returned NaN" in samples.notes[0]


def test_level_without_an_input_sees_the_others():
    low = table(speed=([10.0, 20.0], "m/s"), lift=([1.0, 2.0], "N"))
    high = table(angle=([0.0, 5.0], "degree"), speed=([10.0, 20.0], "m/s"), lift=([1.0, 2.0], "N"))
    samples = samples_of({"low": low, "high": high}, INPUTS, LIFT)
    assert samples.levels[0].columns == (1,)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"lift": ([1.0, 2.0], "m")}, "level 'low' output 'lift': expected a unit of the kind 'N', got 'm'"),
        ({"lift": None}, "level 'low' output 'lift': expected a variable, got none"),
        ({"angle": ([1.0, 2.0], "kg")}, "input 'angle': expected a unit of the kind 'degree', got 'kg'"),
        ({"angle": ([1.0, 20.0], "degree")}, "input 'angle': expected values inside [-10, 10] degree, got 20."),
    ],
)
def test_wrong_tables_are_told_by_level_and_variable(change, expected):
    good = {"angle": ([0.0, 5.0], "degree"), "speed": ([10.0, 20.0], "m/s"), "lift": ([1.0, 2.0], "N")}
    low = {name: values for name, values in {**good, **change}.items() if values is not None}
    with pytest.raises(ValueError, match="expected") as caught:
        samples_of({"low": table(**low), "high": table(**good)}, INPUTS, LIFT)
    assert str(caught.value).startswith(expected)


def test_points_survive_the_way_to_a_dataset_and_back():
    inputs = (INPUTS[0], Input("x", "1", 0.0, 1.0, 3))
    x = np.random.default_rng(3).random((4, 4))
    data = to_dataset(inputs, x)
    assert dict(data.sizes) == {"batch": 4, "feature": 3}
    np.testing.assert_array_equal(to_matrix(inputs, data), x)


def test_logarithmic_inputs_are_seen_as_logarithms_and_come_back():
    inputs = (Input("reynolds", "1", 1e3, 1e6, logarithmic=True),)
    data = table(reynolds=([1e3, 1e6], "1"), lift=([1.0, 2.0], "N"))
    samples = samples_of({"high": data}, inputs, LIFT)
    np.testing.assert_allclose(samples.unit(samples.truth.x)[:, 0], [0, 1])
    np.testing.assert_allclose(to_dataset(inputs, samples.truth.x)["reynolds"], [1e3, 1e6])
    with pytest.raises(ValueError, match="positive if logarithmic"):
        Input("reynolds", "1", 0.0, 1e6, logarithmic=True)


class Wing(Operator):
    @property
    def spec(self):
        return Spec((INPUTS[0].field, INPUTS[1].field), (FieldSpec("lift", ("batch",), "kN", missing=True),))

    def _apply(self, inputs):
        lift = 1e-3 * inputs["angle"].values * inputs["speed"].values ** 2
        return xr.Dataset({"lift": ("batch", np.where(lift < 0, np.nan, lift), {"units": "kN"})})


def test_operator_becomes_a_function_in_the_units_asked_for():
    function = operator_function(Wing(), INPUTS, LIFT)
    np.testing.assert_allclose(function(np.array([[2.0, 10.0], [-1.0, 10.0]])), [200.0, np.nan])
