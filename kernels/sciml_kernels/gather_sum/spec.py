"""The record of `gather_sum`: inputs to try it on, its kernels and its cost."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sciml_kernels.draws import draw_pointer
from sciml_kernels.gather_sum import LAUNCHERS, gather_sum
from sciml_kernels.gather_sum.reference import backward_reference, reference
from sciml_kernels.registry import Case, Cases, Cost, Implementation, Inputs, OpSpec


def make_inputs(generator: torch.Generator, size: Mapping[str, int]) -> Inputs:
    """Draw a graph: axes ``source, edge, node, feature``; every third segment is empty, the second first."""
    n_edge, n_node, n_source = size["edge"], size["node"], size["source"]
    pointer = draw_pointer(generator, n_edge, n_node)
    return {
        "values": torch.randn(n_source, size["feature"], generator=generator, dtype=torch.float64),
        "index": torch.randint(max(n_source, 1), (n_edge,), generator=generator),
        "pointer": pointer,
    }


def cost(inputs: Inputs) -> dict[str, Cost]:
    """Count each operand once, and an addition for each feature of an edge."""
    values, index, pointer = inputs.values()
    out = (pointer.numel() - 1) * values.shape[1] * values.element_size()
    once = Cost(values.nbytes + index.nbytes + pointer.nbytes + out, index.numel() * values.shape[1])
    return {"forward": once, "backward": once}


SPEC = OpSpec(
    name="gather_sum",
    op=gather_sum,
    implementation=Implementation(reference, LAUNCHERS, {"gather_sum_backward": backward_reference}),
    cases=Cases(
        make_inputs,
        test=(
            Case("small", {"source": 5, "edge": 7, "node": 4, "feature": 3}),
            Case("odd", {"source": 11, "edge": 67, "node": 7, "feature": 19}),
            Case("threads", {"source": 9, "edge": 131, "node": 5, "feature": 137}),
            Case("one element", {"source": 1, "edge": 1, "node": 1, "feature": 1}),
            Case("no edge", {"source": 3, "edge": 0, "node": 4, "feature": 2}),
            Case("no node", {"source": 3, "edge": 0, "node": 0, "feature": 2}),
            Case("no source", {"source": 0, "edge": 0, "node": 2, "feature": 3}),
            Case("no feature", {"source": 3, "edge": 5, "node": 4, "feature": 0}),
        ),
        bench=(
            Case("graph network", {"source": 10_000, "edge": 200_000, "node": 10_000, "feature": 32}),
            Case("dense graph", {"source": 20_000, "edge": 1_000_000, "node": 20_000, "feature": 16}),
            Case("trees", {"source": 40_000, "edge": 40_000, "node": 40_000, "feature": 16}),
        ),
    ),
    cost=cost,
)
