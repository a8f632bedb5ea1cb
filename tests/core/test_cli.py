"""The `sciml` command: what it prints, what it leaves behind, and its exit status."""

# ruff: noqa: F401, F811  the fixtures `sciml` and `site` are imported, and are arguments of the tests
from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

import pytest
from throwaway import rows, sciml, sciml_command, sentence, site

from sciml.cli.commands import CORE


@pytest.mark.parametrize("command", CORE)
def test_every_command_has_help_with_an_example(command, sciml):
    status, out, _ = sciml(command, "--help")
    assert status == 0
    assert f"  Example:\n    sciml {command}" in out
    assert "--debug" in out


def test_version_is_that_of_the_distribution(sciml):
    import importlib.metadata

    assert sciml("--version")[:2] == (0, f"sciml {importlib.metadata.version('sciml-toolkit')}\n")


def test_list_can_be_read_by_people_by_grep_and_as_json(sciml):
    status, out, err = sciml("list")
    assert (status, err) == (0, "")
    assert rows(out)[0] == ["KIND", "NAME", "PLUGIN", "SUMMARY", "AVAILABLE"]
    assert rows(out)[1] == ["experiments", "toy", "toy", "A", "noisy", "contraction", "ok"]
    entries = json.loads(sciml("list", "surrogates", "--json")[1])
    assert [(e["kind"], e["name"], e["distribution"], e["available"]) for e in entries] == [
        ("surrogates", "toy.line", "x-toy", True)
    ]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("rnu",), "sciml: expected a command, got 'rnu'; did you mean 'run'?; see sciml --help"),
        (("list", "planets"), "sciml list: Invalid value for '[experiments|operators|"),
        (("run",), "sciml run: expected an experiment's NAME or --resume DIR, got neither; see sciml run --help"),
        (("run", "toy", "--set", "n_steps"), "sciml run: Invalid value for --set: expected KEY=VALUE, got 'n_steps'"),
        (("run", "toy", "--device", "tpu"), "sciml run: Invalid value for '--device'"),
        (
            ("run", "--resume", "a", "--seed", "3"),
            "sciml run: --resume takes its settings from the folder, got --seed too",
        ),
        (("run", "toy", "--no-such-option"), "sciml run: No such option"),
    ],
)
def test_wrong_use_is_one_sentence_and_status_2(args, said, sciml):
    status, out, err = sciml(*args)
    assert (status, out) == (2, "")
    assert sentence(err).startswith(said)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("run", "toi"), "experiment 'toi': expected a registered name, got an unknown one; did you mean toy?"),
        (("bench", "toi"), "experiment 'toi': expected a registered name, got an unknown one; did you mean toy?"),
        (("show", "toy.lime"), "show 'toy.lime': expected a registered name or a folder; did you mean toy.line"),
        (("run", "toy", "--preset", "huge"), "preset 'huge' of 'toy': expected one of default, quick"),
        (("run", "toy", "--set", "n_step=3"), "setting 'n_step': expected a known name; did you mean 'n_steps'?"),
        (("run", "toy", "--set", "n_steps=many"), "setting 'n_steps': expected int, got 'many'"),
        (("run", "toy", "--config", "no.toml"), "no.toml: expected a TOML file with settings, got "),
        (("run", "--resume", "nowhere"), "nowhere: expected the folder of an unfinished run, got none; "),
        (("check", "toy.line"), "check 'toy.line': expected trained weights, got a surrogate's registered name; "),
        (("predict", "nowhere", "a.nc", "b.nc"), "nowhere: expected the folder of a saved surrogate or of a run"),
        (("export", "a", "--to", "cobol", "--out", "b"), "export: expected a target of "),
        (("new-plugin", "Gla cier"), "new-plugin: expected a name of lower-case letters and digits, got 'Gla cier'"),
    ],
)
def test_a_failure_is_one_sentence_and_status_1_and_leaves_nothing(args, said, sciml, tmp_path):
    before = set(tmp_path.iterdir())
    status, out, err = sciml(*args)
    assert (status, out) == (1, "")
    assert sentence(err).startswith(said)
    assert set(tmp_path.iterdir()) == before


