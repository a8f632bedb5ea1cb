"""What a guarded surrogate does outside its training domain, and that it says so."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from sciml_couplings.guard import FLAG, Guarded, samples_outside
from small_surrogates import TrueSpring, membrane, perceptron, spring, spring_inputs

from sciml.testing import assert_all, check_operator


def mixed_inputs():
    """Six samples; the second and the fifth are outside: one by its position, one by its stiffness."""
    data = spring_inputs(6)
    data["position"].values[1] = [1.5, 0.0]
    data["stiffness"].values[4] = 50.0
    return data


OUTSIDE = [False, True, False, False, True, False]


def test_samples_outside_are_told_one_by_one_in_any_unit():
    data = mixed_inputs()
    assert samples_outside(spring(), data).tolist() == OUTSIDE
    in_cm = data.assign(position=(data["position"] * 100).assign_attrs(units="cm"))
    assert samples_outside(spring(), in_cm).tolist() == OUTSIDE


def test_a_shared_input_outside_puts_every_sample_outside():
    def data(last):
        return xr.Dataset(
            {
                "position": (("batch", "axis"), np.zeros((3, 2)), {"units": "m"}),
                "query": ("query", [0.0, last], {"units": "s"}),
            }
        )

    assert samples_outside(perceptron(), data(1.0)).tolist() == [False] * 3
    assert samples_outside(perceptron(), data(3.0)).tolist() == [True] * 3


def test_inside_every_policy_gives_what_predict_gives():
    data = spring_inputs(4)
    wanted = spring().predict(data).drop_attrs(deep=False)
    solver = TrueSpring()
    for options in ({}, {"outside": "warn"}, {"outside": "fallback", "fallback": solver}):
        answer = Guarded(spring(), **options)(data)
        assert answer.attrs["guard"] == "inside"
        assert not answer[FLAG].any()
        xr.testing.assert_equal(answer.drop_vars(FLAG), wanted)
    assert solver.n_samples == 0


def test_raise_names_the_input_and_the_way_out():
    with pytest.raises(ValueError, match=r"'position'.*'stiffness'.*fallback"):
        Guarded(spring())(mixed_inputs())


def test_warn_answers_and_flags():
    with pytest.warns(UserWarning, match="answered by the surrogate"):
        answer = Guarded(spring(), outside="warn")(mixed_inputs())
    assert answer.attrs["guard"] == "warned"
    assert answer[FLAG].values.astype(bool).tolist() == OUTSIDE
    wanted = spring().predict(mixed_inputs(), outside="allow")
    np.testing.assert_array_equal(answer["force"], wanted["force"])


def test_fallback_answers_for_the_samples_outside_alone():
    solver = TrueSpring()
    lying = spring(hardening=0.5)  # differs from the truth, so that the answer tells who gave it
    data = mixed_inputs().assign_coords(batch=[3, 1, 4, 15, 9, 26])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = Guarded(lying, outside="fallback", fallback=solver)(data)
    assert solver.n_samples == 2
    assert answer.attrs["guard"] == "fallback"
    mask = np.array(OUTSIDE)
    assert answer[FLAG].values.astype(bool).tolist() == OUTSIDE
    truth, guess = TrueSpring()(data), lying.predict(data, outside="allow")
    for name in ("energy", "force"):
        np.testing.assert_array_equal(answer[name][mask], truth[name][mask])
        np.testing.assert_array_equal(answer[name][~mask], guess[name][~mask])
    np.testing.assert_array_equal(np.isnan(answer["force_std"]).any("axis"), mask)
    assert answer["batch"].values.tolist() == [3, 1, 4, 15, 9, 26]


def test_fallback_answers_for_all_when_all_are_outside():
    data = spring_inputs(3).assign(stiffness=("batch", [20.0, 30.0, 40.0], {"units": "N m-1"}))
    answer = Guarded(spring(), outside="fallback", fallback=TrueSpring())(data)
    np.testing.assert_array_equal(answer["energy"], TrueSpring()(data)["energy"])
    assert answer[FLAG].all()


def test_a_guarded_surrogate_keeps_the_contract_of_an_operator():
    guarded = Guarded(spring(hardening=0.5), outside="fallback", fallback=TrueSpring())
    assert_all(check_operator(guarded, mixed_inputs()))


def test_a_fallback_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="expected a fallback operator"):
        Guarded(spring(), outside="fallback")
    with pytest.raises(ValueError, match="one with outside='warn'"):
        Guarded(spring(), outside="warn", fallback=TrueSpring())
    with pytest.raises(ValueError, match=r"needs \['load'\]"):
        Guarded(spring(), outside="fallback", fallback=membrane())
    with pytest.raises(ValueError, match="one of raise, warn, fallback"):
        Guarded(spring(), outside="ignore")
