"""How sure a prediction is, and how right it is about that: ensembles, scores, calibration; NumPy, float64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

LEVELS = (0.5, 0.8, 0.9, 0.95)
Array = NDArray[np.float64]


def _checked(truth: ArrayLike, mean: ArrayLike, std: ArrayLike) -> tuple[Array, Array, Array]:
    shape = np.shape(truth)
    t, m, s = np.broadcast_arrays(*(np.asarray(array, dtype=np.float64) for array in (truth, mean, std)))
    if not (t.size and t.shape == shape and all(np.isfinite(array).all() for array in (t, m, s)) and s.min() > 0):
        wanted, shapes = "finite truth and mean, std > 0, of one shape", (shape, np.shape(mean), np.shape(std))
        got = f"shapes {shapes} and a smallest std of {np.min(std, initial=np.inf)}"
        raise ValueError(f"scores: expected {wanted}, got {got}; drop missing points")
    return t, m, s


def _half_width(level: float) -> float:
    """Return z with P(|Z| <= z) = level for a standard normal Z."""
    if not 0 < level < 1:
        raise ValueError(f"level: expected a probability between 0 and 1, got {level}")
    return float(ndtri((1 + level) / 2))


def coverage(truth: ArrayLike, mean: ArrayLike, std: ArrayLike, levels: Iterable[float] = LEVELS) -> dict[float, float]:
    """Return level -> fraction of `truth` inside the central interval of that probability.

    |y - mean| <= z std with P(|Z| <= z) = level, over all entries; `mean` and `std` broadcast to the shape of `truth`.

    Examples
    --------
    >>> coverage([0.0, 1.0, 3.0, 0.5], 0.0, 1.0)
    {0.5: 0.5, 0.8: 0.75, 0.9: 0.75, 0.95: 0.75}
    """
    t, m, s = _checked(truth, mean, std)
    return {level: float(np.mean(np.abs(t - m) <= _half_width(level) * s)) for level in levels}


def crps(truth: ArrayLike, mean: ArrayLike, std: ArrayLike) -> float:
    """Return the mean continuous ranked probability score of N(mean, std^2), in the unit of `truth`; 0 is best.

    std (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)) with z = (truth - mean) / std.

    Source: Gneiting & Raftery, J. Am. Stat. Assoc. 102 (2007), section 4.2, with the sign of a loss.
    """
    t, m, s = _checked(truth, mean, std)
    z = (t - m) / s
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return float(np.mean(s * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))))


def crps_ensemble(truth: ArrayLike, samples: ArrayLike) -> float:
    """Return the mean fair score of `samples` (K, ...), an unbiased estimate of that of the law they are drawn from.

    mean_k |x_k - y| - sum_jk |x_j - x_k| / (2 K (K - 1)), the pairs by sorting: sum_jk = 2 sum_k (2k - K - 1) x_(k).

    Source: Ferro, Q. J. R. Meteorol. Soc. 140 (2014).
    """
    y, x = np.asarray(truth, dtype=np.float64), np.sort(np.asarray(samples, dtype=np.float64), axis=0)
    if len(x) < 2 or x.shape[1:] != y.shape or not (y.size and np.isfinite(y).all() and np.isfinite(x).all()):
        wanted = "finite truth (...) and samples (K >= 2, ...)"
        raise ValueError(f"crps_ensemble: expected {wanted}, got shapes {y.shape} and {x.shape}; drop missing points")
    n = len(x)
    weights = (2 * np.arange(1, n + 1) - n - 1) / (n * (n - 1))
    return float(np.mean(np.abs(x - y).mean(0) - np.tensordot(weights, x, axes=1)))


def nll(truth: ArrayLike, mean: ArrayLike, std: ArrayLike) -> float:
    """Return the mean negative log density, z^2 / 2 + log(std) + log(2 pi) / 2 with z = (truth - mean) / std."""
    t, m, s = _checked(truth, mean, std)
    return float(np.mean(((t - m) / s) ** 2 / 2 + np.log(s) + np.log(2 * np.pi) / 2))


@dataclass(frozen=True)
class Calibration:
    """Scores of a Gaussian prediction over all entries.

    Parameters
    ----------
    rmse : root of the mean squared error, in the unit of the truth.
    nrmse : rmse / (standard deviation of the truth), NaN for a constant one; R^2 = 1 - nrmse^2.
    coverage : level -> fraction of the truth inside the central interval of that probability.
    crps, nll : see the functions of these names.
    sharpness : mean std, in the unit of the truth; among calibrated predictions the smaller is the better.
    """

    rmse: float
    nrmse: float
    coverage: dict[float, float]
    crps: float
    nll: float
    sharpness: float

    @property
    def gap(self) -> float:
        """Largest |empirical - nominal| coverage of the levels."""
        return max(abs(found - level) for level, found in self.coverage.items())


def calibration(truth: ArrayLike, mean: ArrayLike, std: ArrayLike) -> Calibration:
    """Return all scores of the predictions N(`mean`, `std`^2) of `truth`, which were not used to make them.

    Examples
    --------
    >>> found = calibration(truth=[0.0, 1.0, 3.0, 0.5], mean=[0.1, 0.8, 2.6, 0.7], std=0.25)
    >>> round(found.rmse, 3), round(found.nrmse, 3), round(found.gap, 3)
    (0.25, 0.22, 0.25)
    """
    t, m, s = _checked(truth, mean, std)
    rmse, spread = float(np.sqrt(np.mean((t - m) ** 2))), float(t.std())
    nrmse = rmse / spread if spread > 0 else float("nan")
    return Calibration(rmse, nrmse, coverage(t, m, s), crps(t, m, s), nll(t, m, s), float(s.mean()))


class Conformal:
    """Split-conformal factors for standard deviations, from predictions of data that the fit did not see.

    With r_(1) <= ... <= r_(n) the sorted |truth - mean| / std and k = ceil((n + 1) level), the interval
    mean +- r_(k) std covers a new point with probability in [level, level + 1 / (n + 1)], whatever the law (the upper
    bound where ties have probability 0), if old and new points are exchangeable. Leave-one-out predictions of training
    data may be given too: a good factor for a stable fit, without the guarantee.

    Parameters
    ----------
    truth, mean, std : of the held-out points; every entry counts as one.

    Source: Lei et al., J. Am. Stat. Assoc. 113 (2018), theorem 2.2 and section 5.2; Barber et al., Ann. Stat. 49 (2021)
    for leave-one-out.

    Examples
    --------
    >>> conformal = Conformal(truth=[0.0, 1.0, 3.0, 0.5], mean=[0.1, 0.8, 2.6, 0.7], std=0.1)
    >>> round(conformal.factor(0.6), 3), conformal.highest_level
    (2.0, 0.8)
    """

    def __init__(self, truth: ArrayLike, mean: ArrayLike, std: ArrayLike) -> None:
        t, m, s = _checked(truth, mean, std)
        self.residuals = np.sort((np.abs(t - m) / s).ravel())

    @property
    def highest_level(self) -> float:
        """Highest level that n points can guarantee with a finite interval, n / (n + 1)."""
        return len(self.residuals) / (len(self.residuals) + 1)

    def factor(self, level: float) -> float:
        """Return r_(k): mean +- r_(k) std is the interval of this `level`; above `highest_level`, a ValueError."""
        _half_width(level)
        rank = int(np.ceil((len(self.residuals) + 1) * level - 1e-9))  # 20 * 0.95 is 19, whatever its last bit
        if rank > len(self.residuals):
            wanted, got = f"a level up to {self.highest_level:.3g}", f"{level} for {len(self.residuals)} points"
            raise ValueError(f"Conformal: expected {wanted}, got {got}; hold out more or ask for less")
        return float(self.residuals[rank - 1])

    def scale(self, level: float) -> float:
        """Return factor / z: std times this gives the Gaussian interval of `level` the conformal width."""
        return self.factor(level) / _half_width(level)


@dataclass(frozen=True, eq=False)
class Mixture:
    """What the members of an ensemble say together; `std`^2 = `epistemic`^2 + `aleatory`^2.

    Parameters
    ----------
    mean, median : of the members' means.
    epistemic : standard deviation of the members' means: what they disagree about.
    aleatory : root of the mean of their variances: the noise that they agree on.
    """

    mean: Array
    median: Array
    epistemic: Array
    aleatory: Array

    @property
    def std(self) -> Array:
        """Standard deviation of the mixture, by the law of total variance."""
        return np.hypot(self.epistemic, self.aleatory)


def combine(mean: ArrayLike, std: ArrayLike = 0.0) -> Mixture:
    """Return the equal mixture of K members with `mean` and `std` (K, ...); members that know no noise have std 0.

    Source: Lakshminarayanan et al., NeurIPS 2017, section 2.4.

    Examples
    --------
    >>> together = combine(mean=[[1.0], [2.0], [6.0]], std=[[2.0], [2.0], [1.0]])
    >>> together.mean, together.median, together.std.round(3)
    (array([3.]), array([2.]), array([2.769]))
    """
    means, stds = np.asarray(mean, dtype=np.float64), np.asarray(std, dtype=np.float64)
    if not (means.ndim and len(means)) or stds.shape not in ((), means.shape) or (stds < 0).any():
        wanted, got = "means (K, ...) and stds >= 0 of that shape", f"shapes {means.shape} and {stds.shape}"
        raise ValueError(f"combine: expected {wanted}, got {got}, smallest std {stds.min(initial=0)}")
    aleatory = np.sqrt(np.mean(np.broadcast_to(stds, means.shape) ** 2, axis=0))
    return Mixture(means.mean(0), np.median(means, axis=0), means.std(0), aleatory)
