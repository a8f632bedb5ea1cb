from __future__ import annotations

import numpy as np
import pytest
from sciml_mfuq.fields.modes import fit_fields, modes_of
from sciml_mfuq.model import evaluate
from sciml_mfuq.samples import Level, Samples

BOX = np.array([[0.0, 1.0]])
NODES = np.linspace(0, np.pi, 50)


def field(x):
    return np.sin(3 * x) * np.sin(NODES) + x**2 * np.sin(2 * NODES)


@pytest.fixture(scope="module")
def samples():
    generator = np.random.default_rng(3)
    low, high = generator.random((20, 1)), generator.random((7, 1))
    return Samples((Level("low", low, 0.8 * field(low) + 0.1), Level("high", high, field(high))), BOX)


def test_modes_are_orthonormal_and_span_the_fields(samples):
    modes = modes_of(samples)
    np.testing.assert_allclose(modes @ modes.T, np.eye(len(modes)), atol=1e-10)
    rest = samples.truth.y - samples.truth.y.mean(0)
    assert np.abs(rest - rest @ modes.T @ modes).max() < 1e-2 * np.abs(rest).max()


def test_field_of_two_modes_is_predicted_by_two_models(samples):
    fit = fit_fields(samples, ("gp", "cokriging"), seed=3)
    assert len(fit.choices) == 2
    x = np.random.default_rng(5).random((200, 1))
    parts = [evaluate(choice.predictor, x) for choice in fit.choices]
    mean = fit.decoder.offset.numpy() + np.stack([m for m, _ in parts], 1) @ fit.decoder.modes.numpy()
    truth = field(x)
    assert np.linalg.norm(mean - truth) / np.linalg.norm(truth) < 0.01


def test_fields_on_other_nodes_are_refused(samples):
    low, high = samples.levels
    with pytest.raises(ValueError, match="expected fields on the same nodes in all levels"):
        fit_fields(Samples((Level("low", low.x, low.y[:, :-1]), high), BOX), ("gp",), seed=3)
    with pytest.raises(ValueError, match="expected fields on the same nodes"):
        fit_fields(samples.output(3), ("gp",), seed=3)
