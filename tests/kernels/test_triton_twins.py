"""Triton kernels beside what the registry tests: noise, and code for GPUs that are not here."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from sciml_kernels import use_backend
from sciml_kernels.rollout import normals

# Of each kernel: pointers of the inputs' type, those of the type that sums are kept in, other types, and constants.
KERNELS = """
import triton.language as tl
acc = {"ACC": tl.float32}
segment = {**acc, "REDUCE": "std", "BLOCK_E": 16, "BLOCK_F": 32}
widths = {**acc, "BLOCK_C": 16, "BLOCK_1": 64, "BLOCK_2": 64, "BLOCK_F": 64, "BLOCK_E": 32}
layers = ("h", "f", "w1", "b1", "w2", "b2", "w3", "b3")
sums = ("d_h", "d_w1", "d_b1", "d_w2", "d_b2", "d_w3", "d_b3", "share")
wanted = {"NEED_H": True, "NEED_F": True, "NEED_W": True}
ends = {"pointer": "*i64"}
parts = {"low": "*i64", "high": "*i64"}
tiles = {**acc, "BLOCK_N": 64, "BLOCK_I": 64, "BLOCK_O": 64}
from sciml_kernels.segment_reduce import triton_kernel as segments
from sciml_kernels.edge_message import triton_kernel as messages
from sciml_kernels.gather_sum import triton_kernel as gathers
from sciml_kernels.linear_attention import triton_kernel as attention
from sciml_kernels.masked_stencil import triton_kernel as stencil
from sciml_kernels.multigrid_cycle import triton_kernel as cycle
from sciml_kernels.rollout import triton_kernel as rules
stepping = {**acc, "RUN": 256, "BLOCK": 512}
cells = ("pressure", "faces", "diagonal", "out")
grids = ("z", "r", "faces", "diagonal")
levels = (*grids, "omega", "gain")
TABLE = [
    (segments.segment_reduce_kernel, ("rows", "out"), (), ends, segment),
    (segments.segment_reduce_kernel, ("rows", "out"), (), ends, {**segment, "REDUCE": "max"}),
    (segments.segment_reduce_backward_kernel, ("grad", "rows", "out"), (), ends, segment),
    (segments.segment_reduce_backward_kernel, ("grad", "rows", "out"), (), ends, {**segment, "REDUCE": "min"}),
    (gathers.gather_sum_kernel, ("rows", "out"), (), {"index": "*i64", **ends}, {**acc, "BLOCK_E": 16, "BLOCK_F": 32}),
    (messages.edge_message_kernel, (*layers, "out"), (), {"index": "*i64", **ends}, {"BLOCK_N": 16, **widths}),
    (messages.edge_message_backward_kernel, (*layers, "d_f"), sums, {"index": "*i64", "owner": "*i64"},
     {**wanted, **widths}),
    (stencil.masked_stencil_kernel, cells, ("sums",), {}, {**stepping, "EVEN": True, "DOT": True}),
    (stencil.masked_stencil_kernel, cells, (), {}, {**stepping, "EVEN": False, "DOT": False, "sums": None}),
    (rules.rollout_kernel, ("rule", "parameters", "initial", "noise", "knots", "out"), ("limits",), {},
     {**acc, "BLOCK": 128}),
    (cycle.restrict_kernel, (), (*grids, "target"), {}, {"BLOCK": 512}),
    (cycle.sweep_kernel, (), (*levels, "target", "coarse"), {}, {"MODE": "start", "BLOCK": 512}),
    (cycle.sweep_kernel, (), (*levels, "target", "coarse"), {}, {"MODE": "corrected", "BLOCK": 512}),
    (cycle.tail_kernel, (), (*levels, "corrected", "inverse"), {}, {"BLOCK": 512, "TILE": 32}),
]
"""
COMPILE = """
from sciml_kernels.triton_tools import compile_ahead
# One type and capability after the other: all of them for each kernel would take a minute.
for number, (kernel, inputs, wide, others, constants) in enumerate(TABLE):
    stored, capability = (("bf16", 80), ("fp32", 90))[number % 2]
    types = dict.fromkeys(inputs, "*" + stored) | dict.fromkeys(wide, "*fp32") | others
    assert compile_ahead(kernel, types, constants, capability), kernel
noise = {"episode": "*i64", "year": "*i64", "out": "*fp32", "key_0": "i64"}
assert compile_ahead(rules.normals_kernel, noise, {"BLOCK": 256})
print("compiled")
"""


def test_kernels_of_all_ops_compile_for_gpus_that_are_not_here(tmp_path):
    pytest.importorskip("triton", reason="triton is not installed on this platform")
    # In a process of its own: here the kernels may have been loaded for the interpreter, which compiles nothing.
    kept = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", KERNELS + COMPILE],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, "TRITON_CACHE_DIR": str(tmp_path)},
    )
    assert done.stdout.strip() == "compiled", done.stderr


@pytest.mark.parametrize("n_species", [1, 3, 6])
def test_triton_noise_equals_the_reference_and_does_not_depend_on_the_call(n_species, triton_device):
    episode = torch.tensor([0, 3, 77, 2**32 - 1], device=triton_device)
    year = torch.arange(5, device=triton_device)[:, None]
    with use_backend("reference"):
        wanted = normals(episode, year, n_species, seed=2**63 - 1, stream=3)
    with use_backend("triton"):
        found = normals(episode, year, n_species, seed=2**63 - 1, stream=3)
        alone = normals(episode[2], year[4, 0], n_species, seed=2**63 - 1, stream=3)
    assert found.stride() == wanted.stride()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert torch.equal(alone, found[4, 2])
