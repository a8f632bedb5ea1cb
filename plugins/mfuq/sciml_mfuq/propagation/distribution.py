"""The distribution of an output: statistics of a sample of it, each with its own error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import scipy.stats
import xarray as xr
from numpy.typing import ArrayLike

from sciml_mfuq.propagation.calls import Array
from sciml_mfuq.propagation.density import kernel_density, silverman
from sciml_mfuq.propagation.laws import Method
from sciml_mfuq.propagation.moments import Moments

MOMENTS = ("mean", "std", "skewness", "excess_kurtosis")
QUANTILES = (0.005, 0.025, 0.05, 0.25, 0.5, 0.75, 0.95, 0.975, 0.995)


@dataclass(frozen=True)
class Statistic:
    """A statistic of the output and what it may be off by; all arrays have one shape.

    Parameters
    ----------
    value : the estimate.
    sampling : standard error by the finite sample, from independent replicates of it.
    surrogate_bound : standard error by the surrogate if its errors at all inputs conspire: to first order the largest
        effect on this statistic that an error of the told standard deviations can have, whatever its correlation.
    surrogate_white : shift of the statistic if the surrogate's errors at any two inputs are independent; a limit too.
    n_replicates : of the sample.

    Both surrogate terms are 0 where the model tells no standard error.
    """

    value: Array
    sampling: Array
    surrogate_bound: Array
    surrogate_white: Array
    n_replicates: int

    @property
    def surrogate(self) -> Array:
        """The larger of both surrogate terms."""
        return np.maximum(self.surrogate_bound, np.abs(self.surrogate_white))

    @property
    def standard_error(self) -> Array:
        """Root of the sum of squares of the sampling and the surrogate term."""
        return np.hypot(self.sampling, self.surrogate)

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Return both ends of the confidence interval.

        Parameters
        ----------
        level
            Its probability; Student's t for the sampling term, the normal for the surrogate's.
        """
        t = scipy.stats.t.ppf((1 + level) / 2, self.n_replicates - 1)
        z = scipy.stats.norm.ppf((1 + level) / 2)
        half = np.hypot(t * self.sampling, z * self.surrogate)
        return self.value - half, self.value + half


