"""XFOIL as an operator: published behaviour of the real program, and every way in which a program can fail."""

from __future__ import annotations

import os
import shutil
import sys
import time

import numpy as np
import pytest
import xarray as xr
from sciml_mfuq.simulators import program, xfoil, xfoil_shim
from sciml_mfuq.simulators.airfoil import naca4
from sciml_mfuq.simulators.program import Execution
from sciml_mfuq.simulators.simulator import (
    GarbledOutput,
    MissingCompiler,
    MissingProgram,
    ProgramCrashed,
    ProgramTimeout,
    converged_only,
)
from sciml_mfuq.simulators.xfoil import Flow, Numerics, Xfoil, XfoilPressure
from sciml_mfuq.simulators.xfoil_output import read_nodes, read_polar, read_pressure

from sciml.testing import assert_all, check_operator

PRESENT = shutil.which("xfoil") and shutil.which("cc")
real = pytest.mark.skipif(not PRESENT, reason="needs xfoil and a C compiler: apt-get install xfoil gcc")
HEAD = """
       XFOIL         Version 6.99

 Calculated polar for: airfoil

 1 1 Reynolds number fixed          Mach number fixed

 xtrf =   1.000 (top)        1.000 (bottom)
 Mach =   0.100     Re =     1.000 e 6     Ncrit =   9.000  9.000

   alpha    CL        CD       CDp       CM     Top_Xtr  Bot_Xtr  Top_Itr  Bot_Itr
  ------ -------- --------- --------- -------- -------- -------- -------- --------
"""
ROW = "   4.000   0.4299   0.00731   0.00103   0.0063   0.2498   0.9681  47.6104 157.0609\n"
WANTED = {"angle_of_attack": 4.0, "mach": 0.1, "reynolds": 1e6, "n_crit": 9.0}


def conditions(angle, reynolds=None):
    angle = np.atleast_1d(np.asarray(angle, dtype=float))
    data = {"angle_of_attack": ("batch", angle, {"units": "degree"})}
    if reynolds is not None:
        data["reynolds"] = ("batch", np.broadcast_to(float(reynolds), angle.shape).copy(), {"units": "1"})
    return xr.Dataset(data)


# The real program.


@real
def test_polar_of_naca_0012_at_a_million():
    found = Xfoil()(conditions([0.0, 4.0, 8.0, 12.0], 1e6))
    np.testing.assert_allclose(found["lift_coefficient"], [0.0, 0.4299, 0.9153, 1.2495], rtol=0, atol=2e-3)
    np.testing.assert_allclose(found["drag_coefficient"], [0.00542, 0.00731, 0.01221, 0.01986], rtol=0, atol=1e-4)
    assert found["converged"].all()
    assert found.attrs["paneling"] == "PANE"
    assert (found.attrs["n_panels"], found.attrs["program"], found.attrs["mach"]) == (160, "XFOIL 6.99", 0.1)


@real
@pytest.mark.parametrize("operator", [Xfoil, XfoilPressure])
def test_operator_keeps_its_contract(operator):
    assert_all(check_operator(operator(), conditions([1.0, 4.0, -3.0], 1e6)))


@real
def test_potential_flow_has_no_reynolds_number_no_drag_and_the_lift_of_theory():
    potential = Xfoil(viscous=False, flow=Flow(mach=0.0))
    assert [field.name for field in potential.spec.inputs] == ["angle_of_attack"]
    found = potential(conditions([-2.0, 0.0, 2.0]))
    lift = found["lift_coefficient"].values
    np.testing.assert_allclose(found["drag_coefficient"], 0.0, atol=1e-9)
    np.testing.assert_allclose(lift[::-1], -lift, atol=1e-4)
    slope = (lift[2] - lift[0]) / np.radians(4.0)
    assert slope == pytest.approx(2 * np.pi * (1 + 0.77 * 0.12), rel=0.02)  # thin aerofoil, corrected for thickness
    assert "reynolds" not in found.attrs


@real
def test_compressibility_raises_the_lift_by_prandtl_and_glauert():
    slow, fast = (
        Xfoil(viscous=False, flow=Flow(mach=mach))(conditions([1.0]))["lift_coefficient"].item() for mach in (0.0, 0.3)
    )
    assert fast / slow == pytest.approx(1 / np.sqrt(1 - 0.3**2), abs=0.02)


@real
def test_mirrored_flow_gives_the_mirrored_answer():
    up, down = (Xfoil()(conditions(angle, 1e6)) for angle in (3.0, -3.0))
    assert up["lift_coefficient"].item() == pytest.approx(-down["lift_coefficient"].item(), abs=1e-4)
    assert up["drag_coefficient"].item() == pytest.approx(down["drag_coefficient"].item(), abs=1e-5)


