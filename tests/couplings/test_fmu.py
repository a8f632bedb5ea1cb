"""A functional mock-up unit, simulated by fmpy, gives what the surrogate predicts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_surrogates import membrane, perceptron, spring

pytest.importorskip("pythonfmu", reason="needs the extra fmi")
fmpy = pytest.importorskip("fmpy", reason="needs fmpy to simulate the unit")
from sciml_couplings.fmu import export_fmu  # noqa: E402


@pytest.fixture(scope="module")
def unit(tmp_path_factory):
    path = tmp_path_factory.mktemp("fmu") / "spring.fmu"
    export_fmu(spring(), path)
    return path


SIMULATE = """
import json, os, sys
import fmpy
import numpy as np
from small_surrogates import Hooks
from sciml.plugins import plugins

plugins().register(Hooks(), "small")
unit, x, start_values = json.load(sys.stdin)
names = ["time", "position[1]", "position[2]", "stiffness"]
rows = [(0.2 * i, value, 0.0, 2.0) for i, value in enumerate(x)]
output = ["position[1]", "energy", "force[1]", "force[2]", "outside_training_domain"]
try:
    result = fmpy.simulate_fmu(
        unit, stop_time=0.2 * (len(x) - 1), step_size=0.2, output_interval=0.2, start_values=start_values,
        output=output, debug_logging=True, logger=lambda env, name, status, category, message: print(message.decode()),
        input=np.array(rows, dtype=[(name, float) for name in names]),
    )
    print(json.dumps({name: result[name].tolist() for name in output}))
except Exception as error:
    print(json.dumps({"error": str(error)}))
sys.stdout.flush()
os._exit(0)  # pythonfmu is no guest that an interpreter gets rid of
"""


def simulate(unit, x, **start_values):
    """Simulate in a process of its own: the unit brings Python along, and one process can unload it once only."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", SIMULATE],
        input=json.dumps([str(unit), list(x), start_values]),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(unit.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    return {name: np.array(values) if name != "error" else values for name, values in answer.items()}, done.stdout


def test_the_unit_describes_its_variables_in_their_units(unit):
    description = fmpy.read_model_description(str(unit))
    assert (description.fmiVersion, description.modelName) == ("2.0", "SmallSpring")
    variables = {variable.name: variable for variable in description.modelVariables}
    inputs = [name for name, variable in variables.items() if variable.causality == "input"]
    assert inputs == ["position[1]", "position[2]", "stiffness"]
    outputs = [name for name, variable in variables.items() if variable.causality == "output"]
    assert outputs == ["energy", "force[1]", "force[2]", "force_std[1]", "force_std[2]", "outside_training_domain"]
    assert variables["stiffness"].description == "stiffness [N m-1]"
    assert not fmpy.validation.validate_fmu(str(unit))


def test_simulated_outputs_are_those_of_the_formula(unit):
    result, _ = simulate(unit, np.linspace(0.1, 0.9, 6))
    seen = result["position[1]"]
    assert len(np.unique(seen)) >= 5
    np.testing.assert_allclose(result["energy"], seen**2 + seen**4 / 4, rtol=1e-12)
    np.testing.assert_allclose(result["force[1]"], -(2 + seen**2) * seen, rtol=1e-12)
    assert not result["force[2]"].any()
    assert not result["outside_training_domain"].any()


def test_outside_the_domain_the_step_fails_unless_allowed(unit):
    result, text = simulate(unit, [3.0, 3.0, 3.0])
    assert "error" in result
    assert "training domain" in text
    result, _ = simulate(unit, [3.0, 3.0, 3.0], allow_outside=True)
    assert result["outside_training_domain"].all()
    np.testing.assert_allclose(result["energy"], 9 + 81 / 4, rtol=1e-12)


def test_a_free_dimension_has_to_be_given(tmp_path):
    with pytest.raises(ValueError, match="a length >= 1 of query"):
        export_fmu(perceptron(), tmp_path / "perceptron.fmu")
    with pytest.raises(ValueError, match=r"ends in \.fmu"):
        export_fmu(spring(), tmp_path / "spring.zip")
    assert not list(tmp_path.iterdir())
    export_fmu(membrane(), tmp_path / "membrane.fmu", sizes={"node": 8})
    names = [variable.name for variable in fmpy.read_model_description(str(tmp_path / "membrane.fmu")).modelVariables]
    assert names[:2] == ["load[1]", "load[2]"]
    assert names[8] == "deflection[1]"
