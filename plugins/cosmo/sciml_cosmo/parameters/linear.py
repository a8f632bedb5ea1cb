"""Ridge regression with its strength chosen on held-out boxes, and the published greedy choice of cut-offs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STRENGTHS = tuple(10.0**k for k in np.arange(-4, 2.01, 0.5))


@dataclass(frozen=True)
class Linear:
    """A linear map of standardised features, clipped to the range of the targets.

    Parameters
    ----------
    centre, scale : (feature,)
        Mean and standard deviation of the features in training; a constant feature has scale 1.
    weights : (feature, target)
        Of the standardised features.
    offset : (target,)
        Mean of the targets in training.
    prior
        Lowest and highest admissible value of every target, (2, target).
    """

    centre: Array
    scale: Array
    weights: Array
    offset: Array
    prior: Array

    def predict(self, features: Array) -> Array:
        """Map (batch, feature) to (batch, target)."""
        return np.clip((features - self.centre) / self.scale @ self.weights + self.offset, *self.prior)


class NormalEquations:
    """Sums of products of standardised features and centred targets: all that a least-squares fit needs.

    w = (X^T X / n + strength I)^-1 X^T y / n

    Parameters
    ----------
    features : (batch, feature)
        Of the training boxes.
    targets : (batch, target)
        Of the same boxes.

    *Contract*: solving for a subset of the features costs the cube of its size, whatever the number of boxes.
    """

    def __init__(self, features: Array, targets: Array) -> None:
        self.n_batch = len(features)
        self.centre, spread = features.mean(0), features.std(0)
        self.scale = np.where(spread > 1e-12 * np.maximum(1.0, np.abs(self.centre)), spread, 1.0)
        self.offset = targets.mean(0)
        x = self.standardise(features)
        self.gram, self.moment = x.T @ x / self.n_batch, x.T @ (targets - self.offset) / self.n_batch

    def standardise(self, features: Array) -> Array:
        """Return the features over their spread in training, (batch, feature)."""
        return (features - self.centre) / self.scale

    def solve(self, strength: float, chosen: Sequence[int] | NDArray[np.int64] | None = None) -> Array:
        """Return the weights (feature, target) of ridge regression, zero for features that are not `chosen`."""
        index = np.arange(len(self.centre)) if chosen is None else np.asarray(chosen)
        weights = np.zeros_like(self.moment)
        gram = self.gram[np.ix_(index, index)] + strength * np.eye(len(index))
        weights[index] = np.linalg.solve(gram, self.moment[index])
        return weights

    def fitted(self, weights: Array, prior: Array) -> Linear:
        """Return the map with these weights (feature, target)."""
        return Linear(self.centre, self.scale, weights, self.offset, np.asarray(prior, dtype=np.float64))


def ridge(features: Array, targets: Array, held_out: tuple[Array, Array], prior: Array,
          strengths: Sequence[float] = STRENGTHS) -> Linear:  # fmt: skip
    """Fit ridge regression; the strength is that with the least squared error on the `held_out` boxes.

    Parameters
    ----------
    features : (batch, feature)
        Standardised inside.
    targets : (batch, target)
        Their squared errors are added as they are: give them comparable ranges.
    held_out
        Features and targets of validation boxes.
    prior : (2, target)
        Predictions are clipped to it.
    strengths
        To try; a strength is relative to the unit variance of the features.

    Examples
    --------
    >>> x = np.random.default_rng(3).standard_normal((100, 2))
    >>> y = x @ [[1.0], [2.0]]
    >>> model = ridge(x[:50], y[:50], (x[50:], y[50:]), np.array([[-9.0], [9.0]]))
    >>> bool(abs(model.predict(x) - y).max() < 0.01)
    True
    """
    equations = NormalEquations(features, targets)
    models = [equations.fitted(equations.solve(strength), prior) for strength in strengths]
    return min(models, key=lambda model: _error(model, held_out))


def greedy(features: Array, targets: Array, held_out: tuple[Array, Array], prior: Array,
           n_cut: int = 12) -> tuple[list[int], Linear]:  # fmt: skip
    """Choose cut-offs one after the other, each the one that lowers the validation error most.

    Parameters
    ----------
    features : (batch, cut, statistic)
        Of :func:`~sciml_cosmo.clustering.pair_moments.pair_statistics` for all candidates.
    targets, prior
        As in :func:`ridge`.
    held_out
        Features (batch, cut, statistic) and targets of validation boxes.
    n_cut
        Cut-offs to choose; the published number is 12, with 4 statistics 48 features and a bias.

    Returns
    -------
    The chosen candidates in the order in which they were taken, and the map of all features (batch, cut * statistic).

    *Source*: CosmoBench, arXiv 2507.03707, appendix on least squares.

    *Departures*: a ridge, its strength chosen with the cut-offs; the published fit has none and thousands of clouds.
    """
    n_batch, n_candidate, n_statistic = features.shape
    columns = np.arange(n_candidate * n_statistic).reshape(n_candidate, n_statistic)
    equations = NormalEquations(features.reshape(n_batch, -1), targets)
    flat = (held_out[0].reshape(len(held_out[0]), -1), held_out[1])

    def fit(chosen: list[int]) -> Linear:
        index = columns[chosen].ravel()
        models = [equations.fitted(equations.solve(strength, index), prior) for strength in STRENGTHS[::2]]
        return min(models, key=lambda model: _error(model, flat))

    chosen: list[int] = []
    while len(chosen) < min(n_cut, n_candidate):
        left = [candidate for candidate in range(n_candidate) if candidate not in chosen]
        chosen.append(min(left, key=lambda candidate: _error(fit([*chosen, candidate]), flat)))
    return chosen, fit(chosen)


def _error(model: Linear, held_out: tuple[Array, Array]) -> float:
    return float(((model.predict(held_out[0]) - held_out[1]) ** 2).mean())
