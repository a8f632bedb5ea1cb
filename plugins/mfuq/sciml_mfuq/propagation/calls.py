"""Calls of a model on many points, in batches and checked: what every statistic is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Predict: TypeAlias = Callable[[Array], Array | tuple[Array, Array]]
"""A model: points (n, feature) to values (n,), or to values and their standard errors, both (n,)."""


def call(predict: Predict, x: Array, where: str) -> tuple[Array, Array | None]:
    """Return the values and, where the model tells them, the standard errors at points (n, feature).

    Parameters
    ----------
    predict
        The model.
    x : (n, feature)
        Points.
    where
        Who asks, for messages.

    Raises
    ------
    ValueError
        A result has another shape than (n,), is not finite, or a standard error is negative.
    """
    result = predict(x)
    mean, std = result if isinstance(result, tuple) else (result, None)
    mean = _checked(mean, len(x), f"{where}: values")
    if std is None:
        return mean, None
    std = _checked(std, len(x), f"{where}: standard errors")
    if (std < 0).any():
        raise ValueError(f"{where}: expected standard errors >= 0, got {std.min()}; take the root of the variance")
    return mean, std


def call_all(predict: Predict, batches: Iterator[Array], where: str) -> tuple[Array, Array | None]:
    """Return what `call` gives for all batches of points together; only one batch is held at a time.

    Parameters
    ----------
    predict
        The model.
    batches
        Points (n, feature) each.
    where
        Who asks, for messages.
    """
    means, stds = zip(*(call(predict, x, where) for x in batches), strict=True)
    known = [std for std in stds if std is not None]
    if known and len(known) < len(stds):
        raise ValueError(f"{where}: expected standard errors from every call or from none, got some; return both")
    return np.concatenate(means), np.concatenate(known) if known else None


def finite(values: object, where: str, n_least: int = 2) -> Array:
    """Return the values (n,) in double precision, or say that they are too few, not finite, or of another shape.

    Parameters
    ----------
    values : (n,)
        Outputs of a model.
    where
        Who asks, for messages.
    n_least
        Fewest values that will do.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < n_least:
        raise ValueError(
            f"{where}: expected at least {n_least} values of shape (n,), got shape {array.shape}; add runs"
        )
    return _checked(array, len(array), where)


def _checked(values: object, n: int, where: str) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (n,):
        raise ValueError(f"{where}: expected shape ({n},), got {array.shape}; return one number for each point")
    n_bad = int((~np.isfinite(array)).sum())
    if n_bad:
        raise ValueError(
            f"{where}: expected finite numbers, got {n_bad} of {n} that are not; leave failed runs out and say so, "
            "as a mean over the rest is a mean over other inputs"
        )
    return array
