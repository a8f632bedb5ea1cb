"""The coefficient of determination R^2 in its three definitions, always named, with bootstrap errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mode = Literal["per_cloud", "pooled", "per_axis"]
Clouds = Array | Sequence[Array]
MODES: tuple[str, ...] = get_args(Mode)


def r2(truth: Clouds, predicted: Clouds, mode: Mode = "per_cloud") -> float:
    """Return R^2 of predictions for several clouds, or for one table of numbers.

    With S the sum of (truth - predicted)^2 and T that of (truth - mean)^2,

    - ``per_cloud``: the mean over clouds of 1 - S_c / T_c, one mean for all axes of a cloud;
    - ``pooled``: 1 - (sum_c S_c / n_c) / (sum_c T_c / n_c), one mean for all axes of a cloud;
    - ``per_axis``: the mean over clouds and axes of 1 - S_ca / T_ca, a mean for each axis of each cloud.

    Parameters
    ----------
    truth, predicted : sequence of (node, axis), or one array (sample,) or (sample, axis)
        One array counts as one cloud. A table of targets in different units wants ``per_axis``, or one column at a
        time.
    mode
        The definition.

    Returns
    -------
    1 for exact predictions, 0 for those no better than the mean; without bound below.

    *Source*: CosmoBench (arXiv 2507.03707) takes ``per_cloud`` for linear theory and networks, ``pooled`` for its least
    squares; their numbers are not comparable with each other.

    Examples
    --------
    >>> truth = [np.array([[0.0], [2.0]]), np.array([[0.0], [20.0]])]
    >>> predicted = [np.array([[1.0], [1.0]]), np.array([[0.0], [20.0]])]
    >>> r2(truth, predicted), round(r2(truth, predicted, "pooled"), 4)
    (0.5, 0.9901)
    """
    return _combine(*_sums(truth, predicted, mode), mode)


def bootstrap(truth: Clouds, predicted: Clouds, mode: Mode = "per_cloud", n_draw: int = 300,
              seed: int = 7) -> tuple[float, float]:  # fmt: skip
    """Return R^2 and its standard error over draws, with replacement, of clouds, or of the rows of one array.

    Parameters
    ----------
    truth, predicted, mode : as of `r2`.
    n_draw : how many draws.
    seed : of the draws.

    *Source*: Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 6.

    Examples
    --------
    >>> truth = np.random.default_rng(3).standard_normal(500)
    >>> value, error = bootstrap(truth, 0.9 * truth)
    >>> round(value, 3), error < 0.01
    (0.99, True)
    """
    generator = np.random.default_rng(seed)
    value = r2(truth, predicted, mode)
    if isinstance(truth, np.ndarray):
        rows = (generator.integers(len(truth), size=len(truth)) for _ in range(n_draw))
        draws = [r2(truth[chosen], np.asarray(predicted)[chosen], mode) for chosen in rows]
    else:
        residual, total = _sums(truth, predicted, mode)
        rows = (generator.integers(len(total), size=len(total)) for _ in range(n_draw))
        draws = [_combine(residual[chosen], total[chosen], mode) for chosen in rows]
    return value, float(np.std(draws, ddof=1))


def _combine(residual: Array, total: Array, mode: Mode) -> float:
    return float(1 - residual.sum() / total.sum() if mode == "pooled" else np.mean(1 - residual / total))


def _sums(truth: Clouds, predicted: Clouds, mode: Mode) -> tuple[Array, Array]:
    """Return mean squares about the prediction and about the mean, (cloud,) or (cloud, axis)."""
    if mode not in MODES:
        raise ValueError(f"r2: expected mode one of {', '.join(MODES)}, got {mode!r}; choose one")
    truths = [truth] if isinstance(truth, np.ndarray) else list(truth)
    guesses = [predicted] if isinstance(predicted, np.ndarray) else list(predicted)
    if not truths or len(truths) != len(guesses):
        raise ValueError(f"r2: expected as many predictions as clouds, at least one, got {len(guesses)}; align them")
    residual, total = [], []
    for place, (given, guess) in enumerate(zip(truths, guesses, strict=True)):
        y, p = (np.asarray(values, dtype=np.float64) for values in (given, guess))
        if y.shape != p.shape or not y.size or not (np.isfinite(y).all() and np.isfinite(p).all()):
            got = f"shapes {y.shape} and {p.shape} of cloud {place}"
            raise ValueError(f"r2: expected finite truth and prediction of one shape, got {got}; drop missing nodes")
        axes = 0 if mode == "per_axis" else None
        residual.append(((y - p) ** 2).mean(axes))
        total.append(((y - y.mean(axes)) ** 2).mean(axes))
        if not np.all(total[-1] > 0):
            raise ValueError(f"r2: expected values that differ, got a constant truth in cloud {place}; leave it out")
    return np.array(residual), np.array(total)
