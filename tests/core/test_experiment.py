from __future__ import annotations

import importlib.metadata
import json
import math
import shutil

import numpy as np
import pytest
import torch
import toys
from toys import Toy

import sciml
from sciml import Registration
from sciml.artifact import read_json, write_json
from sciml.experiment import content_hash, describe_environment, resolve_device, resume
from sciml.testing import assert_all, check_experiment


@pytest.fixture(autouse=True)
def registered(register_plugin, monkeypatch):
    kinds = [Registration(name, f"toys:{target}", "a toy") for name, target in (("toy", "Toy"), ("failing", "Failing"))]
    register_plugin("toy", experiments=kinds, surrogates=[Registration("toy.affine", "toys:Affine", "a toy")])
    monkeypatch.setattr(Toy, "stop_after", False)


def test_run_leaves_the_folder_that_it_promises(tmp_path):
    results = sciml.run("toy", preset="quick", out=tmp_path / "run", seed=11, overrides={"fit.degree": "3"})
    assert results.folder == tmp_path / "run"
    names = {item.name for item in results.folder.iterdir()}
    assert {"config.json", "metrics.json", "report.html", "surrogate", "log.txt", "environment.json"} <= names
    assert "checkpoints" not in names
    config = read_json(results.folder / "config.json")
    assert (config["experiment"], config["mode"], config["preset"], config["seed"]) == ("toy", "run", "quick", 11)
    assert config["config"]["n_samples"] == 20
    assert config["config"]["fit"] == {"degree": 3, "ridge": 1e-9}
    assert read_json(results.folder / "metrics.json") == results.metrics
    environment = read_json(results.folder / "environment.json")
    assert environment["data_hash"] == "abc"
    assert environment["torch"] == importlib.metadata.version("torch")
    assert environment["wall_s"] > 0
    assert sciml.load(results.folder / "surrogate").predict(toys.affine_inputs())["pressure"].shape == (4, 2)


def test_metrics_are_those_of_the_polynomial(tmp_path):
    rng = np.random.default_rng(11)
    x = np.sort(rng.uniform(0, 1, 20))
    residual = np.polynomial.Polynomial.fit(x, np.exp(x), 2)(x) - np.exp(x)
    results = sciml.run("toy", preset="quick", out=tmp_path / "run", seed=11)
    assert results.metrics == {"rmse": pytest.approx(math.sqrt(np.mean(residual**2)), rel=1e-9), "n": 20}


def test_settings_may_be_given_by_keyword(tmp_path):
    assert sciml.run("toy", out=tmp_path / "run", n_samples=12).metrics["n"] == 12


def test_equal_seeds_give_equal_runs_and_others_differ(tmp_path):
    metrics = [sciml.run("toy", preset="quick", out=tmp_path / str(i), seed=s).metrics for i, s in enumerate((5, 5, 6))]
    assert metrics[0] == metrics[1]
    assert metrics[0] != metrics[2]


def test_killed_then_resumed_run_equals_an_uninterrupted_one(tmp_path, monkeypatch):
    whole = sciml.run(
        "toy", out=tmp_path / "whole", seed=11, overrides={"n_samples": 30, "fit.degree": 4, "kinds": "x"}
    )
    monkeypatch.setattr(Toy, "stop_after", True)
    with pytest.raises(KeyboardInterrupt):
        sciml.run("toy", out=tmp_path / "killed", seed=11, overrides={"n_samples": 30, "fit.degree": 4, "kinds": "x"})
    assert not (tmp_path / "killed" / "metrics.json").exists()
    monkeypatch.setattr(Toy, "stop_after", False)
    resumed = resume(tmp_path / "killed")
    assert resumed.metrics == whole.metrics
    texts = [(tmp_path / name / "config.json").read_bytes() for name in ("whole", "killed")]
    assert texts[0] == texts[1]
    assert not (tmp_path / "killed" / "checkpoints").exists()
    with pytest.raises(ValueError, match="expected an unfinished run, got a finished one; start a new one with --out"):
        resume(tmp_path / "killed")


def test_resume_refuses_what_is_no_run(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"config\.json: expected a readable JSON file"):
        resume(tmp_path)
    monkeypatch.setattr(Toy, "stop_after", True)
    with pytest.raises(KeyboardInterrupt):
        sciml.run("toy", out=tmp_path / "killed")
    stored = read_json(tmp_path / "killed" / "config.json")
    for wrong in ([], {}, {**stored, "mode": "__class__"}, {**stored, "config": None}, {**stored, "seed": "x"}):
        write_json(tmp_path / "killed" / "config.json", wrong)
        with pytest.raises(ValueError, match="expected a run folder's configuration, got something else"):
            resume(tmp_path / "killed")
    write_json(tmp_path / "killed" / "config.json", {**stored, "config": {**stored["config"], "n_sample": 3}})
    with pytest.raises(ValueError, match="setting 'n_sample': expected a known name; did you mean 'n_samples'"):
        resume(tmp_path / "killed")


