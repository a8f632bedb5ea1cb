"""Gated messages: their definition, what they do not depend on, the memory they take and their errors."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from sciml_kernels import ops
from sciml_kernels.edge_message import edge_message
from torch import nn

SPEC = ops()["edge_message"]


def draw(seed, number=1, **changes):
    case = SPEC.cases.test[number]
    return {**SPEC.inputs(case, seed, torch.float64), **changes}


def perceptron(inputs):
    """Return the same three layers as a module of torch."""
    layers = []
    for number in (1, 2, 3):
        weight, bias = inputs[f"weight{number}"], inputs[f"bias{number}"]
        layers.append(nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype))
        layers[-1].load_state_dict({"weight": weight, "bias": bias})
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def test_edge_message_is_its_definition_edge_by_edge():
    inputs = draw(71)
    gate = perceptron(inputs)(inputs["edge_feature"])
    found = edge_message(**inputs)
    pointer, index, h = inputs["pointer"].tolist(), inputs["index"].tolist(), inputs["node_feature"]
    for i, row in enumerate(found):
        messages = [h[index[e]] * gate[e] for e in range(pointer[i], pointer[i + 1])]
        wanted = torch.stack(messages).mean(0) if messages else torch.zeros_like(row)
        torch.testing.assert_close(row, wanted, rtol=1e-12, atol=1e-12)


def test_order_of_the_edges_into_a_node_does_not_matter():
    inputs = draw(72)
    pointer = inputs["pointer"]
    order = torch.cat([torch.arange(b - 1, a - 1, -1) for a, b in pairwise(pointer)])
    turned = {**inputs, "edge_feature": inputs["edge_feature"][order], "index": inputs["index"][order]}
    torch.testing.assert_close(edge_message(**turned), edge_message(**inputs), rtol=1e-12, atol=1e-12)


def test_edge_message_is_linear_in_the_node_feature_and_its_gradient_the_adjoint():
    inputs = draw(73)
    h = inputs["node_feature"].requires_grad_()
    other = torch.randn(len(inputs["pointer"]) - 1, h.shape[1], generator=torch.Generator().manual_seed(74)).double()
    forward = edge_message(**inputs)
    doubled = edge_message(**{**inputs, "node_feature": 2 * h})
    torch.testing.assert_close(doubled, 2 * forward, rtol=1e-13, atol=1e-13)
    (back,) = torch.autograd.grad((forward * other).sum(), h)
    torch.testing.assert_close((forward * other).sum(), (h * back).sum(), rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_the_perceptron_of_torch():
    inputs = draw(75)
    names = [name for name, value in inputs.items() if value.is_floating_point()]
    leaves = {**inputs, **{name: inputs[name].clone().requires_grad_() for name in names}}
    found = torch.autograd.grad(edge_message(**leaves).square().sum(), [leaves[name] for name in names])
    h, f = (inputs[name].clone().requires_grad_() for name in names[:2])
    gate = perceptron(inputs)
    n = inputs["pointer"].diff()
    target = torch.repeat_interleave(torch.arange(len(n)), n)
    total = torch.zeros(len(n), h.shape[1], dtype=h.dtype).index_add(0, target, h[inputs["index"]] * gate(f))
    mean = total / n.clamp(min=1)[:, None]
    wanted = torch.autograd.grad(mean.square().sum(), [h, f, *gate.parameters()])
    for name, got, expected in zip(names, found, wanted, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11, msg=name)


def test_only_inputs_are_kept_between_the_passes():
    inputs = draw(76)
    leaves = {name: value.requires_grad_() if value.is_floating_point() else value for name, value in inputs.items()}
    kept = []

    def note(tensor):
        kept.append(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        edge_message(**leaves)
    assert set(kept) <= {tensor.data_ptr() for tensor in leaves.values()}


@pytest.mark.parametrize("wanted", range(8))
def test_edge_message_gradient_op_is_registered_as_torch_expects(wanted):
    inputs = [value.requires_grad_() if value.is_floating_point() else value for value in draw(77, 0).values()]
    grad = torch.ones(4, 2, dtype=torch.float64, requires_grad=True)
    needs = [number == wanted for number in range(8)]
    op = torch.ops.sciml.edge_message_backward.default
    assert set(torch.library.opcheck(op, (grad, *inputs, needs)).values()) == {"SUCCESS"}


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ({"node_feature": torch.ones(7, 7)}, TypeError, "expected edge_feature of type float32 as node_feature is"),
        ({"weight2": torch.ones(9, 9).double()}, ValueError, "expected weight2 of shape (hidden2=5, hidden1=9)"),
        ({"weight3": torch.ones(6, 5).double()}, ValueError, "expected weight3 of shape (feature=7, hidden2=5)"),
        ({"bias3": torch.ones(6).double()}, ValueError, "expected bias3 of shape (feature=7), got (6,)"),
        ({"index": torch.zeros(36, dtype=torch.int64)}, ValueError, "expected index of shape (edge=37), got (36,)"),
        ({"index": torch.full((37,), torch.nan)}, TypeError, "expected index of type int64, got float32"),
        ({"index": torch.full((37,), 7)}, ValueError, "expected index from 0 to 6, got 7 to 7"),
        ({"index": torch.full((37,), -1)}, ValueError, "expected index from 0 to 6, got -1 to -1"),
        (
            {"pointer": torch.tensor([0, 40, 37])},
            ValueError,
            "expected pointer that never falls, got 40 followed by 37",
        ),
        ({"pointer": torch.tensor([0, 36])}, ValueError, "expected pointer from 0 to 37, got 0 to 36"),
    ],
)
def test_wrong_graph_is_told_what_was_expected_and_what_came(change, kind, sentence):
    with pytest.raises(kind) as caught:
        edge_message(**draw(78, **change))
    assert str(caught.value).startswith(f"edge_message: {sentence}")
