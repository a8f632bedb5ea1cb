"""The multigrid cycle on a GPU: small levels in one program, which must equal a launch for each pass."""

from __future__ import annotations

import pytest
import torch
from sciml_kernels import ops, use_backend
from sciml_kernels.testing import nan_scratch, relative_error

SPEC = ops()["multigrid_cycle"]
# Odd lengths, masked cells, an axis that is kept, a plane, and a coarsest level of more than one block.
SIZES = {
    "odd": {"rhs": 2, "x": 5, "y": 3, "z": 5, "levels": 3},
    "one axis kept": {"rhs": 1, "x": 3, "y": 6, "z": 5, "levels": 3, "factor": 1, "sweeps": 1},
    "two axes": {"rhs": 1, "x": 6, "y": 1, "z": 7, "levels": 3, "sweeps": 3},
    "large coarsest": {"rhs": 1, "x": 7, "y": 9, "z": 5, "levels": 2, "sweeps": 1},
}
each_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)


def cycle(inputs, monkeypatch, **constants):
    from sciml_kernels.multigrid_cycle import triton_kernel

    with monkeypatch.context() as patched, use_backend("triton"), nan_scratch():
        for name, value in constants.items():
            patched.setattr(triton_kernel, name, value)
        return SPEC.op(*inputs.values())


def drawn(size, device):
    inputs = SPEC.cases.make_inputs(torch.Generator().manual_seed(21), size)
    return {k: v.to(device, torch.float32) if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}


@each_size
def test_small_levels_in_one_program_equal_a_launch_for_each_pass(size, triton_device, monkeypatch):
    inputs = drawn(size, triton_device)
    wanted = SPEC.reference(*inputs.values())
    launched, whole = (cycle(inputs, monkeypatch, TAIL=largest) for largest in (0, 4096))
    # One program takes over below the finest level.
    below = cycle(inputs, monkeypatch, TAIL=inputs["residual"][0].numel() - 1)
    for found in (launched, whole, below):
        assert relative_error(found, wanted) <= SPEC.tolerances[torch.float32]
        # The same passes in the same order: only the sum over the coarsest cells may round otherwise.
        assert relative_error(found, launched) <= 8 * torch.finfo(torch.float32).eps


def test_no_lane_of_the_one_program_reads_what_another_writes_in_the_same_pass(triton_device, monkeypatch):
    # Blocks of cells run one after the other: what one wrote would be seen by those after it, in blocks that depend on
    # the size.
    inputs = drawn({"rhs": 1, "x": 3, "y": 4, "z": 5, "levels": 2}, triton_device)
    large, small = (cycle(inputs, monkeypatch, BLOCK=block) for block in (512, 16))
    assert torch.equal(large, small)
