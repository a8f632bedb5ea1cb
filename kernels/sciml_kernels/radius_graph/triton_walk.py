"""The steps that searches over cells share on a GPU: where a point is, which points a cell holds, how far they are."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def place(x, cell, s, live, n_node, n_x, n_y, n_z):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Return cloud, cell along each axis and coordinates of the sorted points `s`."""
    own = tl.load(cell + s, mask=live, other=0)
    c_z, c_y, c_x, cloud = own % n_z, own // n_z % n_y, own // (n_z * n_y) % n_x, own // (n_z * n_y * n_x)
    x_s = tl.load(x + s, mask=live, other=0)
    y_s = tl.load(x + n_node + s, mask=live, other=0)
    z_s = tl.load(x + 2 * n_node + s, mask=live, other=0)
    return cloud, c_x, c_y, c_z, x_s, y_s, z_s


@triton.jit
def held(start, live, cloud, c_x, c_y, c_z, n_x, n_y, n_z):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Return the first sorted point of a cell less than a turn beyond the box, and the one beyond its last."""
    at = start + ((cloud * n_x + (c_x + n_x) % n_x) * n_y + (c_y + n_y) % n_y) * n_z + (c_z + n_z) % n_z
    return tl.load(at, mask=live, other=0), tl.load(at + 1, mask=live, other=0)


@triton.jit
def neighbour(near, start, live, cloud, c_x, c_y, c_z, n_x, n_y, n_z):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Return what `held` does for the cell number `near` of those around a cell, its own among them.

    There are ``min(n_x, 3) min(n_y, 3) min(n_z, 3)`` of them; an axis has one cell, or three and more.
    """
    m_y, m_z = tl.minimum(n_y, 3), tl.minimum(n_z, 3)
    b_x, b_y, b_z = c_x + near // (m_y * m_z) - 1, c_y + near // m_z % m_y - 1, c_z + near % m_z - 1
    return held(start, live, cloud, b_x, b_y, b_z, n_x, n_y, n_z)


@triton.jit
def distance(x, j, mask, n_node, x_s, y_s, z_s, side_x, side_y, side_z):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Return the squared distances of points j to the nearest image of another, and their part along the last axis."""
    d_x = tl.abs(tl.load(x + j, mask=mask, other=0) - x_s)
    d_y = tl.abs(tl.load(x + n_node + j, mask=mask, other=0) - y_s)
    d_z = tl.abs(tl.load(x + 2 * n_node + j, mask=mask, other=0) - z_s)
    d_x, d_y, d_z = tl.minimum(d_x, side_x - d_x), tl.minimum(d_y, side_y - d_y), tl.minimum(d_z, side_z - d_z)
    return d_x * d_x + d_y * d_y + d_z * d_z, d_z
