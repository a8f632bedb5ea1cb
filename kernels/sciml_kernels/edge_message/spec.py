"""The record of `edge_message`: inputs to try it on, its kernels and its cost."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sciml_kernels.draws import draw_pointer
from sciml_kernels.edge_message import LAUNCHERS, edge_message
from sciml_kernels.edge_message.reference import backward_reference, reference
from sciml_kernels.registry import Case, Cases, Cost, Implementation, Inputs, OpSpec


def make_inputs(generator: torch.Generator, size: Mapping[str, int]) -> Inputs:
    """Draw a graph: axes ``node, edge, column, hidden, feature``; edges enter two thirds of the nodes."""
    n_node, n_edge, n_hidden, n_feature = size["node"], size["edge"], size["hidden"], size["feature"]
    n_source = size.get("source", n_node)

    def draw(*shape: int, scale: int = 1) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64) / max(scale, 1) ** 0.5

    second = size.get("hidden2", n_hidden)
    made: Inputs = {
        "node_feature": draw(n_source, n_feature),
        "edge_feature": draw(n_edge, size["column"]),
        "weight1": draw(n_hidden, size["column"], scale=size["column"]),
        "bias1": draw(n_hidden),
        "weight2": draw(second, n_hidden, scale=n_hidden),
        "bias2": draw(second),
        "weight3": draw(n_feature, second, scale=second),
        "bias3": draw(n_feature),
    }
    pointer = draw_pointer(generator, n_edge, n_node)
    made["index"] = torch.randint(max(n_source, 1), (n_edge,), generator=generator)
    made["pointer"] = pointer
    return made


def cost(inputs: Inputs) -> dict[str, Cost]:
    """Count each operand once, two operations per multiplication; the way back computes the perceptron again."""
    read = sum(tensor.nbytes for tensor in inputs.values())
    h, f, pointer = inputs["node_feature"], inputs["edge_feature"], inputs["pointer"]
    out = (len(pointer) - 1) * h.shape[1] * h.element_size()
    layers = [inputs[f"weight{number}"].numel() for number in (1, 2, 3)]
    forward = 2 * len(f) * (sum(layers) + h.shape[1])
    written = sum(tensor.nbytes for tensor in inputs.values() if tensor.is_floating_point())
    return {
        "forward": Cost(read + out, forward),
        "backward": Cost(read + written + out, 3 * forward),
    }


SPEC = OpSpec(
    name="edge_message",
    op=edge_message,
    implementation=Implementation(reference, LAUNCHERS, {"edge_message_backward": backward_reference}),
    cases=Cases(
        make_inputs,
        test=(
            Case("small", {"node": 4, "edge": 6, "column": 2, "hidden": 3, "feature": 2}),
            Case("odd", {"node": 7, "edge": 37, "column": 3, "hidden": 9, "hidden2": 5, "feature": 7}),
            Case("odd, other sources", {"node": 5, "source": 11, "edge": 29, "column": 1, "hidden": 17, "feature": 19}),
            Case("chunks", {"node": 3, "edge": 2051, "column": 3, "hidden": 5, "feature": 17}),
            Case("one edge", {"node": 1, "edge": 1, "column": 1, "hidden": 1, "feature": 1}),
            Case("no edge", {"node": 3, "edge": 0, "column": 3, "hidden": 4, "feature": 2}),
            Case("no node", {"node": 0, "edge": 0, "column": 3, "hidden": 4, "feature": 2}),
            Case("no feature", {"node": 3, "edge": 5, "column": 3, "hidden": 4, "feature": 0}),
        ),
        bench=(
            Case("velocity network", {"node": 5000, "edge": 105_000, "column": 3, "hidden": 64, "feature": 64}),
            Case("narrow", {"node": 5000, "edge": 105_000, "column": 3, "hidden": 16, "feature": 16}),
        ),
    ),
    cost=cost,
)
