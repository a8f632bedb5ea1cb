"""The contraction of branch and trunk: its definition, its special case, its gradients' own op and its errors."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from sciml_kernels import decompositions, use_backend
from sciml_kernels.branch_trunk import branch_trunk
from sciml_kernels.branch_trunk.reference import trunk_first


def draw(seed, *shapes, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


@pytest.mark.parametrize(("n_source", "n_receiver"), [(2, 17), (17, 2)])
def test_branch_trunk_is_its_definition_in_either_order(n_source, n_receiver):
    branch, hidden, weight, bias, offset = draw(51, (n_source, 5), (n_receiver, 6), (3, 5, 6), (3, 5), (3,))
    assert trunk_first(n_source, n_receiver, 3, 5, 6) == (n_receiver < n_source)
    trunk = torch.einsum("nh,tkh->ntk", hidden, weight) + bias
    wanted = torch.einsum("sk,ntk->snt", branch, trunk) + offset
    torch.testing.assert_close(branch_trunk(branch, hidden, weight, bias, offset), wanted, rtol=1e-13, atol=1e-13)


def test_branch_trunk_without_weight_is_the_one_with_the_identity_as_weight():
    branch, hidden, bias, offset = draw(52, (4, 7), (9, 7), (1, 7), (1,))
    identity = torch.eye(7, dtype=torch.float64).unsqueeze(0)
    pointwise = branch_trunk(branch, hidden, None, bias, offset)
    assert pointwise.shape == (4, 9, 1)
    torch.testing.assert_close(pointwise, branch_trunk(branch, hidden, identity, bias, offset), rtol=1e-13, atol=1e-13)


def test_branch_trunk_is_linear_in_the_branch_and_equivariant_under_permutation():
    branch, other, hidden, weight = draw(53, (4, 5), (4, 5), (6, 3), (2, 5, 3))
    total = branch_trunk(2 * branch + other, hidden, weight)
    parts = 2 * branch_trunk(branch, hidden, weight) + branch_trunk(other, hidden, weight)
    torch.testing.assert_close(total, parts, rtol=1e-12, atol=1e-12)
    shuffled = branch_trunk(branch[[2, 0, 3, 1]], hidden.flip(0), weight)
    wanted = branch_trunk(branch, hidden, weight)[[2, 0, 3, 1]].flip(1)
    torch.testing.assert_close(shuffled, wanted, rtol=1e-13, atol=1e-13)


def test_order_is_the_one_with_fewer_multiplications():
    for S, N, T, K, H in [(2, 3, 4, 5, 6), (64, 16, 400, 32, 128), (8, 256, 128, 64, 64), (7, 7, 1, 7, 7)]:
        assert trunk_first(S, N, T, K, H) == (N * T * K * (H + S) <= S * T * H * (K + N))


def test_gradient_op_is_registered_as_torch_expects():
    branch, hidden, weight, bias, grad = draw(54, (3, 2), (4, 3), (2, 2, 3), (2, 2), (3, 4, 2), dtype=torch.float32)
    op = torch.ops.sciml.branch_trunk_backward.default
    for inputs, needs in [
        ((grad, branch, hidden, weight, bias), [True] * 4),
        ((grad, branch, hidden, weight, None), [False, True, False, False]),
        ((grad[..., :1], branch, hidden[:, :2], None, None), [True, True, False, False]),
    ]:
        leaves = [None if value is None else value.clone().requires_grad_() for value in inputs]
        assert set(torch.library.opcheck(op, (*leaves, needs)).values()) == {"SUCCESS"}


def test_second_derivative_is_right_when_one_input_is_made_from_another():
    (branch,) = draw(55, (3, 2))

    def through(value):
        return branch_trunk(value, value.sin())

    assert torch.autograd.gradgradcheck(through, branch.requires_grad_())


def test_exported_program_takes_any_number_of_sources_after_decomposition():
    class Surrogate(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.weight = draw(56, (9, 6), (4, 5, 6), dtype=torch.float32)

        def forward(self, branch):
            return branch_trunk(branch, self.hidden, self.weight)

    first, second = draw(57, (3, 5), (11, 5), dtype=torch.float32)
    sources = {0: torch.export.Dim("source", min=2, max=4096)}
    program = torch.export.export(Surrogate(), (first,), dynamic_shapes=(sources,))
    plain = program.run_decompositions(decompositions())
    assert not [node for node in plain.graph.nodes if str(node.target).startswith("sciml.")]
    torch.testing.assert_close(plain.module()(second), Surrogate()(second), rtol=1e-5, atol=1e-5)


def test_triton_gradients_of_reduced_sums_do_not_depend_on_the_cut_of_the_sum(triton_device):
    # More times than parts of the sum: each part holds several times, and the last part fewer.
    inputs = [x.to(triton_device).requires_grad_() for x in draw(58, (2, 2), (3, 2), (67, 2, 2))]
    with use_backend("triton"):
        found = torch.autograd.grad(branch_trunk(*inputs).square().sum(), inputs)
    with use_backend("reference"):
        wanted = torch.autograd.grad(branch_trunk(*inputs).square().sum(), inputs)
    for got, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ({"branch": [[1.0]]}, TypeError, "expected branch as a torch.Tensor, got list; convert it first"),
        (
            {"branch": torch.ones(2, 3, dtype=torch.int64)},
            TypeError,
            "expected branch of type float64, float32, float16",
        ),
        (
            {"hidden": torch.ones(4, 5, dtype=torch.float64)},
            TypeError,
            "expected hidden of type float32 as branch is, got float64; convert one of them",
        ),
        ({"hidden": torch.ones(4, 5, device="meta")}, ValueError, "expected hidden on cpu as branch is, got meta"),
        ({"branch": torch.ones(3)}, ValueError, r"expected branch of shape (source, basis), got shape (3,)"),
        ({"weight": torch.ones(3, 5)}, ValueError, "expected weight of shape (time, basis, hidden), got shape (3, 5)"),
        (
            {"weight": torch.ones(6, 3, 4)},
            ValueError,
            "expected weight of shape (time=6, basis=3, hidden=5), got (6, 3, 4); reshape one of the inputs",
        ),
        ({"bias": torch.ones(3, 6)}, ValueError, "expected bias of shape (time=6, basis=3), got (3, 6)"),
        ({"offset": torch.ones(5)}, ValueError, "expected offset of shape (time=6), got (5,)"),
        ({"weight": None}, ValueError, "expected hidden of shape (receiver=4, basis=3), got (4, 5)"),
    ],
)
def test_wrong_input_is_told_what_was_expected_and_what_came(change, kind, sentence):
    right = {"branch": torch.ones(2, 3), "hidden": torch.ones(4, 5), "weight": torch.ones(6, 3, 5)}
    with pytest.raises(kind) as caught:
        branch_trunk(**{**right, **change})
    assert str(caught.value).startswith(f"branch_trunk: {sentence}")


def test_kernels_compile_for_gpus_that_are_not_here(tmp_path):
    pytest.importorskip("triton", reason="triton is not installed on this platform")
    # In a process of its own: here the kernels may have been loaded for the interpreter, which compiles nothing.
    code = """