@real
def test_pressure_around_the_aerofoil_integrates_to_the_lift():
    execution = Execution(n_workers=2)
    potential = {"viscous": False, "flow": Flow(mach=0.0), "execution": execution}
    field = XfoilPressure(**potential)(conditions([2.0, 6.0]))
    pressure = field["pressure_coefficient"].values
    x, y = field["node_x"].values, field["node_y"].values
    middle = (pressure + np.roll(pressure, -1, 1)) / 2
    force_x, force_y = -middle @ (np.roll(y, -1) - y), middle @ (np.roll(x, -1) - x)
    angle = np.radians([2.0, 6.0])
    lift = Xfoil(**potential)(conditions([2.0, 6.0]))["lift_coefficient"].values
    np.testing.assert_allclose(force_y * np.cos(angle) - force_x * np.sin(angle), lift, rtol=5e-3)
    assert pressure.shape == (2, 160)
    np.testing.assert_allclose(pressure.max(1), 1.0, atol=0.01)  # stagnation


@real
def test_two_workers_give_the_same_and_a_second_call_runs_nothing(tmp_path, monkeypatch):
    inputs = conditions(np.linspace(-3.0, 9.0, 7), 3e6)
    serial = Xfoil(execution=Execution(cache=str(tmp_path / "one")))(inputs)
    twice = Xfoil(execution=Execution(n_workers=2, cache=str(tmp_path / "two")))
    assert twice(inputs).identical(serial)

    def unwanted(*args, **options):
        raise AssertionError("a finished run was started again")

    monkeypatch.setattr(xfoil, "run_program", unwanted)
    assert twice(inputs).identical(serial)
    pressure = XfoilPressure(execution=twice.execution)(inputs)
    assert pressure["pressure_coefficient"].shape == (7, 160)  # of the same runs
    for other in (
        {"numerics": Numerics(n_panels=120)},
        {"flow": Flow(mach=0.2)},
        {"airfoil": naca4("0012", trailing_edge="closed")},
        {"viscous": False},
    ):
        with pytest.raises(AssertionError, match="started again"):
            Xfoil(execution=twice.execution, **other)(inputs)


@real
def test_point_that_does_not_converge_is_marked_and_its_neighbours_are_kept():
    hasty = Xfoil(numerics=Numerics(max_iterations=5))
    found = hasty(conditions([0.0, 4.0, 20.0], 1e6))
    lost = ~found["converged"].values
    assert lost.any()
    assert not lost.all()
    for name in ("lift_coefficient", "drag_coefficient", "moment_coefficient"):
        np.testing.assert_array_equal(np.isnan(found[name].values), lost)
    reasons = found["reason"].values
    assert all("did not converge in 5 iterations" in reason for reason in reasons[lost])
    assert set(reasons[~lost]) == {""}
    kept, notes = converged_only(found, "xfoil")
    assert kept.sizes["batch"] == (~lost).sum()
    assert len(notes) == 1
    assert notes[0].startswith(f"xfoil: {lost.sum()} of 3 runs gave no converged answer")


@real
def test_of_two_laminar_solutions_the_approach_from_zero_keeps_to_one():
    stepped = Xfoil(flow=Flow(mach=0.0), numerics=Numerics(angle_step=1.0), execution=Execution(n_workers=2))
    found = stepped(conditions([0.0, 2.0, 4.0, 6.0, 8.0], 1000.0))
    lift = found["lift_coefficient"].values
    np.testing.assert_allclose(lift[[0, 2, 4]], [0.0, 0.1691, 0.2681], atol=2e-3)
    np.testing.assert_allclose(found["drag_coefficient"][[0, 2, 4]], [0.1191, 0.1255, 0.1479], atol=1e-4)
    assert (np.diff(lift, 2) < 0).all()  # concave: no jump from one solution to the other
    cold = Xfoil(flow=Flow(mach=0.0))(conditions([4.0], 1000.0))["lift_coefficient"].item()
    assert abs(cold - lift[2]) > 0.02


@real
def test_approach_changes_nothing_where_there_is_one_solution():
    inputs, execution = conditions([1.0, 5.0, 9.0], 2e6), Execution(n_workers=2)
    cold, stepped = (Xfoil(numerics=Numerics(angle_step=step), execution=execution)(inputs) for step in (0.0, 1.0))
    for name, atol in (("lift_coefficient", 1e-4), ("drag_coefficient", 1e-5)):
        np.testing.assert_allclose(stepped[name], cold[name], rtol=0, atol=1.01 * atol)


