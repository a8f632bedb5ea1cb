"""The experiment of the couplings: what it needs, measures and leaves, and that a killed run goes on."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from exported_policy import exported, policy  # noqa: F401, a fixture
from sciml_couplings.bench_umbridge import many_requests, refusals
from sciml_couplings.config import PRESETS, CouplingsConfig
from sciml_couplings.experiment import require_compilers
from sciml_couplings.harvest import draw, errors, fit_harvest, true_fraction
from sciml_couplings.story import declared

from sciml.experiment import resume, run
from sciml.testing import assert_all, check_experiment, check_surrogate

CONFIG = {"n_neuron": 64, "n_train": 2000, "seed": 73}


def test_experiment_and_its_surrogate_keep_the_contracts():
    assert_all(check_experiment("couplings"))
    assert_all(check_surrogate(fit_harvest(**CONFIG)))


def test_rule_fishes_less_of_smaller_stocks_and_beside_more_predators():
    stock, year = np.full((4, 3), 0.8), np.zeros(4)
    stock[1, 0], stock[2, 2], year[3] = 0.4, 1.6, 5.0
    full, small, eaten, poor = true_fraction(stock, year)[:, 0]
    assert small < full
    assert eaten / full == pytest.approx((1 + 0.4) / (1 + 0.8), rel=1e-12)
    assert poor / full == pytest.approx(1 / 3, rel=1e-12)
    data = draw(500, np.random.default_rng(71))
    assert 0 <= true_fraction(**data).min() <= true_fraction(**data).max() <= 0.45


def test_surrogate_of_the_rule_beats_linear_least_squares_and_repeats_itself():
    found = errors(fit_harvest(**CONFIG), CONFIG["n_train"], 72)
    assert found["coupling_surrogate_rel_l2"] < found["coupling_linear_rel_l2"] / 2
    for name, tensor in fit_harvest(**CONFIG).network.state_dict().items():
        torch.testing.assert_close(tensor, fit_harvest(**CONFIG).network.state_dict()[name], rtol=0, atol=0)


def test_missing_compiler_is_one_sentence_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "gfortran" else f"/usr/bin/{name}")
    with pytest.raises(FileNotFoundError, match=r"expected the compilers .* got no gfortran; install"):
        run("couplings", preset="quick", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "wrong", [{"n_round": 0}, {"batches": ()}, {"batches": (2, 3)}, {"batches": (1, 1)}, {"n_train": 64}]
)
def test_setting_that_measures_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
        CouplingsConfig(**wrong)


def test_every_registered_surrogate_has_a_row_and_a_reason_for_every_no():
    rows = {row[0]: row[1:] for row in declared()}
    assert rows["couplings.harvest"] == ["yes", "yes", ""]
    assert rows["small.stubborn"][0] == "no"
    assert "iterations" in rows["small.stubborn"][2]
    for compiled, derivatives, why in rows.values():
        assert bool(why) == ("no" in (compiled, derivatives))


def test_wrong_requests_are_refused_and_right_ones_answered():
    pytest.importorskip("umbridge", reason="needs the extra serve")
    statuses = refusals(fit_harvest(**CONFIG))
    assert len(statuses) > 8
    assert all(wanted == found for wanted, found in statuses.values()), statuses
    found = many_requests(fit_harvest(**CONFIG), n_request=32, n_client=4)
    assert (found["coupling_umbridge_lost"], found["coupling_umbridge_requests"]) == (0, 32)


def test_killed_bench_goes_on_without_compiling_again(exported, tmp_path, monkeypatch):  # noqa: F811
    for module in ("onnxscript", "umbridge", "pythonfmu", "pythonfmu3", "fmpy"):
        pytest.importorskip(module, reason="needs the extras onnx, serve and fmi, and fmpy")
    try:
        require_compilers()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    monkeypatch.setattr("sciml_couplings.experiment.fit_harvest", lambda *_: policy())  # has been compiled already
    monkeypatch.setattr("sciml_couplings.c_export.to_c", lambda *_, **__: pytest.fail("compiled again"))
    config = replace(PRESETS["quick"], batches=(1, 3), n_round=1, n_call=5, n_request=16, n_client=2)
    start = {"experiment": "couplings", "mode": "bench", "preset": "quick", "seed": 74, "device": "cpu"}
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text(json.dumps({**start, "config": asdict(config)}))
    took = {"coupling_c_export_cpu_s": 30.0, "coupling_c_export_wall_s": 60.0}
    (tmp_path / "checkpoints" / "c.json").write_text(json.dumps(took))
    shutil.copytree(exported, tmp_path / "exported" / "c")
    metrics = resume(tmp_path).metrics
    assert took.items() <= metrics.items()
    for name in ("c", "cpp", "fortran", "onnx", "umbridge", "fmu", "fmu3"):
        assert metrics[f"coupling_{name}_rel_err"] <= 1e-6, name
    assert (metrics["coupling_umbridge_lost"], metrics["coupling_umbridge_refused_share"]) == (0, 1)
    assert metrics["small_call_latency_c_over_python"] > 0
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"latency.png", "rule.png"}
