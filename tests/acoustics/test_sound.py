from __future__ import annotations

import numpy as np
import pytest
from sciml_acoustics.sound import pulse_train, to_audio

STEP = 5e-4


def tone(frequency, n=400):
    time = np.arange(n) * STEP
    return np.hanning(n) * np.sin(2.0 * np.pi * frequency * time), time


@pytest.mark.parametrize("rate", [44100, 48000, 8000])
@pytest.mark.parametrize("frequency", [100.0, 500.0, 800.0])
def test_tone_keeps_its_frequency_shape_and_delay(rate, frequency):
    response, time = tone(frequency)
    clips, level = to_audio(response[None], time, rate)
    later = np.arange(clips.shape[1]) / rate
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * later / time[-1])
    exact = np.where(later < time[-1], window, 0.0) * np.sin(2.0 * np.pi * frequency * later)
    assert clips.shape[1] == round(len(time) * STEP * rate)
    assert np.abs(level * clips[0] - exact).max() < 5e-3
    spectrum = np.abs(np.fft.rfft(clips[0]))
    assert np.argmax(spectrum) * rate / clips.shape[1] == pytest.approx(frequency, abs=rate / clips.shape[1])


def test_nothing_sounds_above_the_band_of_the_response():
    response, time = tone(500.0)
    clips, _ = to_audio(response[None], time)
    spectrum = np.abs(np.fft.rfft(clips[0])) ** 2
    frequency = np.fft.rfftfreq(clips.shape[1], 1.0 / 48000)
    assert spectrum[frequency > 1000.0].sum() < 1e-8 * spectrum.sum()


def test_levels_of_clips_keep_the_ratios_of_the_responses():
    response, time = tone(300.0)
    gains = np.array([1.0, 0.1, 0.003])
    clips, level = to_audio(gains[:, None] * response, time)
    size = np.linalg.norm(clips, axis=1)
    assert np.allclose(size / size[0], gains, rtol=1e-12)
    assert np.abs(clips).max() == pytest.approx(0.9)
    quiet, same = to_audio(gains[1:, None] * response, time, level=level)
    assert same == level
    assert np.allclose(quiet, clips[1:], rtol=0.0, atol=1e-15)


def test_level_below_the_peak_is_refused_instead_of_clipped():
    response, time = tone(300.0)
    _, level = to_audio(response[None], time)
    to_audio(response[None], time, level=0.95 * level)
    with pytest.raises(ValueError, match=r"level of at least the peak"):
        to_audio(response[None], time, level=0.85 * level)


def test_truncated_response_ends_in_silence_rather_than_a_click():
    time = np.arange(100) * STEP
    response = np.cos(2.0 * np.pi * 200.0 * time)[None]
    jump = [np.abs(to_audio(response, time, fade=fade)[0][0, -48:]).max() for fade in (0.0, 0.01)]
    assert jump[1] < 0.1 * jump[0]


def test_silence_stays_silent():
    clips, level = to_audio(np.zeros((2, 50)), np.arange(50) * STEP)
    assert level == 1.0
    assert not clips.any()


def test_pulse_train_repeats_a_clip_at_its_level():
    response, time = tone(300.0, n=100)
    clips, _ = to_audio(np.stack([response, 0.2 * response]), time)
    train = pulse_train(clips, n_clicks=3, interval=0.5)
    assert train.shape == (2, 72000)
    for start in (0, 24000, 48000):
        assert np.array_equal(train[:, start : start + clips.shape[1]], clips)
    assert np.sum(train**2) == pytest.approx(3.0 * np.sum(clips**2))


def test_bad_input_is_named():
    response, time = tone(300.0)
    with pytest.raises(ValueError, match="one row a clip"):
        to_audio(response, time)
    with pytest.raises(ValueError, match="expected uniform times"):
        to_audio(response[None], time**2)
    with pytest.raises(ValueError, match="lengthen the interval"):
        pulse_train(np.zeros((1, 100)), rate=100, interval=0.5)
