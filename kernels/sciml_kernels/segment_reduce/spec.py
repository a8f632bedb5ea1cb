"""The record of `segment_reduce`: inputs to try it on, its kernels and its cost."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sciml_kernels.draws import draw_pointer
from sciml_kernels.registry import Case, Cases, Cost, Implementation, Inputs, OpSpec
from sciml_kernels.segment_reduce import LAUNCHERS, segment_reduce
from sciml_kernels.segment_reduce.reference import REDUCTIONS, backward_reference, reference

SUM, MEAN, MAX, MIN, STD = range(len(REDUCTIONS))


def make_inputs(generator: torch.Generator, size: Mapping[str, int]) -> Inputs:
    """Draw rows and cut them at random: axes ``edge, node, feature``; ``reduce`` is a place in `REDUCTIONS`.

    Every third segment is empty, the second first.
    """
    n_edge, n_node = size["edge"], size["node"]
    values = torch.randn(n_edge, size["feature"], generator=generator, dtype=torch.float64)
    pointer = draw_pointer(generator, n_edge, n_node)
    return {"values": values, "pointer": pointer, "reduce": REDUCTIONS[size.get("reduce", SUM)]}


def cost(inputs: Inputs) -> dict[str, Cost]:
    """Count each operand once, and a step per value, three for a std; sum and mean go back without the values."""
    values, pointer, reduce = inputs.values()
    out = (pointer.numel() - 1) * values.shape[1] * values.element_size()
    work = values.numel() * (3 if reduce == "std" else 1)
    read = 0 if reduce in ("sum", "mean") else values.nbytes
    return {
        "forward": Cost(values.nbytes + pointer.nbytes + out, work),
        "backward": Cost(read + values.nbytes + pointer.nbytes + out, 2 * work),
    }


SPEC = OpSpec(
    name="segment_reduce",
    op=segment_reduce,
    implementation=Implementation(reference, LAUNCHERS, {"segment_reduce_backward": backward_reference}),
    cases=Cases(
        make_inputs,
        test=(
            Case("small", {"edge": 7, "node": 4, "feature": 3, "reduce": STD}),
            Case("odd, sum", {"edge": 37, "node": 7, "feature": 5}),
            Case("odd, mean", {"edge": 29, "node": 11, "feature": 3, "reduce": MEAN}),
            Case("odd, max", {"edge": 41, "node": 9, "feature": 5, "reduce": MAX}),
            Case("odd, min", {"edge": 31, "node": 5, "feature": 7, "reduce": MIN}),
            Case("odd, std", {"edge": 43, "node": 5, "feature": 9, "reduce": STD}),
            Case("threads, mean", {"edge": 67, "node": 4, "feature": 257, "reduce": MEAN}),
            Case("threads, std", {"edge": 67, "node": 4, "feature": 257, "reduce": STD}),
            Case("one segment", {"edge": 13, "node": 1, "feature": 2, "reduce": MAX}),
            Case("one element", {"edge": 1, "node": 1, "feature": 1, "reduce": STD}),
            Case("no row", {"edge": 0, "node": 3, "feature": 2, "reduce": MEAN}),
            Case("no row, max", {"edge": 0, "node": 3, "feature": 2, "reduce": MAX}),
            Case("no segment", {"edge": 0, "node": 0, "feature": 2}),
            Case("no feature", {"edge": 5, "node": 2, "feature": 0, "reduce": STD}),
        ),
        bench=tuple(
            Case(name, {"edge": 100_000, "node": 5000, "feature": 64, "reduce": number})
            for number, name in enumerate(REDUCTIONS)
        ),
    ),
    cost=cost,
)