def test_a_new_plugin_is_the_template_under_its_own_name_and_is_never_written_over(sciml, tmp_path):
    folder = tmp_path / "mine"
    status, out, _ = sciml("new-plugin", "glacier", "--out", str(folder))
    assert status == 0
    assert "sciml run glacier" in out
    texts = [path.read_text() for path in folder.rglob("*") if path.is_file()]
    assert not any("heatrod" in text.lower() for text in texts)
    for path in folder.rglob("*.py"):
        compile(path.read_text(), str(path), "exec")
    assert 'glacier = "sciml_glacier.hooks"' in (folder / "pyproject.toml").read_text()
    assert (folder / "sciml_glacier" / "hooks.py").is_file()
    status, _, err = sciml("new-plugin", "glacier", "--out", str(folder))
    assert status == 1
    assert "which exists" in sentence(err)


def test_debug_shows_the_traceback_before_or_after_the_command_or_by_environment(sciml, monkeypatch):
    assert "Traceback" in sciml("--debug", "run", "toi")[2]
    assert "Traceback" in sciml("run", "toi", "--debug")[2]
    monkeypatch.setenv("SCIML_DEBUG", "0")
    sentence(sciml("run", "toi")[2])
    monkeypatch.setenv("SCIML_DEBUG", "1")
    assert "Traceback" in sciml("run", "toi")[2]


def test_show_prints_presets_and_every_setting_with_value_unit_and_help(sciml):
    status, out, _ = sciml("show", "toy", "--preset", "quick")
    assert status == 0
    assert ["presets:", "default,", "quick"] in rows(out)
    assert ["n_steps", "5", "-", "Steps", "of", "the", "iteration"] in rows(out)
    assert ["inner.rate", "0.5", "1/step", "Contraction", "per", "step"] in rows(out)
    assert ["n_steps", "20", "-", "Steps", "of", "the", "iteration"] in rows(sciml("show", "toy")[1])
    assert ["target:", "toy_science:Line"] in rows(sciml("show", "toy.line")[1])


def test_run_leaves_a_folder_and_prints_where_the_report_is_and_the_metrics(sciml, tmp_path):
    (tmp_path / "settings.toml").write_text("n_steps = 9\n[inner]\nrate = 0.25\n")
    args = ("--config", "settings.toml", "--set", "n_steps=4", "--seed", "3", "--device", "cpu", "--threads", "1")
    status, out, err = sciml("run", "toy", *args, "--out", "runs/a")
    assert (status, err) == (0, "")
    config = json.loads((tmp_path / "runs/a/config.json").read_text())
    assert config["config"] == {"n_steps": 4, "fail_at": -1, "keep": True, "inner": {"rate": 0.25}}
    assert (config["seed"], config["device"], config["mode"]) == (3, "cpu", "run")
    metrics = json.loads((tmp_path / "runs/a/metrics.json").read_text())
    assert ["report:", "runs/a/report.html"] in rows(out)
    assert ["value", f"{metrics['value']:.6g}"] in rows(out)
    assert ["n_steps", "4"] in rows(out)
    assert (tmp_path / "runs/a/report.html").is_file()
    assert not (tmp_path / "runs/a/checkpoints").exists()


def test_bench_measures_the_peers_too(sciml, tmp_path):
    status, out, _ = sciml("bench", "toy", "--preset", "quick", "--out", "b")
    assert status == 0
    assert ["peer_value", "0"] in rows(out)
    assert json.loads((tmp_path / "b/config.json").read_text())["mode"] == "bench"


def test_without_out_a_run_gets_a_folder_named_after_experiment_and_preset(sciml, tmp_path):
    assert sciml("run", "toy", "--preset", "quick")[0] == 0
    assert [folder.name.startswith("toy-quick-2") for folder in (tmp_path / "runs").iterdir()] == [True]


