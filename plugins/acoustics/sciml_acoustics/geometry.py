"""Rooms as unions of axis-aligned boxes in one or two dimensions: walls, outlines, source grids and presets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

Point = tuple[float, ...]
Box = tuple[Point, Point]
Array = NDArray[np.float64]
TOLERANCE = 1e-9  # metres; coordinates closer than this are the same


class Wall(NamedTuple):
    """A maximal straight piece of the boundary: start and end (m) with the room on the left, outward unit normal."""

    start: Point
    end: Point
    normal: Point


class Cells(NamedTuple):
    """The room cut by every line that carries a box face: the lines of each axis and which cells are inside."""

    lines: tuple[Array, ...]
    inside: NDArray[np.bool_]


@dataclass(frozen=True)
class Room:
    """A connected union of axis-aligned boxes ``(lo, hi)`` in metres, 1-D or 2-D.

    Parameters
    ----------
    name : how reports call the room.
    boxes : ((lo, hi), ...), each corner with one number per axis; boxes may touch or overlap.

    *Contract*: the order of ``walls`` depends on the shape alone, not on how it is cut into boxes.
    """

    name: str
    boxes: tuple[Box, ...]

    def __post_init__(self) -> None:
        boxes = tuple((tuple(map(float, lo)), tuple(map(float, hi))) for lo, hi in self.boxes)
        object.__setattr__(self, "boxes", boxes)
        where = f"Room {self.name!r}"
        if not boxes or len({len(corner) for box in boxes for corner in box}) != 1 or len(boxes[0][0]) not in (1, 2):
            raise ValueError(f"{where}: expected boxes (lo, hi) that are all 1-D or all 2-D, got {boxes}; add corners")
        for lo, hi in boxes:
            if not all(np.isfinite((*lo, *hi))) or any(b - a <= TOLERANCE for a, b in zip(lo, hi, strict=True)):
                raise ValueError(f"{where}: expected lo < hi on every axis, got box {lo} to {hi}; swap or remove it")
        inside = cells(self).inside
        if ndimage.label(inside)[1] != 1:
            raise ValueError(f"{where}: expected one connected room, got boxes that do not share faces; join them")
        if inside.ndim == 2:
            a, b, c, d = inside[:-1, :-1], inside[1:, :-1], inside[:-1, 1:], inside[1:, 1:]
            if np.any((a & d & ~b & ~c) | (b & c & ~a & ~d)):
                raise ValueError(f"{where}: expected boxes that share faces, got two that touch in a point; join them")

    @property
    def n_axis(self) -> int:
        """Number of space dimensions."""
        return len(self.boxes[0][0])

    @property
    def bounding_box(self) -> Box:
        """Lowest and highest corner (m)."""
        corners = np.array(self.boxes)
        return tuple(corners[:, 0].min(axis=0).tolist()), tuple(corners[:, 1].max(axis=0).tolist())

    @property
    def area(self) -> float:
        """Area of the union, m^2 (1-D: its length, m)."""
        lines, inside = cells(self)
        size = np.diff(lines[0]) if len(lines) == 1 else np.outer(np.diff(lines[0]), np.diff(lines[1]))
        return float(size[inside].sum())

    @property
    def walls(self) -> tuple[Wall, ...]:
        """Walls in the order of the outline; 1-D: the low end, then the high end."""
        if self.n_axis == 1:
            (lo, hi) = self.bounding_box
            return Wall(lo, lo, (-1.0,)), Wall(hi, hi, (1.0,))
        walls = []
        for loop in self.outline():
            for start, end in zip(loop, np.roll(loop, -1, axis=0), strict=True):
                along = (end - start) / np.abs(end - start).sum()
                normal = (float(along[1]) + 0.0, float(-along[0]) + 0.0)  # + 0.0 turns -0.0 into 0.0
                walls.append(Wall(tuple(start.tolist()), tuple(end.tolist()), normal))
        return tuple(walls)

    def outline(self) -> tuple[Array, ...]:
        """Closed polygons (n_corner, 2) in metres: the outer one counter-clockwise, then holes clockwise."""
        if self.n_axis == 1:
            return (np.array(self.bounding_box),)
        return tuple(np.array(loop) for loop in _loops(cells(self)))

    def contains(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Which of ``points`` (n, d) lie in the closed room."""
        position = _points(self, points)
        mask = np.zeros(len(position), bool)
        for lo, hi in self.boxes:
            mask |= np.all((position >= np.array(lo) - TOLERANCE) & (position <= np.array(hi) + TOLERANCE), axis=1)
        return mask

    def wall_distance(self, points: ArrayLike) -> Array:
        """Distance (n,) in metres from ``points`` (n, d) to the nearest wall."""
        position = _points(self, points)
        distance = np.full(len(position), np.inf)
        for start, end, _ in self.walls:
            low, high = np.minimum(start, end), np.maximum(start, end)
            nearest = np.clip(position, low, high)
            distance = np.minimum(distance, np.linalg.norm(position - nearest, axis=1))
        return distance


