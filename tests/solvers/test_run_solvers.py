"""`sciml run solvers` from end to end with settings of the least cost: what the folder holds, and that it is true."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sciml_solvers.benchmark import KEYS
from sciml_solvers.compare import TUNING, by_multigrid, geometric_mean, tuned
from sciml_solvers.config import PRESETS
from sciml_solvers.experiment import _metrics, train_cycle, train_directions
from sciml_solvers.gallery import problem
from sciml_solvers.multigrid import Multigrid
from sciml_solvers.solve import solve

import sciml
from sciml.config import configure
from sciml.experiment import Run
from sciml.progress import Progress
from sciml.testing import assert_all, check_experiment, check_surrogate

SMALL = {
    "masks.names": "solids,porous",
    "masks.n": 12,
    "cycle.n_steps": 3,
    "cycle.n_masks": 4,
    "directions.n": 16,
    "directions.names": "empty,solids",
    "directions.n_vectors": 40,
    "directions.n_steps": 30,
}


@pytest.fixture(scope="module")
def run_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("solvers") / "run"
    return sciml.run("solvers", preset="quick", out=folder, device="cpu", overrides=SMALL)


def test_run_leaves_finite_metrics_of_every_method_and_problem(run_once):
    metrics = json.loads((run_once.folder / "metrics.json").read_text())
    for name in ("solids", "porous"):
        for method in ("cg", "jacobi", "multigrid", "tuned", "learned"):
            assert metrics[f"{name}_{method}_residual"] <= 1e-6
            assert metrics[f"{name}_{method}_iterations"] >= 1
        assert metrics[f"{name}_multigrid_iterations"] < metrics[f"{name}_cg_iterations"]
    for method in ("cg", "multigrid", "dcdm"):
        assert {f"2d_{name}_{method}_iterations" for name in ("empty", "solids")} <= set(metrics)
    assert {"learned_vs_tuned_iterations", "multigrid_vs_cg_cpu_s", "dcdm_solved"} <= set(metrics)
    assert all(isinstance(value, int | float) and math.isfinite(value) for value in metrics.values())


def test_ratios_follow_from_the_counts(run_once):
    metrics = run_once.metrics
    ratios = [metrics[f"{n}_learned_iterations"] / metrics[f"{n}_tuned_iterations"] for n in ("solids", "porous")]
    assert metrics["learned_vs_tuned_iterations"] == pytest.approx(math.sqrt(ratios[0] * ratios[1]))


def test_a_key_for_64_cells_is_not_filled_by_another_size(run_once):
    assert "dcdm_vs_cg_iterations_2d_64" not in run_once.metrics


def test_report_needs_nothing_but_itself(run_once):
    text = (run_once.folder / "report.html").read_text(encoding="utf-8")
    references = re.findall(r"""(?:\bsrc|\bposter|<link[^>]*\bhref|<image[^>]*\bhref)\s*=\s*["']([^"']*)""", text)
    assert references
    assert all(reference.startswith("data:") for reference in references)
    assert not re.search(r"url\(\s*['\"]?(?!data:|#)|@import|<script[^>]*\bsrc", text)


def test_run_leaves_a_conforming_surrogate_that_proposes_descent_on_its_box(run_once):
    surrogate = sciml.load(run_once.folder / "surrogate")
    assert_all(check_surrogate(surrogate))
    task = problem("empty", 16, 2)
    residual = torch.from_numpy(task.rhs[None]).float() * torch.from_numpy(task.fluid)
    direction = surrogate(residual=residual)["direction"].detach()
    assert direction.shape == residual.shape
    assert torch.equal(surrogate(residual=4 * residual)["direction"].detach(), direction)  # a power of two is exact


def test_the_same_seed_trains_the_same_networks(tmp_path):
    config = configure(PRESETS["quick"], SMALL)
    runs = [Run(tmp_path / name, 5, "cpu", Progress(enabled=False)) for name in "ab"]
    for train in (train_cycle, train_directions):
        one, two = (train(config, run).network.state_dict() for run in runs)
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_bench_without_the_peers_says_so_and_leaves_their_keys_unknown(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyamg", None)
    monkeypatch.setitem(sys.modules, "ilupp", None)
    smaller = {**SMALL, "masks.names": "solids", "directions.names": "empty", "directions.n_steps": 3, "n_bench": 16}
    folder = tmp_path / "run"
    results = sciml.run("solvers", preset="quick", out=folder, device="cpu", bench=True, overrides=smaller)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(KEYS) <= set(metrics)
    assert {key for key in KEYS if metrics[key] is None} == {
        *(key for key in KEYS if key.endswith("_128")), "dcdm_vs_cg_iterations_2d_64",
    }  # fmt: skip
    assert metrics["mgpcg_vs_scipy_cg_16"] > 0
    assert metrics["multigrid_residual_16"] <= 1e-6
    assert "mgpcg_vs_pyamg_rs_solve_16" not in results.metrics
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "not measured" in text
    assert "sciml-toolkit[bench]" in text


def test_counts_of_solves_that_gave_up_enter_no_ratio():
    row = by_multigrid(problem("solids", 12), Multigrid, 1e-6)
    findings = rows_where_gradients_gave_up(row)
    metrics = _metrics(PRESETS["quick"], findings, {})
    assert "multigrid_vs_cg_iterations" not in metrics
    assert "solids_cg_iterations" not in metrics
    assert metrics["learned_vs_tuned_iterations"] == 1.0


def rows_where_gradients_gave_up(row):
    lost = replace(row, converged=False)
    return {"solids": {"cg": lost, "jacobi": lost, "multigrid": row, "tuned": row, "learned": row}}


def test_presets_explain_themselves():
    assert_all(check_experiment("solvers"))


@pytest.mark.parametrize(
    ("part", "changes", "sentence"),
    [
        ("masks", {"names": ("solids", "nowhere")}, "masks.names: expected different ones of"),
        ("masks", {"n": 4}, "masks.n: expected at least 8 cells"),
        ("directions", {"names": ("neumann",)}, "directions.names: expected different ones of"),
        ("directions", {"n": 8}, "directions.n_vectors: expected at most 56"),
        ("cycle", {"n_steps": 0}, "cycle.n_steps: expected a count of at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_their_name(part, changes, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        replace(getattr(PRESETS["quick"], part), **changes)


def test_tuned_is_no_worse_than_any_setting_that_it_tried():
    tasks = [problem("solids", 12), problem("dam", 12)]
    setting, counts = tuned(tasks, 1e-6)
    assert setting in TUNING
    for omega, scale in TUNING[::5]:
        cycles = [Multigrid(p, smoothing=(1, 1), omega=omega, coarse_scale=scale) for p in tasks]
        others = [solve(p, preconditioner=c).iterations for p, c in zip(tasks, cycles, strict=True)]
        assert geometric_mean(counts) <= geometric_mean(others) + 1e-12


def test_a_timed_solve_reports_the_residual_of_its_answer():
    task = problem("porous", 12)
    row = by_multigrid(task, Multigrid, 1e-6)
    b = task.to_vector(task.rhs)
    true = np.linalg.norm(b - task.matrix() @ task.to_vector(row.answer)) / np.linalg.norm(b)
    assert row.converged
    assert row.residual == pytest.approx(true, rel=1e-6)
    assert len(row.history) == len(row.seconds) == row.iterations + 1
    assert np.all(np.diff(row.seconds) > 0)
