"""A surrogate that is not compiled answers the same header through an embedded Python."""

from __future__ import annotations

import shutil

import pytest
import torch
from exported_policy import example_tensors, policy
from sciml_couplings.bench_c import example_error
from sciml_couplings.cffi_embed import to_cffi

import sciml


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    if shutil.which("g++") is None or shutil.which("gcc") is None:
        pytest.skip("no gcc and g++ on this machine")
    pytest.importorskip("cffi")
    folder = tmp_path_factory.mktemp("cffi") / "policy"
    to_cffi(policy(), folder)
    return folder


def test_time_loop_through_embedded_python_ends_where_python_ends(embedded, tmp_path):
    assert example_error(policy(), embedded, "harvest.c", tmp_path) <= 1e-12


def test_folder_is_a_saved_surrogate_too(embedded):
    given = example_tensors(3)
    again = sciml.load(embedded)
    assert torch.equal(again(**given)["fraction"], policy()(**given)["fraction"])
    assert again.domain == policy().domain


def test_damaged_weights_are_told_by_the_same_checks(embedded, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(embedded, copy)
    (copy / "weights.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match="copy the folder again"):
        example_error(policy(), copy, "harvest.c", tmp_path)