@dataclass(frozen=True)
class Distribution:
    """A sample of the output, from which every statistic is computed on demand.

    Parameters
    ----------
    values : (replicate, n), output at the inputs of each independent replicate of the sample.
    std : (replicate, n), standard error that the surrogate tells; None where it tells none.
    name, unit : of the output.
    seed, method : of the sample.

    *Contract*: a statistic is that of all values together; its sampling error is the spread over replicates divided by
    the root of their number, which holds for independent and for randomised quasi-random points alike.

    *Source*: Owen, Monte Carlo theory, methods and examples (2013) (replicated randomised QMC).

    *Departures*: the surrogate's error has known standard deviations but an unknown correlation between inputs. Its
    effect is bracketed, not simulated; see `Statistic`.
    """

    values: Array
    std: Array | None
    name: str
    unit: str
    seed: int
    method: Method

    @cached_property
    def bandwidth(self) -> float:
        """Of the density estimate, Silverman's rule on all values."""
        return silverman(self.values.ravel())

    def grid(self, n_points: int = 512) -> Array:
        """Return points that cover all but a thousandth of the output, and 4 bandwidths more.

        Parameters
        ----------
        n_points
            How many.
        """
        low, high = np.quantile(self.values, [0.0005, 0.9995])
        return np.linspace(low - 4 * self.bandwidth, high + 4 * self.bandwidth, n_points)

    def moments(self) -> dict[str, Statistic]:
        """Return mean, standard deviation, skewness and excess kurtosis by name."""
        joint = _joint(self.values)
        z = (self.values - joint.mean) / joint.std
        # signs of the influence functions: a push of size s(x) in that direction moves the moment furthest
        skewness, kurtosis = joint.skewness, joint.excess_kurtosis + 3
        pushes = (np.ones_like(z), z, z**2 - 1 - skewness * z, z**3 - skewness - kurtosis * z)
        return {
            name: self._statistic(partial(_moment, name), np.sign(push))
            for name, push in zip(MOMENTS, pushes, strict=True)
        }

    def quantile(self, probability: ArrayLike) -> Statistic:
        """Return quantiles.

        Parameters
        ----------
        probability
            One or several, between 0 and 1.
        """
        return self._statistic(lambda rows: np.quantile(rows, np.asarray(probability, dtype=np.float64)))

    def cdf(self, at: ArrayLike) -> Statistic:
        """Return P(y <= at).

        Parameters
        ----------
        at : (point,)
            Values of the output.
        """
        return self._statistic(lambda rows: np.searchsorted(np.sort(rows, axis=None), at, side="right") / rows.size)

    def pdf(self, at: ArrayLike) -> Statistic:
        """Return the density smoothed with `bandwidth`; see `kernel_density` for its bias and its leak at ends.

        Parameters
        ----------
        at : (point,)
            Values of the output, such as `grid()`. The errors are those of the smoothed density.
        """
        points = np.asarray(at, dtype=np.float64)
        return self._statistic(lambda rows: kernel_density(rows.ravel(), points, self.bandwidth))

    def failure_probability(self, threshold: float) -> Statistic:
        """Return P(y > threshold).

        Parameters
        ----------
        threshold
            In the unit of the output.
        """
        return self._statistic(lambda rows: (rows > threshold).mean())

    def failure_interval(self, threshold: float, level: float = 0.95) -> tuple[float, float]:
        """Return the Clopper-Pearson interval of P(y > threshold); it has a width even where no failure was seen.

        Parameters
        ----------
        threshold
            In the unit of the output.
        level
            Probability of the interval.

        *Contract*: exact, so not too short, for method "random"; for quasi-random points, which count more precisely,
        too wide. Where the surrogate tells its error, each end is that of values pushed by that many errors.
        """
        n, tail = self.values.size, (1 - level) / 2
        push = 0.0 if self.std is None else scipy.stats.norm.ppf(1 - tail) * self.std
        few, many = int((self.values - push > threshold).sum()), int((self.values + push > threshold).sum())
        low = scipy.stats.beta.ppf(tail, few, n - few + 1) if few > 0 else 0.0
        high = scipy.stats.beta.ppf(1 - tail, many + 1, n - many) if many < n else 1.0
        return float(low), float(high)

    def wasserstein(self, sample: ArrayLike) -> Statistic:
        """Return the Wasserstein-1 distance to another sample, in the unit of the output.

        Parameters
        ----------
        sample : (n,)
            Values of the same output. The distance of two samples of one law is above 0, of order n^{-1/2}.
        """
        other = np.asarray(sample, dtype=np.float64).ravel()
        return self._statistic(lambda rows: scipy.stats.wasserstein_distance(rows.ravel(), other))

    def to_xarray(self, thresholds: ArrayLike = (), quantiles: ArrayLike = QUANTILES) -> xr.Dataset:
        """Return moments, quantiles, density, CDF and failure probabilities with errors and units.

        ``NAME_error`` holds the errors of ``NAME`` along `error`: sampling, surrogate_bound, surrogate_white, total.

        Parameters
        ----------
        thresholds
            Of the failure probabilities, in the unit of the output.
        quantiles
            Probabilities.
        """
        at, unit = self.grid(), self.unit
        inverse = "1" if unit == "1" else f"({unit})**-1"
        found: list[tuple[str, tuple[str, ...], Statistic, str]] = [
            *((name, (), item, unit if name in ("mean", "std") else "1") for name, item in self.moments().items()),
            ("quantile", ("probability",), self.quantile(quantiles), unit),
            ("pdf", ("value",), self.pdf(at), inverse),
            ("cdf", ("value",), self.cdf(at), "1"),
        ]
        limits = np.asarray(thresholds, dtype=np.float64).ravel()
        if limits.size:
            above = self.cdf(limits)
            beyond = replace(above, value=1 - above.value, surrogate_white=-above.surrogate_white)
            found.append(("failure_probability", ("threshold",), beyond, "1"))
        variables: dict[str, tuple[tuple[str, ...], Array, dict[str, str]]] = {}
        for name, dims, item, its_unit in found:
            errors = [item.sampling, item.surrogate_bound, item.surrogate_white, item.standard_error]
            variables[name] = (dims, item.value, {"units": its_unit})
            variables[f"{name}_error"] = ((*dims, "error"), np.stack(errors, -1), {"units": its_unit})
        coords = {
            "error": ("error", ["sampling", "surrogate_bound", "surrogate_white", "total"]),
            "probability": ("probability", np.asarray(quantiles, dtype=np.float64), {"units": "1"}),
            "value": ("value", at, {"units": unit, "long_name": self.name}),
            "threshold": ("threshold", limits, {"units": unit}),
        }
        n_replicates, n = self.values.shape
        facts = {"output": self.name, "seed": self.seed, "n": n * n_replicates, "n_replicates": n_replicates}
        return xr.Dataset(variables, coords, {**facts, "method": self.method, "bandwidth": self.bandwidth})

    def _statistic(self, function: Callable[[Array], ArrayLike], sign: Array | float = 1.0) -> Statistic:
        """Return function(rows) of all values, and its errors; the surrogate's are pushed along `sign`."""
        value = np.asarray(function(self.values), dtype=np.float64)
        parts = np.stack([np.asarray(function(row[None]), dtype=np.float64) for row in self.values])
        sampling = parts.std(0, ddof=1) / np.sqrt(len(parts))
        bound = white = np.zeros_like(value)
        if self.std is not None:
            push = sign * self.std
            bound = np.abs(np.asarray(function(self.values + push)) - function(self.values - push)) / 2
            noise = np.random.default_rng([self.seed, 1]).standard_normal(self.values.shape)
            white = np.asarray(function(self.values + self.std * noise)) - value
        return Statistic(value, sampling, bound, white, len(parts))


def _joint(rows: Array) -> Moments:
    return sum((Moments.of(row) for row in rows), Moments())


def _moment(name: str, rows: Array) -> float:
    return float(getattr(_joint(rows), name))
