"""What `sciml bench mfuq` measures: every engine and every peer on the same runs, and every other key number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sciml import Report, Results, Run
from sciml.threads import one_core
from sciml_mfuq.engines import ENGINES
from sciml_mfuq.study import figures, key_numbers
from sciml_mfuq.study.assess import Task
from sciml_mfuq.study.compare import Comparison, compare, over_best
from sciml_mfuq.study.config import BenchConfig, MfuqConfig
from sciml_mfuq.study.peers import LABELS

OF_MANY = ("gp", "residual", "composite")
"""Engines for functions of many inputs, where exact processes of all levels are out of reach."""
PEERS_OF_MANY = ("smt_mfk", "smt_mfkpls")


def benchmark(config: MfuqConfig, run: Run) -> Results:
    """Measure, report, and return the key numbers; the surrogate is the stored model that is timed."""
    report = Report(
        "Multi-fidelity models and their peers",
        "Every engine and every peer on the same runs of the same functions, judged on the same fresh points; then "
        "the other key numbers, each with the table it comes from.",
    )
    comparison = compare_all(config, run)
    metrics = metrics_of(comparison, config)
    tell(report, comparison, config, metrics)
    parts = key_numbers.PARTS
    with run.progress.track(len(parts) + 1, "key numbers") as update, one_core():
        for number, (title, measure) in enumerate(parts.items()):
            found = measure(config, run)
            metrics |= found
            report.section(title)
            report.table(("key", "value"), list(found.items()))
            update(number + 1, title)
        surrogate, found = key_numbers.stored_model(config, run)
        report.section("A stored model", "3,000 runs of the borehole: saved, loaded and asked on one core.")
        report.table(("key", "value"), list(found.items()))
        update(len(parts) + 1, "done")
    return Results(metrics | found, report, surrogate)


def compare_all(config: MfuqConfig, run: Run) -> Comparison:
    """Assess all engines, then all peers, which have a time limit each."""
    candidates = config.functions.engines
    ours = (*candidates, *config.functions.others)
    found = compare(
        _tasks(config.bench, run.seed, ours, OF_MANY, candidates), candidates, run, n_worker=config.n_worker
    )
    limit = config.bench.peer_timeout_s
    tasks = _tasks(config.bench, run.seed, tuple(LABELS), PEERS_OF_MANY, ())
    theirs = compare(tasks, (), run, n_worker=config.n_worker, timeout_s=limit)
    return replace(found, found={**found.found, **theirs.found}, failures={**found.failures, **theirs.failures})


def _tasks(
    options: BenchConfig, seed: int, few: tuple[str, ...], many: tuple[str, ...], candidates: tuple[str, ...]
) -> list[Task]:
    found = []
    for names, engines, n in (
        (options.cases, few, options.n_seed),
        (options.large, tuple(name for name in many if name in few), options.n_seed_large),
    ):
        for number in range(n):
            found += [Task(c, e, seed + number, with_evidence=e in candidates) for c in names for e in engines]
    return found


def metrics_of(comparison: Comparison, config: MfuqConfig) -> dict[str, float]:
    """Return the key numbers of the comparison, medians over designs."""
    metrics: dict[str, float] = {}
    columns = {"rel": "relative", "nrmse": "nrmse", "coverage95": "coverage95", "nll": "nll"}
    for case in comparison.cases:
        metrics |= {f"{case}_{key}": comparison.median(case, "auto", what) for key, what in columns.items()}
        metrics[f"{case}_fit_cpu_s"] = comparison.median(case, "auto", "fit_cpu_s")
        metrics[f"{case}_peak_mb"] = comparison.median(case, "auto", "peak_mb")
        for engine in comparison.engines(case):
            for key, what in {**columns, "fit_cpu_s": "fit_cpu_s"}.items():
                metrics[f"{case}_{engine}_{key}"] = comparison.median(case, engine, what)
    coverage = [metrics[f"{case}_coverage95"] for case in comparison.cases]
    metrics |= {"coverage95_mean": float(np.mean(coverage)), "coverage95_min": float(np.min(coverage))}
    ratios = over_best(comparison, config.functions.engines)
    metrics |= {f"{case}_auto_over_best": value for case, value in ratios.items()}
    metrics["auto_over_best"] = max(ratios.values())
    both = [case for case in config.bench.cases if np.isfinite(metrics.get(f"{case}_smt_mfk_nll", np.nan))]
    better = sum(metrics[f"{case}_nll"] <= metrics[f"{case}_smt_mfk_nll"] for case in both)
    return metrics | {"nll_better_than_mfk": float(better), "nll_compared_with_mfk": float(len(both))}


def tell(report: Report, comparison: Comparison, config: MfuqConfig, metrics: Mapping[str, float]) -> None:
    """Add the tables of the comparison to a report."""
    labels = {**{name: one.label for name, one in ENGINES.items()}, **LABELS}
    engines = [name for name in labels if any(name == engine for _, engine, _ in comparison.found)]
    report.facts(
        {
            "automatic choice over the best engine, worst": metrics["auto_over_best"],
            "95 % intervals that hold, mean": metrics["coverage95_mean"],
            "least": metrics["coverage95_min"],
            "better log density than SMT's MFK": f"{metrics['nll_better_than_mfk']:.0f} of "
            f"{metrics['nll_compared_with_mfk']:.0f}",
        }
    )
    report.section("Engines and peers", f"Medians over {config.bench.n_seed} designs; a dash: no result.")
    table = {case: {e: comparison.median(case, e, "relative") for e in engines} for case in comparison.cases}
    report.figure("errors", figures.errors(table, labels, "error, relative"), "Errors on fresh points.")
    for what, caption in (
        ("relative", "Error relative to the norm of the truth."),
        ("nrmse", "Root mean squared error over the standard deviation of the truth."),
        ("coverage95", "Share of fresh points inside the 95 % interval."),
        ("nll", "Mean negative log density of the truth."),
        ("fit_cpu_s", "CPU seconds of one fit on one core."),
        ("peak_mb", "Peak memory of the process so far (MB)."),
    ):
        rows = [[case, *(_cell(comparison.median(case, e, what)) for e in ("auto", *engines))] for case in table]
        report.table(("function", "automatic", *(labels[e] for e in engines)), rows, caption)
    failed = sorted({f"- {labels[e]} on `{case}`: {text}" for (case, e, _), text in comparison.failures.items()})
    if failed:
        report.text("Without result:\n\n" + "\n".join(failed))


def _cell(value: float) -> float | None:
    return float(f"{value:.3g}") if np.isfinite(value) else None
