"""A periodic mesh read at the places of particles: the adjoint of `sciml_kernels.mesh_paint.mesh_paint`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sciml_kernels.by_reference import differentiate
from sciml_kernels.checks import check_alike, check_rank, check_shape
from sciml_kernels.mesh_paint import mesh_paint
from sciml_kernels.mesh_paint.window import check_window
from sciml_kernels.mesh_read.reference import reference, slope_reference
from sciml_kernels.pattern import define, unless_half_on_cpu
from sciml_kernels.precision import accumulation_dtype

LAUNCHERS = {
    "numba": "sciml_kernels.mesh_read.numba_kernel:launch",
    "triton": "sciml_kernels.mesh_read.triton_kernel:launch",
}
SLOPE_LAUNCHERS = {"triton": "sciml_kernels.mesh_read.triton_kernel:launch_slope"}


def mesh_read(mesh: Tensor, positions: Tensor, window: str = "cic") -> Tensor:
    """Read a periodic mesh at the places of particles, by the window they are painted with.

    ``value_cn = sum_m mesh_c(m) W(x_n - m)``, with W the product of one window for each axis.

    Parameters
    ----------
    mesh : (channel, n_x, n_y, n_z)
        Values at the mesh points.
    positions : (node, 3)
        In cells; mesh point i of an axis lies at i. Any number: the mesh is periodic.
    window
        "cic", cloud-in-cell, which is linear interpolation from 8 points; "tsc", triangular-shaped cloud, 27 points.

    Returns
    -------
    (channel, node)
        Of the inputs' type; sums are kept in float32 for float16 and bfloat16.

    *Contract*: a constant mesh reads as that constant; ``<w, mesh_read(f, x)> = <mesh_paint(x, w), f>``; equal to the
    reference within `sciml_kernels.precision.TOLERANCES`, gradients too, to second order.

    *Source*: Hockney and Eastwood, Computer Simulation Using Particles, section 5-3.

    Examples
    --------
    >>> mesh_read(torch.tensor([4.0, 8.0]).reshape(1, 2, 1, 1), torch.tensor([[0.25, 0.0, 0.0]]))
    tensor([[5.]])
    """
    _check("mesh_read", mesh, positions, window)
    return torch.ops.sciml.mesh_read(mesh, positions, window)


def mesh_slope(mesh: Tensor, positions: Tensor, window: str = "cic") -> Tensor:
    """Return the derivatives (channel, node, axis) of what `mesh_read` reads, with respect to the positions.

    Parameters
    ----------
    mesh, positions, window
        As in `mesh_read`.
    """
    _check("mesh_slope", mesh, positions, window)
    return torch.ops.sciml.mesh_slope(mesh, positions, window)


def _check(where: str, mesh: Tensor, positions: Tensor, window: str) -> None:
    check_alike(where, {"mesh": mesh, "positions": positions})
    check_rank(where, "mesh", mesh, ("channel", "n_x", "n_y", "n_z"))
    check_shape(where, "positions", positions, {"node": len(positions), "axis": 3})
    check_window(where, window)
    if min(mesh.shape[1:]) < 1:
        got = tuple(mesh.shape[1:])
        raise ValueError(f"{where}: expected a mesh with at least one point along each axis, got {got}; give a larger")


def _fake(mesh: Tensor, positions: Tensor, window: str) -> Tensor:
    return mesh.new_empty((len(mesh), len(positions)))


def _fake_slope(mesh: Tensor, positions: Tensor, window: str) -> Tensor:
    return mesh.new_empty((len(mesh), len(positions), 3))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    mesh, positions, ctx.window = inputs
    ctx.save_for_backward(mesh, positions)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    mesh, positions = ctx.saved_tensors
    spread = move = None
    if ctx.needs_input_grad[0]:
        spread = mesh_paint(positions, grad, mesh.shape[1:], ctx.window)
    if ctx.needs_input_grad[1]:
        wide = accumulation_dtype(mesh.dtype)
        slopes = mesh_slope(mesh, positions, ctx.window)
        move = (grad.to(wide)[:, :, None] * slopes.to(wide)).sum(0).to(positions.dtype)
    return spread, move, None


_SIGNATURE = "mesh_slope(Tensor mesh, Tensor positions, str window)"
_op = define(
    "mesh_read(Tensor mesh, Tensor positions, str window) -> Tensor", reference, _fake, LAUNCHERS, unless_half_on_cpu
)
_op.register_autograd(_backward, setup_context=_save)
_slope_op = define(f"{_SIGNATURE} -> Tensor", slope_reference, _fake_slope, SLOPE_LAUNCHERS)
slope_backward_reference = differentiate(_slope_op, _SIGNATURE, slope_reference, 2)
