"""Nektar++: the session it is given, the forces it writes, the recorded runs, and a stand-in for the solver."""

from __future__ import annotations

import os
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import xarray as xr
from sciml_datasets import check_card, open_store, read_card, write_card
from sciml_mfuq.simulators import nektar
from sciml_mfuq.simulators.nektar import STD, Nektar, RecordedNektar, nektar_table, recorded_text
from sciml_mfuq.simulators.nektar_data import NACA0012
from sciml_mfuq.simulators.nektar_forces import Forces, UnfinishedRun, read_forces
from sciml_mfuq.simulators.nektar_session import Discretization, session_xml
from sciml_mfuq.simulators.program import Execution
from sciml_mfuq.simulators.simulator import GarbledOutput, MissingProgram, ProgramCrashed, ProgramTimeout

from sciml.testing import assert_all, check_dataset, check_operator

RECORDED = recorded_text("alpha_4.fce")
HEAD = "".join(line + "\n" for line in RECORDED.splitlines() if line.startswith("#"))


def conditions(*angles, reynolds=1000.0):
    return xr.Dataset(
        {
            "angle_of_attack": ("batch", np.array(angles, dtype=float), {"units": "degree"}),
            "reynolds": ("batch", np.full(len(angles), reynolds), {"units": "1"}),
        }
    )


# Sessions.


@pytest.mark.parametrize("angle", [0, 4, 8])
def test_session_is_the_one_that_was_run(angle):
    written, run = (
        ET.canonicalize(text, strip_text=True)
        for text in (session_xml(angle, 1000), recorded_text(f"alpha_{angle}.xml"))
    )
    name = '<PARAM NAME="OutputFile">{}</PARAM>'.format
    assert written.replace(name("forces"), name("a")) == run


def test_session_gives_velocity_and_pressure_the_same_modes_and_the_conditions():
    root = ET.fromstring(session_xml(-2.5, 400.0, Discretization(n_modes=6, time_step=0.001)))
    (expansion,) = root.findall("EXPANSIONS/E")
    assert (expansion.get("FIELDS"), expansion.get("NUMMODES")) == ("u,v,p", "6")
    parameters = dict(item.text.split("=") for item in root.findall("CONDITIONS/PARAMETERS/P"))
    assert (parameters["AoA"], parameters["Re"], parameters["NumSteps"]) == ("-2.5*PI/180", "400.0", "14000")
    assert root.find("FILTERS/FILTER").get("TYPE") == "AeroForces"
    assert [p.text for p in root.findall("FILTERS/FILTER/PARAM")] == ["forces", "70", "B[0]"]


@pytest.mark.parametrize(
    "bad",
    [
        {"n_modes": 1},
        {"time_step": 0.0},
        {"time_step": 0.1},
        {"mean_after": 14.0},
        {"end_time": np.nan},
        {"ramp_rate": 0},
    ],
)
def test_discretization_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ValueError, match="Discretization"):
        Discretization(**bad)


# Forces.


@pytest.mark.parametrize(
    ("angle", "lift", "drag"), [(0.0, 0.0098, 0.1197), (4.0, 0.2111, 0.1263), (8.0, 0.3184, 0.1463)]
)
def test_recorded_forces_give_the_known_coefficients(angle, lift, drag):
    found = read_forces(recorded_text(f"alpha_{angle:g}.fce"), 14.0).coefficients(angle, 10.0)
    np.testing.assert_allclose(found[:2], [lift, drag], rtol=0, atol=1e-4)


def test_higher_order_differs_by_no_more_than_two_standard_errors():
    fine = read_forces(recorded_text("alpha_4_order5.fce"), 14.0).coefficients(4.0, 10.0)
    coarse = read_forces(RECORDED, 14.0).coefficients(4.0, 10.0)
    assert (np.abs(fine - coarse) < 2 * np.array(list(STD.values()))).all()


def test_forces_along_the_wind_are_drag_and_across_it_lift_at_every_angle():
    for angle in (-7.0, 0.0, 30.0):
        a = np.radians(angle)
        drag, lift, arm = 0.3, 0.8, 0.4  # all forces act at x = arm
        force = np.array([drag * np.cos(a) - lift * np.sin(a), drag * np.sin(a) + lift * np.cos(a)])
        split = np.stack([0.25 * force, 0.75 * force], -1)[None]
        moment = np.array([[0.25, 0.75]]) * arm * force[1]
        found = Forces(np.array([11.0]), split, moment).coefficients(angle, 10.0)
        np.testing.assert_allclose(found, 2 * np.array([lift, drag, (0.25 - arm) * force[1]]), rtol=1e-12)


