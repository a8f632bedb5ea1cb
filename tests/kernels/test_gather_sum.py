"""Sums over the rows that an index names: their definition, their adjoint, and what is refused."""

from __future__ import annotations

import pytest
import torch
from sciml_kernels.gather_sum import gather_sum
from sciml_kernels.segment_reduce import segment_reduce

INDEX = torch.tensor([4, 0, 4, 2, 2, 2, 1])
POINTER = torch.tensor([0, 3, 3, 4, 7])


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_gather_sum_is_the_segment_sum_of_gathered_rows():
    values = draw(31, 5, 18)
    torch.testing.assert_close(gather_sum(values, INDEX, POINTER), segment_reduce(values[INDEX], POINTER))


def test_gather_sum_is_the_product_with_a_sparse_matrix():
    values, node = draw(32, 5, 3), torch.repeat_interleave(torch.arange(4), POINTER.diff())
    matrix = torch.zeros(4, 5, dtype=torch.float64).index_put_((node, INDEX), torch.ones(7).double(), accumulate=True)
    torch.testing.assert_close(gather_sum(values, INDEX, POINTER), matrix @ values)


def test_its_gradient_is_its_adjoint_and_the_gradient_of_that_is_itself():
    values, grad = draw(33, 5, 21).requires_grad_(), draw(34, 4, 21).requires_grad_()
    out = gather_sum(values, INDEX, POINTER)
    (back,) = torch.autograd.grad(out, values, grad, create_graph=True)
    torch.testing.assert_close((out * grad).sum(), (values * back).sum(), rtol=1e-12, atol=0)
    direction = draw(35, 5, 21)
    (again,) = torch.autograd.grad(back, grad, direction)
    torch.testing.assert_close(again, gather_sum(direction, INDEX, POINTER))
    small = draw(36, 5, 2).requires_grad_()
    assert torch.autograd.gradcheck(gather_sum, (small, INDEX, POINTER))
    assert torch.autograd.gradgradcheck(gather_sum, (small, INDEX, POINTER))


def test_permuting_the_edges_of_a_segment_changes_nothing():
    values, turned = draw(37, 5, 4), INDEX[torch.tensor([2, 1, 0, 3, 6, 4, 5])]
    torch.testing.assert_close(gather_sum(values, turned, POINTER), gather_sum(values, INDEX, POINTER))


def test_nan_reaches_the_segments_that_name_it_and_no_other():
    values = draw(38, 5, 1)
    values[1] = torch.nan
    assert gather_sum(values, INDEX, POINTER).isnan().flatten().tolist() == [False, False, False, True]


def test_gradient_op_of_gather_sum_is_registered_as_torch_expects():
    op = torch.ops.sciml.gather_sum_backward.default
    grad = draw(39, 4, 3).float().requires_grad_()
    assert set(torch.library.opcheck(op, (grad, INDEX, POINTER, 5)).values()) == {"SUCCESS"}


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ({"values": torch.ones(5)}, ValueError, "expected values of shape (source, feature), got shape (5,)"),
        ({"values": torch.ones(5, 2, dtype=torch.int32)}, TypeError, "expected values of type float64, float32"),
        ({"index": [0, 1]}, TypeError, "expected index as a torch.Tensor, got list"),
        ({"index": INDEX.float()}, TypeError, "expected index of type int64, got float32"),
        ({"index": INDEX[:, None]}, ValueError, "expected index of shape (edge), got shape (7, 1)"),
        ({"index": INDEX + 1}, ValueError, "expected index from 0 to 4, got 1 to 5"),
        ({"index": INDEX - 1}, ValueError, "expected index from 0 to 4, got -1 to 3"),
        ({"index": INDEX.to("meta")}, ValueError, "expected index on cpu, got meta"),
        ({"pointer": torch.tensor([0, 6])}, ValueError, "expected pointer from 0 to 7, got 0 to 6"),
        ({"pointer": torch.tensor([0, 5, 4, 7])}, ValueError, "expected pointer that never falls, got 5 followed by 4"),
    ],
)
def test_wrong_edges_are_told_what_was_expected_and_what_came(change, kind, sentence):
    right = {"values": torch.ones(5, 2), "index": INDEX, "pointer": POINTER}
    with pytest.raises(kind) as caught:
        gather_sum(**{**right, **change})
    assert str(caught.value).startswith(f"gather_sum: {sentence}")
