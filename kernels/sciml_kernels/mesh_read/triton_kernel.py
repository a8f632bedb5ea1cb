"""Reading in Triton: a thread for each particle, which gathers the points it sees; no two threads write one place."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from sciml_kernels.mesh_paint.triton_kernel import share
from sciml_kernels.mesh_paint.window import WIDTHS
from sciml_kernels.triton_tools import accumulator, configurations, require_launchable

_CHOICES = (((1024,), 8), ((256,), 4), ((128,), 4))


@triton.jit
def locate(positions, stride, live, n_cell, ACC: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Return the first point of a window along an axis, in [0, n_cell), and the distance from its centre."""
    x = tl.load(positions + stride, mask=live, other=0).to(ACC)
    whole = tl.floor(x) if WIDTH == 2 else tl.floor(x + 0.5)
    # what is no number has no place: it reads NaN at the first point
    cell = tl.where(tl.abs(whole) < 9e18, whole, 0).to(tl.int64) - (WIDTH - 2)
    cell = cell % n_cell
    return tl.where(cell < 0, cell + n_cell, cell).to(tl.int32), x - whole


@triton.jit
def slope(t, k, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Return the derivative by `t` of the weight of point number `k` of a window."""
    if WIDTH == 2:
        found = tl.where(k == 0, t - t - 1, t - t + 1)
    else:
        found = tl.where(k == 1, -2 * t, tl.where(k == 0, t - 0.5, t + 0.5))
    return found


@triton.autotune(configs=configurations(("BLOCK",), _CHOICES), key=["n_channel", "n_node"])
@triton.jit(do_not_specialize=("n_channel", "n_node", "n_x", "n_y", "n_z"))
def mesh_read_kernel(
    mesh: tl.tensor, stride_c: tl.tensor, stride_x: tl.tensor, stride_y: tl.tensor, stride_z: tl.tensor,
    positions: tl.tensor, stride_n: tl.tensor, stride_a: tl.tensor, out: tl.tensor,
    n_channel: tl.tensor, n_node: tl.tensor, n_x: tl.tensor, n_y: tl.tensor, n_z: tl.tensor,
    SLOPE: tl.constexpr, WIDTH: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Read all channels at a block of particles, or with SLOPE the derivatives along the three axes."""
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live, own = n < n_node, positions + n * stride_n
    c_x, t_x = locate(own, 0, live, n_x, ACC, WIDTH)
    c_y, t_y = locate(own, stride_a, live, n_y, ACC, WIDTH)
    c_z, t_z = locate(own, 2 * stride_a, live, n_z, ACC, WIDTH)
    for channel in range(n_channel):
        total, along_x = tl.full((BLOCK,), 0, ACC), tl.full((BLOCK,), 0, ACC)
        along_y, along_z = tl.full((BLOCK,), 0, ACC), tl.full((BLOCK,), 0, ACC)
        plane = mesh + channel * stride_c.to(tl.int64)
        for a in tl.static_range(WIDTH):
            for b in tl.static_range(WIDTH):
                row = plane + ((c_x + a) % n_x).to(tl.int64) * stride_x + ((c_y + b) % n_y).to(tl.int64) * stride_y
                w_x, w_y = share(t_x, a, WIDTH), share(t_y, b, WIDTH)
                for c in tl.static_range(WIDTH):
                    point = row + ((c_z + c) % n_z).to(tl.int64) * stride_z
                    value = tl.load(point, mask=live, other=0).to(ACC)
                    w_z = share(t_z, c, WIDTH)
                    if SLOPE:
                        along_x += value * (slope(t_x, a, WIDTH) * w_y * w_z)
                        along_y += value * (w_x * slope(t_y, b, WIDTH) * w_z)
                        along_z += value * (w_x * w_y * slope(t_z, c, WIDTH))
                    else:
                        total += value * (w_x * w_y * w_z)
        at = channel * n_node.to(tl.int64) + n
        if SLOPE:
            tl.store(out + 3 * at, along_x.to(out.dtype.element_ty), mask=live)
            tl.store(out + 3 * at + 1, along_y.to(out.dtype.element_ty), mask=live)
            tl.store(out + 3 * at + 2, along_z.to(out.dtype.element_ty), mask=live)
        else:
            tl.store(out + at, total.to(out.dtype.element_ty), mask=live)


def launch(mesh: Tensor, positions: Tensor, window: str) -> Tensor:
    """Return what the reference returns."""
    return _run(mesh, positions, window, mesh.new_empty((len(mesh), len(positions))), slope=False)


def launch_slope(mesh: Tensor, positions: Tensor, window: str) -> Tensor:
    """Return what `slope_reference` returns."""
    return _run(mesh, positions, window, mesh.new_empty((len(mesh), len(positions), 3)), slope=True)


def _run(mesh: Tensor, positions: Tensor, window: str, out: Tensor, slope: bool) -> Tensor:
    require_launchable("mesh_read", mesh_read_kernel, mesh)
    if out.numel():
        mesh_read_kernel[lambda meta: (triton.cdiv(len(positions), meta["BLOCK"]),)](
            mesh, *mesh.stride(), positions, *positions.stride(), out, len(mesh), len(positions), *mesh.shape[1:],
            SLOPE=slope, WIDTH=WIDTHS[window], ACC=accumulator(mesh.dtype),
        )  # fmt: skip
    return out
