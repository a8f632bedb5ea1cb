"""The commands under ``sciml kernels``."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from click.testing import CliRunner
from sciml_kernels import registry
from sciml_kernels.cli import kernels

SPEC = registry.ops()["branch_trunk"]


def invoke(*arguments):
    return CliRunner().invoke(kernels, list(arguments))


def few_cases(monkeypatch, **changes):
    """Let the registry hold the same op with its two smallest cases only."""
    cases = dataclasses.replace(SPEC.cases, test=SPEC.cases.test[:2], bench=SPEC.cases.test[:2])
    spec = dataclasses.replace(SPEC, cases=cases, **changes)
    monkeypatch.setattr(registry, "ops", lambda: {"branch_trunk": spec})


@pytest.mark.parametrize("command", [(), ("list",), ("check",), ("bench",)])
def test_help_shows_an_example(command):
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    assert f"  sciml kernels {command[0] if command else 'check'}" in result.output


def test_list_names_op_and_kernels():
    result = invoke("list")
    assert result.exit_code == 0
    assert any(line.split()[:3] == ["branch_trunk", "reference,", "triton"] for line in result.output.splitlines())


def test_check_reports_the_largest_error_of_each_type(monkeypatch):
    few_cases(monkeypatch)
    result = invoke("check", "branch_trunk", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.output.splitlines()[2:]] == ["float64", "float32", "float16", "bfloat16"]


def test_check_runs_triton_on_a_cpu(monkeypatch, triton_device):
    few_cases(monkeypatch)
    result = invoke("check", "--backend", "triton", "--device", triton_device)
    assert result.exit_code == 0, result.output
    assert f"backend triton, device {triton_device}" in result.output


def test_check_of_all_ops_skips_those_without_triton(monkeypatch, triton_device):
    plain = dataclasses.replace(SPEC, implementation=dataclasses.replace(SPEC.implementation, launchers={}))
    monkeypatch.setattr(registry, "ops", lambda: {"branch_trunk": plain})
    result = invoke("check", "--backend", "triton", "--device", triton_device)
    assert result.exit_code == 0, result.output
    assert "branch_trunk: skipped, it has no Triton kernel" in result.output


def test_failed_check_is_one_sentence_and_status_one(monkeypatch):
    few_cases(monkeypatch, op=lambda *inputs: SPEC.reference(*inputs) + 1)
    result = invoke("check", "--device", "cpu")
    assert result.exit_code == 1
    assert result.output.startswith(
        "Error: branch_trunk (small, float64, backend auto): expected output within 1.0e-12"
    )
    assert len(result.output.strip().splitlines()) == 1


def test_bench_prints_and_writes_the_figures(monkeypatch, tmp_path):
    few_cases(monkeypatch)
    result = invoke("bench", "--device", "cpu", "--out", str(tmp_path / "bench.json"))
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "bench.json").read_text())
    assert written["environment"]["torch"] == torch.__version__
    assert [(row["case"], row["direction"]) for row in written["rows"]] == [
        (case.name, direction) for case in SPEC.cases.test[:2] for direction in ("forward", "backward")
    ]
    for row in written["rows"]:
        assert row["GB/s"] == pytest.approx(row["cost"]["bytes"] / row["seconds"] / 1e9)
        assert row["of copy"] == pytest.approx(1e9 * row["GB/s"] / row["copy_bandwidth"])
        assert row["reference/op"] == pytest.approx(row["reference_seconds"] / row["seconds"])


def test_unknown_op_and_unknown_backend_are_wrong_use():
    result = invoke("check", "nope")
    assert result.exit_code == 2
    assert (
        f"kernels: expected OP as one of {', '.join(registry.ops())}, got 'nope'; see sciml kernels list"
        in result.output
    )
    assert invoke("check", "--backend", "cuda").exit_code == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="the sentence is for machines without a GPU")
def test_missing_gpu_is_told_in_one_sentence():
    result = invoke("check", "--device", "cuda")
    assert result.exit_code == 1
    assert result.output.strip() == (
        "Error: kernels: expected a CUDA device, got none that torch can see; use --device cpu"
    )


def test_output_that_cannot_be_written_is_told_in_one_sentence(monkeypatch, tmp_path):
    few_cases(monkeypatch)
    result = invoke("bench", "--device", "cpu", "--out", str(tmp_path / "missing" / "bench.json"))
    assert result.exit_code == 1
    assert result.output.strip().splitlines()[-1].startswith("Error: ")
    assert "missing" in result.output
