"""Merger trees as tensors: what every model of this folder takes; sums over edges and over trees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike
from sciml_kernels.gather_sum import gather_sum
from sciml_kernels.segment_reduce import segment_reduce
from torch import Tensor

from sciml_cosmo.forest import Forest


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges of a graph, sorted by where they end.

    Parameters
    ----------
    source : (edge,) where they begin.
    pointer : (node + 1,) the first edge into each node, and their number.

    Examples
    --------
    >>> Edges.of(torch.tensor([2, 1]), torch.tensor([0, 0]), n_node=3).sum(torch.tensor([[1.0], [2.0], [4.0]])).tolist()
    [[6.0], [0.0], [0.0]]
    """

    source: Tensor
    pointer: Tensor

    @classmethod
    def of(cls, source: Tensor, target: Tensor, n_node: int) -> Edges:
        """Sort edges from `source` to `target`, (edge,) each, of a graph with `n_node` nodes."""
        counts = torch.bincount(target, minlength=n_node)
        return cls(source[target.argsort(stable=True)], torch.cat([counts.new_zeros(1), counts.cumsum(0)]))

    def sum(self, values: Tensor) -> Tensor:
        """Return for every node the sum of `values` (node, feature) over the edges that end there."""
        return gather_sum(values, self.source, self.pointer)

    def mean(self, values: Tensor) -> Tensor:
        """Return for every node the mean of `values` (node, feature) over the edges that end there, or zero."""
        return self.sum(values) / self._n_in.to(values.dtype)

    @cached_property
    def _n_in(self) -> Tensor:
        """(node, 1): edges that end in each node, at least 1."""
        return self.pointer.diff().clamp(min=1)[:, None]


@dataclass(frozen=True, eq=False)
class TreeBatch:
    """A ragged batch of trees, one after the other, in the order of `Forest`: root first, descendant before progenitor.

    Parameters
    ----------
    features : (node, feature), columns `sciml_cosmo.forest.FEATURES`.
    descendant : (node,) place of the descendant along the node axis; -1 for a root.
    start : (tree + 1,) where each tree begins.

    Examples
    --------
    >>> batch = TreeBatch(torch.ones(3, 4), torch.tensor([-1, 0, 0]), torch.tensor([0, 3]))
    >>> batch.depth.tolist(), batch.edges.sum(batch.features)[:, 0].tolist()
    ([0, 1, 1], [2.0, 0.0, 0.0])
    """

    features: Tensor
    descendant: Tensor
    start: Tensor

    @classmethod
    def of(cls, forest: Forest, trees: ArrayLike | None = None) -> TreeBatch:
        """Return all or some of the trees of a forest."""
        part = forest if trees is None else forest.take(np.asarray(trees, dtype=np.int64).tolist())
        return cls(*(torch.from_numpy(array) for array in (part.features, part.descendant, part.start)))

    @property
    def n_tree(self) -> int:
        """The number of trees."""
        return len(self.start) - 1

    @cached_property
    def size(self) -> Tensor:
        """(tree,): nodes of each tree."""
        return self.start.diff()

    @cached_property
    def tree(self) -> Tensor:
        """(node,): the tree of each node."""
        return torch.repeat_interleave(self.size)

    @cached_property
    def progenitor(self) -> Tensor:
        """(edge,): the nodes that have a descendant, in order."""
        return (self.descendant >= 0).nonzero()[:, 0]

    @cached_property
    def merged(self) -> Tensor:
        """(edge,): the descendants of `progenitor`."""
        return self.descendant[self.progenitor]

    @cached_property
    def depth(self) -> Tensor:
        """(node,): steps down to the root, by pointer jumping: log2(deepest) passes over the nodes."""
        return along_path(self.descendant, (self.descendant >= 0).long(), torch.add)

    @cached_property
    def is_main(self) -> Tensor:
        """(node,): whether the node lies on the main branch, which follows the most massive progenitor from the root.

        Of progenitors of one mass the last counts.
        """
        by_mass = self.progenitor[self.features[self.progenitor, 0].argsort(stable=True)]
        heaviest = torch.full_like(self.descendant, -1)
        by_target = by_mass[self.descendant[by_mass].argsort(stable=True)]
        target = self.descendant[by_target]
        last = torch.ones_like(target, dtype=torch.bool)
        last[:-1] = target[1:] != target[:-1]
        heaviest[target[last]] = by_target[last]
        chosen = torch.ones_like(self.descendant, dtype=torch.bool)
        chosen[self.progenitor] = heaviest[self.merged] == self.progenitor
        return along_path(self.descendant, chosen, torch.logical_and)

    @cached_property
    def edges(self) -> Edges:
        """From progenitors to descendants."""
        return Edges.of(self.progenitor, self.merged, len(self.descendant))

    def sum_nodes(self, values: Tensor) -> Tensor:
        """Return (tree, feature): the sum of `values` (node, feature) over the nodes of each tree."""
        return segment_reduce(values, self.start, "sum")

    def mean_nodes(self, values: Tensor) -> Tensor:
        """Return (tree, feature): the mean of `values` (node, feature) over the nodes of each tree."""
        return segment_reduce(values, self.start, "mean")


def along_path(descendant: Tensor, values: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return `values` combined over every node's path to the root, itself included; 2^k nodes after k passes."""
    ahead = descendant
    while bool((open_ := ahead >= 0).any()):
        onward = ahead.clamp(min=0)
        values = torch.where(open_, combine(values, values[onward]), values)
        ahead = torch.where(open_, ahead[onward], ahead)
    return values
