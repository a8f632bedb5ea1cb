"""Gauss-Lobatto-Legendre nodes, weights, differentiation and interpolation on [-1, 1], in float64.

*Source*: Canuto, Hussaini, Quarteroni, Zang, Spectral Methods (2006), section 2.3; Berrut and Trefethen,
Barycentric Lagrange Interpolation, SIAM Review 46 (2004).
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

Array = NDArray[np.float64]


def gll_rule(order: int) -> tuple[Array, Array]:
    """Nodes and weights of the Gauss-Lobatto-Legendre rule with ``order + 1`` points.

    ``(1 - x_i^2) L'_P(x_i) = 0`` and ``w_i = 2 / (P (P + 1) L_P(x_i)^2)``.

    Parameters
    ----------
    order : polynomial degree P >= 1.

    Returns
    -------
    nodes, weights : (order + 1,) each, ascending, exactly antisymmetric and symmetric.

    *Contract*: the rule integrates polynomials up to degree ``2 P - 1`` exactly.
    """
    if order < 1:
        raise ValueError(f"gll_rule: expected an order of at least 1, got {order}; choose the polynomial degree")
    series = np.zeros(order + 1)
    series[-1] = 1.0
    slope = legendre.legder(series)
    curvature = legendre.legder(slope)
    interior = np.sort(legendre.legroots(slope).real) if order > 1 else np.empty(0)
    for _ in range(3):  # the companion-matrix roots are polished to the last bit
        interior = interior - legendre.legval(interior, slope) / legendre.legval(interior, curvature)
    nodes = np.concatenate([[-1.0], interior, [1.0]])
    nodes = 0.5 * (nodes - nodes[::-1])
    weights = 2.0 / (order * (order + 1) * legendre.legval(nodes, series) ** 2)
    return nodes, 0.5 * (weights + weights[::-1])


def barycentric_weights(nodes: Array) -> Array:
    """Barycentric weights ``b_i = 1 / prod_{j != i} (x_i - x_j)``, scaled to a largest magnitude of 1."""
    difference = nodes[:, None] - nodes[None, :]
    np.fill_diagonal(difference, 1.0)
    weights = 1.0 / difference.prod(axis=1)
    return np.asarray(weights / np.abs(weights).max())


def differentiation_matrix(nodes: Array) -> Array:
    """Matrix D with ``(D u)_i = u'(x_i)`` for every polynomial u of degree below ``len(nodes)``.

    ``D_ij = (b_j / b_i) / (x_i - x_j)``, the diagonal is minus the sum of its row, so constants have slope exactly 0
    up to rounding.
    """
    bary = barycentric_weights(nodes)
    difference = nodes[:, None] - nodes[None, :]
    np.fill_diagonal(difference, 1.0)
    matrix = bary[None, :] / bary[:, None] / difference
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return np.asarray(matrix)


def interpolation_matrix(nodes: Array, points: Array) -> Array:
    """Lagrange interpolation from ``nodes`` to ``points`` by the second barycentric formula.

    Returns
    -------
    matrix : (len(points), len(nodes)); its rows sum to 1; at a node the row is exactly a unit vector.
    """
    difference = np.asarray(points, float)[:, None] - nodes[None, :]
    hit = difference == 0.0
    terms = barycentric_weights(nodes) / np.where(hit, 1.0, difference)
    matrix = terms / terms.sum(axis=1, keepdims=True)
    return np.where(hit.any(axis=1, keepdims=True), hit.astype(float), matrix)
