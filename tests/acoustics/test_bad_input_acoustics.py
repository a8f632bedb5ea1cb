"""Bad input to `sciml run acoustics`: exit status 1, one sentence that names the file and what to do, nothing left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from sciml.cli import run_command


@pytest.fixture
def folder(user_folder, tmp_path):
    return shutil.copytree(user_folder, tmp_path / "data")


def told(capsys, out, *settings, status=1):
    """Run, and return the sentence on stderr after checking its form."""
    pairs = [part for setting in settings for part in ("--set", setting)]
    assert (
        run_command(["run", "acoustics", "--preset", "quick", "--device", "cpu", "--out", str(out), *pairs]) == status
    )
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if "expected" in line]
    assert len(lines) == 1, captured.err
    assert "Traceback" not in captured.err
    assert "--debug" not in lines[0], lines[0]  # that is the sentence for errors nobody foresaw
    assert ";" in lines[0], lines[0]  # where: expected, got; what to do
    assert not out.exists()
    return lines[0]


def spoil(path, function):
    with h5py.File(path, "a") as file:
        function(file)


def any_file(folder, split="train", index=3):
    return sorted((folder / split).rglob("*.h5"))[index]


def says(sentence, *words):
    missing = [word for word in words if word not in sentence]
    assert not missing, f"{missing} not in {sentence!r}"


def test_truncated_file_is_named(folder, tmp_path, capsys):
    path = any_file(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    says(told(capsys, tmp_path / "run", f"data={folder}"), str(path), "complete HDF5 file", "again")


def test_file_without_source_position_is_named(folder, tmp_path, capsys):
    path = any_file(folder)
    spoil(path, lambda file: file.__delitem__("source_position"))
    says(told(capsys, tmp_path / "run", f"data={folder}"), str(path), "no source_position", "add /source_position")


def test_sensor_shape_that_does_not_fit_is_named(folder, tmp_path, capsys):
    path = any_file(folder)
    spoil(path, lambda file: file["umesh"].attrs.__setitem__("umesh_shape", np.array([3, 5])))
    says(told(capsys, tmp_path / "run", f"data={folder}"), str(path), "umesh_shape (3, 5) with product 15", "correct")


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pressure_that_is_no_number_is_named(folder, tmp_path, capsys, split, value):
    path = any_file(folder, split)
    spoil(path, lambda file: file["pressures"].__setitem__((7, 11), value))
    says(told(capsys, tmp_path / "run", f"data={folder}"), str(path), "finite")


def test_normalised_time_is_refused(folder, tmp_path, capsys):
    """Time in metres, as multi-source files of the same origin have it: c t instead of t."""
    for path in folder.rglob("*.h5"):
        spoil(path, lambda file: file["pressures"].attrs.__setitem__("time_steps", np.arange(25) * 343 / 800))
    sentence = told(capsys, tmp_path / "run", f"data={folder}")
    says(sentence, str(folder), "time_steps", "at least 2 steps per period", "store seconds")


def test_positions_in_millimetres_are_refused(folder, tmp_path, capsys):
    for path in folder.rglob("*.h5"):
        for name in ("mesh", "umesh", "source_position"):
            spoil(path, lambda file, name=name: file[name].__setitem__(..., 1000 * file[name][...]))
    says(told(capsys, tmp_path / "run", f"data={folder}"), str(folder), "store metres")


def test_other_time_steps_in_validation_are_named(small, write_published, tmp_path, capsys):
    val = replace(small.test, time=small.test.time * 0.9)
    data = write_published(tmp_path / "data", train=small.train)
    more = write_published(tmp_path / "more", val=val)
    shutil.move(more / "val", data / "val")
    says(told(capsys, tmp_path / "run", f"data={data}"), str(data / "val"), "time_steps", "resample")


def test_folder_without_files_is_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    says(told(capsys, tmp_path / "run", f"data={tmp_path / 'empty'}"), str(tmp_path / "empty"), "check the folder")


def test_folder_with_one_empty_split_is_named(folder, tmp_path, capsys):
    for path in (folder / "test").rglob("*.h5"):
        path.unlink()
    says(
        told(capsys, tmp_path / "run", f"data={folder}"), str(folder / "test"), "HDF5 files", "none", "check the folder"
    )


def test_folder_that_is_not_there_is_named(tmp_path, capsys):
    says(
        told(capsys, tmp_path / "run", f"data={tmp_path / 'no'}"),
        str(tmp_path / "no"),
        "nothing there",
        "check the path",
    )


def test_train_without_anything_held_out_is_split(small, write_published, tmp_path, capsys):
    """One source cannot be split; more can: that a run of it works is tested elsewhere."""
    data = write_published(tmp_path / "data", train=small.train.sources(slice(0, 1)))
    says(told(capsys, tmp_path / "run", f"data={data}"), str(data), "at least two sources", "add files")


@pytest.mark.parametrize("setting", ["room=castle", "room="])
def test_unknown_room_is_answered_with_the_known_ones(tmp_path, capsys, setting):
    says(told(capsys, tmp_path / "run", setting), "square", "l_shape", "furnished")


def test_room_that_does_not_hold_the_mesh_is_refused(folder, tmp_path, capsys):
    sentence = told(capsys, tmp_path / "run", f"data={folder}", "room=l_shape")
    says(sentence, "room 'l_shape'", str(folder), "mesh nodes", "choose another room")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("solver.padding=1.5", ["padding", "square"]),
        ("solver.n_test=0", ["solver.n_test", "at least 1"]),
        ("n_receivers=0", ["n_receivers", "at least 1"]),
        ("solver.f_max=nan", ["solver.f_max", "positive"]),
        ("solver.impedance=0", ["solver.impedance", "positive"]),
        ("solver.t_long=0.01", ["t_long beyond t_max"]),
        ("fits.tolerance=1.5", ["tolerance", "1.5"]),
        ("fits.two_step_steps=0", ["fits.two_step_steps"]),
    ],
)
def test_senseless_settings_are_refused_before_anything_is_simulated(tmp_path, capsys, setting, words):
    says(told(capsys, tmp_path / "run", setting), *words)


def test_out_below_a_regular_file_is_refused(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    sentence = told(capsys, tmp_path / "file" / "run", f"data={folder}")
    says(sentence, str(tmp_path / "file" / "run"), "writable folder", "choose another --out")
    assert (tmp_path / "file").read_text() == "mine"


def test_out_with_content_is_refused_and_left_alone(folder, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    status = run_command(["run", "acoustics", "--preset", "quick", "--out", str(tmp_path / "mine")])
    assert status == 1
    says(capsys.readouterr().err, str(tmp_path / "mine"), "new or empty folder", "choose another --out")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_resume_of_a_folder_that_holds_no_run_is_refused(tmp_path, capsys):
    assert run_command(["run", "--resume", str(tmp_path)]) == 1
    says(capsys.readouterr().err, str(tmp_path), "unfinished run", "check the path")


def test_resume_with_a_broken_configuration_is_refused(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"experiment": "acoustics"}))
    assert run_command(["run", "--resume", str(tmp_path)]) == 1
    says(capsys.readouterr().err, str(tmp_path / "config.json"), "run folder's configuration")


def test_the_installed_command_says_the_same_in_a_process_of_its_own(folder, tmp_path):
    path = any_file(folder)
    path.write_bytes(path.read_bytes()[:1000])
    arguments = ["run", "acoustics", "--preset", "quick", "--set", f"data={folder}", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", "from sciml.cli import main; main()", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    says(done.stderr, str(path), "expected a complete HDF5 file", ";")
    assert not (tmp_path / "run").exists()
