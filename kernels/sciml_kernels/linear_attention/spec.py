"""The record of `linear_attention`: inputs to try it on, its kernels and its cost."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sciml_kernels.draws import draw_pointer
from sciml_kernels.linear_attention import LAUNCHERS, linear_attention
from sciml_kernels.linear_attention.reference import NORMALISATIONS, backward_reference, reference
from sciml_kernels.registry import Case, Cases, Cost, Implementation, Inputs, OpSpec

ROW_SUM, NONE = range(len(NORMALISATIONS))


def make_inputs(generator: torch.Generator, size: Mapping[str, int]) -> Inputs:
    """Draw rows and cut them at random: axes ``node, segment, head, key, value``; ``normalise`` is a place.

    Queries, keys and weights are positive; every third segment is empty, the second first.
    """
    n_node, n_segment, n_head = size["node"], size["segment"], size["head"]

    def positive(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1

    value = torch.randn(n_node, n_head, size["value"], generator=generator, dtype=torch.float64)
    pointer = draw_pointer(generator, n_node, n_segment)
    return {
        "query": positive(n_node, n_head, size["key"]),
        "key": positive(n_node, n_head, size["key"]),
        "value": value,
        "weight": positive(n_node),
        "pointer": pointer,
        "normalise": NORMALISATIONS[size.get("normalise", ROW_SUM)],
    }


def cost(inputs: Inputs) -> dict[str, Cost]:
    """Count each operand once and two products; the way back takes five, as it computes the state again."""
    query, key, value, weight, pointer, _ = inputs.values()
    read = sum(tensor.nbytes for tensor in (query, key, value, weight))
    product = 2 * query.numel() * value.shape[2]
    return {
        "forward": Cost(read + pointer.nbytes + value.nbytes, 2 * product),
        "backward": Cost(2 * read + pointer.nbytes + value.nbytes, 5 * product + query.numel()),
    }


def _size(n_node: int, n_segment: int, n_head: int, n_key: int, n_value: int, form: int = ROW_SUM) -> dict[str, int]:
    return {"node": n_node, "segment": n_segment, "head": n_head, "key": n_key, "value": n_value, "normalise": form}


SPEC = OpSpec(
    name="linear_attention",
    op=linear_attention,
    implementation=Implementation(reference, LAUNCHERS, {"linear_attention_backward": backward_reference}),
    cases=Cases(
        make_inputs,
        test=(
            Case("small", _size(6, 3, 2, 2, 3)),
            Case("odd, row sum", _size(37, 5, 3, 5, 7)),
            Case("odd, none", _size(41, 7, 1, 19, 3, NONE)),
            Case("wide", _size(23, 1, 1, 67, 65)),
            Case("chunks", _size(2051, 3, 1, 17, 5)),
            Case("one node", _size(1, 1, 1, 1, 1, NONE)),
            Case("no node", _size(0, 3, 2, 2, 2)),
            Case("no segment", _size(0, 0, 2, 2, 2)),
            Case("no value", _size(5, 2, 1, 3, 0)),
            Case("no key", _size(5, 2, 1, 0, 3, NONE)),
        ),
        bench=(
            Case("trees", _size(40_000, 96, 4, 4, 4)),
            Case("fields", _size(32_768, 12, 8, 32, 32)),
            Case("one long field", _size(32_768, 1, 4, 64, 64)),
        ),
    ),
    cost=cost,
)
