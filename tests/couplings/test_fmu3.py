"""A mock-up unit of FMI 3, simulated by fmpy, has the fields as arrays and gives what the surrogate predicts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_surrogates import Membrane, membrane, perceptron, spring

from sciml import Region, Surrogate

pytest.importorskip("pythonfmu3", reason="needs the extra fmi")
fmpy = pytest.importorskip("fmpy", reason="needs fmpy to simulate the unit")
from sciml_couplings.fmu import export_fmu3  # noqa: E402

N_NODE = 300  # start values of more than 1,000 characters

SIMULATE = """
import json, os, sys
import fmpy
import numpy as np
from small_surrogates import Hooks
from sciml.plugins import plugins

plugins().register(Hooks(), "small")
unit, name, values, start_values = json.load(sys.stdin)
values = np.array(values)
rows = [(0.2 * i, tuple(value)) for i, value in enumerate(values)]
try:
    result = fmpy.simulate_fmu(
        unit, stop_time=0.2 * (len(rows) - 1), step_size=0.2, output_interval=0.2, start_values=start_values,
        debug_logging=True, logger=lambda environment, status, category, message: print(message.decode()),
        input=np.array(rows, dtype=[("time", float), (name, float, values.shape[1:])]),
        output=[v.name for v in fmpy.read_model_description(unit).modelVariables if v.causality in ("input", "output")],
    )
    print(json.dumps({key: result[key].tolist() for key in result.dtype.names}))
except Exception as error:
    print(json.dumps({"error": str(error)}))
sys.stdout.flush()
os._exit(0)  # pythonfmu3 is no guest that an interpreter gets rid of
"""


@pytest.fixture(scope="module")
def unit(tmp_path_factory):
    path = tmp_path_factory.mktemp("fmu3") / "spring.fmu"
    export_fmu3(spring(), path)
    return path


def simulate(unit, name, values, **start_values):
    """Simulate in a process of its own: the unit brings Python along, and one process can unload it once only."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", SIMULATE],
        input=json.dumps([str(unit), name, np.asarray(values).tolist(), start_values]),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(unit.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    return {key: np.array(numbers) if key != "error" else numbers for key, numbers in answer.items()}, done.stdout


def test_the_unit_has_one_variable_for_each_field_with_its_unit_and_shape(unit):
    description = fmpy.read_model_description(str(unit))
    assert (description.fmiVersion, description.modelName) == ("3.0", "SmallSpring")
    seen = {
        v.name: (v.causality, v.unit, [d.start for d in v.dimensions])
        for v in description.modelVariables
        if v.type == "Float64" and v.causality != "independent"
    }
    assert seen == {
        "position": ("input", "m", [2]),
        "stiffness": ("input", "N m-1", []),
        "energy": ("output", "J", []),
        "force": ("output", "N", [2]),
        "force_std": ("output", "N", [2]),
    }
    assert not fmpy.validation.validate_fmu(str(unit))


def test_simulated_arrays_are_those_of_the_formula(unit):
    positions = np.random.default_rng(61).uniform(-0.9, 0.9, (6, 2))
    result, _ = simulate(unit, "position", positions, stiffness=2.0)
    seen = result["position"]
    assert len(np.unique(seen[:, 0])) >= 5
    square = (seen**2).sum(-1)
    np.testing.assert_allclose(result["energy"], square + square**2 / 4, rtol=1e-12)
    np.testing.assert_allclose(result["force"], -(2 + square)[:, None] * seen, rtol=1e-12)
    assert not result["outside_training_domain"].any()


def test_outside_the_domain_the_step_fails_unless_allowed(unit):
    far = [[3.0, 0.0]] * 3
    result, text = simulate(unit, "position", far, stiffness=2.0)
    assert "error" in result
    assert "training domain" in text
    result, _ = simulate(unit, "position", far, stiffness=2.0, allow_outside=True)
    assert result["outside_training_domain"].all()
    np.testing.assert_allclose(result["energy"], 9 + 81 / 4, rtol=1e-12)


def test_a_long_array_starts_and_passes_whole(tmp_path):
    path, surrogate = tmp_path / "long.fmu", Surrogate(Membrane(N_NODE), domain={"load": Region.interval(-5.0, 4.0)})
    export_fmu3(surrogate, path, sizes={"node": N_NODE})
    start = next(v.start for v in fmpy.read_model_description(str(path)).modelVariables if v.name == "load")
    assert [float(number) for number in start.split()] == [-0.5] * N_NODE
    loads = np.random.default_rng(62).uniform(-5, 4, (3, N_NODE))
    result, _ = simulate(path, "load", loads)
    chain = 3 * np.eye(N_NODE) - np.eye(N_NODE, k=1) - np.eye(N_NODE, k=-1)
    np.testing.assert_allclose(result["deflection"] @ chain, result["load"], rtol=1e-12, atol=1e-12)


def test_a_free_dimension_has_to_be_given(tmp_path):
    with pytest.raises(ValueError, match="a length >= 1 of query"):
        export_fmu3(perceptron(), tmp_path / "perceptron.fmu")
    with pytest.raises(ValueError, match=r"ends in \.fmu"):
        export_fmu3(membrane(), tmp_path / "membrane.zip", sizes={"node": 8})
    assert not list(tmp_path.iterdir())
