"""The record of `branch_trunk`: inputs to try it on, its kernels and its cost."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sciml_kernels.branch_trunk import LAUNCHERS, branch_trunk
from sciml_kernels.branch_trunk.reference import backward_reference, reference, trunk_first
from sciml_kernels.registry import Case, Cases, Cost, Implementation, Inputs, OpSpec


def make_inputs(generator: torch.Generator, size: Mapping[str, int]) -> Inputs:
    """Draw inputs that give outputs of order one.

    Axes are ``source, receiver, time, basis, hidden``; ``bias`` and ``offset`` are switches. A size without
    ``hidden`` leaves the weight out: the pointwise form.
    """

    def draw(*shape: int, scale: int = 1) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64) / max(scale, 1) ** 0.5

    n_basis, n_time = size["basis"], size.get("time", 1)
    n_hidden = size.get("hidden")
    return {
        "branch": draw(size["source"], n_basis, scale=n_basis),
        "hidden": draw(size["receiver"], n_basis if n_hidden is None else n_hidden),
        "weight": None if n_hidden is None else draw(n_time, n_basis, n_hidden, scale=n_hidden),
        "bias": draw(n_time, n_basis) if size.get("bias", 1) else None,
        "offset": draw(n_time) if size.get("offset", 1) else None,
    }


def cost(inputs: Inputs) -> dict[str, Cost]:
    """Count each operand once, and two operations per multiplication in the cheaper order, without bias and offset."""
    branch, hidden, weight = inputs["branch"], inputs["hidden"], inputs["weight"]
    n_source, n_receiver = len(branch), len(hidden)
    given = sum(tensor.numel() for tensor in inputs.values() if tensor is not None)
    if weight is None:
        n_time = 1
        forward = backward = n_source * n_receiver * branch.shape[1]
        backward *= 2
    else:
        n_time, n_basis, n_hidden = weight.shape
        rows, width = n_receiver, n_basis
        columns, depth = n_source, n_hidden
        if not trunk_first(n_source, n_receiver, n_time, n_basis, n_hidden):
            rows, width, columns, depth = columns, depth, rows, width
        inner, outer = rows * n_time * n_basis * n_hidden, rows * n_time * width * columns
        forward, backward = inner + outer, 3 * inner + 2 * outer
    out = n_source * n_receiver * n_time
    item = branch.element_size()
    return {
        "forward": Cost((given + out) * item, 2 * forward),
        "backward": Cost((2 * given + out) * item, 2 * backward),
    }


SPEC = OpSpec(
    name="branch_trunk",
    op=branch_trunk,
    implementation=Implementation(reference, LAUNCHERS, {"branch_trunk_backward": backward_reference}),
    cases=Cases(
        make_inputs,
        test=(
            Case("small", {"source": 2, "receiver": 3, "time": 2, "basis": 3, "hidden": 2}),
            Case("odd, trunk first", {"source": 37, "receiver": 5, "time": 3, "basis": 7, "hidden": 33}),
            Case("odd, branch first", {"source": 5, "receiver": 37, "time": 3, "basis": 33, "hidden": 7}),
            Case("no bias", {"source": 3, "receiver": 5, "time": 2, "basis": 4, "hidden": 6, "bias": 0}),
            Case(
                "no bias, no offset",
                {"source": 3, "receiver": 5, "time": 2, "basis": 4, "hidden": 6, "bias": 0, "offset": 0},
            ),
            Case("pointwise", {"source": 5, "receiver": 35, "basis": 9}),
            Case("pointwise, bare", {"source": 5, "receiver": 3, "basis": 33, "bias": 0, "offset": 0}),
            Case("one element", {"source": 1, "receiver": 1, "time": 1, "basis": 1, "hidden": 1}),
            Case("no source", {"source": 0, "receiver": 3, "time": 2, "basis": 4, "hidden": 5}),
            Case("no receiver", {"source": 3, "receiver": 0, "time": 2, "basis": 4, "hidden": 5}),
            Case("no time", {"source": 3, "receiver": 2, "time": 0, "basis": 4, "hidden": 5}),
            Case("no basis", {"source": 3, "receiver": 2, "time": 2, "basis": 0, "hidden": 5}),
            Case("no hidden feature", {"source": 3, "receiver": 2, "time": 2, "basis": 4, "hidden": 0}),
        ),
        bench=(
            Case("few sources", {"source": 8, "receiver": 256, "time": 128, "basis": 64, "hidden": 64}),
            Case("many sources", {"source": 64, "receiver": 16, "time": 400, "basis": 32, "hidden": 128}),
            Case("balanced", {"source": 32, "receiver": 64, "time": 256, "basis": 32, "hidden": 64}),
            Case("pointwise", {"source": 32, "receiver": 16384, "basis": 64, "bias": 0}),
        ),
    ),
    cost=cost,
)