def row(time, values, width=15):
    return f"{time:>8g}" + "".join(f"{value:>{width}.8g}" for value in values) + "\n"


def test_columns_that_touch_and_times_that_outgrow_theirs_are_read():
    values = [-1.2345678e-100, -2.2345678e-101] + [-1.2345678e-105] * 7
    text = HEAD + row(0, [0.0] * 9) + row(7, values) + row(1234567.25, values)
    text = text.replace("1.23457e+06", "1234567.25")
    assert "e-100-2" in text
    found = read_forces(text, 1234567.0)
    np.testing.assert_array_equal(found.time, [0.0, 7.0, 1234567.25])
    np.testing.assert_array_equal(found.force[1, 0], values[:2])
    assert found.force.shape == (3, 2, 2)
    assert found.moment.shape == (3, 2)


def test_run_that_broke_off_or_diverged_is_unfinished_and_says_when():
    with pytest.raises(UnfinishedRun, match=r"to time 14, got them to 0\.88"):
        read_forces(recorded_text("diverged.fce"), 14.0)
    sound = row(10, [0.5] * 9)
    for broken in ("nan", "-nan", "inf"):
        text = HEAD + row(0, [0.0] * 9) + row(5, [0.5] * 9) + sound[:-16] + f"{broken:>15}\n" + row(15, [0.5] * 9)
        with pytest.raises(UnfinishedRun, match="after time"):
            read_forces(text, 14.0)
    cut = RECORDED[:-40]  # within the last line
    with pytest.raises(UnfinishedRun, match=r"got them to 13\.93"):
        read_forces(cut, 14.0)
    with pytest.raises(UnfinishedRun, match="got them to 0"):
        read_forces(HEAD, 14.0)
    with pytest.raises(UnfinishedRun, match="records after time 20"):
        read_forces(RECORDED, 14.0).coefficients(4.0, 20.0)


@pytest.mark.parametrize(
    "text",
    ["", "hello\n", HEAD.replace("M3-total", "M1-total"), RECORDED.replace("0.35", "x.35"), HEAD + "  1.0  2.0\n"],
)
def test_file_that_is_no_force_file_is_refused(text):
    with pytest.raises(GarbledOutput, match="forces"):
        read_forces(text, 14.0)


# Recorded runs.


def test_table_is_a_level_with_the_noise_of_its_runs():
    table = nektar_table()
    np.testing.assert_allclose(table["lift_coefficient"], [0.0098, 0.2111, 0.3184], rtol=0, atol=1e-2)
    np.testing.assert_allclose(table["drag_coefficient"], [0.1197, 0.1263, 0.1463], rtol=0, atol=3e-3)
    np.testing.assert_array_equal(table["lift_coefficient_std"], 0.01)
    assert abs(table["lift_coefficient"][0]) < table["lift_coefficient_std"][0]  # symmetry asks for zero
    assert 72 <= table.attrs["cost_s"] <= 89


def test_recorded_operator_keeps_its_contract_and_refuses_to_interpolate():
    operator = RecordedNektar()
    assert_all(check_operator(operator))
    with pytest.raises(ValueError, match=r"\[0, 0\] or \[4, 4\] or \[8, 8\]"):
        operator(conditions(2.0))


def test_card_and_file_agree(tmp_path):
    NACA0012.make(tmp_path, seed=9)
    write_card(tmp_path, NACA0012.card)
    assert check_card(tmp_path) == []
    assert_all(check_dataset(tmp_path))
    assert read_card(tmp_path) == NACA0012.card
    with open_store(tmp_path / "all.nc") as runs:
        assert runs["force"].shape == (4, 201, 2, 2)
        late = runs["force"].sel(part=["pressure", "viscous"]).sum("part")[:, runs["time"].values > 10].mean("time")
        a = np.radians(runs["angle_of_attack"].values)
        lift = 2 * (late.sel(axis="y").values * np.cos(a) - late.sel(axis="x").values * np.sin(a))
        np.testing.assert_allclose(lift, runs["lift_coefficient"].values, rtol=1e-12)


# A stand-in for the solver.

SOLVER = """#!{python}
import re, shutil, sys
from pathlib import Path
Path({calls!r}).open("a").write(" ".join(sys.argv[1:]) + "\\n")
assert sorted(path.name for path in Path().iterdir()) == ["input.txt", "log.txt", "mesh.xml", "session.xml"]
Path("session.opt").write_text("left behind")
angle = float(re.search(r"AoA=([-0-9.]+)", Path("session.xml").read_text()).group(1))
recorded = {recorded!r}
{body}
"""
RUN = 'shutil.copyfile(f"{recorded}/alpha_{angle:g}.fce", "forces.fce")'


