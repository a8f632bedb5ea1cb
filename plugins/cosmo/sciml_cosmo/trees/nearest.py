"""Answers of the nearest known examples: trees by the distance of their distributions, nodes by their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from sciml_cosmo.forest import Forest

Array = NDArray[np.float64]


def quantile_grid(forest: Forest, n_point: int = 128) -> Array:
    """Return (feature, point): for each feature, values at equal steps of its distribution over all nodes."""
    return np.quantile(forest.features.astype(np.float64), (np.arange(n_point) + 0.5) / n_point, axis=0).T


def distributions(forest: Forest, grid: Array) -> Array:
    """Return the fraction of the nodes of each tree up to the points of a grid, (tree, feature, point).

    Parameters
    ----------
    grid : (feature, point), ascending.
    """
    n_tree, (n_feature, n_point) = forest.n_tree, grid.shape
    found = np.empty((n_tree, n_feature, n_point))
    for k in range(n_feature):
        cell = np.searchsorted(grid[k], forest.features[:, k], side="left")  # x <= grid[cell]
        counts = np.bincount(forest.tree * (n_point + 1) + cell, minlength=n_tree * (n_point + 1))
        found[:, k] = counts.reshape(n_tree, -1)[:, :-1].cumsum(1)
    return found / np.diff(forest.start)[:, None, None]


def ks_distance(first: Array, second: Array) -> Array:
    """Return the sum over features of the Kolmogorov-Smirnov distances max |F - G|, (tree of first, tree of second).

    Parameters
    ----------
    first, second : (tree, feature, point), as of `distributions` on one grid.

    *Contract*: a lower bound of the distance of the samples, and that distance where the grid holds all their values.
    """
    pairs = zip(first.swapaxes(0, 1), second.swapaxes(0, 1), strict=True)
    return np.sum([cdist(a, b, "chebyshev") for a, b in pairs], axis=0)


@dataclass(frozen=True)
class NearestTrees:
    """The mean parameters of the trees whose features are distributed most alike.

    Parameters
    ----------
    known : (tree, feature, point), distributions of the known trees.
    targets : (tree, 2), their parameters.
    columns : features that count.

    *Source*: the nearest neighbour of CosmoBench (arXiv 2507.03707). *Departures*: distribution functions are compared
    on a grid of quantiles of the training nodes, within one grid step of the exact distance.
    """

    known: Array
    targets: Array
    columns: tuple[int, ...] = (0, 1, 2, 3)

    def predict(self, asked: Array, n_neighbour: int = 1) -> Array:
        """Return (tree, 2) for distributions `asked` (tree, feature, point)."""
        columns = list(self.columns)
        distance = ks_distance(asked[:, columns], self.known[:, columns])
        nearest = np.argpartition(distance, n_neighbour - 1, axis=1)[:, :n_neighbour]
        return np.asarray(self.targets[nearest].mean(1))


def vote(known: ArrayLike, labels: ArrayLike, asked: ArrayLike, n_neighbour: int = 5,
         scaled: bool = False) -> NDArray[np.int64]:  # fmt: skip
    """Return the label (0 or 1) of most of the nearest known samples, by Euclidean distance.

    Parameters
    ----------
    known : (sample, feature).
    labels : (sample,) of 0 and 1.
    asked : (sample, feature).
    n_neighbour : how many vote; a tie counts as 0.
    scaled : whether features are divided by their spread first; the published baseline does not.

    Examples
    --------
    >>> vote([[0.0], [0.1], [5.0]], [0, 0, 1], [[0.2], [4.0]], n_neighbour=1).tolist()
    [0, 1]
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (known, asked))
    n_neighbour = min(n_neighbour, len(x))
    if scaled:
        spread = x.std(0)
        spread[spread == 0] = 1.0
        x, y = x / spread, y / spread
    _, nearest = cKDTree(x).query(y, k=range(1, n_neighbour + 1))
    return (np.asarray(labels)[nearest].mean(1) > 0.5).astype(np.int64)


def choose_neighbours(known: ArrayLike, labels: ArrayLike, asked: ArrayLike, wanted: ArrayLike,
                      candidates: Sequence[int] = (1, 5, 15, 45, 135), scaled: bool = False) -> int:  # fmt: skip
    """Return the number of neighbours that votes best on validation samples.

    Parameters
    ----------
    known, labels, scaled : as of `vote`.
    asked, wanted : (sample, feature) and (sample,): validation samples.
    candidates : numbers tried; of equals the smallest counts.
    """
    right = [np.mean(vote(known, labels, asked, k, scaled) == np.asarray(wanted)) for k in candidates]
    return candidates[int(np.argmax(right))]
