"""The stencil with the product p . A p: the same kernels, so the same result to the bit, and sums in a fixed order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sciml_kernels import check, ops, use_backend
from sciml_kernels.masked_stencil import DOT_LAUNCHERS, masked_stencil, masked_stencil_dot
from sciml_kernels.masked_stencil.reference import dot_reference
from sciml_kernels.precision import DTYPES, dtype_name
from sciml_kernels.registry import Implementation

SPEC = replace(
    ops()["masked_stencil"],
    name="masked_stencil_dot",
    op=masked_stencil_dot,
    implementation=Implementation(dot_reference, DOT_LAUNCHERS),
)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)


def drawn(name, dtype=torch.float64):
    case = next(case for case in SPEC.cases.test if case.name == name)
    return tuple(SPEC.inputs(case, 22, dtype).values())


@each_dtype
def test_stencil_with_product_equals_reference_in_outputs_and_gradients(dtype, triton_device):
    for backend, device in (("triton", triton_device), ("auto", "cpu")):
        rows = check(SPEC, backend, device, [dtype], seed=23).rows
        assert {row.tensor for row in rows} >= {"output 0", "output 1", "gradient of pressure", "gradient of diagonal"}


def test_stencil_with_product_is_differentiable_to_second_order_and_registered_as_torch_expects():
    inputs = tuple(tensor.requires_grad_() for tensor in drawn("small"))
    assert torch.autograd.gradcheck(masked_stencil_dot, inputs)
    assert torch.autograd.gradgradcheck(masked_stencil_dot, inputs)
    outcome = torch.library.opcheck(torch.ops.sciml.masked_stencil_dot.default, inputs)
    assert set(outcome.values()) == {"SUCCESS"}


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("name", ["odd", "odd, even weights", "two axes"])
def test_product_changes_no_bit_and_is_summed_alike_alone_and_beside_others(name, backend):
    pressure, faces, diagonal = drawn(name)
    with use_backend(backend):
        applied, product = masked_stencil_dot(pressure, faces, diagonal)
        assert torch.equal(applied, masked_stencil(pressure, faces, diagonal))
        alone = [masked_stencil_dot(one[None], faces, diagonal)[1] for one in pressure]
    assert torch.equal(product, torch.cat(alone))


def test_product_of_the_laplacian_is_the_sum_of_squared_differences():
    generator = torch.Generator().manual_seed(24)
    p = torch.rand(1, 4, 5, 6, generator=generator, dtype=torch.float64)
    diagonal = sum(torch.tensor([1.0] + [2.0] * (n - 2) + [1.0]).double().reshape(shape)
                   for n, shape in ((4, (4, 1, 1)), (5, (1, 5, 1)), (6, (1, 1, 6))))  # fmt: skip
    wanted = sum(p.diff(dim=axis).square().sum() for axis in (1, 2, 3))
    _, found = masked_stencil_dot(p, torch.ones(3, 1, 1, 1, dtype=torch.float64), diagonal)
    assert abs(float(found - wanted)) <= 1e-13 * float(wanted)
