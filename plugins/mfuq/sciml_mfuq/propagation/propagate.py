"""Aleatory uncertainty pushed through a model."""

from __future__ import annotations

import numpy as np

from sciml_mfuq.propagation.calls import Predict, call_all
from sciml_mfuq.propagation.distribution import Distribution
from sciml_mfuq.propagation.laws import Law, Method


def propagate(
    predict: Predict,
    law: Law,
    n: int = 2**17,
    *,
    seed: int,
    method: Method = "sobol",
    n_replicates: int = 16,
    name: str = "output",
    unit: str = "1",
) -> Distribution:
    """Push a law of inputs through a model.

    Parameters
    ----------
    predict
        Points (n, feature) to values (n,), or to values and standard errors.
    law
        Of the inputs.
    n
        Points in all; rounded up so that each replicate is a power of two.
    seed
        Of the sample.
    method
        Of the sample, see `Law.sample`.
    n_replicates
        Independent randomisations, from whose spread the sampling errors come.
    name, unit
        Of the output.

    *Contract*: the inputs are held one batch of 16,384 points at a time; of the outputs 8 bytes per point are kept, and
    8 more where standard errors are told.

    Examples
    --------
    >>> import scipy.stats
    >>> law = Law({"a": scipy.stats.norm(1, 2), "b": scipy.stats.norm(3, 2)})
    >>> float(propagate(lambda x: x.sum(1), law, 2**12, seed=5).moments()["mean"].value.round(2))
    4.0
    """
    if n_replicates < 2 or n < 2 * n_replicates:
        got = f"n = {n} and n_replicates = {n_replicates}"
        raise ValueError(f"propagate: expected at least 2 replicates of 2 points, got {got}; ask for more points")
    each = 2 ** int(np.ceil(np.log2(n / n_replicates)))
    means, stds = [], []
    for replicate in range(n_replicates):
        mean, std = call_all(predict, law.batches(each, [seed, replicate], method), "propagate")
        means.append(mean)
        stds.append(std)
    values, known = np.stack(means), [std for std in stds if std is not None]
    if np.ptp(values) <= 1e-13 * np.abs(values).max():
        got = f"{values.flat[0]:g} at all {values.size} points"
        raise ValueError(f"propagate: expected outputs that vary with the inputs, got {got}; check model and law")
    return Distribution(values, np.stack(known) if known else None, name, unit, seed, method)
