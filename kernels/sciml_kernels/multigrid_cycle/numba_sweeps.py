"""Loops over one level in numba, on vectors that keep their red and their black cells in two arrays.

Of a row along the last axis the red cells lie next to each other in one array and the black ones in another: cell k of
row (i, j) is entry ``t = k // 2`` of the array of its colour. All neighbours of a red cell are black, those above and
beside it have the same t, and those along the row t and one of ``t - 1, t + 1``: every access has stride one. They
have a margin of one zero on each side and are passed flat. Indices are unsigned so that numba does not test for
negative ones, which would keep the loops from being vectorized.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from sciml_kernels.numba_tools import compiled


def _load(natural, b_red, b_black, u_red, relax, n_rhs, n_x, n_y, n_z):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Split a grid by colour; start the red cells with their first relaxation from zero."""
    m = (n_z + 1) // 2
    s_y = m + 2
    s_x = s_y * (n_y + 2)
    whole, half = np.uint64(n_z), np.uint64(n_z // 2)
    for i in prange(n_x):
        for s in range(n_rhs):
            for j in range(n_y):
                cell = (i + 1) * s_x + (j + 1) * s_y + 1
                own = np.uint64(cell)
                at = np.uint64(cell + s * s_x * (n_x + 2))
                start = np.uint64(((s * n_x + i) * n_y + j) * n_z)
                one, two = np.uint64(1), np.uint64(2)
                if (i + j) & 1:
                    for t in range(half):
                        b_black[at + t] = natural[start + two * t]
                        b_red[at + t] = natural[start + two * t + one]
                    if n_z & 1:
                        b_black[at + half] = natural[start + whole - one]
                else:
                    for t in range(half):
                        b_red[at + t] = natural[start + two * t]
                        b_black[at + t] = natural[start + two * t + one]
                    if n_z & 1:
                        b_red[at + half] = natural[start + whole - one]
                for t in range(np.uint64(m)):
                    u_red[at + t] = relax[own + t] * b_red[at + t]


def _store(natural, u_red, u_black, n_rhs, n_x, n_y, n_z):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Merge the colours into a grid."""
    s_y = (n_z + 1) // 2 + 2
    s_x = s_y * (n_y + 2)
    whole, half = np.uint64(n_z), np.uint64(n_z // 2)
    for i in prange(n_x):
        for s in range(n_rhs):
            for j in range(n_y):
                at = np.uint64(s * s_x * (n_x + 2) + (i + 1) * s_x + (j + 1) * s_y + 1)
                start = np.uint64(((s * n_x + i) * n_y + j) * n_z)
                one, two = np.uint64(1), np.uint64(2)
                if (i + j) & 1:
                    for t in range(half):
                        natural[start + two * t] = u_black[at + t]
                        natural[start + two * t + one] = u_red[at + t]
                    if n_z & 1:
                        natural[start + whole - one] = u_black[at + half]
                else:
                    for t in range(half):
                        natural[start + two * t] = u_red[at + t]
                        natural[start + two * t + one] = u_black[at + t]
                    if n_z & 1:
                        natural[start + whole - one] = u_red[at + half]


def _relax_even(u, o, b, relax, diagonal, c_x, c_y, c_z, n_rhs, n_x, n_y, m, colour, plain):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Relax one colour where all open faces normal to an axis have the same weight; `o` is the other colour."""
    s_y = m + 2
    s_x = s_y * (n_y + 2)
    d_x, d_y, one = np.uint64(s_x), np.uint64(s_y), np.uint64(1)
    for i in prange(n_x):
        for s in range(n_rhs):
            for j in range(n_y):
                cell = (i + 1) * s_x + (j + 1) * s_y + 1
                own = np.uint64(cell)
                at = np.uint64(cell + s * s_x * (n_x + 2))
                right = at + np.uint64((i + j + colour) & 1)
                if plain:
                    for t in range(np.uint64(m)):
                        near = c_x * (o[at + t - d_x] + o[at + t + d_x]) + c_y * (o[at + t - d_y] + o[at + t + d_y])
                        near += c_z * (o[right + t - one] + o[right + t])
                        u[at + t] = relax[own + t] * (b[at + t] + near)
                else:
                    for t in range(np.uint64(m)):
                        near = c_x * (o[at + t - d_x] + o[at + t + d_x]) + c_y * (o[at + t - d_y] + o[at + t + d_y])
                        near += c_z * (o[right + t - one] + o[right + t])
                        u[at + t] += relax[own + t] * (b[at + t] + near - diagonal[own + t] * u[at + t])


def _relax_uneven(u, o, b, relax, diagonal, f, g, n_rhs, n_x, n_y, m, colour, plain):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Relax one colour with a weight for each face: `f` of this colour's faces to the next cells, `g` the other's."""
    s_y = m + 2
    s_x = s_y * (n_y + 2)
    size = s_x * (n_x + 2)
    d_x, d_y, one = np.uint64(s_x), np.uint64(s_y), np.uint64(1)
    y, z = np.uint64(size), np.uint64(2 * size)
    for i in prange(n_x):
        for s in range(n_rhs):
            for j in range(n_y):
                cell = (i + 1) * s_x + (j + 1) * s_y + 1
                own = np.uint64(cell)
                at = np.uint64(cell + s * size)
                parity = np.uint64((i + j + colour) & 1)
                right, left = at + parity, own + parity - one
                for t in range(np.uint64(m)):
                    near = f[own + t] * o[at + t + d_x] + g[own + t - d_x] * o[at + t - d_x]
                    near += f[y + own + t] * o[at + t + d_y] + g[y + own + t - d_y] * o[at + t - d_y]
                    near += f[z + own + t] * o[right + t] + g[z + left + t] * o[right + t - one]
                    if plain:
                        u[at + t] = relax[own + t] * (b[at + t] + near)
                    else:
                        u[at + t] += relax[own + t] * (b[at + t] + near - diagonal[own + t] * u[at + t])


def _residual_even(rest, u, o, b, diagonal, c_x, c_y, c_z, n_rhs, n_x, n_y, m, colour):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Write the residual of one colour; zero in cells that are no unknowns."""
    s_y = m + 2
    s_x = s_y * (n_y + 2)
    d_x, d_y, one = np.uint64(s_x), np.uint64(s_y), np.uint64(1)
    for i in prange(n_x):
        for s in range(n_rhs):
            for j in range(n_y):
                cell = (i + 1) * s_x + (j + 1) * s_y + 1
                own = np.uint64(cell)
                at = np.uint64(cell + s * s_x * (n_x + 2))
                right = at + np.uint64((i + j + colour) & 1)
                for t in range(np.uint64(m)):
                    near = c_x * (o[at + t - d_x] + o[at + t + d_x]) + c_y * (o[at + t - d_y] + o[at + t + d_y])
                    near += c_z * (o[right + t - one] + o[right + t])
                    value = b[at + t] + near - diagonal[own + t] * u[at + t]
                    rest[at + t] = value if diagonal[own + t] > 0 else 0


def _residual_uneven(rest, u, o, b, diagonal, f, g, n_rhs, n_x, n_y, m, colour):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Write the residual of one colour with a weight for each face; zero in cells that are no unknowns."""
    s_y = m + 2
    s_x = s_y * (n_y + 2)
    size = s_x * (n_x + 2)
    d_x, d_y, one = np.uint64(s_x), np.uint64(s_y), np.uint64(1)
    y, z = np.uint64(size), np.uint64(2 * size)
    for i in prange(n_x):
        for s in range(n_rhs):
            for j in range(n_y):
                cell = (i + 1) * s_x + (j + 1) * s_y + 1
                own = np.uint64(cell)
                at = np.uint64(cell + s * size)
                parity = np.uint64((i + j + colour) & 1)
                right, left = at + parity, own + parity - one
                for t in range(np.uint64(m)):
                    near = f[own + t] * o[at + t + d_x] + g[own + t - d_x] * o[at + t - d_x]
                    near += f[y + own + t] * o[at + t + d_y] + g[y + own + t - d_y] * o[at + t - d_y]
                    near += f[z + own + t] * o[right + t] + g[z + left + t] * o[right + t - one]
                    value = b[at + t] + near - diagonal[own + t] * u[at + t]
                    rest[at + t] = value if diagonal[own + t] > 0 else 0


def _restrict(coarse, red, black, n_rhs, n_x, n_y, n_z, f_x, f_y, f_z, with_black):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Sum the residuals of blocks of cells into the next level's grid."""
    m = (n_z + 1) // 2
    s_y = m + 2
    s_x = s_y * (n_y + 2)
    c_x, c_y, c_z = (n_x + f_x - 1) // f_x, (n_y + f_y - 1) // f_y, (n_z + f_z - 1) // f_z
    for big_i in prange(c_x):
        for s in range(n_rhs):
            for big_j in range(c_y):
                start = np.uint64(((s * c_x + big_i) * c_y + big_j) * c_z)
                for t in range(np.uint64(c_z)):
                    coarse[start + t] = 0
                for i in range(big_i * f_x, min(big_i * f_x + f_x, n_x)):
                    for j in range(big_j * f_y, min(big_j * f_y + f_y, n_y)):
                        at = np.uint64(s * s_x * (n_x + 2) + (i + 1) * s_x + (j + 1) * s_y + 1)
                        if f_z == 2:
                            if with_black:
                                for t in range(np.uint64(m)):
                                    coarse[start + t] += red[at + t] + black[at + t]
                            else:
                                for t in range(np.uint64(m)):
                                    coarse[start + t] += red[at + t]
                        else:
                            for k in range(n_z):
                                half = np.uint64(k >> 1)
                                value = black[at + half] if (i + j + k) & 1 else red[at + half]
                                if with_black or (i + j + k) & 1 == 0:
                                    coarse[start + np.uint64(k)] += value


def _prolong(red, black, coarse, diagonal_red, diagonal_black, gain, n_rhs, n_x, n_y, n_z, f_x, f_y, f_z):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Add the next level's correction to both colours of every unknown."""
    m = (n_z + 1) // 2
    s_y = m + 2
    s_x = s_y * (n_y + 2)
    c_x, c_y, c_z = (n_x + f_x - 1) // f_x, (n_y + f_y - 1) // f_y, (n_z + f_z - 1) // f_z
    for i in prange(n_x):
        for s in range(n_rhs):
            for j in range(n_y):
                cell = (i + 1) * s_x + (j + 1) * s_y + 1
                own = np.uint64(cell)
                at = np.uint64(cell + s * s_x * (n_x + 2))
                start = np.uint64(((s * c_x + i // f_x) * c_y + j // f_y) * c_z)
                if f_z == 2:
                    for t in range(np.uint64(m)):
                        value = gain * coarse[start + t]
                        red[at + t] += value if diagonal_red[own + t] > 0 else 0
                        black[at + t] += value if diagonal_black[own + t] > 0 else 0
                else:
                    for k in range(n_z):
                        half = np.uint64(k >> 1)
                        value = gain * coarse[start + np.uint64(k)]
                        if (i + j + k) & 1:
                            black[at + half] += value if diagonal_black[own + half] > 0 else 0
                        else:
                            red[at + half] += value if diagonal_red[own + half] > 0 else 0


load, store, restrict, prolong = compiled(_load), compiled(_store), compiled(_restrict), compiled(_prolong)
relax_even, relax_uneven = compiled(_relax_even), compiled(_relax_uneven)
residual_even, residual_uneven = compiled(_residual_even), compiled(_residual_uneven)
