"""The record of `wave_step`: inputs to try it on, its kernels and its cost."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

from sciml_kernels.registry import Case, Cases, Cost, Implementation, Inputs, OpSpec
from sciml_kernels.wave_step import LAUNCHERS, backward_reference, wave_step
from sciml_kernels.wave_step.layout import block_shapes, count_nodes
from sciml_kernels.wave_step.reference import reference


def make_inputs(generator: torch.Generator, size: Mapping[str, int]) -> Inputs:
    """Draw a room: axes ``source, x, y, block``; each block is one row taller; ``step``; ``damped``: 0, 1 or a node's.

    The matrices are full and small enough for the steps to be stable; any will do, elements or not.
    """
    blocks = [n for b in range(size["block"]) for n in (size["x"], size["y"] + b)]
    # From one row above the last row of the shorter block down: seams that begin and end inside as well.
    cut = 1 if size["y"] > 1 else 0
    pairs = itertools.pairwise(range(size["block"]))
    seams = [n for left, right in pairs for n in (left, right, 0, cut, size["y"] + left - cut)]
    n_node, damped = count_nodes(blocks), size.get("damped", 0)

    def draw(*lengths: int) -> Tensor:
        return torch.rand(lengths, generator=generator, dtype=torch.float64)

    matrices = [-draw(2, n * n) / n for n in blocks]
    return {
        "state": draw(2, size["source"] * n_node) - 0.5,
        "operators": torch.cat(matrices, 1) * torch.tensor([[0.1], [0.8]], dtype=torch.float64),
        "drift": 0.5 + 0.5 * draw(n_node if damped > 1 else 1),
        "decay": 0.5 + 0.5 * draw((0, 1, n_node)[damped]),
        "share": draw(sum(seams[4::5])),
        "blocks": blocks,
        "seams": seams,
        "n_step": size["step"],
    }


def cost(inputs: Inputs) -> dict[str, Cost]:
    """Count each operand once; two products with the full matrices of a node's row and column, drift and decay."""
    state, damped = inputs["state"], bool(inputs["decay"].numel())
    shapes = block_shapes(inputs["blocks"])
    n_source = state.shape[1] // count_nodes(inputs["blocks"])
    step = sum(n_x * n_y * (4 * (n_x + n_y) + 2 + damped) for n_x, n_y in shapes) + 6 * inputs["share"].numel()
    flops = n_source * step * inputs["n_step"]
    read = sum(value.nbytes for value in inputs.values() if isinstance(value, Tensor))
    written = 3 * state.shape[1] * state.element_size()
    return {"forward": Cost(read + written, flops), "backward": Cost(2 * read + written, 3 * flops)}


SPEC = OpSpec(
    name="wave_step",
    op=wave_step,
    implementation=Implementation(reference, LAUNCHERS, {"wave_step_backward": backward_reference}),
    cases=Cases(
        make_inputs,
        test=(
            Case("small", {"source": 2, "x": 2, "y": 2, "block": 2, "step": 2, "damped": 2}),
            Case("odd", {"source": 3, "x": 7, "y": 5, "block": 3, "step": 3, "damped": 2}),
            Case("odd, undamped", {"source": 2, "x": 5, "y": 9, "block": 2, "step": 4}),
            Case("odd, several tiles", {"source": 1, "x": 35, "y": 37, "block": 2, "step": 1, "damped": 1}),
            Case("one axis", {"source": 5, "x": 19, "y": 1, "block": 1, "step": 3, "damped": 2}),
            Case("one element", {"source": 1, "x": 1, "y": 1, "block": 1, "step": 1}),
            Case("no source", {"source": 0, "x": 3, "y": 2, "block": 2, "step": 2}),
        ),
        bench=(
            Case("square", {"source": 24, "x": 43, "y": 43, "block": 1, "step": 10}),
            Case("square, absorbing walls", {"source": 24, "x": 43, "y": 43, "block": 1, "step": 10, "damped": 2}),
            Case("nine blocks", {"source": 24, "x": 13, "y": 61, "block": 9, "step": 10, "damped": 2}),
        ),
    ),
    cost=cost,
)
