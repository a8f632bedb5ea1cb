"""`sciml run acoustics` from end to end: what the folder holds, a user's own data in every form, killed and resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sciml_acoustics.data import Waves, queries

import sciml
from sciml.cli import run_command
from sciml.experiment import content_hash
from sciml.testing import assert_all, check_experiment, check_surrogate

REQUIRED = {
    "rel_l2_mean", "rel_l2_max", "rel_l2_offnode_mean", "rmse_pa", "published_rel_l2_mean", "cubic_lookup_rel_l2_mean",
    "train_cpu_s", "published_cpu_s", "latency_ms_moving_receiver", "latency_ms_static_receiver", "surrogate_bytes",
    "lookup_bytes", "extrapolation_rel_l2", "decay_time_rel_error", "solver_vs_analytic_rel_l2",
}  # fmt: skip
FITS = {
    "fits.two_step_steps": 2,
    "deeponet.width": 12,
    "deeponet_fit.budget_cpu_s": "none",
    "deeponet_fit.n_steps": 3,
    "mended.width": 12,
    "mended_fit.budget_cpu_s": "none",
    "mended_fit.n_steps": 3,
}
# Pulses that touch no wall, else a constant pressure stays in the room and the energy stops decaying.
SOLVER = {
    "n_receivers": 8,
    "solver.f_max": 800,
    "solver.order": 4,
    "solver.ppw": 6,
    "solver.source_ppw": 3,
    "solver.padding": 0.8,
    "solver.t_max": 0.03,
    "solver.t_long": 0.25,
    "solver.n_test": 3,
    "solver.n_long": 2,
}


def command(folder, *more, **settings):
    pairs = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return ["run", "acoustics", "--preset", "quick", "--device", "cpu", "--out", str(folder), *pairs, *more]


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A run in the square room at the least cost."""
    base = tmp_path_factory.mktemp("simulated")
    cache, os.environ["SCIML_CACHE"] = os.environ.get("SCIML_CACHE"), str(base / "cache")
    try:
        assert run_command(command(base / "run", **FITS, **SOLVER)) == 0
    finally:
        os.environ.pop("SCIML_CACHE")
        if cache is not None:
            os.environ["SCIML_CACHE"] = cache
    return base / "run"


def test_run_leaves_the_required_metrics_as_finite_numbers(simulated):
    metrics = metrics_of(simulated)
    assert set(metrics) >= REQUIRED
    odd = {key: value for key, value in metrics.items() if not isinstance(value, int | float)}
    assert not odd
    assert metrics["rel_l2_mean"] <= metrics["rel_l2_max"] < 0.05
    assert metrics["rel_l2_offnode_mean"] < 0.05
    assert metrics["extrapolation_rel_l2"] < 0.05
    assert metrics["decay_time_rel_error"] < 0.05
    assert metrics["published_rel_l2_mean"] > metrics["cubic_lookup_rel_l2_mean"]


def test_run_leaves_the_whole_folder(simulated):
    assert {path.name for path in simulated.iterdir()} >= {
        "config.json", "metrics.json", "report.html", "plots", "surrogate", "log.txt", "environment.json",
    }  # fmt: skip
    assert not (simulated / "checkpoints").exists()
    for path in (simulated / "plots").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")
    environment = json.loads((simulated / "environment.json").read_text())
    assert re.fullmatch("[0-9a-f]{64}", environment["data_sha256"])


def test_report_needs_nothing_but_itself(simulated):
    text = (simulated / "report.html").read_text(encoding="utf-8")
    references = re.findall(r"""(?:\bsrc|\bposter|<link[^>]*\bhref|<image[^>]*\bhref)\s*=\s*["']([^"']*)""", text)
    assert references
    assert all(reference.startswith("data:") for reference in references)
    assert not re.search(r"url\(\s*['\"]?(?!data:|#)|@import|<script[^>]*\bsrc", text)


def test_run_leaves_a_conforming_surrogate_that_gives_the_reported_bytes(simulated):
    surrogate = sciml.load(simulated / "surrogate")
    assert surrogate.n_bytes == metrics_of(simulated)["surrogate_bytes"]
    assert (
        surrogate.provenance["data_sha256"] == json.loads((simulated / "environment.json").read_text())["data_sha256"]
    )
    near = queries([[0.9, 1.0], [1.1, 0.9], [1.0, 1.1]], [[1.0, 0.8], [0.6, 1.3]], np.arange(8) * 4e-3)
    assert_all(check_surrogate(surrogate, near))


def test_presets_explain_themselves():
    assert_all(check_experiment("acoustics"))


def test_run_from_python_is_the_command(simulated, tmp_path):
    results = sciml.run("acoustics", preset="quick", out=tmp_path / "run", device="cpu", overrides={**FITS, **SOLVER})
    same = {key for key in results.metrics if "_cpu_s" not in key and "latency" not in key}
    first, second = metrics_of(simulated), metrics_of(tmp_path / "run")
    assert {key: second[key] for key in same} == {key: first[key] for key in same}


def check_user_run(folder, *, n_axis):
    metrics = metrics_of(folder)
    assert set(metrics) >= REQUIRED - {"solver_vs_analytic_rel_l2"}
    assert metrics["extrapolation_rel_l2"] is None  # the files end with the window: unknown is not a number
    assert metrics["decay_time_rel_error"] is None
    assert (folder / "report.html").stat().st_size > 10_000
    surrogate = sciml.load(folder / "surrogate")
    assert surrogate.spec.inputs[0].bounds.n_dims == n_axis
    return metrics


