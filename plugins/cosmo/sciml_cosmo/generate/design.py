"""Designs over cosmologies: few points that fill the priors evenly, every prefix a design too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

PRIORS = {"Omega_m": (0.1, 0.5), "sigma_8": (0.6, 1.0)}


def cosmologies(n: int, seed: int) -> NDArray[np.float64]:
    """Return a scrambled Sobol design (cosmology, 2) of Omega_m and sigma_8, uniform in `PRIORS`.

    Parameters
    ----------
    n : cosmologies, at least 1.
    seed : of the scrambling.

    *Contract*: fewer cosmologies with the same seed are the first ones of more.

    Examples
    --------
    >>> design = cosmologies(8, seed=7)
    >>> design.shape, bool((cosmologies(4, seed=7) == design[:4]).all())
    ((8, 2), True)
    """
    if n < 1:
        raise ValueError(f"cosmologies: expected at least one, got {n}; ask for more")
    low, high = np.transpose(list(PRIORS.values()))
    # the whole power of two: Sobol points are balanced in such blocks only
    points = qmc.Sobol(2, scramble=True, rng=seed).random_base2(int(n - 1).bit_length())[:n]
    return qmc.scale(points, low, high)
