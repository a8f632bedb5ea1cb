"""The record of `multigrid_cycle`: inputs to try it on, its kernels and its cost."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sciml_kernels.multigrid_cycle import LAUNCHERS, backward_reference, multigrid_cycle
from sciml_kernels.multigrid_cycle.packed import level_shapes, pack, reference
from sciml_kernels.multigrid_cycle.reference import LevelTensors, restrict
from sciml_kernels.registry import Case, Cases, Cost, Implementation, Inputs, OpSpec


def make_inputs(generator: torch.Generator, size: Mapping[str, int]) -> Inputs:
    """Draw a hierarchy: axes ``rhs, x, y, z``; ``levels``; ``sweeps``; ``factor`` along x; ``masked``; ``even``."""
    active = _draw(generator, size["x"], size["y"], size["z"]) < (2 / 3 if size.get("masked", 1) else 2)
    residual = torch.where(active, _draw(generator, size["rhs"], *active.shape) - 0.5, 0)
    levels = []
    for number in range(size["levels"]):
        last = number == size["levels"] - 1
        factors = (size.get("factor", 2), 2, 2)
        levels.append(_level(generator, active, last, factors, even=bool(size.get("even", 0)) and number == 0))
        active = restrict(active.double()[None], factors, "constant")[0] > 0
    *tensors, steps = pack(levels)
    names = ("faces", "diagonal", "omega", "gain", "inverse")
    made = dict(zip(names, tensors, strict=True))
    return {"residual": residual, **made, "factors": steps, "n_sweep": size.get("sweeps", 2)}


def _level(
    generator: torch.Generator, active: Tensor, last: bool, factors: tuple[int, int, int], even: bool
) -> LevelTensors:
    faces = torch.zeros(3, *active.shape, dtype=torch.float64)
    diagonal = 0.5 * active
    for axis, n in enumerate(active.shape):
        low, high = active.narrow(axis, 0, n - 1), active.narrow(axis, 1, n - 1)
        weight = torch.where(low & high, 1.0 if even else _draw(generator, *low.shape) + 0.5, 0)
        faces[axis].narrow(axis, 0, n - 1).copy_(weight)
        diagonal.narrow(axis, 0, n - 1).add_(weight)
        diagonal.narrow(axis, 1, n - 1).add_(weight)
    omega = 0.5 + _draw(generator, *active.shape)
    gain = 0.5 + _draw(generator)
    if not last:
        return LevelTensors(faces, diagonal, omega, gain, factors)
    root = _draw(generator, active.numel(), active.numel()) - 0.5
    return LevelTensors(faces, diagonal, omega, gain, (1, 1, 1), root @ root.T / active.numel())


def _draw(generator: torch.Generator, *lengths: int) -> Tensor:
    return torch.rand(lengths, generator=generator, dtype=torch.float64)


def cost(inputs: Inputs) -> dict[str, Cost]:
    """Count each operand once; 15 operations per cell and sweep over both colours, and 13 for the residual."""
    tensors = [value for value in inputs.values() if isinstance(value, Tensor)]
    residual, n_sweep = inputs["residual"], inputs["n_sweep"]
    cells = sum(x * y * z for x, y, z in level_shapes(residual.shape[1:], inputs["factors"])) * len(residual)
    flops = cells * (30 * n_sweep + 13)
    read = sum(tensor.nbytes for tensor in tensors)
    return {"forward": Cost(read + residual.nbytes, flops), "backward": Cost(2 * read + residual.nbytes, 3 * flops)}


SPEC = OpSpec(
    name="multigrid_cycle",
    op=multigrid_cycle,
    implementation=Implementation(reference, LAUNCHERS, {"multigrid_cycle_backward": backward_reference}),
    cases=Cases(
        make_inputs,
        test=(
            Case("small", {"rhs": 1, "x": 3, "y": 1, "z": 2, "levels": 2, "sweeps": 1, "masked": 0}),
            Case("odd", {"rhs": 2, "x": 9, "y": 7, "z": 11, "levels": 3}),
            Case("odd, even weights", {"rhs": 1, "x": 7, "y": 9, "z": 5, "levels": 2, "even": 1}),
            Case("odd, one axis kept", {"rhs": 1, "x": 5, "y": 6, "z": 9, "levels": 3, "factor": 1, "sweeps": 1}),
            Case("two axes", {"rhs": 3, "x": 10, "y": 1, "z": 13, "levels": 3, "sweeps": 3}),
            Case("coarsest only", {"rhs": 2, "x": 2, "y": 3, "z": 2, "levels": 1}),
            Case("one element", {"rhs": 1, "x": 1, "y": 1, "z": 1, "levels": 2, "masked": 0}),
            Case("no right-hand side", {"rhs": 0, "x": 4, "y": 3, "z": 2, "levels": 2}),
        ),
        bench=(
            Case("even weights", {"rhs": 1, "x": 128, "y": 128, "z": 128, "levels": 6, "even": 1}),
            Case("weight for each face", {"rhs": 1, "x": 64, "y": 64, "z": 64, "levels": 5}),
        ),
    ),
    cost=cost,
)