@real
def test_all_four_conditions_can_be_inputs():
    operator = Xfoil(inputs=("n_crit", "angle_of_attack", "mach", "reynolds"))
    inputs = conditions([2.0, 2.0], 1e6).assign(
        mach=("batch", [0.1, 0.1], {"units": "1"}), n_crit=("batch", [4.0, 9.0], {"units": "1"})
    )
    noisy, quiet = operator(inputs)["drag_coefficient"].values
    assert noisy > 1.05 * quiet  # transition comes earlier


# Stand-ins for the program.


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Give a function that makes an operator whose program is a script with the given body."""
    monkeypatch.setattr(xfoil, "without_traps", lambda folder, cache: {})

    def make(body, **options):
        path = tmp_path / "stand_in"
        path.write_text(f"#!{sys.executable}\nimport os, sys, time\nfrom pathlib import Path\n{body}\n")
        path.chmod(0o755)
        return Xfoil(
            inputs=("angle_of_attack",),
            numerics=Numerics(n_panels=20),
            execution=Execution(program=str(path), **options),
        )

    return make


def script(row=ROW, log="", head=HEAD, n_nodes=20, version="XFOIL Version 6.99"):
    return f"""
Path('polar.txt').write_text({head + row!r})
Path('pressure.txt').write_text('# x Cp\\n' + '     1.00000-12.21010\\n' * {n_nodes})
Path('nodes.txt').write_text('  1.0  0.1E-2\\n' * {n_nodes})
print({version!r}, {log!r}, sep='\\n')
"""


def test_harmless_complaints_are_no_failure_and_the_one_that_counts_is(stand_in):
    mild = stand_in(script(log=" MRCHUE: Convergence failed at  65  side 1\n TRCHEK2: N2 convergence failed."))
    found = mild(conditions(4.0))
    assert found["lift_coefficient"].item() == 0.4299
    assert found["converged"].item()
    lost = stand_in(script(row="", log=" VISCAL:  Convergence failed"))(conditions(4.0))
    assert np.isnan(lost["lift_coefficient"].item())
    assert "did not converge" in lost["reason"].item()


def test_second_attempt_counts_when_the_first_does_not_converge(stand_in):
    failed, recording = "VISCAL:  Convergence failed", "Polar accumulation enabled"
    body = f"""
lines = [{failed!r}, {recording!r}]
print(*(lines if sys.stdin.read().count('ALFA') == 2 else lines[::-1]), sep='\\n')
"""
    found = stand_in(body + script())(conditions(4.0))
    assert found["converged"].item()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("print('hello')", "name and version"),
        (script(version="PFOIL"), "name and version"),
        (script(head="Mach = "), "polar"),
        (script(head=HEAD.replace("CDp ", "CDi ")), "columns"),
        (script(head=HEAD.replace("0.100", "0.200")), "mach 0.1"),
        (script(head=HEAD.replace("1.000 e 6", "1.100 e 6")), "reynolds"),
        (script(row=ROW + ROW), "one point"),
        (script(row=ROW.replace("4.000", "5.000")), "angle_of_attack 4"),
        (script(row=ROW.replace("0.4299", "******")), "row of numbers"),
        (script(row=""), "got neither"),
        (script(n_nodes=19), "20 panel nodes"),
    ],
)
def test_garbage_is_told_from_an_answer(stand_in, tmp_path, body, words):
    with pytest.raises(GarbledOutput, match=words):
        stand_in(body, cache=str(tmp_path / "cache"))(conditions(4.0))
    kept = [path for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".")]
    assert kept == []  # no trace of a failed run


def test_numbers_that_are_none_are_no_answer(stand_in):
    found = stand_in(script(row=ROW.replace("0.4299", "   NaN")))(conditions(4.0))
    assert not found["converged"].item()
    assert found["reason"].item() == "the solution is not finite"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("os.kill(os.getpid(), 8)", "SIGFPE"),
        ("print('sorry'); sys.exit(3)", "3 after 'sorry'"),
    ],
)
def test_crash_is_an_error_of_its_own(stand_in, body, words):
    with pytest.raises(ProgramCrashed, match=words):
        stand_in(body)(conditions(4.0))


def test_hanging_program_is_stopped_with_its_children(stand_in, tmp_path):
    mark = tmp_path / "child"
    body = f"""
if os.fork() == 0:
    Path({str(mark)!r}).write_text(str(os.getpid()))
