from __future__ import annotations

import json
import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from toys import SPEC, Affine, Pendulum, pendulum_inputs

from sciml import FieldSpec, Region, Spec
from sciml.fields import convert_units

finite = st.floats(-1e6, 1e6, allow_subnormal=False)
points_2d = hnp.arrays(float, st.tuples(st.integers(1, 20), st.just(2)), elements=finite)


def sentence(call):
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    return str(caught.value)


@given(points_2d)
def test_region_around_points_contains_exactly_their_box(points):
    region = Region.around(points)
    assert region.contains(points).all()
    size = np.ptp(points, axis=0).max() + np.abs(points).max() + 1
    assert not region.contains(points.max(0) + np.array([0.01 * size, 0.0]))
    assert not region.contains(points.min(0) - np.array([0.0, 0.01 * size]))


@given(points_2d, points_2d, points_2d)
def test_region_union_contains_what_either_box_contains(points, others, tried):
    a, b = Region.around(points), Region.around(others)
    union = Region(a.boxes + b.boxes)
    strictly = a.contains(tried, tolerance=0.0) | b.contains(tried, tolerance=0.0)
    assert union.contains(tried)[strictly].all()


def test_region_of_two_boxes_leaves_out_the_corner_between_them():
    room = Region((((0, 0), (4, 2)), ((0, 0), (1, 5))))
    inside, outside = np.array([[3.0, 1.0], [0.5, 4.0]]), np.array([[3.0, 4.0], [-0.1, 1.0]])
    assert room.contains(inside).all()
    assert not room.contains(outside).any()
    assert str(room) == "[0, 4] x [0, 2] or [0, 1] x [0, 5]"
    assert room.n_dims == 2


def test_region_without_width_takes_its_value_after_a_conversion_of_units():
    region = Region.interval(0.3, 0.3)
    there_and_back = convert_units(convert_units(np.array([0.3]), "m", "km", "x"), "km", "m", "x")
    assert region.contains(there_and_back[:, None]).all()
    assert not region.contains(np.array([[0.3 + 1e-12]])).any()


@pytest.mark.parametrize("boxes", [(), (((1,), (0,)),), (((0,), (1,)), ((0, 0), (1, 1))), (((math.nan,), (1,)),)])
def test_region_refuses_boxes_that_are_none(boxes):
    assert sentence(lambda: Region(boxes)).startswith(
        "Region: expected boxes (low, high) of equal length with low <= high, got"
    )


def test_region_around_nothing_is_refused():
    assert "expected at least one point" in sentence(lambda: Region.around(np.zeros((0, 3))))


@given(
    hnp.arrays(float, 5, elements=finite),
    st.sampled_from([("m", "mm"), ("Pa", "psi"), ("degC", "degF"), ("m s-1", "km/h")]),
)
def test_units_there_and_back_give_the_numbers_back(values, pair):
    unit, other = pair
    again = convert_units(convert_units(values, unit, other, "x"), other, unit, "x")
    np.testing.assert_allclose(again, values, rtol=1e-12, atol=1e-9)


def test_units_follow_cf_powers_and_offsets():
    assert convert_units(np.array([36.0]), "km h-1", "m/s", "x") == pytest.approx([10.0])
    assert convert_units(np.array([2.0]), "kg m2 s-2", "J", "x") == pytest.approx([2.0])
    assert convert_units(np.array([20.0]), "degC", "K", "x") == pytest.approx([293.15])


@pytest.mark.parametrize("unit", ["kg", "nonsense", "m**", "10 m", "", "__import__('os').getcwd()"])
def test_units_of_another_kind_are_refused_by_name(unit):
    text = sentence(lambda: convert_units(np.ones(1), unit, "m", "input 'length'"))
    assert text.startswith(f"input 'length': expected a unit of the kind 'm', got {unit!r}")


def test_field_is_converted_transposed_and_kept_apart_from_the_given_data():
    field = FieldSpec("p", ("batch", "time"), "Pa")
    data = xr.Dataset({"p": (("time", "batch"), np.arange(6).reshape(3, 2), {"units": "kPa", "source": "toy"})})
    kept = data.copy(deep=True)
    checked = field.check(data, "input")
    assert checked.dims == ("batch", "time")
    assert checked.attrs == {"units": "Pa", "source": "toy"}
    np.testing.assert_allclose(checked.values, 1000.0 * np.arange(6).reshape(3, 2).T)
    assert data.identical(kept)


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (("batch", [1.0, 2.0], {}), "input 'x': expected attrs['units'] convertible to 'm', got none; set it"),
        (("time", [1.0, 2.0], {"units": "m"}), "input 'x': expected dims ('batch',), got ('time',); rename or reshape"),
        (("batch", ["a", "b"], {"units": "m"}), "input 'x': expected real numbers, got dtype"),
        (("batch", [1j, 2.0], {"units": "m"}), "input 'x': expected real numbers, got dtype complex128"),
        (("batch", np.array([1, 2], "m8[s]"), {}), "open the file with decode_times=False"),
        (
            ("batch", [1.0, np.inf], {"units": "m"}),
            "input 'x': expected finite numbers, got inf at index (1,) (1 in all)",
        ),
        (("batch", [1.0, 9.0], {"units": "m"}), "input 'x': expected values inside [0, 5] m, got 9. at index (1,)"),
        (("batch", [1.0, 9000.0], {"units": "mm"}), "input 'x': expected values inside [0, 5] m, got 9. at index (1,)"),
    ],
)
def test_field_refuses_in_one_sentence(variable, expected):
    field = FieldSpec("x", ("batch",), "m", Region.interval(0, 5))
    assert expected in sentence(lambda: field.check(xr.Dataset({"x": variable}), "input"))


