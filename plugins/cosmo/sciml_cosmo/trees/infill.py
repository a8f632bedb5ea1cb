"""Which snapshot did a merger happen in? Trees with every second snapshot dropped, and a question at each merger."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sciml_cosmo.forest import Forest
from sciml_cosmo.loops import loop
from sciml_cosmo.trees.transforms import Flags, Nodes, binarise, even, n_progenitor, select


@dataclass(frozen=True)
class Infilled:
    """Coarse binary trees with one virtual node for each merger node that remains.

    Nodes are those of `coarse`, in their order, and then the virtual ones, in the order of their merger nodes.

    Parameters
    ----------
    coarse
        The trees: every second snapshot, at most two progenitors to a node; ``coarse.targets`` and ``.simulation`` are
        for splits.
    features : (node, 4)
        Columns `sciml_cosmo.forest.FEATURES`; those of a virtual node are the means over the three nodes that it hears.
    edges : (2, edge)
        Source and target: progenitor and descendant of every edge of `coarse`, then three edges into each virtual node,
        from its merger node, the first and the second progenitor.
    label : (node,)
        Of a virtual node: 1 where a merger was dropped between the merger node and its progenitors, else 0 (the two
        merged in the later of the two intervals); -1 for the others.
    trio : (virtual, 3)
        The merger node and its two progenitors, heaviest first.

    *Contract*: trees know nothing of each other: infilling some of them is infilling all and taking those.
    """

    coarse: Forest
    features: NDArray[np.float32]
    edges: Nodes
    label: Nodes
    trio: Nodes

    @property
    def n_virtual(self) -> int:
        """The number of virtual nodes."""
        return len(self.trio)

    @property
    def is_virtual(self) -> Flags:
        """(node,): True for virtual nodes."""
        return np.arange(len(self.features)) >= len(self.coarse.features)

    @property
    def tree(self) -> Nodes:
        """(node,): the tree of each node."""
        real = self.coarse.tree
        return np.append(real, real[self.trio[:, 0]])


def infill(forest: Forest) -> Infilled:
    """Drop every second snapshot of binary trees and ask at each merger that remains whether one was dropped there.

    The trees are made binary (the two heaviest progenitors of a node stay), every second snapshot counted from the
    root's is dropped, and the trees are made binary again. A dropped merger is a node with two progenitors in the first
    binary trees that lies between a merger node of the last ones and one of its two progenitors.

    Parameters
    ----------
    forest
        Trees with all their snapshots.

    *Source*: the infilling task of CosmoBench (arXiv 2507.03707). *Departures*: the features of virtual nodes are means
    over their three neighbours.

    Examples
    --------
    >>> from sciml_cosmo.trees.definitions import ladder
    >>> early = infill(ladder([13.0, 12.9, 12.0, 11.0], [-1, 0, 1, 1]))
    >>> late = infill(ladder([13.0, 12.9, 12.0, 11.0, 10.9], [-1, 0, 0, 1, 2]))
    >>> early.label.tolist(), late.label.tolist(), late.edges[:, -3:].tolist()
    ([-1, -1, -1, 1], [-1, -1, -1, 0], [[0, 1, 2], [3, 3, 3]])
    """
    binary = binarise(forest)
    kept = even(binary)
    crossed = _crossed(binary.descendant, kept, n_progenitor(binary) > 1)
    coarse = binarise(select(replace(binary, extra={**binary.extra, "crossed": crossed}), kept))
    extra = {name: values for name, values in coarse.extra.items() if name != "crossed"}
    source, target = coarse.edge_index
    order = np.lexsort((source, -coarse.features[source, 0], target))
    source, target = source[order], target[order]
    second = np.flatnonzero(target[1:] == target[:-1]) + 1
    trio = np.stack([target[second], source[second - 1], source[second]], 1)
    n_real, n_virtual = len(coarse.features), len(trio)
    virtual = np.arange(n_real, n_real + n_virtual)
    label = np.concatenate([np.full(n_real, -1), coarse.extra["crossed"][trio[:, 1:]].any(1)])
    edges = np.concatenate([coarse.edge_index, [trio.ravel(), np.repeat(virtual, 3)]], 1)
    features = np.concatenate([coarse.features, coarse.features[trio].mean(1)])
    return Infilled(replace(coarse, extra=extra), features, edges, label, trio)


@loop
def _crossed(descendant: Nodes, kept: Flags, merger: Flags) -> Flags:
    """Return (node,): whether a dropped merger lies on the way to the nearest descendant that is kept."""
    crossed = np.zeros(len(descendant), np.bool_)
    for i in range(len(descendant)):
        below = descendant[i]
        if below >= 0 and not kept[below]:
            crossed[i] = merger[below] or crossed[below]
    return crossed
