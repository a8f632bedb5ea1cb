"""Merger trees as tensors: what every model of this folder takes, with the sums over progenitors and over trees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from sciml_cosmo.forest import Forest


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
    >>> batch.depth.tolist(), batch.sum_progenitors(batch.features)[:, 0].tolist()
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

    def sum_progenitors(self, values: Tensor) -> Tensor:
        """Return for every node the sum of `values` (node, ...) over its progenitors; 0 for a leaf."""
        return sum_edges(values, self.progenitor, self.merged)

    def sum_nodes(self, values: Tensor) -> Tensor:
        """Return (tree, ...): the sum of `values` (node, ...) over the nodes of each tree."""
        return values.new_zeros(self.n_tree, *values.shape[1:]).index_add(0, self.tree, values)

    def mean_nodes(self, values: Tensor) -> Tensor:
        """Return (tree, ...): the mean of `values` (node, ...) over the nodes of each tree."""
        return self.sum_nodes(values) / self.size.view(-1, *[1] * (values.dim() - 1)).to(values.dtype)


def sum_edges(values: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Return for every node the sum of `values` (node, ...) over the edges that end there.

    Parameters
    ----------
    source, target : (edge,), places of nodes.
    """
    return torch.zeros_like(values).index_add(0, target, values.index_select(0, source))


def along_path(descendant: Tensor, values: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return `values` combined over every node's path to the root, itself included; 2^k nodes after k passes."""
    ahead = descendant
    while bool((open_ := ahead >= 0).any()):
        onward = ahead.clamp(min=0)
        values = torch.where(open_, combine(values, values[onward]), values)
        ahead = torch.where(open_, ahead[onward], ahead)
    return values
