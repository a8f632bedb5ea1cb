from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_mfuq.engines import ENGINES, fit_engine
from sciml_mfuq.model import evaluate
from sciml_mfuq.study.functions import CASES
from sciml_mfuq.surrogate import Decoder, Input, MultiFidelity, Output
from sciml_mfuq.tables import to_dataset

from sciml import Surrogate, load
from sciml.testing import assert_all, check_surrogate

UNIT = tuple(Input(f"x{number}", "m", 0.0, 1.0) for number in range(4))


@pytest.fixture(scope="module")
def samples():
    return CASES["park"].sample(5)


@pytest.mark.parametrize("engine", sorted(set(ENGINES) - {"pieces"}))  # which the runs of this function do not suit
def test_every_engine_keeps_the_contract_of_a_surrogate(engine, samples):
    predictor = fit_engine(engine, samples, 5)
    network = MultiFidelity.of(UNIT, [Output("flow", "m3/s")], [[predictor]])
    assert_all(check_surrogate(Surrogate(network, domain={one.name: one.field.bounds for one in UNIT})))


def test_prediction_is_that_of_the_model_in_the_units_asked_for(samples, tmp_path):
    predictor = fit_engine("cokriging", samples, 5)
    network = MultiFidelity.of(UNIT, [Output("flow", "m3/s")], [[predictor]])
    network.widening.fill_(2.0)
    Surrogate(network).save(tmp_path / "model")
    x = CASES["park"].test_points(7, 3)
    data = to_dataset(UNIT, x)
    data["x1"] = ("batch", 100 * x[:, 1], {"units": "cm"})
    answer = load(tmp_path / "model").predict(data)
    mean, std = evaluate(predictor, x)
    np.testing.assert_allclose(answer["flow"], mean, rtol=1e-12)
    np.testing.assert_allclose(answer["flow_std"], 2 * std, rtol=1e-9)
    assert answer["flow_std"].attrs["standard_name_modifier"] == "standard_error"


def test_decoder_adds_variances_of_independent_amplitudes():
    decoder = Decoder(2, 5)
    generator = np.random.default_rng(3)
    decoder.modes.copy_(torch.as_tensor(np.linalg.qr(generator.standard_normal((5, 2)))[0].T))
    decoder.rest.fill_(0.3)
    mean, std = torch.tensor([[1.0, -2.0]]).double(), torch.tensor([[0.5, 0.2]]).double()
    field, error = decoder(mean, std)
    draws = mean.numpy() + std.numpy() * generator.standard_normal((200_000, 2))
    fields = draws @ decoder.modes.numpy() + 0.3 * generator.standard_normal((200_000, 5))
    np.testing.assert_allclose(field[0], fields.mean(0), atol=5e-3)
    np.testing.assert_allclose(error[0], fields.std(0), rtol=1e-2)


def test_models_that_do_not_fit_the_outputs_are_refused(samples):
    predictor = fit_engine("gp", samples, 5)
    with pytest.raises(ValueError, match="expected models for 2 outputs, got 1"):
        MultiFidelity.of(UNIT, [Output("a"), Output("b")], [[predictor]])
    with pytest.raises(ValueError, match="expected one model of 'a', got 2"):
        MultiFidelity.of(UNIT, [Output("a")], [[predictor, predictor]])
