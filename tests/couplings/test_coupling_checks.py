"""`sciml check --target` passes what works, and each of its statements sees the fault that it is about."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from exported_policy import exported, policy  # noqa: F401, a fixture
from sciml_couplings import checks
from sciml_couplings.c_library import CLibrary
from small_surrogates import perceptron, spring

from sciml.cli.check import check
from sciml.plugins import plugins
from sciml.testing import assert_all, check_coupling

STATEMENTS = (
    "the answers are those of Python",
    "wrong ranks and sizes are refused",
    "NaN and infinity are refused",
    "inputs out of range are refused",
    "30 calls leave memory as it was",
    "eight threads get what one gets",
)


def honest(arrays):
    dims = {"position": ("batch", "axis"), "stiffness": ("batch",)}
    units = {"position": "m", "stiffness": "N m-1"}
    data = xr.Dataset({name: (dims[name], array, {"units": units[name]}) for name, array in arrays.items()})
    return {name: array.values for name, array in spring().predict(data).data_vars.items()}


def biased(arrays):
    return {name: array * (1 + 1e-4) for name, array in honest(arrays).items()}


def trimming(arrays):
    n = min(len(array) for array in arrays.values())
    return honest({"position": arrays["position"][:n].reshape(n, -1)[:, :2], "stiffness": arrays["stiffness"][:n]})


def mending(arrays):
    return honest({name: np.nan_to_num(array, nan=1.0, posinf=1.0, neginf=1.0) for name, array in arrays.items()})


def clipping(arrays):
    low, high = {"position": -1.0, "stiffness": 1.0}, {"position": 1.0, "stiffness": 10.0}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError("not finite")
    return honest({name: np.clip(array, low[name], high[name]) for name, array in arrays.items()})


KEPT = []


def leaking(arrays):
    KEPT.append(np.ones(2**17))
    return honest(arrays)


def confused(arrays):
    factor = 1.0 if threading.current_thread() is threading.main_thread() else 2.0
    return {name: factor * array for name, array in honest(arrays).items()}


def test_an_honest_coupling_passes():
    found = check_coupling(spring(), honest, n_calls=30)
    assert_all(found)
    assert tuple(each.name for each in found) == STATEMENTS


@pytest.mark.parametrize(
    ("fault", "statement"), zip((biased, trimming, mending, clipping, leaking, confused), STATEMENTS, strict=True)
)
def test_each_statement_sees_its_fault(fault, statement):
    failed = [each.name for each in check_coupling(spring(), fault, n_calls=30) if not each.passed]
    KEPT.clear()
    assert failed == [statement]


@pytest.mark.parametrize("surrogate", [spring, perceptron])
@pytest.mark.parametrize("target", ["umbridge", "dask"])
def test_served_and_chunked_surrogates_pass(target, surrogate):
    pytest.importorskip({"umbridge": "umbridge", "dask": "dask"}[target], reason="needs its extra")
    assert_all(plugins().resolve("couplings", f"couplings.{target}.check")(surrogate(), 20))


def test_the_compiled_library_passes_as_a_c_program_calls_it(exported):  # noqa: F811
    library = CLibrary(exported)
    assert_all(check_coupling(policy(), library, n_calls=200))
    library.close()
    with pytest.raises(ValueError, match="write it by sciml export"):
        CLibrary(exported / "include")


def test_the_command_checks_a_target_and_names_those_it_knows(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    spring().save(tmp_path / "spring")
    result = CliRunner().invoke(check, [str(tmp_path / "spring"), "--target", "onnx", "--calls", "30"])
    assert result.exit_code == 0, (result.output, result.exception)
    assert all(statement in result.output for statement in STATEMENTS)
    result = CliRunner().invoke(check, [str(tmp_path / "spring"), "--target", "telex"])
    assert "expected a target of c, dask, onnx, umbridge, got 'telex'" in str(result.exception) + result.output


def test_a_registered_check_is_no_target_of_export(tmp_path):
    from sciml.cli.export import export

    result = CliRunner().invoke(export, ["nowhere", "--to", "telex", "--out", str(tmp_path / "out")])
    assert "expected a target of c, cffi, fmu, fmu3, onnx, got 'telex'" in str(result.exception) + result.output
    assert checks.N_CALLS == 10_000


def test_an_operator_that_needs_arguments_is_not_made_by_the_check_but_told():
    result = CliRunner().invoke(check, ["couplings.umbridge"])
    assert isinstance(result.exception, ValueError)
    assert "needs url, inputs, outputs; make it in a script" in str(result.exception)
