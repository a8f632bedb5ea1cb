"""Panels of the acoustic figures: the room to scale, fields as images masked outside it, labels that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

from sciml import Region
from sciml.report import new_figure

Array = NDArray[Any]
GREY, DARK = "#8a939b", "#39424a"


def room_figure(boxes: Region, n_cols: int, n_rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Panels with the outline of the room, to scale, row by row."""
    low, high = np.array(boxes.bounding_box)[:, :2]
    if boxes.n_dims == 1:
        figure, panels = new_figure(width=8.6, height=2.2)
        panels[0, 0].set(xlabel="x (m)", xlim=(low[0], high[0]), ylim=(-0.6, 3.6), yticks=[])
        panels[0, 0].grid(False)
        return figure, [panels[0, 0]]
    aspect = (high[1] - low[1]) / (high[0] - low[0])
    width = 4.6 if n_cols == 1 else 2.5
    size = (n_cols * width + (2.8 if n_cols == 1 else 1.4), n_rows * (width - 0.2) * aspect + 0.7)
    figure, panels = new_figure(n_rows, n_cols, *size, sharex=True, sharey=True)
    figure.set_layout_engine("compressed")  # panels to scale leave room that plain layouts do not foresee
    margin = 0.02 * (high - low).max()
    segments = outline(plane(boxes, np.zeros((0, boxes.n_dims)))[0])
    for panel in panels.flat:
        panel.add_collection(
            LineCollection(segments, colors=DARK, linewidths=1.4, capstyle="projecting", zorder=5), autolim=False
        )
        panel.set(aspect="equal", xlim=(low[0] - margin, high[0] + margin), ylim=(low[1] - margin, high[1] + margin))
        panel.grid(False)
        panel.spines[:].set_visible(False)
    for panel in panels[-1]:
        panel.set_xlabel("x (m)")
    panels[0, 0].set_ylabel("y (m)")
    return figure, list(panels.flat)


def plane(boxes: Region, position: Array) -> tuple[Region, NDArray[np.bool_]]:
    """The room in the plane, 3-D at half height, and which nodes (node,) are in that plane or nearest to it."""
    if boxes.n_dims == 2:
        return boxes, np.ones(len(position), bool)
    low, high = boxes.bounding_box
    height = (low[2] + high[2]) / 2.0
    cut = Region(tuple((a[:2], b[:2]) for a, b in boxes.boxes if a[2] <= height <= b[2]))
    distance = np.abs(position[:, 2] - height)
    enough = np.sort(distance)[: max(1, round(len(distance) ** (2 / 3)))].max(
        initial=0.0
    )  # as many as a cube has in a plane
    return cut, distance <= enough + 1e-9


def outline(flat: Region) -> list[list[tuple[float, float]]]:
    """Straight pieces between inside and outside of a plane room."""
    x, y = (np.unique([corner[axis] for box in flat.boxes for corner in box]) for axis in (0, 1))
    centres = np.stack(np.meshgrid((x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2, indexing="ij"), axis=-1)
    inside = np.pad(flat.contains(centres), 1)
    upright = np.argwhere(np.diff(inside[:, 1:-1], axis=0))
    level = np.argwhere(np.diff(inside[1:-1], axis=1))
    pieces = [[(x[i], y[j]), (x[i], y[j + 1])] for i, j in upright]
    return pieces + [[(x[i], y[j]), (x[i + 1], y[j])] for i, j in level]


def room_images(flat: Region, position: Array, values: Array, pixel: float) -> np.ma.MaskedArray[Any, Any]:
    """Values (row, frame, node) on a regular grid (row, frame, x, y), masked outside the room."""
    edges = [np.linspace(a, b, max(2, round((b - a) / pixel)) + 1) for a, b in zip(*flat.bounding_box, strict=True)]
    centres = np.stack(np.meshgrid(*[(e[1:] + e[:-1]) / 2 for e in edges], indexing="ij"), axis=-1)
    inside = flat.contains(centres)
    samples = values.reshape(-1, values.shape[-1]).T
    seen = LinearNDInterpolator(position, samples)(centres[inside])
    beyond = ~np.isfinite(seen).all(axis=-1)  # between the outermost nodes and the walls
    if beyond.any():
        seen[beyond] = NearestNDInterpolator(position, samples)(centres[inside][beyond])
    images = np.zeros((samples.shape[1], *inside.shape))
    images[:, inside] = seen.T
    images = images.reshape(*values.shape[:2], *inside.shape)
    return np.ma.masked_array(images, np.broadcast_to(~inside, images.shape))


def label_points(axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str], *others: Artist) -> None:
    """Write each name by its point, at the nearest of many places where it and its line cover nothing.

    What is kept free are other names and their lines, all points, and `others`. Where no place is free, it is the one
    with the fewest conflicts, of which covered words are the worst.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()  # settles the layout; labels do not change it
    centres = axes.transData.transform(points)
    kept = [Bbox.from_bounds(x - 7, y - 7, 14, 14) for x, y in centres]
    kept += [other.get_window_extent(renderer) for other in others]
    words, lines = list[Bbox](), list[Path]()
    angles = np.deg2rad([0, 180, 45, 315, 135, 225, 90, 270, 22, 338, 158, 202, 68, 292, 112, 248])
    places = [(r * np.cos(a), r * np.sin(a)) for r in (10, 18, 28, 40, 54, 70, 90) for a in angles]
    arrow = {"arrowstyle": "-", "color": GREY, "lw": 0.7, "shrinkA": 1, "shrinkB": 5}
    options: dict[str, Any] = {"textcoords": "offset points", "fontsize": "small", "arrowprops": arrow, "zorder": 4}
    for point, centre, name in zip(points, centres, names, strict=True):
        text = axes.annotate(name, point, (0, 0), **options)
        text.set_in_layout(False)
        tried: list[tuple[int, int, Bbox, Path]] = []
        for place in places:
            _put(text, place, renderer)
            box = Text.get_window_extent(text, renderer)
            line = Path([centre, centre + np.array(place) * figure.dpi / 72.0])
            conflicts = 10 * sum(box.padded(2).overlaps(other) for other in kept + words)
            conflicts += sum(line.intersects_bbox(other) for other in words)
            conflicts += sum(other.intersects_bbox(box) for other in lines)
            conflicts += 100 * (not all(axes.bbox.contains(x, y) for x, y in box.corners()))
            tried.append((conflicts, len(tried), box, line))
        _, best, box, line = min(tried, key=lambda trial: trial[:2])
        _put(text, places[best], renderer)
        words.append(box)
        lines.append(line)


def _put(text: Annotation, place: tuple[float, float], renderer: Any) -> None:
    x, y = (int(np.sign(round(offset))) + 1 for offset in place)
    text.set(position=place, ha=("right", "center", "left")[x], va=("top", "center", "bottom")[y])
    text.update_positions(renderer)
