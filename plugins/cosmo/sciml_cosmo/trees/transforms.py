"""Transforms of merger trees: which nodes stay is decided by passes along the node axis, never by recursion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sciml_cosmo.forest import Forest
from sciml_cosmo.loops import loop

Flags = NDArray[np.bool_]
Nodes = NDArray[np.int64]


def trim(forest: Forest, mass: float) -> Forest:
    """Drop the subtrees that never reach a mass (Msun/h); roots stay.

    Examples
    --------
    >>> from sciml_cosmo.trees.definitions import ladder
    >>> trim(ladder([13.0, 9.0, 12.0, 9.0, 11.0], [-1, 0, 0, 1, 3]), 1e10).descendant.tolist()
    [-1, 0, 0, 1, 3]
    >>> trim(ladder([13.0, 9.0, 12.0, 9.0], [-1, 0, 0, 1]), 1e10).descendant.tolist()
    [-1, 0]
    """
    heaviest = forest.features[:, 0].copy()
    _largest_above(forest.descendant, heaviest)
    return select(forest, (heaviest >= np.float32(np.log10(mass))) | (forest.descendant < 0))


def prune(forest: Forest, mass: float = np.inf) -> Forest:
    """Drop nodes lighter than a mass (Msun/h) that have exactly one progenitor; roots stay.

    Examples
    --------
    >>> from sciml_cosmo.trees.definitions import ladder
    >>> pruned = prune(ladder([13.0, 12.0, 11.0, 10.0], [-1, 0, 1, 2]))
    >>> pruned.descendant.tolist(), pruned.extra["path_length"].tolist()
    ([-1, 0], [0, 3])
    """
    light = forest.features[:, 0] < np.float32(np.log10(mass))
    return select(forest, (n_progenitor(forest) != 1) | ~light | (forest.descendant < 0))


def binarise(forest: Forest) -> Forest:
    """Keep the two heaviest progenitors of every node, the first ones among equals, with what lies above them.

    Examples
    --------
    >>> from sciml_cosmo.trees.definitions import ladder
    >>> binarise(ladder([13.0, 10.0, 12.0, 11.0], [-1, 0, 0, 0])).features[:, 0].tolist()
    [13.0, 12.0, 11.0]
    """
    order = np.lexsort((np.arange(len(forest.features)), -forest.features[:, 0], forest.descendant))
    ordered = forest.descendant[order]
    kept = np.ones(len(order), bool)
    kept[order[2:]] = (ordered[2:] != ordered[:-2]) | (ordered[2:] < 0)
    _and_below(forest.descendant, kept)
    return select(forest, kept)


def coarsen(forest: Forest) -> Forest:
    """Drop every second snapshot, counted from the root's; progenitors pass to the nearest descendant that stays.

    Examples
    --------
    >>> from sciml_cosmo.trees.definitions import ladder
    >>> coarse = coarsen(ladder([13.0, 12.0, 11.0, 10.0, 10.0], [-1, 0, 1, 1, 3]))
    >>> coarse.descendant.tolist(), coarse.extra["path_length"].tolist()
    ([-1, 0, 0], [0, 2, 2])
    """
    return select(forest, even(forest))


def even(forest: Forest) -> Flags:
    """Return (node,): which nodes are an even number of snapshots before their root.

    The snapshots are those of ``extra["snapshot"]``; without it, the places of the scale factors among all those of
    the forest.
    """
    snapshot = forest.extra.get("snapshot")
    if snapshot is None:
        times, place = np.unique(forest.features[:, 3], return_inverse=True)
        snapshot = len(times) - 1 - place
    return (snapshot - snapshot[forest.start[:-1]][forest.tree]) % 2 == 0


def n_progenitor(forest: Forest) -> Nodes:
    """Return (node,): how many progenitors each node has."""
    return np.bincount(forest.edge_index[1], minlength=len(forest.features))


def select(forest: Forest, kept: Flags) -> Forest:
    """Return the trees of the nodes that are kept, each hung from its nearest descendant that is.

    Parameters
    ----------
    forest
        The trees.
    kept : (node,)
        True for every root.

    *Contract*: the order of the nodes stays; ``extra["path_length"]``, made where there is none, sums up the lengths of
    the edges that were joined, each 1 to begin with.
    """
    if not kept[forest.start[:-1]].all():
        raise ValueError(
            "select: expected every root to be kept, got one dropped; leave out whole trees by Forest.take"
        )
    n_node = len(forest.features)
    length = np.array(forest.extra.get("path_length", forest.descendant >= 0), np.int64)
    descendant = forest.descendant.copy()
    _hang(kept, descendant, length)
    place = np.cumsum(kept) - 1
    start = np.append(place, n_node)[forest.start]
    start[-1] = place[-1] + 1
    extra = {name: values[kept] for name, values in forest.extra.items()} | {"path_length": length[kept]}
    descendant = np.where(descendant < 0, -1, place[descendant])[kept]
    return replace(forest, features=forest.features[kept], descendant=descendant, start=start, extra=extra)


@loop
def _largest_above(descendant: Nodes, values: NDArray[np.float32]) -> None:
    """Replace the value of each node by the largest of its subtree."""
    for i in range(len(descendant) - 1, -1, -1):
        if descendant[i] >= 0 and values[i] > values[descendant[i]]:
            values[descendant[i]] = values[i]


@loop
def _and_below(descendant: Nodes, kept: Flags) -> None:
    """Drop what hangs from a node that is dropped."""
    for i in range(len(descendant)):
        if descendant[i] >= 0 and not kept[descendant[i]]:
            kept[i] = False


@loop
def _hang(kept: Flags, descendant: Nodes, length: Nodes) -> None:
    """Replace each descendant by the nearest one that is kept, and add up the lengths of the way."""
    for i in range(len(descendant)):
        below = descendant[i]
        if below >= 0 and not kept[below]:
            descendant[i] = descendant[below]
            length[i] += length[below]