def _points(room: Room, points: ArrayLike) -> Array:
    position = np.asarray(points, float)
    if position.ndim != 2 or position.shape[1] != room.n_axis:
        raise ValueError(
            f"Room {room.name!r}: expected points (n, {room.n_axis}), got shape {position.shape}; one row per point"
        )
    return position


@lru_cache(maxsize=128)
def cells(room: Room) -> Cells:
    """Cut the room by all lines that carry a box face."""
    corners = np.array(room.boxes)
    lines = tuple(_distinct(corners[:, :, axis].ravel()) for axis in range(corners.shape[2]))
    centres = np.stack(np.meshgrid(*[(x[1:] + x[:-1]) / 2 for x in lines], indexing="ij"), axis=-1)
    inside = np.zeros(centres.shape[:-1], bool)
    for lo, hi in corners:
        inside |= np.all((centres > lo) & (centres < hi), axis=-1)
    return Cells(lines, inside)


def _distinct(values: Array) -> Array:
    ordered = np.sort(values)
    return np.asarray(ordered[np.concatenate([[True], np.diff(ordered) > TOLERANCE])])


def _loops(cut: Cells) -> list[list[Point]]:
    """Boundary polygons: cell faces with the room on their left, chained and stripped of straight corners."""
    x, y = cut.lines
    padded = np.pad(cut.inside, 1)
    follow: dict[tuple[int, int], tuple[int, int]] = {}
    for i, j in zip(*np.nonzero(cut.inside), strict=True):
        sides = {(0, -1): ((i, j), (i + 1, j)), (1, 0): ((i + 1, j), (i + 1, j + 1))}
        sides |= {(0, 1): ((i + 1, j + 1), (i, j + 1)), (-1, 0): ((i, j + 1), (i, j))}
        follow |= {a: b for (di, dj), (a, b) in sides.items() if not padded[i + 1 + di, j + 1 + dj]}
    loops: list[list[Point]] = []
    while follow:
        start = min(follow)
        loop = [start]
        while (corner := follow.pop(loop[-1])) != start:
            loop.append(corner)
        turns = [
            (b[0] - a[0]) * (c[1] - b[1]) != (b[1] - a[1]) * (c[0] - b[0])
            for a, b, c in zip(loop[-1:] + loop[:-1], loop, loop[1:] + loop[:1], strict=True)
        ]
        loops.append([(float(x[i]), float(y[j])) for (i, j), turn in zip(loop, turns, strict=True) if turn])
    return loops


def columns(room: Room) -> list[Box]:
    """Non-overlapping boxes that fill the room, each as high as the room allows and as wide as it stays that high.

    Neighbours share faces across the first axis only, which is what the solvers' blocks need.
    """
    lines, inside = cells(room)
    if room.n_axis == 1:
        return [room.bounding_box]
    filled: list[Box] = []
    open_from: dict[tuple[float, float], float] = {}
    for i in range(len(inside) + 1):
        now = {(float(lines[1][a]), float(lines[1][b])) for a, b in _runs(inside[i])} if i < len(inside) else set()
        for low, high in sorted(set(open_from) - now):
            filled.append(((open_from.pop((low, high)), low), (float(lines[0][i]), high)))
        for interval in now - set(open_from):
            open_from[interval] = float(lines[0][i])
    return sorted(filled)


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edge = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [(int(a), int(b)) for a, b in edge.reshape(-1, 2)]


