"""The figures of merger trees: one tree as it grew, and how many progenitors haloes have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sciml.report import CYCLE, MAGNITUDE, format_number, new_figure, plot_style
from sciml_cosmo.forest import Forest

Array = NDArray[np.float64]
REDSHIFTS = (0, 0.5, 1, 2, 4, 10)


@dataclass(frozen=True)
class Counted:
    """Progenitors counted in bins of mass, beside what theory expects there.

    Parameters
    ----------
    mass : (bin,)
        Middle of the bins in ln M, over that of the parent.
    found, error : (bin,)
        dN / d ln M of the trees, with its standard error.
    expected : (bin,)
        The mean of the theory over each bin.
    """

    mass: Array
    found: Array
    error: Array
    expected: Array

    @property
    def ratio(self) -> Array:
        """(bin,): found over expected."""
        return self.found / self.expected


@plot_style()
def draw_tree(forest: Forest, tree: int) -> Figure:
    """Draw a tree: branches side by side, the scale factor upwards, colours and widths by mass.

    A branch follows the heaviest progenitors; its side branches stand left and right of it in turn, those that join
    late close to it.
    """
    one = forest.take([tree])
    log_mass, a, below = one.features[:, 0], one.features[:, 3], one.descendant
    place = columns(one)
    up = np.arange(1, len(below))
    ends = np.stack([np.stack([place, a], 1)[up], np.stack([place, a], 1)[below[up]]], 1)
    order = np.argsort(log_mass[up])  # the heaviest on top
    width = 0.5 + 5 * (10 ** (log_mass[up] - log_mass[0])) ** 0.5
    lines = LineCollection(list(ends[order]), linewidths=width[order], cmap=MAGNITUDE + "_r", capstyle="round")
    lines.set_array(log_mass[up][order])
    lines.set_clim(log_mass.min() - 0.6, log_mass[0])  # the lightest are seen on white
    figure, ((axes,),) = new_figure(width=9.6, height=5.2)
    axes.add_collection(lines)
    axes.scatter(place[:1], a[:1], s=70, color="#000000", zorder=3)
    axes.annotate(
        f"root, {format_number(10.0 ** log_mass[0])} Msun/h", (place[0], a[0]), (8, 4), textcoords="offset points"
    )
    axes.set(xlim=(place.min() - 1, place.max() + 1), ylim=(a.min() - 0.02, 1.06), ylabel="scale factor", xticks=[])
    axes.set_xlabel(f"{len(np.unique(place))} branches, {len(below)} haloes")
    axes.grid(False)
    redshift = axes.secondary_yaxis("right")
    redshift.set_yticks([1 / (1 + z) for z in REDSHIFTS], [f"z = {z}" for z in REDSHIFTS])
    figure.colorbar(lines, ax=axes, label="log10 mass (Msun/h)", pad=0.08)
    return figure


def columns(tree: Forest) -> Array:
    """Return (node,): the column of each node's branch; a branch and all that joins it have columns of their own."""
    n, below = len(tree.descendant), tree.descendant
    order = np.lexsort((np.arange(n), -tree.features[:, 0], below))
    heaviest = np.ones(n, bool)
    heaviest[order] = np.append(True, np.diff(below[order]) != 0)
    heaviest[0] = False
    head = np.arange(n)  # the latest node of each branch
    for i in range(1, n):
        head[i] = head[below[i]] if heaviest[i] else i
    heads = [int(i) for i in np.flatnonzero(head == np.arange(n))]
    sides: dict[int, list[int]] = {i: [] for i in heads}
    for i in heads[1:]:
        sides[head[below[i]]].append(i)
    size, left = np.ones(n), np.zeros(n)  # columns of a branch with all that joins it, and of those left of itself
    for i in reversed(heads):
        size[i] += size[sides[i]].sum()
        left[i] = size[sides[i][::2]].sum()
    first, place = np.zeros(n), np.zeros(n)
    for i in heads:
        place[i] = low = first[i] + left[i]
        high = low + 1
        for near, far in zip_longest(sides[i][::2], sides[i][1::2]):
            low = first[near] = low - size[near]
            if far is not None:
                first[far], high = high, high + size[far]
    return place[head]


@plot_style()
def draw_mass_functions(counted: Mapping[str, Counted]) -> Figure:
    """Draw the progenitors of a small step: the trees as points, theory as lines, and the one over the other."""
    figure, ((left, right),) = new_figure(1, 2, 11.0, 4.2)
    for colour, marker, (name, one) in zip(CYCLE, "osD^vPX", counted.items(), strict=False):
        left.plot(one.mass, one.expected, color=colour)
        left.errorbar(one.mass, one.found, one.error, fmt=marker, color=colour, ms=5, label=name)
        right.errorbar(one.mass, one.ratio, one.error / one.expected, fmt=f"{marker}-", color=colour, ms=5, lw=0.8)
    right.axhspan(0.85, 1.15, color="#39424a", alpha=0.12, lw=0)
    right.axhline(1, color="#39424a", lw=0.9)
    left.set(xscale="log", yscale="log", ylabel="progenitors dN / d ln M", title="points: trees, lines: theory")
    right.set(xscale="log", ylim=(0.7, 1.3), ylabel="trees over theory", title="band: 15 %")
    for axes in (left, right):
        axes.set_xlabel("progenitor mass over parent mass")
    left.legend(loc="lower left")
    return figure
