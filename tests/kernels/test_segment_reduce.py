"""Reductions of segments: their definitions, empty and constant segments, their gradients' own op and their errors."""

from __future__ import annotations

import pytest
import torch
from sciml_kernels.segment_reduce import segment_reduce
from sciml_kernels.segment_reduce.reference import REDUCTIONS

DEFINITIONS = {
    "sum": lambda rows: rows.sum(0),
    "mean": lambda rows: rows.mean(0),
    "max": lambda rows: rows.amax(0),
    "min": lambda rows: rows.amin(0),
    "std": lambda rows: rows.std(0, correction=0),
}
each_reduction = pytest.mark.parametrize("reduce", REDUCTIONS)
POINTER = torch.tensor([0, 4, 4, 5, 11, 11])


def draw(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@each_reduction
def test_segment_reduce_is_its_definition_and_zero_for_empty_segments(reduce):
    values = draw(61, 11, 6)
    found = segment_reduce(values, POINTER, reduce)
    for i, row in enumerate(found):
        segment = values[POINTER[i] : POINTER[i + 1]]
        wanted = DEFINITIONS[reduce](segment) if len(segment) else torch.zeros(6, dtype=torch.float64)
        torch.testing.assert_close(row, wanted, rtol=1e-13, atol=1e-13)


@each_reduction
def test_segment_reduce_has_right_derivatives_to_second_order(reduce):
    values = draw(62, 11, 2).requires_grad_()
    assert torch.autograd.gradcheck(segment_reduce, (values, POINTER, reduce))
    if reduce not in ("max", "min"):  # which are linear wherever they are smooth
        assert torch.autograd.gradgradcheck(segment_reduce, (values, POINTER, reduce))


def test_sum_and_its_gradient_are_adjoint():
    values, other = draw(63, 11, 3).requires_grad_(), draw(64, 5, 3)
    forward = segment_reduce(values, POINTER)
    (back,) = torch.autograd.grad(forward, values, other)
    torch.testing.assert_close((forward * other).sum(), (values * back).sum(), rtol=1e-13, atol=1e-13)


@each_reduction
def test_order_of_the_rows_in_a_segment_does_not_matter(reduce):
    values, shuffled = draw(65, 11, 3), torch.tensor([2, 0, 3, 1, 4, 9, 10, 8, 5, 7, 6])
    found, wanted = (segment_reduce(rows, POINTER, reduce) for rows in (values[shuffled], values))
    torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-13)


def test_std_of_one_row_and_of_equal_rows_is_zero_with_gradient_zero():
    # 0.1 is no binary fraction: the mean of three of them, computed plainly, is not 0.1.
    values = torch.tensor([[7.3], [0.1], [0.1], [0.1]], dtype=torch.float32, requires_grad=True)
    out = segment_reduce(values, torch.tensor([0, 1, 4]), "std")
    assert out.tolist() == [[0.0], [0.0]]
    assert torch.autograd.grad(out.sum(), values)[0].tolist() == [[0.0]] * 4


def test_std_does_not_lose_the_spread_of_large_values():
    values = torch.tensor([[1e6 - 1.0], [1e6 + 1.0], [1e6]], dtype=torch.float32)
    out = segment_reduce(values, torch.tensor([0, 3]), "std")
    torch.testing.assert_close(out, torch.tensor([[(2 / 3) ** 0.5]]))


def test_gradient_of_std_is_bounded_however_small_the_spread():
    values = torch.tensor([[1.0], [1.0], [1.0 + 1e-15]], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(segment_reduce(values, torch.tensor([0, 3]), "std").sum(), values)
    assert grad.abs().max() <= 3**-0.5


@pytest.mark.parametrize("reduce", ["max", "min"])
def test_extreme_sends_its_gradient_to_the_first_of_equal_rows(reduce):
    sign = 1 if reduce == "max" else -1
    values = (sign * torch.tensor([[1.0], [5.0], [5.0], [2.0]])).requires_grad_()
    (grad,) = torch.autograd.grad(segment_reduce(values, torch.tensor([0, 4]), reduce).sum(), values)
    assert grad.flatten().tolist() == [0.0, 1.0, 0.0, 0.0]


@each_reduction
@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_stays_in_its_segment_and_shows_there(reduce, place):
    values = draw(66, 11, 1)
    values[5 + place] = torch.nan
    found = segment_reduce(values, POINTER, reduce)
    assert found.isnan().flatten().tolist() == [False, False, False, True, False]


@each_reduction
def test_segment_gradient_op_is_registered_as_torch_expects(reduce):
    values, grad = draw(67, 11, 3).float().requires_grad_(), draw(68, 5, 3).float().requires_grad_()
    kept = None if reduce in ("sum", "mean") else values
    op = torch.ops.sciml.segment_reduce_backward.default
    assert set(torch.library.opcheck(op, (grad, kept, POINTER, 11, reduce)).values()) == {"SUCCESS"}


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ({"values": torch.ones(5)}, ValueError, "expected values of shape (edge, feature), got shape (5,)"),
        ({"values": torch.ones(5, 2, dtype=torch.int32)}, TypeError, "expected values of type float64, float32"),
        ({"reduce": "median"}, ValueError, "expected reduce as one of sum, mean, max, min, std, got 'median'"),
        ({"pointer": [0, 5]}, TypeError, "expected pointer as a torch.Tensor, got list"),
        ({"pointer": torch.tensor([0.0, torch.nan, 5.0])}, TypeError, "expected pointer of type int64, got float32"),
        ({"pointer": torch.zeros(0, dtype=torch.int64)}, ValueError, "expected pointer of at least one entry"),
        ({"pointer": torch.tensor([[0, 5]])}, ValueError, "expected pointer of shape (node + 1), got shape (1, 2)"),
        ({"pointer": torch.tensor([0, 4])}, ValueError, "expected pointer from 0 to 5, got 0 to 4"),
        ({"pointer": torch.tensor([1, 5])}, ValueError, "expected pointer from 0 to 5, got 1 to 5"),
        (
            {"pointer": torch.tensor([0, 3, 2, 5])},
            ValueError,
            "expected pointer that never falls, got 3 followed by 2 at entry 1; sort the rows by segment",
        ),
        ({"pointer": torch.tensor([0, 5], device="meta")}, ValueError, "expected pointer on cpu, got meta"),
    ],
)
def test_wrong_segments_are_told_what_was_expected_and_what_came(change, kind, sentence):
    right = {"values": torch.ones(5, 2), "pointer": torch.tensor([0, 2, 5]), "reduce": "sum"}
    with pytest.raises(kind) as caught:
        segment_reduce(**{**right, **change})
    assert str(caught.value).startswith(f"segment_reduce: {sentence}")
