"""What holds for every op of the registry."""

from __future__ import annotations

import pytest
import torch
from sciml_kernels import check, decompositions, ops, use_backend
from sciml_kernels.precision import DTYPES, dtype_name
from sciml_kernels.testing import differentiable, outputs_of, relative_error

OPS = ops()
each_op = pytest.mark.parametrize("name", sorted(OPS))
each_triton_op = pytest.mark.parametrize("name", sorted(name for name in OPS if "triton" in OPS[name].launchers))
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)


def small_inputs(spec, seed, dtype=torch.float64):
    inputs = spec.inputs(spec.cases.test[0], seed, dtype)
    return tuple(value.requires_grad_() if name in differentiable(inputs) else value for name, value in inputs.items())


def constants(inputs):
    return tuple(value.detach() if isinstance(value, torch.Tensor) else value for value in inputs)


def equal(found, wanted):
    return all(torch.equal(a, b) for a, b in zip(outputs_of(found), outputs_of(wanted), strict=True))


def total(result, power=1):
    """Sum what depends smoothly on the inputs; an op that counts has nothing of the kind."""
    smooth = [out for out in outputs_of(result) if out.requires_grad]
    if not smooth:
        pytest.skip("no output of this op has a gradient")
    return sum(out.pow(power).sum() for out in smooth)


class Module(torch.nn.Module):
    def __init__(self, op):
        super().__init__()
        self.op = op

    def forward(self, *inputs):
        return self.op(*inputs)


@each_dtype
@each_triton_op
def test_triton_equals_reference_in_outputs_and_gradients(name, dtype, triton_device):
    report = check(OPS[name], "triton", triton_device, [dtype], seed=31)
    assert {row.case for row in report.rows} >= {case.name for case in OPS[name].cases.test}
    assert all(row.error <= row.tolerance for row in report.rows)


@each_dtype
@each_op
def test_default_backend_equals_reference_in_outputs_and_gradients(name, dtype):
    assert check(OPS[name], "auto", "cpu", [dtype], seed=32).rows


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the default backend on a GPU needs a GPU")
@each_op
def test_default_backend_equals_reference_on_a_gpu(name):
    assert check(OPS[name], "auto", "cuda", seed=33).rows


@each_op
def test_op_is_registered_as_torch_expects(name):
    spec = OPS[name]
    for case in spec.cases.test[:5]:
        inputs = spec.inputs(case, 34, torch.float32)
        smooth = "backward" in spec.cost(inputs)
        leaves = [
            value.requires_grad_(smooth) if key in differentiable(inputs) else value for key, value in inputs.items()
        ]
        outcome = torch.library.opcheck(getattr(torch.ops.sciml, name).default, tuple(leaves))
        assert set(outcome.values()) == {"SUCCESS"}


@each_op
def test_gradients_equal_finite_differences_to_second_order(name):
    inputs = small_inputs(OPS[name], 35)
    total(OPS[name].op(*inputs))

    def smooth(*inputs):
        return tuple(out for out in outputs_of(OPS[name].op(*inputs)) if out.requires_grad)

    assert torch.autograd.gradcheck(smooth, inputs)
    assert torch.autograd.gradgradcheck(smooth, inputs)


@each_op
def test_gradient_is_the_same_when_only_one_input_needs_it(name):
    spec = OPS[name]
    inputs = spec.inputs(spec.cases.test[0], 36, torch.float64)
    names = differentiable(inputs)

    def gradients(wanted):
        leaves = {key: inputs[key].clone().requires_grad_(key in wanted) for key in names}
        return torch.autograd.grad(total(spec.op(*{**inputs, **leaves}.values()), 2), [leaves[key] for key in wanted])

    together = dict(zip(names, gradients(names), strict=True))
    for key in names:
        assert torch.equal(gradients([key])[0], together[key]), key


@each_op
def test_inputs_are_left_as_they_were(name):
    inputs = small_inputs(OPS[name], 37)
    before = [value.detach().clone() if isinstance(value, torch.Tensor) else value for value in inputs]
    result = OPS[name].op(*inputs)
    for value, old in zip(inputs, before, strict=True):
        assert value is old or torch.equal(value.detach(), old)
    total(result).backward()
    for value, old in zip(inputs, before, strict=True):
        assert value is old or torch.equal(value.detach(), old)


@each_op
def test_exported_program_holds_one_node_and_decomposes_to_plain_torch(name):
    inputs = constants(small_inputs(OPS[name], 38, torch.float32))
    program = torch.export.export(Module(OPS[name].op), inputs)

    def nodes(program):
        return [node for node in program.graph.nodes if str(node.target).startswith("sciml.")]

    assert len(nodes(program)) == 1
    plain = program.run_decompositions(decompositions())
    assert nodes(plain) == []
    with use_backend("reference"):
        assert equal(plain.module()(*inputs), OPS[name].op(*inputs))


@each_op
def test_compiled_graph_is_whole_and_equals_eager(name):
    inputs = small_inputs(OPS[name], 39, torch.float32)
    wanted = OPS[name].op(*inputs)
    # aot_eager traces forward and backward as the default backend does, and generates no code: it needs no C compiler.
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):  # how many edges there are is found out
        compiled = torch.compile(OPS[name].op, fullgraph=True, backend="aot_eager")(*inputs)
    assert equal(compiled, wanted)
    leaves = [value for value in inputs if isinstance(value, torch.Tensor) and value.requires_grad]
    for got, expected in zip(
        torch.autograd.grad(total(compiled), leaves), torch.autograd.grad(total(wanted), leaves), strict=True
    ):
        assert torch.equal(got, expected)


@each_op
def test_reference_backend_is_the_reference_to_the_bit(name):
    inputs = constants(small_inputs(OPS[name], 40, torch.float32))
    with use_backend("triton"), use_backend("reference"):
        assert equal(OPS[name].op(*inputs), OPS[name].reference(*inputs))


@each_op
def test_half_types_lose_no_more_than_the_rounding_of_what_is_stored(name):
    spec = OPS[name]
    for dtype in (torch.float16, torch.bfloat16):
        inputs = spec.inputs(spec.cases.test[1], 41, dtype)
        exact = {**inputs, **{key: inputs[key].double() for key in differentiable(inputs)}}
        found, wanted = outputs_of(spec.op(*inputs.values())), outputs_of(spec.reference(*exact.values()))
        for output, other in zip(found, wanted, strict=True):
            error = relative_error(output, other)
            assert error <= (torch.finfo(dtype).eps if other.is_floating_point() else 0)


@each_op
def test_cost_is_counted_for_every_benchmark_case(name):
    spec = OPS[name]
    for case in spec.cases.test[:3]:
        inputs = spec.inputs(case, 42 + 1, torch.float32)
        costs = spec.cost(inputs)
        least = sum(value.nbytes for value in inputs.values() if isinstance(value, torch.Tensor))
        outputs = outputs_of(spec.op(*inputs.values()))
        assert costs["forward"].bytes == least + sum(output.nbytes for output in outputs)
        assert costs["forward"].flops > 0
        # a search is not done again for the gradient; an adjoint takes what the op takes
        searched = any(not output.is_floating_point() for output in outputs)
        assert "backward" not in costs or costs["backward"].flops >= (1 if searched else costs["forward"].flops)