import triton.language as tl
from sciml_kernels.branch_trunk.triton_contract import contract_kernel
from sciml_kernels.branch_trunk.triton_kernel import branch_trunk_fwd_kernel
from sciml_kernels.triton_tools import compile_ahead
blocks = {f"BLOCK_{axis}": 32 for axis in "MNPQ"}
inner = {f"BLOCK_{axis}": 32 for axis in "MNI"}
for stored, summed, capability in (("bf16", "fp32", 80), ("fp32", "fp32", 90), ("fp64", "fp64", 90)):
    acc = tl.float64 if summed == "fp64" else tl.float32
    types = {name: "*" + stored for name in ("left", "middle", "right", "out", "a", "b")} | {
        "level": "*" + summed, "c": "*" + summed}
    assert compile_ahead(branch_trunk_fwd_kernel, types, {"ACC": acc, **blocks}, capability)
    assert compile_ahead(contract_kernel, types, {"ACC": acc, "SPLIT": capability == 90, **inner}, capability)
# A stride of one reaches the compiler as a constant.
ones = dict.fromkeys(("stride_lp", "stride_mq", "stride_rq", "stride_ot"), 1)
assert compile_ahead(branch_trunk_fwd_kernel, types, {"ACC": acc, **blocks, **ones})
print("compiled")
"""
    import os

    kept = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, "TRITON_CACHE_DIR": str(tmp_path)},
    )
    assert done.stdout.strip() == "compiled", done.stderr