time.sleep(600)
"""
    with pytest.raises(ProgramTimeout, match="within 5 s"):
        stand_in(body, timeout_s=5.0)(conditions(4.0))
    child = int(mark.read_text())
    for _ in range(100):
        if not alive(child):
            break
        time.sleep(0.05)
    assert not alive(child)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits the files of a child")
def test_program_that_prints_without_end_does_not_fill_the_disk(stand_in, monkeypatch):
    monkeypatch.setattr(program, "FILE_BYTES", 2**20)
    with pytest.raises(ProgramCrashed, match="Enter a command"):
        stand_in("while True:\n    print('Enter a command:' * 1000)")(conditions(4.0))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_program_that_is_not_there_is_told_with_how_to_install_it(monkeypatch, tmp_path):
    with pytest.raises(MissingProgram, match="apt-get install xfoil"):
        Xfoil(execution=Execution(program=str(tmp_path / "nothing")))(conditions(4.0, 1e6))
    monkeypatch.setenv("SCIML_XFOIL", str(tmp_path / "elsewhere"))
    with pytest.raises(MissingProgram, match="elsewhere"):
        Xfoil()(conditions(4.0, 1e6))


def test_program_that_cannot_start_is_a_crash(tmp_path, monkeypatch):
    monkeypatch.setattr(xfoil, "without_traps", lambda folder, cache: {})
    path = tmp_path / "broken"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    with pytest.raises(ProgramCrashed, match="expected it to start"):
        Xfoil(execution=Execution(program=str(path)))(conditions(4.0, 1e6))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux needs the library")
def test_library_without_a_compiler_is_told_and_with_one_is_compiled_once(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(MissingCompiler, match="apt-get install gcc"):
        xfoil_shim.without_traps(folder, tmp_path / "cache with blank")
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler: apt-get install gcc")
    monkeypatch.setenv("CC", "cc")
    assert xfoil_shim.without_traps(folder, tmp_path / "cache with blank")["LD_PRELOAD"].startswith("./no_traps.so")
    assert (folder / "no_traps.so").resolve().is_file()
    monkeypatch.setenv("CC", "no-such-compiler")
    (folder / "no_traps.so").unlink()
    xfoil_shim.without_traps(folder, tmp_path / "cache with blank")
    assert "LD_PRELOAD" not in os.environ


# Files.


def test_columns_that_touch_are_read():
    point = read_polar(
        HEAD + "   4.000-100.4299-100.00731  10.00103-100.0063   0.2498   0.9681  47.6104 157.0609\n", WANTED
    )
    assert (point["CL"], point["CD"], point["CDp"], point["CM"]) == (-100.4299, -100.00731, 10.00103, -100.0063)
    assert read_polar(HEAD, WANTED) is None
    np.testing.assert_array_equal(read_pressure("# x y Cp\n 1.00000  0.00126-10.21010\n", 1), [-10.2101])
    np.testing.assert_array_equal(read_nodes("  0.5  -0.2420286E-02\n", 1), [[0.5, -0.002420286]])


@pytest.mark.parametrize("text", ["", "1.0 2.0\n1.0\n", "a b\n"])
def test_nodes_that_are_none_are_refused(text):
    with pytest.raises(GarbledOutput, match="nodes"):
        read_nodes(text, 2)


def test_settings_that_make_no_sense_are_refused():
    for bad, words in (
        ({"inputs": ("reynolds",)}, "angle_of_attack"),
        ({"inputs": ("angle_of_attack", "reynolds"), "viscous": False}, "reynolds"),
        ({"inputs": ("angle_of_attack", "sweep")}, "sweep"),
        ({"airfoil": naca4("0012", 400)}, "at most 600 points"),
    ):
        with pytest.raises(ValueError, match=words):
            Xfoil(**bad)
    for bad in ({"n_panels": 4}, {"n_panels": 400}, {"max_iterations": 0}, {"angle_step": -1.0}, {"angle_step": 1e-9}):
        with pytest.raises(ValueError, match="Numerics"):
            Numerics(**bad)
    for bad in ({"n_workers": 0}, {"timeout_s": 0.0}, {"timeout_s": float("nan")}):
        with pytest.raises(ValueError, match="Execution"):
            Execution(**bad)


def test_deck_does_not_depend_on_the_rounding_of_a_unit():
    deck = Xfoil().deck({"angle_of_attack": 4.0, "reynolds": 1e6})
    assert deck == Xfoil().deck({"angle_of_attack": np.nextafter(4.0, 5.0), "reynolds": np.nextafter(1e6, 2e6)})
    assert "ALFA 0.000000" in Xfoil().deck({"angle_of_attack": -0.0})
    assert deck.startswith("PLOP\nG F\n")
    assert "\nPANE\n" in deck