def test_field_that_is_absent_is_named_with_what_is_there():
    text = sentence(lambda: SPEC.check_inputs(pendulum_inputs().drop_vars("length")))
    assert text == "input 'length': expected a variable with dims ('batch',), got none; have ['time']"


def test_vector_with_another_number_of_components_is_refused_by_name():
    field = Affine().spec.inputs[0]
    data = xr.Dataset({"position": (("batch", "axis"), np.ones((2, 3)), {"units": "m"})})
    text = sentence(lambda: field.check(data, "input"))
    assert text.startswith(
        "'position': expected 2 components in the last dimension of ('batch', 'axis'), got shape (2, 3)"
    )


def test_spec_converts_a_coordinate_once_for_all_variables_that_carry_it():
    spec = Spec((FieldSpec("wave", ("batch", "time"), "Pa"), FieldSpec("time", ("time",), "s")), ())
    wave = (("batch", "time"), np.ones((2, 3)), {"units": "Pa"})
    data = xr.Dataset({"wave": wave}, coords={"time": ("time", [0.0, 500.0, 1000.0], {"units": "ms"})})
    checked = spec.check_inputs(data)
    assert checked.sizes == {"batch": 2, "time": 3}
    np.testing.assert_allclose(checked["wave"]["time"], [0.0, 0.5, 1.0])


def test_spec_survives_json_with_open_bounds_and_coordinates():
    for spec in (SPEC, Affine().spec):
        text = json.dumps(spec.to_json()).replace("-Infinity", "null").replace("Infinity", "null")
        assert Spec.from_json(json.loads(text)) == spec


def test_spec_takes_lists_and_compares_by_content_but_not_by_description():
    field = FieldSpec("x", ["batch"], "m", description="one")
    listed = Spec([field], [], coords={"time": ("s", np.array([0.0, 1.0]))})
    again = Spec((FieldSpec("x", ("batch",), "m", description="two"),), (), coords={"time": ("s", (0.0, 1.0))})
    assert listed == again
    assert again != Spec((FieldSpec("x", ("batch",), "km"),), (), coords=again.coords)


def test_spec_refuses_twins_and_a_missing_batch():
    x, y = FieldSpec("x", ("batch",)), FieldSpec("y", ("time",))
    assert sentence(lambda: Spec((x,), (x,))) == "Spec: expected distinct names, got ['x', 'x']"
    assert "expected an input with the batch dimension 'batch'" in sentence(lambda: Spec((y,), ()))
    assert "expected distinct dims" in sentence(lambda: FieldSpec("x", ("time", "time")))
    assert "expected a dimension for the components" in sentence(
        lambda: FieldSpec("x", (), "m", Region.around(np.ones((1, 2))))
    )


def test_operator_matches_the_pendulum_and_keeps_coordinates():
    inputs = pendulum_inputs(lengths=(9.81,), times=(0.0, math.pi))
    answer = Pendulum()(inputs)
    np.testing.assert_allclose(answer["angle"], [[0.1, -0.1]], atol=1e-15)
    assert answer["time"].attrs["units"] == "s"
    assert (
        sentence(lambda: Pendulum()({"length": 1.0}))
        == "inputs: expected an xarray.Dataset, got dict; build one with units"
    )


def test_region_takes_none_for_no_limit():
    assert Region((((None, 0), (1, None)),)) == Region((((-np.inf, 0.0), (1.0, np.inf)),))


def test_field_that_may_be_missing_takes_nan_but_neither_infinity_nor_values_out_of_bounds():
    field = FieldSpec("lift", ("batch",), "1", Region.interval(-2.0, 2.0), missing=True)

    def lift(*values):
        return xr.Dataset({"lift": ("batch", np.array(values), {"units": "1"})})

    np.testing.assert_array_equal(field.check(lift(1.0, math.nan), "output").values, [1.0, math.nan])
    assert "expected finite numbers, got inf" in sentence(lambda: field.check(lift(math.inf, math.nan), "output"))
    assert "got 3. at index (0,) (1 outside)" in sentence(lambda: field.check(lift(3.0, math.nan), "output"))
    known = FieldSpec("lift", ("batch",), "1")
    assert "expected finite numbers, got nan" in sentence(lambda: known.check(lift(1.0, math.nan), "output"))
    spec = Spec((FieldSpec("angle", ("batch",), "degree"),), (field,))
    assert Spec.from_json(spec.to_json()) == spec
