from __future__ import annotations

import numpy as np
import pytest
from sciml_acoustics.decay import RANGES, decay_curve, decay_time, field_energy

RATE = 6.0 * np.log(10.0)  # 60 dB in one time


def exponential(seconds, n=400, step=5e-4):
    time = np.arange(n) * step
    return np.exp(-RATE * time / np.asarray(seconds)[..., None]), time


def test_ranges_are_those_of_iso_3382():
    assert RANGES == {"EDT": (0.0, -10.0), "T20": (-5.0, -25.0), "T30": (-5.0, -35.0)}


@pytest.mark.parametrize("name", RANGES)
def test_decay_time_of_an_exponential_is_exact_for_every_range(name):
    truth = np.array([[0.05, 0.08], [0.11, 0.2]])
    energy, time = exponential(truth)
    found = decay_time(energy, time, *RANGES[name])
    assert np.allclose(found.seconds, truth, rtol=1e-9)
    assert found.nonlinearity.max() < 1e-6
    assert np.allclose(found.end_level, -60.0 * time[-1] / truth, atol=1e-6)
    assert found.valid.all()


def test_decay_time_does_not_depend_on_the_unit_of_energy_and_scales_with_time():
    energy, time = exponential([0.1])
    energy *= 1.0 + 0.3 * np.sin(900.0 * time)
    one = decay_time(energy, time)
    assert np.allclose(decay_time(1e-7 * energy, time).seconds, one.seconds, rtol=1e-12)
    assert np.allclose(decay_time(energy, 3.0 * time).seconds, 3.0 * one.seconds, rtol=1e-12)


def test_record_that_ends_too_early_is_flagged_although_the_plain_integral_dives():
    energy, time = exponential([1.0], n=400)  # falls by 12 dB only
    assert decay_curve(energy)[0, -1] < -25.0
    found = decay_time(energy, time)
    assert not found.sufficient[0]
    assert found.end_level[0] == pytest.approx(-60.0 * time[-1], abs=1e-6)
    assert not decay_time(exponential([0.4])[0], time).sufficient[0]  # reaches -30 dB, but not the 10 dB of margin


def test_energy_that_does_not_decay_is_flagged_as_insufficient():
    time = np.arange(200) * 5e-4
    for energy in (np.ones((1, 200)), np.exp(5.0 * time)[None]):
        found = decay_time(energy, time)
        assert not found.sufficient[0]
        assert not found.valid[0]
        assert found.end_level[0] == 0.0


def test_two_slopes_give_both_times_and_a_flag():
    early, late, share = 0.04, 0.4, 1e-2
    time = np.arange(2000) * 5e-4
    energy = np.exp(-RATE * time / early) + share * np.exp(-RATE * time / late)
    level = decay_curve(energy, extrapolate=True)
    parts = [(1.0, early), (share, late)]
    exact = sum(a * np.exp(-RATE * time / s) / -np.expm1(-RATE * time[1] / s) for a, s in parts)
    assert np.abs(level - 10.0 * np.log10(exact / exact[0])).max() < 1e-6
    assert decay_time(energy, time, -0.1, -3.0).seconds == pytest.approx(early, rel=0.25)
    assert decay_time(energy, time, -30.0, -60.0).seconds == pytest.approx(late, rel=1e-6)
    bent, straight = decay_time(energy, time, *RANGES["T20"]), decay_time(energy, time, -30.0, -60.0)
    assert bent.sufficient
    assert bent.nonlinearity > 10.0
    assert not bent.valid
    assert straight.valid
    assert early < decay_time(energy, time, *RANGES["EDT"]).seconds < bent.seconds < late


def test_early_decay_time_ignores_the_silence_before_the_sound_arrives():
    energy, time = exponential([0.1], n=600)
    late = np.concatenate([np.zeros((1, 100)), energy[:, :-100]], axis=1)
    assert np.allclose(decay_time(late, time, *RANGES["EDT"]).seconds, 0.1, rtol=1e-6)


def test_decay_curve_falls_and_sums_to_the_energy_left():
    energy = np.random.default_rng(5).uniform(size=(3, 50)) ** 2
    level = decay_curve(energy)
    assert np.all(np.diff(level, axis=-1) < 0.0)
    assert np.allclose(level[:, 0], 0.0)
    assert np.allclose(10.0 ** (level[:, 20] / 10.0) * energy.sum(-1), energy[:, 20:].sum(-1))
    assert decay_curve([1.0] * 8 + [0.0] * 4)[-1] == -np.inf


def test_field_energy_is_the_weighted_sum_in_double_precision():
    generator = np.random.default_rng(11)
    pressure = generator.normal(size=(2, 4, 30)).astype(np.float32)
    weight = generator.uniform(size=30)
    energy = field_energy(pressure, weight)
    assert energy.dtype == np.float64
    assert energy.shape == (2, 4)
    assert energy[1, 3] == pytest.approx(float((weight * pressure[1, 3].astype(float) ** 2).sum()), rel=1e-14)


def test_bad_input_is_named():
    energy, time = exponential([0.1])
    with pytest.raises(ValueError, match="square the pressure"):
        decay_time(-energy, time)
    with pytest.raises(ValueError, match=r"expected uniform times"):
        decay_time(energy, time**2)
    with pytest.raises(ValueError, match=r"expected 0 >= low > high, got -25 and -5 dB"):
        decay_time(energy, time, -25, -5)
    with pytest.raises(ValueError, match="record longer"):
        decay_curve([1.0, 0.5])
    with pytest.raises(ValueError, match="transpose the pressure"):
        field_energy(np.zeros((2, 3, 4)), np.ones(3))
