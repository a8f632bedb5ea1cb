"""The engine for given runs, chosen by how well each predicts runs of the truth that it did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sciml_mfuq.engines import ENGINES, fit_engine
from sciml_mfuq.model import Predictor, evaluate
from sciml_mfuq.samples import Array, Samples

N_ONE_OUT = 8
"""Up to so many runs of the truth each is left out by itself, up to `N_FOLDED` in five groups, beyond that a fifth."""
N_FOLDED = 150
ALONE = "gp"
"""The engine that does not look at the cheap levels."""


@dataclass(frozen=True)
class HeldOut:
    """Runs of the truth, and what a model that did not see them says: values, means, standard deviations (run,)."""

    truth: Array
    mean: Array
    std: Array

    @property
    def rmse(self) -> float:
        """Root of the mean squared error."""
        return float(np.sqrt(np.mean((self.truth - self.mean) ** 2)))

    @property
    def log_density(self) -> float:
        """Mean log density of the truth under the predicted normal laws, their widths scaled by one common factor.

        The factor is the one under which it is largest, ``c^2 = mean(z^2)``.
        """
        std = np.maximum(self.std, 1e-12 * max(np.ptp(self.truth), 1e-300))
        square = float(np.mean(((self.truth - self.mean) / std) ** 2))
        return float(-0.5 * np.log(max(square, 1e-24)) - np.mean(np.log(std)) - 0.5 * (1 + np.log(2 * np.pi)))


@dataclass(frozen=True)
class Choice:
    """The engine chosen, its model of all runs, and the evidence of every candidate; failures are told."""

    engine: str
    predictor: Predictor
    evidence: Mapping[str, HeldOut]
    failures: Mapping[str, str]

    @property
    def ignores_cheap_levels(self) -> bool:
        """Whether the truth alone predicts best, so that the cheap runs are not used."""
        return self.engine == ALONE


def folds(n: int, seed: int) -> list[NDArray[np.int64]]:
    """Return the groups of runs, as numbers, that are left out in turn; the same for every engine."""
    order = np.random.default_rng([seed, 17]).permutation(n)
    if n <= N_ONE_OUT:
        return [order[i : i + 1] for i in range(n)]
    return np.array_split(order, 5) if n <= N_FOLDED else [order[: n // 5]]


def hold_out(engine: str, samples: Samples, seed: int, whole: Predictor | None = None) -> HeldOut:
    """Return what an engine says of runs of the truth that it was not given.

    With two runs of the truth nothing can be left out, as one is no fit; the evidence is NaN then.

    Parameters
    ----------
    engine, samples, seed : as in `fit_engine`.
    whole : its model of all the runs, whose cheap levels need not be fitted again: they never saw the truth.
    """
    n, parts = len(samples.truth.x), []
    if n < 3:
        nothing = np.full(n, np.nan)
        return HeldOut(samples.truth.y, nothing, nothing)
    for out in folds(n, seed):
        kept = np.ones(n, dtype=bool)
        kept[out] = False
        fitted = fit_engine(engine, samples.truth_kept(kept), seed, whole)
        mean, std = evaluate(fitted, samples.truth.x[out])
        parts.append((samples.truth.y[out], mean, np.hypot(std, float(fitted.noise_std))))
    truth, mean, std = (np.concatenate(column) for column in zip(*parts, strict=True))
    return HeldOut(truth, mean, std)


def best(evidence: Mapping[str, HeldOut], default: str) -> str:
    """Return the engine under whose predicted laws the held-out runs are most likely.

    The log density is a proper score: an engine that knows where it errs is not beaten by one that errs a little less
    and does not, which matters where few runs are left out, all of them far from the others. A factor common to all
    widths is left free, since a few runs tell it badly and calibration can mend it later. These runs are blind
    to what is seen at few points, such as a jump that the cheap runs prove: to the sum of log densities comes the
    `log_odds` of the engine, which runs of the truth may still outweigh.

    Parameters
    ----------
    evidence : engine -> what it says of runs that it did not see.
    default : what is taken where there is no finite evidence.
    """
    scores = {
        name: len(one.truth) * one.log_density + (ENGINES[name].log_odds if name in ENGINES else 0.0)
        for name, one in evidence.items()
        if np.isfinite(one.log_density)
    }
    return max(scores, key=lambda name: scores[name]) if scores else default


def choose(samples: Samples, engines: Sequence[str], *, seed: int) -> Choice:
    """Fit the engine that predicts left-out runs of the truth best.

    Parameters
    ----------
    samples
        Of one output.
    engines
        Candidates, names of `ENGINES`; "gp", which looks at the truth alone, keeps useless cheap levels from harm.
    seed
        Of folds and fits.

    *Contract*: an engine that fails on these runs is passed over and its sentence kept; if all fail, the first one's
    error is raised.
    """
    unknown = [name for name in engines if name not in ENGINES]
    if unknown or not engines:
        raise ValueError(f"choose: expected engines among {', '.join(ENGINES)}, got {list(engines)}; choose some")
    evidence, failures, errors = dict[str, HeldOut](), dict[str, str](), list[ValueError]()
    models = dict[str, Predictor]()
    for name in engines:
        try:
            models[name] = fit_engine(name, samples, seed)
            evidence[name] = hold_out(name, samples, seed, models[name])
        except ValueError as error:
            failures[name] = str(error)
            errors.append(error)
    if not evidence:
        raise errors[0]
    chosen = best(evidence, next(iter(evidence)))
    return Choice(chosen, models[chosen], evidence, failures)
