"""Spectral-element mesh of a room: nodes, diagonal mass, stiffness, wall weights and interpolation to receivers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from sciml_acoustics.geometry import TOLERANCE, Room, columns
from sciml_acoustics.gll import differentiation_matrix, gll_rule, interpolation_matrix

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Line:
    """One axis of a block: its range of grid nodes, assembled GLL weights (m) and stiffness (1/m)."""

    nodes: slice
    weights: Array
    stiffness: Array


@dataclass(frozen=True)
class Block:
    """A box of elements: node numbers (n_x, n_y) and its lines (1-D: n_y = 1 with weight 1 and no stiffness)."""

    nodes: Index
    x: Line
    y: Line


@dataclass(frozen=True)
class Seam:
    """Nodes that two blocks share: where they lie in each block and the first block's share of the mass."""

    left: int
    right: int
    left_nodes: slice
    right_nodes: slice
    left_share: Array


class SemMesh:
    """Tensor-product spectral elements of degree ``order`` on a union of boxes.

    Parameters
    ----------
    room : the geometry.
    order : polynomial degree P of the elements, 2 to 10.
    ppw : nodes per shortest wavelength at least: elements measure at most ``P (c / f_max) / ppw``.
    f_max : highest frequency, Hz.
    c : speed of sound, m/s.

    Attributes
    ----------
    nodes : (N, d) node positions in the room, m, sorted by axis.
    weights : (N,) quadrature weights, m^d: the diagonal mass matrix; they sum to the room's area.

    *Source*: Patera, J. Comput. Phys. 54 (1984); Komatitsch and Vilotte, BSSA 88 (1998).
    """

    def __init__(self, room: Room, order: int = 6, ppw: float = 7.0, f_max: float = 1000.0, c: float = 343.0) -> None:
        if not 2 <= order <= 10:
            raise ValueError(f"SemMesh: expected an order from 2 to 10, got {order}; 6 is a good choice")
        if not (ppw > 0.0 and f_max > 0.0 and c > 0.0):
            raise ValueError(f"SemMesh: expected positive ppw, f_max and c, got {ppw}, {f_max}, {c}; check the units")
        self.room, self.order, self.ppw, self.f_max, self.c = room, order, ppw, f_max, c
        boxes = columns(room)
        corners = np.array(boxes)
        size = order * c / f_max / ppw
        self._elements = [_subdivide(corners[:, :, axis], size) for axis in range(room.n_axis)]
        self._grid = [_grid(lines, order) for lines in self._elements]
        counts = [len(grid) for grid in self._grid] + [1] * (2 - room.n_axis)
        lines = [[self._line(axis, *corner[:, axis]) for axis in range(room.n_axis)] for corner in corners]
        dummy = Line(slice(0, 1), np.ones(1), np.zeros((1, 1)))
        pairs = [(line[0], line[1] if room.n_axis == 2 else dummy) for line in lines]
        inside = np.zeros(counts, bool)
        for x, y in pairs:
            inside[x.nodes, y.nodes] = True
        self._number = np.where(inside, np.cumsum(inside).reshape(inside.shape) - 1, -1)
        self.blocks = [Block(self._number[x.nodes, y.nodes], x, y) for x, y in pairs]
        where = np.argwhere(inside)
        self.nodes: Array = np.stack([self._grid[axis][where[:, axis]] for axis in range(room.n_axis)], axis=1)
        self.weights: Array = np.zeros(len(self.nodes))
        for block in self.blocks:
            np.add.at(self.weights, block.nodes, np.outer(block.x.weights, block.y.weights))
        self.seams = self._find_seams()

    def _line(self, axis: int, low: float, high: float) -> Line:
        lines = self._elements[axis]
        first, last = (int(np.argmin(np.abs(lines - end))) for end in (low, high))
        weights, stiffness = _assemble(lines[first : last + 1], self.order)
        return Line(slice(first * self.order, last * self.order + 1), weights, stiffness)

    def _find_seams(self) -> list[Seam]:
        seams = []
        for (a, left), (b, right) in itertools.permutations(enumerate(self.blocks), 2):
            start = max(left.y.nodes.start, right.y.nodes.start)
            stop = min(left.y.nodes.stop, right.y.nodes.stop)
            if left.x.nodes.stop - 1 == right.x.nodes.start and stop - start > 1:
                in_left = slice(start - left.y.nodes.start, stop - left.y.nodes.start)
                in_right = slice(start - right.y.nodes.start, stop - right.y.nodes.start)
                mass_left = left.x.weights[-1] * left.y.weights[in_left]
                mass_right = right.x.weights[0] * right.y.weights[in_right]
                seams.append(Seam(a, b, in_left, in_right, mass_left / (mass_left + mass_right)))
        return seams

    @cached_property
    def stiffness(self) -> sparse.csr_matrix:
        """Stiffness matrix K (N, N): ``u' K u`` is the integral of ``|grad u|^2``."""
        total = sparse.csr_matrix((len(self.nodes), len(self.nodes)))
        for block in self.blocks:
            along_x = sparse.kron(sparse.csr_matrix(block.x.stiffness), sparse.diags(block.y.weights))
            along_y = sparse.kron(sparse.diags(block.x.weights), sparse.csr_matrix(block.y.stiffness))
            ids = block.nodes.ravel()
            put = sparse.csr_matrix((np.ones(ids.size), (ids, np.arange(ids.size))), (len(self.nodes), ids.size))
            total = total + put @ (along_x + along_y) @ put.T
        return total.tocsr()

    @cached_property
    def wall_weights(self) -> Array:
        """Boundary quadrature weights (n_wall, N), m^(d-1): each row sums to the length of its wall (1-D: to 1)."""
        weights = np.zeros((len(self.room.walls), len(self.nodes)))
        for row, wall in zip(weights, self.room.walls, strict=True):
            ends = np.sort(np.array([wall.start, wall.end]), axis=0)
            at: list[slice] = [slice(0, 1)] * 2
            values = np.ones((1, 1))
            for axis in range(self.room.n_axis):
                if wall.normal[axis] == 0.0:
                    line = self._line(axis, ends[0, axis], ends[1, axis])
                    at[axis], values = line.nodes, line.weights.reshape((-1, 1) if axis == 0 else (1, -1))
                else:
                    index = int(np.argmin(np.abs(self._grid[axis] - ends[0, axis])))
                    at[axis] = slice(index, index + 1)
            row[self._number[at[0], at[1]]] = values
        return weights

    def interpolation(self, points: ArrayLike) -> sparse.csr_matrix:
        """Matrix (R, N) that evaluates nodal fields at ``points`` (R, d) inside the room, with spectral accuracy.

        Raises
        ------
        ValueError : a point lies outside the room or inside furniture; the sentence names it.
        """
        position = np.atleast_2d(np.asarray(points, float))
        outside = np.flatnonzero(~self.room.contains(position))
        if outside.size:
            raise ValueError(
                f"SemMesh.interpolation: expected receivers inside room {self.room.name!r}, got point {outside[0]} at "
                f"{tuple(position[outside[0]].tolist())} m, which is outside or inside furniture; move it"
            )
        n_local = self.order + 1
        columns_of = np.full((len(position), n_local**self.room.n_axis), -1)
        values = np.zeros(columns_of.shape)
        for side in itertools.product((-TOLERANCE, TOLERANCE), repeat=self.room.n_axis):
            column, value = self._local(position, side)
            missing = (columns_of < 0).any(axis=1) & (column >= 0).all(axis=1)
            columns_of[missing], values[missing] = column[missing], value[missing]
        rows = np.repeat(np.arange(len(position)), columns_of.shape[1])
        return sparse.csr_matrix((values.ravel(), (rows, columns_of.ravel())), (len(position), len(self.nodes)))

    def _local(self, position: Array, side: tuple[float, ...]) -> tuple[Index, Array]:
        """Nodes and Lagrange values of the element on the given side of each point; -1 where it is not in the room."""
        reference = gll_rule(self.order)[0]
        index, value = [], []
        for axis, lines in enumerate(self._elements):
            element = np.clip(np.searchsorted(lines, position[:, axis] + side[axis]) - 1, 0, len(lines) - 2)
            low, high = lines[element], lines[element + 1]
            value.append(interpolation_matrix(reference, 2.0 * (position[:, axis] - low) / (high - low) - 1.0))
            index.append(element[:, None] * self.order + np.arange(self.order + 1))
        if len(index) == 1:
            return self._number[index[0], 0], value[0]
        number = self._number[index[0][:, :, None], index[1][:, None, :]]
        return number.reshape(len(position), -1), np.einsum("ri,rj->rij", *value).reshape(len(position), -1)


