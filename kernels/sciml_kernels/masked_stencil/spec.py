"""The record of `masked_stencil`: inputs to try it on, its kernels and its cost."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sciml_kernels.masked_stencil import LAUNCHERS, backward_reference, masked_stencil
from sciml_kernels.masked_stencil.reference import dot_reference, reference
from sciml_kernels.registry import Case, Cases, Cost, Implementation, Inputs, OpSpec


def make_inputs(generator: torch.Generator, size: Mapping[str, int]) -> Inputs:
    """Draw a grid: axes ``rhs, x, y, z``; ``masked`` closes a third of the cells, ``even`` makes the weights equal."""
    shape = size["x"], size["y"], size["z"]

    def draw(*lengths: int) -> torch.Tensor:
        return torch.rand(lengths, generator=generator, dtype=torch.float64)

    active = draw(*shape) < (2 / 3 if size.get("masked", 1) else 2)
    faces = torch.ones(3, 1, 1, 1, dtype=torch.float64) if size.get("even", 0) else draw(3, *shape) + 0.5
    diagonal = torch.where(active, 6 + draw(*shape), 0)
    pressure = torch.where(active, draw(size["rhs"], *shape) - 0.5, 0)
    return {"pressure": pressure, "faces": faces, "diagonal": diagonal}


def cost(inputs: Inputs) -> dict[str, Cost]:
    """Count each operand once, and a product and a sum for each face and for the diagonal."""
    read, cells = sum(tensor.nbytes for tensor in inputs.values()), inputs["pressure"].numel()
    return {
        "forward": Cost(read + inputs["pressure"].nbytes, 13 * cells),
        "backward": Cost(2 * read + inputs["pressure"].nbytes, 39 * cells),
    }


SPEC = OpSpec(
    name="masked_stencil",
    op=masked_stencil,
    implementation=Implementation(
        reference,
        LAUNCHERS,
        {"masked_stencil_backward": backward_reference, "masked_stencil_dot": dot_reference},
    ),
    cases=Cases(
        make_inputs,
        test=(
            Case("small", {"rhs": 2, "x": 3, "y": 2, "z": 3, "masked": 0}),
            Case("odd", {"rhs": 3, "x": 7, "y": 5, "z": 9}),
            Case("odd, even weights", {"rhs": 2, "x": 5, "y": 9, "z": 7, "even": 1}),
            Case("odd, threads", {"rhs": 1, "x": 33, "y": 27, "z": 19}),
            Case("two axes", {"rhs": 2, "x": 11, "y": 1, "z": 13}),
            Case("one element", {"rhs": 1, "x": 1, "y": 1, "z": 1, "masked": 0}),
            Case("no right-hand side", {"rhs": 0, "x": 3, "y": 2, "z": 3}),
        ),
        bench=(
            Case("even weights", {"rhs": 1, "x": 128, "y": 128, "z": 128, "even": 1}),
            Case("weight for each face", {"rhs": 1, "x": 128, "y": 128, "z": 128}),
            Case("eight right-hand sides", {"rhs": 8, "x": 64, "y": 64, "z": 64}),
        ),
    ),
    cost=cost,
)
