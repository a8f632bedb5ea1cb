"""`sciml run mfuq` and `sciml bench mfuq` from end to end with settings of the least cost."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
from sciml_mfuq.study.assess import Task, assess, judged
from sciml_mfuq.study.compare import Comparison, over_best
from sciml_mfuq.study.config import PRESETS
from sciml_mfuq.study.functions import CASES

import sciml
from sciml.config import configure
from sciml.testing import assert_all, check_experiment

needs_xfoil = pytest.mark.skipif(shutil.which("xfoil") is None, reason="needs the program xfoil: apt-get install xfoil")
SMALL = {
    "functions.cases": "c1",
    "functions.engines": "gp,cokriging",
    "functions.others": "",
    "functions.n_test": 200,
    "spread.n_sample": 1024,
    "spread.n_exact": 20_000,
    "spread.n_sobol": 64,
    "adaptive.factor": 1.2,
    "adaptive.n_step": 2,
    "n_worker": 1,
}


@pytest.fixture(scope="module")
def run_once(tmp_path_factory):
    return sciml.run("mfuq", preset="quick", out=tmp_path_factory.mktemp("mfuq") / "run", device="cpu", overrides=SMALL)


def test_run_chooses_co_kriging_on_its_own_ground_and_is_right(run_once):
    metrics = json.loads((run_once.folder / "metrics.json").read_text())
    assert metrics["c1_rel"] == metrics["c1_cokriging_rel"] < 0.05 < metrics["c1_gp_rel"]
    assert metrics["auto_over_best"] == 1
    assert metrics["mean_err_uniform"] < 0.05
    # where adaptive sampling does not reach the error of the hypercube, its cost is infinite
    others = [value for name, value in metrics.items() if not name.startswith("adaptive")]
    assert all(isinstance(value, int | float) and math.isfinite(value) for value in others)


def test_run_leaves_a_surrogate_that_says_how_sure_it_is(run_once):
    surrogate = sciml.load(run_once.folder / "surrogate")
    assert "uncertainty" in surrogate.supports
    x = CASES["c1"].test_points(300, 3)
    inputs = sciml_inputs(surrogate, x)
    answer = surrogate.predict(inputs)
    truth = CASES["c1"].levels[-1](x)
    inside = np.abs(answer["y"].values - truth) <= 1.96 * answer["y_std"].values
    assert inside.mean() > 0.8
    with pytest.raises(ValueError, match="x1"):
        surrogate.predict(sciml_inputs(surrogate, x + 5))


def sciml_inputs(surrogate, x):
    from sciml_mfuq.tables import to_dataset

    return to_dataset(surrogate.network.inputs, x)


def test_run_writes_its_pictures(run_once):
    plots = {path.stem for path in (run_once.folder / "plots").glob("*.png")}
    assert {"correlations", "errors", "curves", "parities", "reliability", "densities", "race_c1"} <= plots


def test_experiment_keeps_its_contract():
    assert_all(check_experiment("mfuq"))


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("functions.cases", "c9", "functions.cases: expected different ones of c1"),
        ("functions.engines", "", "functions.engines: expected different ones of gp"),
        ("functions.n_test", 3, "functions.n_test: expected at least 10, got 3"),
        ("adaptive.factor", 1.0, "adaptive.factor: expected more than 1"),
        ("airfoil.angle_std", 0.0, "airfoil.angle_std: expected a positive number of degrees"),
        ("problem", "wing", "setting 'problem': expected 'functions' or 'airfoil' or 'cp-field' or 'urls', got 'wing'"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(setting, value, expected):
    with pytest.raises(ValueError, match="expected") as caught:
        configure(PRESETS["quick"], {setting: value})
    assert str(caught.value).startswith(expected)


def test_automatic_choice_is_compared_with_the_best_engine_known_afterwards():
    tasks = [Task("c1", engine, 5, n_test=100) for engine in ("gp", "cokriging")]
    found = {(task.case, task.engine, task.seed): judged(task, as_arrays(assess(task))) for task in tasks}
    right, wrong = (Comparison(found, {}, {("c1", 5): engine}) for engine in ("cokriging", "gp"))
    assert over_best(right, ("gp", "cokriging")) == {"c1": 1.0}
    expected = found["c1", "gp", 5].relative / found["c1", "cokriging", 5].relative
    assert over_best(wrong, ("gp", "cokriging"))["c1"] == pytest.approx(expected)


def as_arrays(values):
    return {name: np.asarray(value) for name, value in values.items()}


@needs_xfoil
@pytest.mark.parametrize("problem", ["airfoil", "cp-field"])
def test_real_programs_give_a_report_and_a_surrogate(problem, tmp_path):
    small = {
        **SMALL,
        "problem": problem,
        "airfoil.n_low": 20,
        "airfoil.n_high": 8,
        "airfoil.n_test": 6,
        "field.n_low": 8,
        "field.n_high": 6,
        "field.n_test": 5,
    }
    found = sciml.run("mfuq", preset="quick", out=tmp_path / "run", device="cpu", overrides=small)
    key = "lift_rel" if problem == "airfoil" else "cp_field_rel"
    assert 0 < found.metrics[key] < 0.5
    assert len(list((found.folder / "plots").glob("*.png"))) >= 1
    assert "uncertainty" in sciml.load(found.folder / "surrogate").supports