def test_a_folder_in_use_is_left_alone(sciml, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/notes.txt").write_text("mine")
    status, _, err = sciml("run", "toy", "--out", "a")
    assert status == 1
    assert sentence(err) == "a: expected a new or empty folder, got one in use; choose another --out or --resume it"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_written_is_told(sciml, tmp_path):
    (tmp_path / "file").write_text("")  # a path below a file: unwritable for every user, root too
    status, _, err = sciml("run", "toy", "--out", "file/a")
    assert status == 1
    assert sentence(err) == "file/a: expected a writable folder, got Not a directory; choose another --out"


def test_a_failing_run_leaves_nothing_half_written(sciml, tmp_path):
    status, _, err = sciml("run", "toy", "--set", "fail_at=3", "--set", "keep=no", "--out", "a")
    assert status == 1
    assert sentence(err).startswith("step 3: expected a finite value, got nan")
    assert not (tmp_path / "a").exists()


def test_a_failing_run_with_checkpoints_says_how_to_continue(sciml, tmp_path):
    status, _, err = sciml("run", "toy", "--set", "fail_at=3", "--out", "a")
    assert status == 1
    assert err.splitlines()[1] == "what was done is kept; continue with sciml run --resume a"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["checkpoints", "config.json", "log.txt"]


@pytest.mark.parametrize(("signal", "code"), [("SIGKILL", -9), ("SIGINT", 1)])
def test_a_stopped_run_continues_to_the_result_of_an_uninterrupted_one(signal, code, sciml, site, tmp_path):
    args = ("run", "toy", "--seed", "11", "--out")
    assert sciml(*args, "whole")[0] == 0
    stop = {"TOY_STOPS_AT": "13", "TOY_SIGNAL": signal}
    done = sciml_command(*args, "stopped", plugins=site, cwd=tmp_path, **stop)
    assert done.returncode == code
    if signal == "SIGINT":
        assert done.stderr.strip() == "interrupted; continue with sciml run --resume stopped"
    assert json.loads((tmp_path / "stopped/checkpoints/state.json").read_text())["step"] == 13
    assert not (tmp_path / "stopped/metrics.json").exists()
    assert sciml("run", "other", "--resume", "stopped")[0] == 1
    assert sciml("run", "--resume", "stopped")[0] == 0
    assert (tmp_path / "stopped/metrics.json").read_bytes() == (tmp_path / "whole/metrics.json").read_bytes()
    status, _, err = sciml("run", "--resume", "stopped")
    assert status == 1
    assert sentence(err).startswith("stopped: expected an unfinished run, got a finished one")


def test_an_unexpected_error_names_its_kind_and_how_to_see_more(sciml, site):
    science = site / "toy_science.py"
    science.write_text(science.read_text().replace("rng.standard_normal()", "{}['lost']"))
    status, _, err = sciml("run", "toy", "--set", "keep=no")
    assert status == 1
    assert sentence(err) == (
        "sciml: expected no failure, got KeyError: 'lost'; run it again with --debug for the traceback"
    )


def test_a_reader_that_leaves_is_no_error_message(site, tmp_path):
    for command in ("list", "--help"):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [sys.executable, "-c", "from sciml.cli import main; main()", command],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site)},
            check=False,
        )
        os.close(write)
        assert done.stderr == ""
        assert done.returncode == 1


def test_a_full_disk_is_told_and_the_run_continues_when_there_is_room(sciml, site, tmp_path):
    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))  # the report is larger

    done = subprocess.run(
        [
            sys.executable,
            "-B",
            "-c",
            "from sciml.cli import main; main()",
            "run",
            "toy",
            "--set",
            "keep=no",
            "--out",
            "a",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site), "SCIML_PLUGINS": "toy"},
        preexec_fn=small_files_only,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "disk: expected room to write, got 'File too large'; free some space",
        "what was done is kept; continue with sciml run --resume a",
    ]
    assert not [path for path in (tmp_path / "a").rglob("*") if path.name.endswith((".tmp", "report.html"))]
    assert not (tmp_path / "a/metrics.json").exists()
    assert sciml("run", "--resume", "a")[0] == 0
    assert (tmp_path / "a/report.html").stat().st_size > 1500