def test_users_files_are_run_and_their_hash_is_reported(user_folder, tmp_path):
    from sciml_acoustics.config import AcousticsConfig
    from sciml_acoustics.scene import make_scene

    from sciml.experiment import Run
    from sciml.progress import Progress

    assert run_command(command(tmp_path / "run", data=user_folder, n_receivers=30, **FITS)) == 0
    metrics = check_user_run(tmp_path / "run", n_axis=2)
    assert metrics["rel_l2_max"] < 0.05
    assert metrics["rel_l2_offnode_mean"] < 0.05
    config = AcousticsConfig(data=str(user_folder), n_receivers=30)
    scene = make_scene(config, Run(tmp_path, 7, "cpu", Progress(enabled=False)))
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["data_sha256"] == content_hash(scene.train.pressure, scene.test.pressure)


def test_users_files_with_train_and_val_on_different_meshes_are_run(small, write_published, tmp_path):
    coarse = small.test.nodes(np.arange(0, 441, 2))
    folder = write_published(tmp_path / "data", train=small.train, val=coarse)
    assert run_command(command(tmp_path / "run", data=folder, **FITS)) == 0
    metrics = check_user_run(tmp_path / "run", n_axis=2)
    assert metrics["rel_l2_max"] < 0.05
    assert metrics["rel_l2_mean"] == pytest.approx(metrics["rel_l2_offnode_mean"], rel=0.3)


@pytest.mark.parametrize("n_axis", [1, 3])
def test_flat_folders_of_1d_and_3d_files_are_run(box_waves, write_published, tmp_path, n_axis):
    """Scattered sources: the held-out fifth may lie outside the box of the others."""
    rng = np.random.default_rng(149)
    source = rng.uniform(0.4, 1.6, ({1: 14, 3: 60}[n_axis], n_axis))
    folder = write_published(tmp_path / "data", all=box_waves(n_axis, source))
    assert run_command(command(tmp_path / "run", data=folder, n_receivers=12, **FITS)) == 0
    metrics = check_user_run(tmp_path / "run", n_axis=n_axis)
    assert metrics["rel_l2_mean"] < 0.2
    assert metrics["rel_l2_mean"] < metrics["nearest_lookup_rel_l2_mean"]


def test_users_files_of_an_l_shaped_room_are_run(write_published, tmp_path):
    from sciml_acoustics.geometry import random_points, room, source_grid
    from sciml_acoustics.operators import medium_of
    from sciml_acoustics.pulse import gaussian_pulse
    from sciml_acoustics.sem import SemMesh, WaveSolver

    place, medium = room("l_shape"), medium_of(250.0)
    mesh = SemMesh(place, 4, 5.0, 250.0)

    def waves(source):
        times = np.arange(16) / 500.0
        pulse = gaussian_pulse(source, mesh.nodes, medium.sigma0)
        pressure = WaveSolver(mesh, 17.98).solve(pulse, times).numpy().astype(np.float32)
        return Waves(source, mesh.nodes, mesh.weights, times, pressure, medium)

    sources, held_out = source_grid(place, 0.35, 0.5), random_points(place, 3, np.random.default_rng(151), 0.5)
    folder = write_published(tmp_path / "data", train=waves(sources), test=waves(held_out))
    assert run_command(command(tmp_path / "run", data=folder, room="l_shape", **FITS)) == 0
    check_user_run(tmp_path / "run", n_axis=2)
    surrogate = sciml.load(tmp_path / "run" / "surrogate")
    assert surrogate.spec.inputs[0].bounds.boxes == place.boxes


def test_killed_run_resumes_to_the_metrics_of_an_uninterrupted_one(box_waves, write_published, tmp_path):
    source = np.random.default_rng(173).uniform(0.4, 1.6, (12, 1))
    folder = write_published(tmp_path / "data", all=box_waves(1, source))
    settings = {**FITS, "data": folder, "n_receivers": 10, "deeponet_fit.n_steps": 400, "deeponet_fit.every": 10}
    settings["deeponet_fit.n_coordinates"] = 20
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-c", "from sciml.cli import main; main()", *command(tmp_path / "killed", **settings)]
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    record = tmp_path / "killed" / "checkpoints" / "published" / "fit.json"
    try:
        while process.poll() is None and not (record.exists() and steps(record) >= 20):
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "metrics.json").exists()
    assert 20 <= steps(record) < 400
    assert run_command(["run", "--resume", str(tmp_path / "killed")]) == 0
    assert run_command(command(tmp_path / "whole", **settings)) == 0
    killed, whole = metrics_of(tmp_path / "killed"), metrics_of(tmp_path / "whole")
    assert set(killed) == set(whole)
    same = {key for key in whole if "_cpu_s" not in key and "latency" not in key}
    assert {key: killed[key] for key in same} == {key: whole[key] for key in same}
    weights = [(tmp_path / name / "surrogate" / "weights.safetensors").read_bytes() for name in ("killed", "whole")]
    assert weights[0] == weights[1]


def steps(record: Path) -> int:
    try:
        return int(json.loads(record.read_text())["state"]["step"])
    except (OSError, ValueError):
        return -1
