"""The record of `mesh_read`: inputs to try it on, its kernels and its cost."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sciml_kernels.mesh_paint.spec import BENCH, TEST, draw
from sciml_kernels.mesh_paint.window import WIDTHS
from sciml_kernels.mesh_read import LAUNCHERS, mesh_read, slope_backward_reference
from sciml_kernels.mesh_read.reference import reference, slope_reference
from sciml_kernels.registry import Cases, Cost, Implementation, Inputs, OpSpec


def make_inputs(generator: torch.Generator, size: Mapping[str, int]) -> Inputs:
    """Draw a mesh and particles: axes ``channel, node, x, y, z``."""
    positions, mesh = draw(generator, size, size["channel"], size["x"], size["y"], size["z"])
    return {"mesh": mesh, "positions": positions, "window": "tsc" if size.get("tsc") else "cic"}


def cost(inputs: Inputs) -> dict[str, Cost]:
    """Count each operand once, the window, and two operations for each point it covers."""
    read, n_channel = inputs["mesh"].nbytes + inputs["positions"].nbytes, len(inputs["mesh"])
    n_node, n_point = len(inputs["positions"]), WIDTHS[inputs["window"]] ** 3
    written = n_channel * n_node * inputs["mesh"].element_size()
    flops = n_node * (12 + n_point * (1 + 2 * n_channel))
    return {"forward": Cost(read + written, flops), "backward": Cost(2 * read + written, 4 * flops)}


SPEC = OpSpec(
    name="mesh_read",
    op=mesh_read,
    implementation=Implementation(
        reference, LAUNCHERS, {"mesh_slope": slope_reference, "mesh_slope_backward": slope_backward_reference}
    ),
    cases=Cases(make_inputs, test=TEST, bench=BENCH),
    cost=cost,
)
