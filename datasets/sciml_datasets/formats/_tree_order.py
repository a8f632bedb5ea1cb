"""Trees as places of descendants along one axis: root first, every descendant before its progenitors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]


def depth_of(descendant: Places) -> Places:
    """Return the number of steps from each node to its root, -1 where the path never ends (a circle).

    Pointer doubling: after k rounds each node knows the node 2^k steps further down and the steps to it, so that a
    tree of depth d takes log2(d) rounds over all nodes, without a loop over them.

    Parameters
    ----------
    descendant : (node,) places along the same axis, -1 for a root.

    >>> depth_of(np.array([-1, 0, 1, 0, 5, 4])).tolist()
    [0, 1, 2, 1, -1, -1]
    """
    own = np.arange(len(descendant))
    target = np.where(descendant < 0, own, descendant)
    steps = (descendant >= 0).astype(np.int64)
    for _ in range(max(1, len(descendant).bit_length())):
        further = target[target]
        if (further == target).all():
            break
        steps += steps[target]
        target = further
    return np.where(descendant[target] < 0, steps, -1)


def root_of(descendant: Places) -> Places:
    """Return the root of each node; circles are the caller's to refuse.

    >>> root_of(np.array([-1, 0, 1, -1])).tolist()
    [0, 0, 0, 3]
    """
    target = np.where(descendant < 0, np.arange(len(descendant)), descendant)
    for _ in range(max(1, len(descendant).bit_length())):
        target = target[target]
    return target


def order_of(tree: Places, descendant: Places) -> Places:
    """Return the nodes in an order that keeps trees together, in their order, with descendants before progenitors.

    Nodes that are in such an order stay; otherwise those of a tree are sorted by their depth, ties as they were.

    >>> order_of(np.array([0, 0, 0]), np.array([1, -1, 0])).tolist()
    [1, 0, 2]
    """
    if (np.diff(tree) >= 0).all() and (descendant < np.arange(len(tree))).all():
        return np.arange(len(tree))
    return np.lexsort((depth_of(descendant), tree))


def renumber(order: Places, descendant: Places) -> Places:
    """Return the descendants of the nodes taken in `order`, as places along the new axis."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    taken = descendant[order]
    return np.where(taken < 0, -1, place[taken])
