"""The matrix-free operator of a Poisson equation on a masked grid, alone and with the product p . A p."""

from __future__ import annotations

import torch
from torch import Tensor

from sciml_kernels.by_reference import differentiate, use_autograd
from sciml_kernels.checks import check_alike, check_rank, check_shape
from sciml_kernels.masked_stencil.reference import dot_reference, reference
from sciml_kernels.pattern import define, unless_half_on_cpu
from sciml_kernels.precision import accumulation_dtype

LAUNCHERS = {
    "numba": "sciml_kernels.masked_stencil.numba_kernel:launch",
    "triton": "sciml_kernels.masked_stencil.triton_kernel:launch",
}
DOT_LAUNCHERS = {
    "numba": "sciml_kernels.masked_stencil.numba_kernel:launch_dot",
    "triton": "sciml_kernels.masked_stencil.triton_kernel:launch_dot",
}


def masked_stencil(pressure: Tensor, faces: Tensor, diagonal: Tensor) -> Tensor:
    """Apply the matrix of a Poisson equation on a masked grid to one or more pressures, without the matrix.

    ``(A p)_i = diagonal_i p_i - sum_faces w_ij p_j`` where ``diagonal_i > 0``, zero elsewhere.

    Parameters
    ----------
    pressure : (rhs, n_x, n_y, n_z)
        Zero in cells that are no unknowns; two-dimensional grids are (rhs, n_x, 1, n_y).
    faces : (3, n_x, n_y, n_z) or (3, 1, 1, 1)
        Weight of the face between a cell and the next along each axis, zero where it is closed; one weight for each
        axis where all open faces normal to it have the same: a closed face then is one beside a cell with pressure
        zero that does not count in the diagonal.
    diagonal : (n_x, n_y, n_z)
        Sum of the weights of a cell's open faces, those to a given pressure included; zero marks no unknown.

    Returns
    -------
    (rhs, n_x, n_y, n_z)
        Of the inputs' type; sums are kept in float32 for float16 and bfloat16.

    *Contract*: equal to the reference within `sciml_kernels.precision.TOLERANCES`, gradients too, to second order.

    Examples
    --------
    >>> p = torch.tensor([1.0, 3.0, 0.0]).reshape(1, 3, 1, 1)
    >>> masked_stencil(p, torch.ones(3, 1, 1, 1), torch.tensor([1.0, 2.0, 0.0]).reshape(3, 1, 1)).flatten()
    tensor([-2.,  5.,  0.])
    """
    _check("masked_stencil", pressure, faces, diagonal)
    return torch.ops.sciml.masked_stencil(pressure, faces, diagonal)


def masked_stencil_dot(pressure: Tensor, faces: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor]:
    """Apply the matrix of `masked_stencil` and return the product ``p . A p`` as well, both in one pass over memory.

    ``q = A p,  s = sum_i p_i q_i``: what a step of conjugate gradients needs.

    Parameters
    ----------
    pressure, faces, diagonal
        As in `masked_stencil`.

    Returns
    -------
    q : (rhs, n_x, n_y, n_z)
        What `masked_stencil` returns, to the bit.
    s : (rhs,)
        Of the type that sums are kept in, float32 for float16 and bfloat16; of q before it is rounded to these.

    *Contract*: equal to the reference within `sciml_kernels.precision.TOLERANCES`, gradients too, to second order;
    partial sums are added in an order that depends neither on threads nor on the other right-hand sides.

    Examples
    --------
    >>> p = torch.tensor([1.0, 3.0, 0.0]).reshape(1, 3, 1, 1)
    >>> masked_stencil_dot(p, torch.ones(3, 1, 1, 1), torch.tensor([1.0, 2.0, 0.0]).reshape(3, 1, 1))[1]
    tensor([13.])
    """
    _check("masked_stencil_dot", pressure, faces, diagonal)
    applied, product = torch.ops.sciml.masked_stencil_dot(pressure, faces, diagonal)
    return applied, product


def _check(where: str, pressure: Tensor, faces: Tensor, diagonal: Tensor) -> None:
    check_alike(where, {"pressure": pressure, "faces": faces, "diagonal": diagonal})
    check_rank(where, "pressure", pressure, ("rhs", "n_x", "n_y", "n_z"))
    n_x, n_y, n_z = pressure.shape[1:]
    check_shape(where, "diagonal", diagonal, {"n_x": n_x, "n_y": n_y, "n_z": n_z})
    if tuple(faces.shape) != (3, 1, 1, 1):
        check_shape(where, "faces", faces, {"axis": 3, "n_x": n_x, "n_y": n_y, "n_z": n_z})


def _fake(pressure: Tensor, faces: Tensor, diagonal: Tensor) -> Tensor:
    return pressure.new_empty(pressure.shape)


def _fake_dot(pressure: Tensor, faces: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor]:
    product = pressure.new_empty(len(pressure), dtype=accumulation_dtype(pressure.dtype))
    return pressure.new_empty(pressure.shape), product


_SIGNATURE = "masked_stencil(Tensor pressure, Tensor faces, Tensor diagonal)"
_op = define(f"{_SIGNATURE} -> Tensor", reference, _fake, LAUNCHERS, unless_half_on_cpu)
backward_reference = differentiate(_op, _SIGNATURE, reference, 3)
_dot_op = define(
    "masked_stencil_dot(Tensor pressure, Tensor faces, Tensor diagonal) -> (Tensor, Tensor)",
    dot_reference,
    _fake_dot,
    DOT_LAUNCHERS,
    unless_half_on_cpu,
)
use_autograd(_dot_op, dot_reference)
