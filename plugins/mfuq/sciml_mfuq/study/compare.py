"""Engines side by side on the same runs of test functions, and what the automatic choice makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sciml.executor import sweep
from sciml.experiment import Run
from sciml_mfuq.study.assess import VERSION, Assessment, Task, assess, chosen, judged, unsuited
from sciml_mfuq.study.functions import CASES


@dataclass(frozen=True)
class Comparison:
    """Assessments by (case, engine, seed), why others are absent, and the engine chosen by (case, seed)."""

    found: Mapping[tuple[str, str, int], Assessment]
    failures: Mapping[tuple[str, str, int], str]
    choices: Mapping[tuple[str, int], str]

    @property
    def cases(self) -> list[str]:
        """The functions, in the order in which they were asked for."""
        return list(dict.fromkeys(case for case, _, _ in self.found))

    def engines(self, case: str) -> list[str]:
        """Return the engines that have a result on a function."""
        return list(dict.fromkeys(engine for name, engine, _ in self.found if name == case))

    def seeds(self, case: str) -> list[int]:
        """Return the seeds of the designs of a function."""
        return sorted({seed for name, _, seed in self.found if name == case})

    def median(self, case: str, engine: str, what: str) -> float:
        """Return the median over seeds of a figure of an engine, or of "auto", the engine chosen for each seed.

        Parameters
        ----------
        case, engine : which.
        what : "relative", "fit_cpu_s", "peak_mb", a field of `Calibration`, or "coverage95".
        """
        values = []
        for seed in self.seeds(case):
            name = self.choices.get((case, seed), "") if engine == "auto" else engine
            if (case, name, seed) in self.found:
                values.append(figure_of(self.found[case, name, seed], what))
        return float(np.median(values)) if values else float("nan")

    def best(self, case: str, engines: Iterable[str], what: str = "relative") -> str:
        """Return the engine of least median error on a function, known only afterwards."""
        have = [engine for engine in engines if np.isfinite(self.median(case, engine, what))]
        return min(have, key=lambda engine: self.median(case, engine, what))


def figure_of(one: Assessment, what: str) -> float:
    """Return a figure of an assessment by name, see `Comparison.median`."""
    if what == "coverage95":
        return one.scores.coverage[0.95]
    if what in one.values:
        return float(one.values[what])
    return float(getattr(one if what == "relative" else one.scores, what))


def compare(
    tasks: Sequence[Task], candidates: tuple[str, ...], run: Run, *, n_worker: int, timeout_s: float | None = None
) -> Comparison:
    """Assess all tasks in worker processes; what was finished before a run was killed is not done again.

    Parameters
    ----------
    tasks
        What to fit.
    candidates
        Engines among which the automatic choice is made for each function and seed.
    run
        Its checkpoints and progress.
    n_worker
        Processes.
    timeout_s
        Of one task; a task that needs longer counts as failed.
    """
    outcomes = sweep(
        assess, tasks, executor="processes", n_workers=n_worker, folder=run.checkpoint("fits"), timeout_s=timeout_s,
        progress=run.progress, version=VERSION,
    )  # fmt: skip
    found, failures = dict[tuple[str, str, int], Assessment](), dict[tuple[str, str, int], str]()
    passed_over = dict[str, list[str]]()
    for task, outcome in zip(tasks, outcomes, strict=True):
        key = task.case, task.engine, task.seed
        if outcome.failure:
            failures[key] = outcome.failure
            run.log(f"{' '.join(map(str, key))}: {outcome.failure}")
        elif why := unsuited(outcome.values):
            failures[key] = why
            passed_over.setdefault(task.engine, []).append(task.case)
        else:
            found[key] = judged(task, outcome.values)
    for engine, cases in passed_over.items():
        run.log(f"{engine}: passed over on {', '.join(dict.fromkeys(cases))}, whose runs are nothing for it")
    choices = {}
    for case, seed in dict.fromkeys((task.case, task.seed) for task in tasks):
        of_case = {engine: one for (name, engine, s), one in found.items() if (name, s) == (case, seed)}
        if any(name in of_case for name in candidates):
            choices[case, seed] = chosen(of_case, candidates)
        elif any(task.engine in candidates for task in tasks if (task.case, task.seed) == (case, seed)):
            why = next(text for (name, _, s), text in failures.items() if (name, s) == (case, seed))
            raise ValueError(f"{case}, seed {seed}: expected a fit by some engine, got none: {why}")
    return Comparison(found, failures, choices)


def over_best(comparison: Comparison, candidates: Sequence[str]) -> dict[str, float]:
    """Return, for each function, the error of the automatic choice over that of the best engine, medians over seeds."""
    ratios = {}
    for case in comparison.cases:
        best = comparison.best(case, candidates)
        ratios[case] = comparison.median(case, "auto", "relative") / comparison.median(case, best, "relative")
    return ratios


def low_and_high(case_name: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the cheapest level and the truth (n,) at uniform points, for a picture of their correlation."""
    case = CASES[case_name]
    x = case.test_points(n, seed)
    return case.levels[0](x), case.levels[-1](x)