@pytest.fixture
def solver(tmp_path):
    """Give a function that makes an operator whose solver is a script with the given body, and the log of its calls."""
    recorded = os.path.dirname(nektar.__file__) + "/recorded/nektar_naca0012_re1000"
    calls = tmp_path / "calls.txt"

    def make(body=RUN, parameters=None, **options):
        path = tmp_path / "IncNavierStokesSolver"
        path.write_text(SOLVER.format(python=sys.executable, calls=str(calls), recorded=recorded, body=body))
        path.chmod(0o755)
        return Nektar(execution=Execution(program=str(path), **options), parameters=parameters or {}), calls

    return make


def test_solver_is_run_afresh_per_point_and_once_per_content(solver):
    operator, calls = solver(n_workers=2)
    found = operator(conditions(8.0, 0.0, 4.0))
    table = nektar_table()
    for name in ("lift_coefficient", "drag_coefficient", "moment_coefficient"):
        np.testing.assert_array_equal(found[name], table[name][[2, 0, 1]])
    assert found["converged"].all()
    assert found.attrs["n_modes"] == 4
    assert calls.read_text().splitlines() == ["-I GlobalSysSoln=DirectStaticCond session.xml mesh.xml"] * 3
    assert operator(conditions(8.0, 0.0, 4.0)).identical(found)
    assert len(calls.read_text().splitlines()) == 3


def test_operator_keeps_its_contract(solver):
    assert_all(check_operator(solver()[0], conditions(0.0, 4.0, 8.0)))


def test_parameters_reach_the_command_line_unless_inputs_decide_them(solver):
    operator, calls = solver(parameters={"SVVCutoffRatio": 0.5})
    operator(conditions(4.0))
    assert "-P SVVCutoffRatio=0.5" in calls.read_text()
    with pytest.raises(ValueError, match="Re"):
        Nektar(parameters={"Re": 500.0})


def test_run_that_diverges_is_marked_and_its_neighbours_are_kept(solver):
    fail = 'if angle == 8:\n    shutil.copyfile(f"{recorded}/diverged.fce", "forces.fce")\n    sys.exit(1)'
    body = f"{RUN}\n{fail}"
    operator, calls = solver(body)
    found = operator(conditions(8.0, 4.0))
    assert found["converged"].values.tolist() == [False, True]
    assert np.isnan(found["drag_coefficient"].values).tolist() == [True, False]
    assert "0.88" in found["reason"].values[0]
    operator(conditions(8.0, 4.0))
    assert len(calls.read_text().splitlines()) == 3  # what failed is tried again, the rest is not


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ("sys.exit('no licence')", ProgramCrashed, "no licence"),
        ("pass", ProgramCrashed, "got 0"),
        (RUN + "\nimport os; os.kill(os.getpid(), 11)", ProgramCrashed, "SIGSEGV"),
        (RUN + "\nsys.exit(2)", ProgramCrashed, "got 2"),
        ("Path('forces.fce').write_text('hello\\nhello\\nhello\\n')", GarbledOutput, "columns"),
        ("import time; time.sleep(600)", ProgramTimeout, "within 1 s"),
    ],
)
def test_failure_of_the_solver_is_an_error_of_its_own(solver, body, error, words):
    with pytest.raises(error, match=words):
        solver(body, timeout_s=1.0 if error is ProgramTimeout else None)[0](conditions(4.0))


def test_solver_that_is_not_there_is_told_with_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("SCIML_NEKTAR", str(tmp_path / "nowhere"))
    with pytest.raises(MissingProgram, match="SCIML_NEKTAR"):
        Nektar()(conditions(4.0))
    with pytest.raises(ValueError, match="mesh"):
        Nektar(mesh=tmp_path / "mesh.xml")
    with pytest.raises(ValueError, match="angle_of_attack"):
        Nektar(inputs=("reynolds",))


@pytest.mark.skipif("SCIML_NEKTAR" not in os.environ, reason="needs the solver: set SCIML_NEKTAR to it; takes 80 s")
def test_real_solver_gives_the_recorded_coefficients():
    found = Nektar()(conditions(4.0))
    assert found["lift_coefficient"].item() == pytest.approx(0.2111, abs=0.01)
    assert found["drag_coefficient"].item() == pytest.approx(0.1263, abs=0.003)
