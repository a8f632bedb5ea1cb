"""`sciml run cosmo` leaves a whole folder, and wrong settings are told in a sentence."""

from __future__ import annotations

import pytest
from sciml_cosmo.config import PRESETS, TASKS, CosmoConfig

import sciml
from sciml.testing import check_experiment

pytest.importorskip("colossus", reason="generated universes need the extra cosmo")


def test_quick_run_conforms_and_leaves_a_surrogate(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIML_CACHE", str(tmp_path / "cache"))
    failed = [check for check in check_experiment("cosmo", run_quick=True, out=tmp_path / "run") if not check.passed]
    assert not failed, failed
    surrogate = sciml.load(tmp_path / "run" / "surrogate")
    assert {field.name for field in surrogate.spec.inputs} >= {"position"}


def test_every_task_has_settings_and_a_preset_of_the_published_size():
    assert {field for field in TASKS} <= set(vars(CosmoConfig()))
    assert PRESETS["default-params"].task == "parameters"
    assert PRESETS["default-params"].parameters.boxes.n_box >= 512
    assert PRESETS["default-params"].parameters.n_seed >= 3


def test_unknown_and_repeated_tasks_of_the_bench_are_refused():
    with pytest.raises(ValueError, match=r"bench: expected different ones of velocity, .*infill.*; choose"):
        CosmoConfig(bench=("velocity", "tides"))
    with pytest.raises(ValueError, match=r"bench: expected different ones"):
        CosmoConfig(bench=("trees", "trees"))
