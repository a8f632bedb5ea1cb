"""One test function, one engine, one seed: fitted, judged on runs it did not see and on fresh points; for sweeps."""

from __future__ import annotations

import functools
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciml.threads import one_core
from sciml.uncertainty import Calibration, calibration
from sciml_mfuq.choose import HeldOut, best, hold_out
from sciml_mfuq.engines import ENGINES, Unsuited, fit_engine
from sciml_mfuq.model import evaluate, relative_error
from sciml_mfuq.samples import Array
from sciml_mfuq.study.functions import CASES
from sciml_mfuq.study.peers import Predict, fit_peer
from sciml_mfuq.surrogate import n_bytes

VERSION = 3
"""Raise it when an engine changes, so that kept results are computed anew."""
UNSUITED = "unsuited"
N_LINE = 401
"""Points at which functions of one input are drawn."""


@dataclass(frozen=True)
class Task:
    """What to fit and how much to test; `counts` are the runs of each level, None for the usual ones of the case."""

    case: str
    engine: str
    seed: int
    counts: tuple[int, ...] | None = None
    n_test: int = 2000
    with_evidence: bool = True


@dataclass(frozen=True)
class Assessment:
    """How one engine did on one case.

    Parameters
    ----------
    relative : error on fresh points, relative to the norm of the truth.
    scores : calibration there.
    evidence : what it said of runs that it did not see; None where it was not asked.
    values : what `assess` returned: times, sizes, predictions.
    """

    relative: float
    scores: Calibration
    evidence: HeldOut | None
    values: Mapping[str, Array]

    @property
    def line(self) -> tuple[Array, Array] | None:
        """Mean and standard deviation along a function of one input."""
        return (self.values["line_mean"], self.values["line_std"]) if "line_mean" in self.values else None


def assess(task: Task) -> dict[str, Any]:
    """Fit and judge; numbers and arrays out, as `sciml.executor.sweep` wants them.

    Of an engine that is not made for such runs only its sentence comes back, see `unsuited`.
    """
    case = CASES[task.case]
    samples = case.sample(task.seed, task.counts)
    with one_core():
        start = time.process_time()
        try:
            predictor = fit_engine(task.engine, samples, task.seed) if task.engine in ENGINES else None
        except Unsuited as why:
            return {UNSUITED: np.frombuffer(str(why).encode(), np.uint8)}
        predict: Predict
        if predictor is None:
            predict = fit_peer(task.engine, samples, task.seed)
        else:
            predict = functools.partial(evaluate, predictor)
        found: dict[str, Any] = {"fit_cpu_s": time.process_time() - start}
        found["n_bytes"] = 0 if predictor is None else n_bytes(predictor)
        found["mean"], found["std"] = predict(case.test_points(task.n_test, task.seed))
        found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if case.n_feature == 1:
            found["line_mean"], found["line_std"] = predict(case.scaled(np.linspace(0, 1, N_LINE)[:, None]))
        if task.with_evidence and predictor is not None:
            start = time.process_time()
            out = hold_out(task.engine, samples, task.seed, predictor)
            found |= {"held_truth": out.truth, "held_mean": out.mean, "held_std": out.std}
            found["evidence_cpu_s"] = time.process_time() - start
    return found


def unsuited(values: Mapping[str, Array]) -> str:
    """Return the sentence with which an engine said that it is not made for the runs; empty where it was fitted."""
    return bytes(np.asarray(values[UNSUITED], np.uint8)).decode() if UNSUITED in values else ""


def judged(task: Task, values: Mapping[str, Array]) -> Assessment:
    """Return the scores of what `assess` gave, against the truth at the test points of the task."""
    case = CASES[task.case]
    truth = case.levels[-1](case.test_points(task.n_test, task.seed))
    std = np.maximum(values["std"], 1e-12 * truth.std())
    held = HeldOut(values["held_truth"], values["held_mean"], values["held_std"]) if "held_mean" in values else None
    error = relative_error(values["mean"], truth)
    return Assessment(error, calibration(truth, values["mean"], std), held, {**values, "std": std})


def chosen(found: Mapping[str, Assessment], candidates: tuple[str, ...]) -> str:
    """Return the engine that `choose` would take, from the evidence of the candidates that were assessed."""
    evidence = {name: found[name].evidence for name in candidates if name in found}
    known = {name: one for name, one in evidence.items() if one is not None}
    return best(known, next(iter(known)))