def test_failed_run_leaves_nothing_half_written(tmp_path):
    with pytest.raises(RuntimeError, match="the solver diverged"):
        sciml.run("failing", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_failed_run_leaves_the_folder_that_was_there_before_as_it_was(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o700)
    before = folder.stat()
    with pytest.raises(RuntimeError, match="the solver diverged"):
        sciml.run("failing", out=folder)
    assert list(folder.iterdir()) == []
    assert (folder.stat().st_ino, folder.stat().st_mode) == (before.st_ino, before.st_mode)


def test_failed_run_is_cleared_and_told_even_where_its_log_cannot_be_written(tmp_path, monkeypatch):
    log = sciml.Run.log

    def full_disk(run, message):
        if message.startswith("failed"):
            raise OSError(28, "No space left on device")
        log(run, message)

    monkeypatch.setattr(sciml.Run, "log", full_disk)
    with pytest.raises(RuntimeError, match="the solver diverged"):
        sciml.run("failing", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resumed_run_that_fails_leaves_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(Toy, "stop_after", True)
    with pytest.raises(KeyboardInterrupt):
        sciml.run("toy", out=tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    monkeypatch.setattr(Toy, "run", toys.Failing.run)
    with pytest.raises(RuntimeError, match="the solver diverged"):
        resume(tmp_path / "run")
    assert {item.name for item in (tmp_path / "run").iterdir()} == {"config.json", "log.txt", "notes.txt"}


@pytest.mark.parametrize(("value", "name"), [("inf", "Infinity"), ("-inf", "-Infinity"), ("nan", "NaN")])
def test_settings_that_are_not_finite_survive_a_resumed_run(tmp_path, monkeypatch, value, name):
    monkeypatch.setattr(Toy, "stop_after", True)
    with pytest.raises(KeyboardInterrupt):
        sciml.run("toy", out=tmp_path / "run", overrides={"fit.ridge": float(value)})
    assert read_json(tmp_path / "run" / "config.json")["config"]["fit"]["ridge"] == name
    monkeypatch.setattr(Toy, "stop_after", False)
    seen, run = [], Toy.run
    monkeypatch.setattr(Toy, "run", lambda self, config, means: seen.append(config) or run(self, config, means))
    resume(tmp_path / "run")
    np.testing.assert_equal(seen[0].fit.ridge, float(value))


def test_report_says_in_words_how_it_was_made(tmp_path):
    folder = sciml.run("toy", preset="quick", out=tmp_path / "run", seed=11).folder
    text = (folder / "report.html").read_text()
    wall = read_json(folder / "environment.json")["wall_s"]
    for name, value in (("experiment", "toy"), ("seed", 11), ("wall time", f"{wall:.0f} s")):
        assert f"<span>{name} <b>{value}</b></span>" in text
    assert "wall_s" not in text


def test_failed_run_keeps_what_can_be_resumed(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(sciml.Report, "write", fail)
        with pytest.raises(OSError, match="disk full"):
            sciml.run("toy", preset="quick", out=tmp_path / "run", seed=11)
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert resume(tmp_path / "run").metrics == sciml.run("toy", preset="quick", out=tmp_path / "other", seed=11).metrics


def test_folder_in_use_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(
        ValueError, match="expected a new or empty folder, got one in use; choose another --out or --resume it"
    ):
        sciml.run("toy", out=tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ValueError, match="expected a writable folder"):
        sciml.run("toy", out=tmp_path / "thesis.tex" / "run")


def test_wrong_names_are_refused_before_a_folder_is_made(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(
        LookupError, match="experiment 'toi': expected a registered name, got an unknown one; did you mean toy"
    ):
        sciml.run("toi", out=out)
    with pytest.raises(ValueError, match="preset 'quik' of 'toy': expected one of default, quick"):
        sciml.run("toy", preset="quik", out=out)
    with pytest.raises(ValueError, match="setting 'n_sampels': expected a known name; did you mean 'n_samples'"):
        sciml.run("toy", out=out, n_sampels=3)
    with pytest.raises(ValueError, match="device: expected auto, cpu or cuda, got 'tpu'"):
        sciml.run("toy", out=out, device="tpu")
    assert not out.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_missing_gpu_is_told_and_auto_falls_back():
    assert resolve_device("auto") == "cpu"
    with pytest.raises(ValueError, match="device: expected a CUDA device, got none; use --device auto or cpu"):
        resolve_device("cuda")


def test_bench_runs_the_other_method_into_the_same_kind_of_folder(tmp_path):
    results = sciml.run("toy", preset="quick", out=tmp_path / "bench", bench=True)
    assert read_json(results.folder / "config.json")["mode"] == "bench"


def test_environment_is_known_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert shutil.which("git") is None
    environment = describe_environment()
    assert environment["commit"] is None
    assert environment["peak_memory_mb"] > 1
    json.dumps(environment)


def test_content_hash_changes_with_any_number():
    a = np.arange(6.0)
    b = a.copy()
    b[3] += 1e-15 * 8
    assert content_hash(a) == content_hash(a.reshape(2, 3)[:, :])
    assert content_hash(a) != content_hash(b)


def test_toy_passes_the_kit(tmp_path):
    checks = check_experiment("toy", run_quick=True, out=tmp_path / "run")
    failed = [check for check in checks if not check.passed]
    assert [check.name for check in failed] == ["plots are PNG files"]  # the toy draws none
    assert_all(check for check in checks if check not in failed)