def source_grid(room: Room, spacing: float, padding: float) -> Array:
    """Points (n, d) of a regular grid, at most ``spacing`` apart, at least ``padding`` (m) from every wall.

    The grid spans the bounding box less the padding symmetrically; the published choice is a fifth of the shortest
    wavelength and 0.6 m.
    """
    lo, hi = np.array(room.bounding_box)
    span = hi - lo - 2.0 * padding
    if spacing <= 0.0 or padding < 0.0 or np.any(span < -TOLERANCE):
        raise ValueError(
            f"source_grid: expected spacing > 0 and 0 <= padding <= half of the room, got {spacing} and {padding} m "
            f"in room {room.name!r}; reduce the padding"
        )
    counts = np.ceil(np.maximum(span, 0.0) / spacing - 1e-6).astype(int) + 1
    axes = [np.linspace(a + padding, b - padding, n) for a, b, n in zip(lo, hi, counts, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, room.n_axis)
    return np.asarray(points[room.contains(points) & (room.wall_distance(points) >= padding - TOLERANCE)])


def random_points(room: Room, n: int, generator: np.random.Generator, padding: float = 0.0) -> Array:
    """``n`` points (n, d) drawn uniformly from the part of the room at least ``padding`` (m) from every wall."""
    lo, hi = np.array(room.bounding_box)
    found = np.empty((0, room.n_axis))
    for _ in range(100):
        draw = generator.uniform(lo, hi, size=(max(64, 4 * n), room.n_axis))
        keep = room.contains(draw) & (room.wall_distance(draw) >= padding)
        found = np.concatenate([found, draw[keep]])
        if len(found) >= n:
            return np.asarray(found[:n])
    raise ValueError(
        f"random_points: expected room for {n} points {padding} m from every wall of {room.name!r}, got {len(found)}; "
        "reduce the padding"
    )


def tube(length: float = 2.0) -> Room:
    """The 1-D impedance tube ``[0, length]``."""
    return Room("tube", (((0.0,), (float(length),)),))


# The furnished room and the L-shape are the polygons of SEMSolvers/SEM_WEQ2D.m in dtu-act/numerical-pde-solvers (MIT).
# Furnished: a desk on the floor line y = 0 and three pieces hanging from y = 3.
_FURNISHED: Sequence[tuple[float, float, float, float]] = (
    (0.0, 0.0, 0.5, 3.0),
    (0.5, 0.0, 0.8, 2.7),
    (0.8, 0.0, 1.0, 3.0),
    (1.0, 0.6, 1.25, 3.0),
    (1.25, 0.6, 1.75, 2.7),
    (1.75, 0.6, 2.0, 3.0),
    (2.0, 0.0, 2.2, 3.0),
    (2.2, 0.0, 2.5, 2.7),
    (2.5, 0.0, 3.0, 3.0),
)
ROOMS: dict[str, Room] = {
    "square": Room("square", (((0.0, 0.0), (2.0, 2.0)),)),
    "rectangle": Room("rectangle", (((0.0, 0.0), (3.0, 2.0)),)),
    "l_shape": Room("l_shape", (((0.0, 0.0), (1.5, 3.0)), ((0.0, 0.0), (3.0, 1.5)))),
    "furnished": Room("furnished", tuple(((a, b), (c, d)) for a, b, c, d in _FURNISHED)),
    "tube": tube(),
}


def room(name: str) -> Room:
    """The preset room called ``name``."""
    if name not in ROOMS:
        raise ValueError(f"room: expected one of {', '.join(ROOMS)}, got {name!r}; or build a Room from boxes")
    return ROOMS[name]
