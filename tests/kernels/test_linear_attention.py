"""Linear attention: definition, symmetries, quadrature, the virtual node that it is, zero row sums and errors."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from sciml_kernels import ops, use_backend
from sciml_kernels.linear_attention import linear_attention, linear_attention_dense
from sciml_kernels.linear_attention.reference import NORMALISATIONS
from sciml_kernels.segment_reduce import segment_reduce

SPEC = ops()["linear_attention"]
each_norm = pytest.mark.parametrize("normalise", NORMALISATIONS)


def draw(seed, normalise="row_sum", number=1):
    return {**SPEC.inputs(SPEC.cases.test[number], seed, torch.float64), "normalise": normalise}


def close(found, wanted, tolerance=1e-12):
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def dense(inputs):
    """Return ((Q K^T) * w) V of every segment and head, with the square matrix written out."""
    found = torch.zeros_like(inputs["value"])
    for a, b in pairwise(inputs["pointer"].tolist()):
        for head in range(found.shape[1]):
            q, k, v = (inputs[name][a:b, head] for name in ("query", "key", "value"))
            scores = (q @ k.T) * inputs["weight"][a:b]
            found[a:b, head] = (
                scores / scores.sum(1, keepdim=True) if inputs["normalise"] == "row_sum" else scores
            ) @ v
    return found


@each_norm
def test_linear_attention_is_dense_attention_without_the_softmax(normalise):
    inputs = draw(81, normalise)
    close(linear_attention(**inputs), dense(inputs))


@each_norm
def test_permuting_the_nodes_of_a_segment_permutes_the_outputs(normalise):
    inputs, generator = draw(82, normalise), torch.Generator().manual_seed(83)
    order = torch.cat([a + torch.randperm(b - a, generator=generator) for a, b in pairwise(inputs["pointer"].tolist())])
    moved = {name: inputs[name][order] for name in ("query", "key", "value", "weight")}
    close(linear_attention(**{**inputs, **moved}), linear_attention(**inputs)[order])


@each_norm
def test_a_node_split_in_two_of_half_the_weight_changes_nothing(normalise):
    inputs = draw(84, normalise)
    twice = torch.arange(len(inputs["weight"])).repeat_interleave(2)
    split = {name: inputs[name][twice] for name in ("query", "key", "value")}
    split |= {"weight": inputs["weight"][twice] / 2, "pointer": 2 * inputs["pointer"]}
    close(linear_attention(**{**inputs, **split}), linear_attention(**inputs)[twice])


@each_norm
def test_segments_do_not_see_each_other(normalise):
    inputs = draw(85, normalise)
    wanted = linear_attention(**inputs)
    for a, b in pairwise(inputs["pointer"].tolist()):
        own = {name: inputs[name][a:b] for name in ("query", "key", "value", "weight")}
        close(linear_attention(**own, pointer=torch.tensor([0, b - a]), normalise=normalise), wanted[a:b])


@each_norm
def test_a_virtual_node_that_collects_keys_times_values_is_linear_attention(normalise):
    inputs = draw(86, normalise)
    q, k, v, w, pointer = (inputs[name] for name in ("query", "key", "value", "weight", "pointer"))
    told = torch.einsum("n,nhk,nhv->nhkv", w, k, v)
    segment = torch.repeat_interleave(pointer.diff())
    kept = segment_reduce(told.flatten(1), pointer).unflatten(1, told.shape[1:])[segment]
    wanted = torch.einsum("nhk,nhkv->nhv", q, kept)
    if normalise == "row_sum":
        keys = segment_reduce((k * w[:, None, None]).flatten(1), pointer).unflatten(1, k.shape[1:])[segment]
        wanted = wanted / (q * keys).sum(-1, keepdim=True)
    close(linear_attention(**inputs), wanted)


def test_constant_values_come_back_and_a_lone_node_hears_itself():
    inputs = draw(87)
    value = torch.full_like(inputs["value"], 2.5)
    close(linear_attention(**{**inputs, "value": value}), value)
    alone = torch.arange(len(value) + 1)
    close(linear_attention(**{**inputs, "pointer": alone}), inputs["value"])


def field(n, weights):
    """Attend over a field sampled at x = t^2, t even; `weights` takes the places."""
    x = torch.linspace(0, 1, n, dtype=torch.float64).square()
    query = torch.stack([torch.ones_like(x), 1 + x, torch.exp(-x)], 1)[:, None]
    key = torch.stack([torch.exp(x), 1 + torch.cos(3 * x) / 2, torch.exp(-2 * x)], 1)[:, None]
    value = torch.stack([torch.sin(5 * x), torch.cos(2 * x)], 1)[:, None]
    return linear_attention(query, key, value, weights(x), torch.tensor([0, n]))[:: (n - 1) // 64, 0]


def trapezoid(x):
    half = x.diff() / 2
    return torch.cat([half[:1], half[1:] + half[:-1], half[-1:]])


def test_trapezoid_weights_converge_on_a_clustered_mesh_and_equal_weights_do_not():
    exact = field(2**15 + 1, trapezoid)
    sizes = (65, 129, 257, 513)
    errors = [float((field(n, trapezoid) - exact).abs().max()) for n in sizes]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert min(orders) > 1.9
    assert errors[-1] < 1e-5
    plain = [float((field(n, lambda x: torch.full_like(x, 1 / len(x))) - exact).abs().max()) for n in sizes]
    assert min(plain) > 0.05
    assert abs(plain[-1] / plain[-2] - 1) < 0.02


def test_dense_batches_are_equal_segments():
    generator = torch.Generator().manual_seed(88)
    query, key, value = (torch.rand(3, 5, 2, n, generator=generator, dtype=torch.float64) for n in (4, 4, 3))
    weight = torch.rand(3, 5, generator=generator, dtype=torch.float64)
    scores = torch.einsum("bihk,bjhk,bj->bhij", query, key, weight)
    wanted = torch.einsum("bhij,bjhv->bihv", scores / scores.sum(-1, keepdim=True), value)
    close(linear_attention_dense(query, key, value, weight), wanted)
    with pytest.raises(ValueError, match=r"linear_attention_dense: expected weight of shape \(batch=3, node=5\)"):
        linear_attention_dense(query, key, value, weight[:2])


@pytest.mark.parametrize("backend", ["auto", "triton"])
def test_where_the_row_sum_is_zero_output_and_gradient_are_zero(backend, triton_device):
    inputs = SPEC.inputs(SPEC.cases.test[1], 89, torch.float64, triton_device if backend == "triton" else "cpu")
    a, b = next((a, b) for a, b in pairwise(inputs["pointer"].tolist()) if b > a + 1)
    inputs["key"][a:b] = 0
    inputs["query"][b:][:1] = 0
    names = ("query", "key", "value", "weight")
    leaves = {name: inputs[name].requires_grad_() for name in names}
    with use_backend(backend):
        found = linear_attention(**{**inputs, **leaves})
        gradients = torch.autograd.grad(found.sum(), leaves.values())
    assert found[a : b + 1].count_nonzero() == 0
    assert bool(found[b + 1 :].all())
    for gradient in gradients:
        assert bool(gradient.isfinite().all())
        assert gradient[a:b].count_nonzero() == 0


def test_sums_of_half_types_do_not_saturate():
    n = 5000  # beyond the largest whole number that float16 counts to one by one
    ones = torch.ones(n, 1, 1, dtype=torch.float16)
    found = linear_attention(ones, ones, ones, torch.ones(n, dtype=torch.float16), torch.tensor([0, n]), "none")
    assert found.unique().tolist() == [5000.0]


ROWS = torch.ones(5, 2, 3)
RIGHT = {"query": ROWS, "key": ROWS, "value": torch.ones(5, 2, 4), "weight": torch.ones(5),
         "pointer": torch.tensor([0, 2, 5]), "normalise": "row_sum"}  # fmt: skip


@pytest.mark.parametrize(("change", "kind", "sentence"), [
    ({"normalise": "softmax"}, ValueError, "expected normalise as one of row_sum, none, got 'softmax'"),
    ({"query": ROWS.long()}, TypeError, "expected query of type float64, float32, float16, bfloat16, got int64"),
    ({"key": ROWS.double()}, TypeError, "expected key of type float32 as query is, got float64"),
    ({"value": torch.ones(5, 2, 4, device="meta")}, ValueError, "expected value on cpu as query is, got meta"),
    ({"query": ROWS[0]}, ValueError, "expected query of shape (node, head, key_feature), got shape (2, 3)"),
    ({"key": ROWS[:4]}, ValueError, "expected key of shape (node=5, head=2, key_feature=3), got (4, 2, 3)"),
    ({"value": torch.ones(5, 1, 4)}, ValueError, "expected value of shape (node=5, head=2, value_feature=4), got"),
    ({"weight": torch.ones(5, 1)}, ValueError, "expected weight of shape (node), got shape (5, 1)"),
    ({"pointer": torch.tensor([0.0, 5.0])}, TypeError, "expected pointer of type int64, got float32"),
    ({"pointer": torch.tensor([0, 2, 4])}, ValueError, "expected pointer from 0 to 5, got 0 to 4"),
    ({"pointer": torch.tensor([0, 4, 2, 5])}, ValueError, "expected pointer that never falls, got 4 followed by 2"),
    ({"pointer": torch.zeros(0, dtype=torch.int64)}, ValueError, "expected pointer of at least one entry, got none"),
])  # fmt: skip
def test_wrong_attention_is_told_what_was_expected_and_what_came(change, kind, sentence):
    with pytest.raises(kind) as caught:
        linear_attention(**{**RIGHT, **change})
    assert str(caught.value).startswith(f"linear_attention: {sentence}")
