"""Particles painted onto a periodic mesh: the adjoint of `sciml_kernels.mesh_read.mesh_read`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sciml_kernels.checks import check_alike, check_shape
from sciml_kernels.mesh_paint.reference import reference
from sciml_kernels.mesh_paint.window import check_window
from sciml_kernels.pattern import define, resolve, unless_half_on_cpu
from sciml_kernels.precision import accumulation_dtype

LAUNCHERS = {
    "numba": "sciml_kernels.mesh_paint.numba_kernel:launch",
    "triton": "sciml_kernels.mesh_paint.triton_kernel:launch",
}


def mesh_paint(positions: Tensor, weights: Tensor, shape: Sequence[int], window: str = "cic") -> Tensor:
    """Share the weights of particles among the nearest points of a periodic mesh.

    ``mesh_c(m) = sum_n weight_cn W(x_n - m)``, with W the product of one window for each axis.

    Parameters
    ----------
    positions : (node, 3)
        In cells; mesh point i of an axis lies at i. Any number: the mesh is periodic.
    weights : (channel, node)
        What each particle carries.
    shape
        Mesh points along the three axes.
    window
        "cic", cloud-in-cell, 8 points for each particle; "tsc", triangular-shaped cloud, 27 points.

    Returns
    -------
    (channel, n_x, n_y, n_z)
        Of the inputs' type; sums are kept in float32 for float16 and bfloat16.

    *Contract*: the sum over the mesh is the sum of the weights; ``<mesh_paint(x, w), f> = <w, mesh_read(f, x)>``; equal
    to the reference within `sciml_kernels.precision.TOLERANCES`, gradients too, to second order; the same bits on any
    number of threads, and in every run on a GPU. Particles that are no numbers make mesh points that are none.

    *Source*: Hockney and Eastwood, Computer Simulation Using Particles, section 5-3.

    Examples
    --------
    >>> mesh_paint(torch.tensor([[0.25, 0.0, 0.0]]), torch.ones(1, 1), (2, 1, 1)).flatten()
    tensor([0.7500, 0.2500])
    """
    where = "mesh_paint"
    check_alike(where, {"positions": positions, "weights": weights})
    check_shape(where, "positions", positions, {"node": len(positions), "axis": 3})
    check_shape(where, "weights", weights, {"channel": len(weights), "node": len(positions)})
    check_window(where, window)
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"{where}: expected three lengths of at least 1 as shape, got {tuple(shape)}; correct them")
    return torch.ops.sciml.mesh_paint(positions, weights, list(shape), window)


def _fake(positions: Tensor, weights: Tensor, shape: Sequence[int], window: str) -> Tensor:
    return weights.new_empty((len(weights), *shape))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    positions, weights, _, ctx.window = inputs
    ctx.save_for_backward(positions, weights)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
    positions, weights = ctx.saved_tensors
    move = share = None
    if ctx.needs_input_grad[0]:
        wide = accumulation_dtype(weights.dtype)
        slopes = resolve("sciml_kernels.mesh_read:mesh_slope")(grad, positions, ctx.window)
        move = (weights.to(wide)[:, :, None] * slopes.to(wide)).sum(0).to(positions.dtype)
    if ctx.needs_input_grad[1]:
        share = resolve("sciml_kernels.mesh_read:mesh_read")(grad, positions, ctx.window)
    return move, share, None, None


_op = define(
    "mesh_paint(Tensor positions, Tensor weights, int[] shape, str window) -> Tensor",
    reference, _fake, LAUNCHERS, unless_half_on_cpu,
)  # fmt: skip
_op.register_autograd(_backward, setup_context=_save)
