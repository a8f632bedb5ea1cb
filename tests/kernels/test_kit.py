"""The parity check finds what it is for: wrong values, unwritten memory, wrong gradients, wrong shapes."""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch
from sciml_kernels import check, ops
from sciml_kernels.testing import interpret_triton, nan_scratch

SPEC = ops()["branch_trunk"]


def broken(op):
    return dataclasses.replace(SPEC, op=op)


def test_nan_scratch_fills_new_memory_and_puts_the_switches_back():
    before = torch.are_deterministic_algorithms_enabled()
    with nan_scratch():
        assert torch.empty(7).isnan().all()
        assert torch.empty_like(torch.ones(7, dtype=torch.bfloat16)).isnan().all()
        assert torch.ones(3).new_empty(7).isnan().all()
    assert torch.are_deterministic_algorithms_enabled() == before


def test_check_names_op_tensor_error_and_tolerance():
    def off(*inputs):
        return SPEC.reference(*inputs) * (1 + 1e-3)

    with pytest.raises(AssertionError) as caught:
        check(broken(off), dtypes=[torch.float32])
    sentence = str(caught.value)
    assert sentence.startswith("branch_trunk (small, float32, backend auto): expected output within 2.0e-05 of the ref")
    assert "got an error of 1.0e-03; compare the kernel with reference.py" in sentence


def test_check_finds_memory_that_was_not_written():
    def unwritten(*inputs):
        out = SPEC.reference(*inputs)
        return torch.where(out == out.max(), torch.empty_like(out), out) if out.numel() else out

    with pytest.raises(AssertionError, match=r"expected output within .* got an error of nan"):
        check(broken(unwritten), dtypes=[torch.float32])


def test_check_finds_a_wrong_gradient_behind_a_right_output():
    def halved(branch, *others):
        return SPEC.reference(branch / 2 + branch.detach() / 2, *others)

    with pytest.raises(AssertionError, match=r"expected gradient of branch within 1.0e-12 .* got an error of 5.0e-01"):
        check(broken(halved), dtypes=[torch.float64])


def test_check_finds_a_wrong_type():
    def widened(*inputs):
        return SPEC.reference(*inputs).double()

    with pytest.raises(AssertionError, match=r"expected output of type and shape float32 \(2, 3, 2\), got float64"):
        check(broken(widened), dtypes=[torch.float32])


def test_loading_for_the_interpreter_leaves_the_environment_alone(monkeypatch):
    pytest.importorskip("triton", reason="triton is not installed on this platform")
    if torch.cuda.is_available():
        pytest.skip("on a machine with a GPU the kernels of this process stay compiled")
    for value in (None, "0"):
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        if value is not None:
            monkeypatch.setenv("TRITON_INTERPRET", value)
        interpret_triton()
        assert os.environ.get("TRITON_INTERPRET") == value