def _subdivide(ends: Array, size: float) -> Array:
    """Element boundaries of one axis: every gap between box ends cut into equal elements of at most ``size``."""
    breaks = np.unique(np.round(ends.ravel(), 9))
    parts = [np.array(breaks[:1])]
    for low, high in itertools.pairwise(breaks):
        parts.append(np.linspace(low, high, max(1, int(np.ceil((high - low) / size - 1e-9))) + 1)[1:])
    return np.concatenate(parts)


def _grid(lines: Array, order: int) -> Array:
    local = 0.5 * (gll_rule(order)[0] + 1.0)
    inner = lines[:-1, None] + np.diff(lines)[:, None] * local[None, :-1]
    return np.concatenate([inner.ravel(), lines[-1:]])


def _assemble(lines: Array, order: int) -> tuple[Array, Array]:
    """Weights (n,) and dense stiffness (n, n) of a chain of elements: ``K_ij = sum_q w_q l_i'(x_q) l_j'(x_q)``."""
    nodes, rule = gll_rule(order)
    slope = differentiation_matrix(nodes)
    element = slope.T @ (rule[:, None] * slope)
    n = (len(lines) - 1) * order + 1
    weights, stiffness = np.zeros(n), np.zeros((n, n))
    for e, size in enumerate(np.diff(lines)):
        span = slice(e * order, (e + 1) * order + 1)
        weights[span] += 0.5 * size * rule
        stiffness[span, span] += 2.0 / size * element
    return weights, stiffness
