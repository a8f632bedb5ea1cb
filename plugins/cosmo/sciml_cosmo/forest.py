"""A ragged set of merger trees: what every task on trees takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FEATURES = ("log10_mass", "log10_concentration", "log10_vmax", "scale_factor")
TARGETS = ("Omega_m", "sigma_8")


@dataclass(frozen=True)
class Forest:
    """Merger trees one after the other along one axis of nodes.

    Parameters
    ----------
    features : (node, 4)
        Columns `FEATURES`: log10 of the mass (Msun/h), of the concentration, of the largest circular speed (km/s), and
        the scale factor.
    descendant : (node,)
        Place of each node's descendant along the node axis; -1 for a root.
    start : (tree + 1,)
        Where each tree begins, and the number of nodes at the end.
    targets : (tree, 2)
        Columns `TARGETS`.
    simulation : (tree,)
        Number of each tree's simulation; trees of one simulation never lie on both sides of a split.
    extra
        Further arrays by name, one entry for each node, such as ``main_branch``.

    *Contract*: the root is the first node of its tree, and a descendant stands before its progenitors, so that one pass
    backwards along the axis goes from the leaves to the root.

    Examples
    --------
    >>> tree = Forest(np.zeros((3, 4)), np.array([-1, 0, 0]), np.array([0, 3]), np.array([[0.3, 0.8]]), np.array([5]))
    >>> tree.n_tree, tree.edge_index.tolist()
    (1, [[1, 2], [0, 0]])
    """

    features: NDArray[np.float32]
    descendant: NDArray[np.int64]
    start: NDArray[np.int64]
    targets: NDArray[np.float64]
    simulation: NDArray[np.int64]
    extra: Mapping[str, NDArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in (("features", np.float32), ("descendant", np.int64), ("start", np.int64),
                           ("targets", np.float64), ("simulation", np.int64)):  # fmt: skip
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=kind))
        n_node, n_tree = len(self.features), len(self.start) - 1
        shapes = {"features": (n_node, 4), "descendant": (n_node,), "targets": (n_tree, 2), "simulation": (n_tree,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"Forest.{name}: expected shape {shape}, got {getattr(self, name).shape}; check it")
        for name, values in self.extra.items():
            if len(values) != n_node:
                raise ValueError(f"Forest.extra[{name!r}]: expected {n_node} entries, got {len(values)}; check it")
        if n_tree < 1 or self.start[0] != 0 or self.start[-1] != n_node or (np.diff(self.start) < 1).any():
            raise ValueError(f"Forest.start: expected places that rise from 0 to {n_node}, got {self.start}; check it")
        if not np.isfinite(self.features).all():
            raise ValueError("Forest.features: expected finite numbers, got NaN or infinity; remove those trees")
        self._check_order()

    def _check_order(self) -> None:
        is_root = np.zeros(len(self.features), dtype=bool)
        is_root[self.start[:-1]] = True
        first = np.repeat(self.start[:-1], np.diff(self.start))
        inside = (self.descendant >= first) & (self.descendant < np.arange(len(self.features)))
        wrong = np.flatnonzero(np.where(is_root, self.descendant != -1, ~inside))
        if len(wrong):
            got = f"node {wrong[0]} with descendant {self.descendant[wrong[0]]}"
            expected = "the root first and every descendant, of the same tree, before its progenitors"
            raise ValueError(f"Forest.descendant: expected {expected}, got {got}; sort the nodes")

    @property
    def n_tree(self) -> int:
        """The number of trees."""
        return len(self.start) - 1

    @property
    def tree(self) -> NDArray[np.int64]:
        """(node,): the tree of each node."""
        return np.repeat(np.arange(self.n_tree), np.diff(self.start))

    @property
    def edge_index(self) -> NDArray[np.int64]:
        """(2, edge): progenitor and descendant of every edge, in the order of the progenitors."""
        progenitor = np.flatnonzero(self.descendant >= 0)
        return np.stack([progenitor, self.descendant[progenitor]])

    def take(self, trees: Iterable[int]) -> Forest:
        """Return some of the trees, in the order given."""
        chosen = np.asarray(list(trees), dtype=np.int64)
        lengths = np.diff(self.start)[chosen]
        start = np.concatenate([[0], np.cumsum(lengths)])
        shift = np.repeat(self.start[:-1][chosen] - start[:-1], lengths)
        nodes = np.arange(start[-1]) + shift
        descendant = np.where(self.descendant[nodes] < 0, -1, self.descendant[nodes] - shift)
        extra = {name: values[nodes] for name, values in self.extra.items()}
        return Forest(self.features[nodes], descendant, start, self.targets[chosen], self.simulation[chosen], extra)
