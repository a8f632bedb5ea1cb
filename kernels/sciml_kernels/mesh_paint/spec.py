"""The record of `mesh_paint`: inputs to try it on, its kernels and its cost."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sciml_kernels.mesh_paint import LAUNCHERS, mesh_paint
from sciml_kernels.mesh_paint.reference import reference
from sciml_kernels.mesh_paint.window import WIDTHS
from sciml_kernels.registry import Case, Cases, Cost, Implementation, Inputs, OpSpec

# Axes of the cases of painting and reading; "tsc" asks for the wider window.
TEST = (
    Case("small", {"channel": 2, "node": 3, "x": 3, "y": 2, "z": 4}),
    Case("odd", {"channel": 3, "node": 37, "x": 7, "y": 5, "z": 9}),
    Case("odd, tsc", {"channel": 2, "node": 41, "x": 9, "y": 5, "z": 7, "tsc": 1}),
    Case("odd, threads", {"channel": 1, "node": 16411, "x": 17, "y": 7, "z": 7}),
    Case("small, tsc", {"channel": 1, "node": 4, "x": 3, "y": 4, "z": 2, "tsc": 1}),
    Case("one element", {"channel": 1, "node": 1, "x": 2, "y": 1, "z": 3}),
    Case("no node", {"channel": 2, "node": 0, "x": 3, "y": 2, "z": 4}),
    Case("no channel", {"channel": 0, "node": 3, "x": 3, "y": 2, "z": 4}),
)
BENCH = (
    Case("cloud-in-cell", {"channel": 1, "node": 64**3, "x": 128, "y": 128, "z": 128}),
    Case("cloud-in-cell, three channels", {"channel": 3, "node": 64**3, "x": 128, "y": 128, "z": 128}),
    Case("triangular-shaped cloud", {"channel": 1, "node": 64**3, "x": 128, "y": 128, "z": 128, "tsc": 1}),
)


def draw(generator: torch.Generator, size: Mapping[str, int], *lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return positions, some beyond the mesh, and numbers of either sign of the shape given, in float64."""
    shape = torch.tensor([size["x"], size["y"], size["z"]], dtype=torch.float64)
    positions = shape * (1.5 * torch.rand(size["node"], 3, generator=generator, dtype=torch.float64) - 0.25)
    return positions, torch.rand(lengths, generator=generator, dtype=torch.float64) - 0.4


def make_inputs(generator: torch.Generator, size: Mapping[str, int]) -> Inputs:
    """Draw particles: axes ``channel, node, x, y, z``."""
    positions, weights = draw(generator, size, size["channel"], size["node"])
    shape, window = [size["x"], size["y"], size["z"]], "tsc" if size.get("tsc") else "cic"
    return {"positions": positions, "weights": weights, "shape": shape, "window": window}


def cost(inputs: Inputs) -> dict[str, Cost]:
    """Count each operand once, the window, and two operations for each point it covers."""
    read, (n_channel, n_node) = sum(inputs[name].nbytes for name in ("positions", "weights")), inputs["weights"].shape
    n_x, n_y, n_z = inputs["shape"]
    mesh = n_channel * n_x * n_y * n_z * inputs["weights"].element_size()
    n_point = WIDTHS[inputs["window"]] ** 3
    flops = n_node * (12 + n_point * (1 + 2 * n_channel))
    return {"forward": Cost(read + mesh, flops), "backward": Cost(2 * read + mesh, 4 * flops)}


SPEC = OpSpec(
    name="mesh_paint",
    op=mesh_paint,
    implementation=Implementation(reference, LAUNCHERS),
    cases=Cases(make_inputs, test=TEST, bench=BENCH),
    cost=cost,
)
