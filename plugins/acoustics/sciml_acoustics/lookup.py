"""What one would have used instead: the table of simulated responses, interpolated between sources."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, sparse
from scipy.spatial import QhullError, cKDTree

from sciml_acoustics.data import Waves

Array = NDArray[Any]
Kind = Literal["nearest", "linear", "cubic"]


class Lookup:
    """A table of responses in half precision, nearest, linear or cubic between the training sources.

    On a full grid of sources "linear" is bilinear and "cubic" the tensor-product cubic spline; on scattered sources
    they are linear and Clough-Tocher on a Delaunay triangulation (2-D), and a source outside its hull is nearest.
    Responses between nodes come from a matrix (receiver, node), as exact as the solver's own where it gives one.
    """

    def __init__(self, waves: Waves, kind: Kind) -> None:
        self.kind, self.waves = kind, waves
        self.table = waves.pressure.astype(np.float16)

    @property
    def n_bytes(self) -> int:
        """Bytes of the table."""
        return int(self.table.nbytes)

    def weights(self, source_position: Array) -> Array:
        """Return the weights (query, source): interpolation is linear in the tabulated responses."""
        known, wanted = self.waves.source_position, np.asarray(source_position, dtype=float)
        nearest = np.eye(len(known))[cKDTree(known).query(wanted)[1]]
        varies = np.ptp(known, axis=0) > 1e-9  # sources in one plane or on one line are a grid in fewer dimensions
        known, wanted = known[:, varies], wanted[:, varies]
        if self.kind == "nearest" or not varies.any():
            return nearest
        rounded = known.round(6)  # a micrometre: positions that went through single precision are a grid too
        axes = [
            column[np.unique(place, return_index=True)[1]] for column, place in zip(known.T, rounded.T, strict=True)
        ]
        shape = tuple(map(len, axes))
        cubic = self.kind == "cubic" and min(shape) >= 4
        if np.prod(shape) == len(known) and (cubic or self.kind == "linear" or len(shape) == 1):
            return _on_a_grid(axes, np.lexsort(rounded.T[::-1]), wanted, 3 if cubic else 1)
        two_d_cubic = self.kind == "cubic" and known.shape[1] == 2
        scattered = interpolate.CloughTocher2DInterpolator if two_d_cubic else interpolate.LinearNDInterpolator
        try:
            weights = np.asarray(scattered(known, np.eye(len(known)))(wanted))
        except QhullError:  # too few sources for a triangulation, or all on a slanted line
            return nearest
        return np.where(np.isnan(weights), nearest, weights)

    def predict(self, source_position: Array, at_receivers: sparse.csr_matrix | None = None) -> Array:
        """Return the pressure (query, time, node); through `at_receivers` (receiver, node), (query, time, receiver)."""
        table = self.table.astype(np.float32)
        mixed = np.tensordot(self.weights(source_position).astype(np.float32), table, 1)
        if at_receivers is None:
            return mixed
        flat = at_receivers.astype(np.float32) @ mixed.reshape(-1, mixed.shape[2]).T
        return np.asarray(flat.T.reshape(*mixed.shape[:2], -1))


def _on_a_grid(axes: list[Array], order: Array, wanted: Array, degree: int) -> Array:
    """Return tensor-product spline weights (query, source); `order` sorts the sources by their first coordinate."""
    product = np.ones((len(wanted), 1))
    for axis, column in zip(axes, wanted.T, strict=True):
        along = interpolate.make_interp_spline(axis, np.eye(len(axis)), degree)(column)
        product = (product[:, :, None] * along[:, None, :]).reshape(len(wanted), -1)
    weights = np.empty_like(product)
    weights[:, order] = product
    return weights


def scattered_interpolation(nodes: Array, points: Array) -> sparse.csr_matrix:
    """Return the matrix (point, node) of piecewise-linear interpolation on a triangulation of scattered nodes.

    Points outside the hull take the nearest node.
    """
    if nodes.shape[1] == 1:
        return _on_a_line(nodes[:, 0], points[:, 0])
    nearest = cKDTree(nodes).query(points)[1]
    mesh = interpolate.LinearNDInterpolator(nodes, np.zeros(len(nodes))).tri
    simplex = mesh.find_simplex(points)
    n_axis = nodes.shape[1]
    affine = mesh.transform[simplex]
    local = np.einsum("pij,pj->pi", affine[:, :n_axis], points - affine[:, n_axis])
    values = np.concatenate([local, 1.0 - local.sum(1, keepdims=True)], 1)
    columns = mesh.simplices[simplex]
    outside = (simplex < 0) | ~np.isfinite(values).all(1)
    values[outside], columns[outside] = 0.0, nearest[outside, None]
    values[outside, 0] = 1.0
    rows = np.repeat(np.arange(len(points)), n_axis + 1)
    return sparse.csr_matrix((values.ravel(), (rows, columns.ravel())), (len(points), len(nodes)))


def _on_a_line(nodes: Array, points: Array) -> sparse.csr_matrix:
    line, column = np.unique(nodes, return_index=True)
    inside = np.clip(points, line[0], line[-1])
    right = np.clip(np.searchsorted(line, inside), 1, len(line) - 1)
    share = (inside - line[right - 1]) / (line[right] - line[right - 1])
    values, columns = np.stack([1.0 - share, share], 1), column[np.stack([right - 1, right], 1)]
    rows = np.repeat(np.arange(len(points)), 2)
    return sparse.csr_matrix((values.ravel(), (rows, columns.ravel())), (len(points), len(nodes)))
