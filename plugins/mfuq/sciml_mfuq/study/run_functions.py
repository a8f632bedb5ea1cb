"""The study of test functions: engines side by side, distributions, sensitivities, adaptive sampling, a report."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sciml import Report, Results, Run, Surrogate
from sciml.experiment import content_hash
from sciml.threads import one_core
from sciml_mfuq.engines import ENGINES, fit_engine
from sciml_mfuq.model import Predictor, evaluate
from sciml_mfuq.propagation.sobol import SobolIndices
from sciml_mfuq.samples import Array
from sciml_mfuq.sampling.infill import Race, race
from sciml_mfuq.study import figures
from sciml_mfuq.study.assess import N_LINE, Task
from sciml_mfuq.study.compare import Comparison, compare, low_and_high, over_best
from sciml_mfuq.study.config import MfuqConfig
from sciml_mfuq.study.figures import Curve, Prediction
from sciml_mfuq.study.functions import BOREHOLE_INPUTS, CASES
from sciml_mfuq.study.spread import LAWS, Spread, sensitivities, spread
from sciml_mfuq.surrogate import Input, MultiFidelity, Output


@dataclass(frozen=True)
class Findings:
    """Everything that the report tells.

    Parameters
    ----------
    config, comparison : what was asked for, and how the engines did.
    spreads : law -> what it does to the output of the last function.
    sobol : indices of the last function, by the model and exactly; None for a function of one input.
    races : function -> adaptive sampling against hypercubes.
    """

    config: MfuqConfig
    comparison: Comparison
    spreads: Mapping[str, Spread]
    sobol: tuple[SobolIndices, SobolIndices] | None
    races: Mapping[str, Race]


def study_functions(config: MfuqConfig, run: Run) -> Results:
    """Run the study and write its report; the surrogate is that of the last function, by the engine chosen for it."""
    options, seeds = config.functions, range(run.seed, run.seed + config.functions.n_seed)
    engines = (*options.engines, *options.others)
    tasks = [
        Task(case, engine, seed, n_test=options.n_test, with_evidence=engine in options.engines)
        for case in options.cases for seed in seeds for engine in engines
    ]  # fmt: skip
    hashed = [level.y for name in options.cases for level in CASES[name].sample(run.seed).levels]
    run.record(data_sha256=content_hash(*hashed))
    comparison = compare(tasks, options.engines, run, n_worker=config.n_worker)
    name = options.cases[-1]
    with one_core():
        predictor = fit_engine(comparison.choices[name, run.seed], CASES[name].sample(run.seed), run.seed)
        spreads, sobol = spread_out(name, predictor, config, run)
        races = {case: race_of(case, config, run) for case in config.adaptive.cases}
    findings = Findings(config, comparison, spreads, sobol, races)
    metrics = metrics_of(findings)
    return Results(metrics, tell(findings, metrics), surrogate_of(name, predictor, run))


def spread_out(
    name: str, predictor: Predictor, config: MfuqConfig, run: Run
) -> tuple[dict[str, Spread], tuple[SobolIndices, SobolIndices] | None]:
    """Push both laws through a model of a function, and split its variance."""
    case, predict, options = CASES[name], functools.partial(evaluate, predictor), config.spread
    found = {}
    with run.progress.track(3, "distributions") as update:
        for kind in LAWS:
            found[kind] = spread(case, predict, kind, n_sample=options.n_sample, n_exact=options.n_exact, seed=run.seed)
            update(len(found), kind)
        sobol = sensitivities(case, predict, options.n_sobol, run.seed) if case.n_feature > 1 else None
        update(3, "sensitivities")
    return found, sobol


def race_of(case: str, config: MfuqConfig, run: Run) -> Race:
    """Let adaptive sampling race against hypercubes on a function."""
    options = config.adaptive
    with run.progress.track(2 * options.n_step, f"adaptive, {case}") as update:
        return race(
            CASES[case], factor=options.factor, n_step=options.n_step, seed=run.seed, n_test=config.functions.n_test,
            watch=lambda n: update(min(n, 2 * options.n_step - 1), ""),
        )  # fmt: skip


def surrogate_of(name: str, predictor: Predictor, run: Run) -> Surrogate:
    """Return the model of a function behind named inputs."""
    case = CASES[name]
    names = BOREHOLE_INPUTS if name == "borehole" else tuple(f"x{number + 1}" for number in range(case.n_feature))
    if case.n_feature > len(BOREHOLE_INPUTS):
        low, high = case.bounds[0]
        inputs = [Input("x", "1", low, high, case.n_feature)]
    else:
        inputs = [Input(one, "1", low, high) for one, (low, high) in zip(names, case.bounds.tolist(), strict=True)]
    network = MultiFidelity.of(inputs, [Output("y")], [[predictor]])
    domain = {one.name: one.field.bounds for one in inputs if one.field.bounds is not None}
    about = {"function": name, "engine": predictor.engine, "seed": run.seed, **run.records}
    return Surrogate(network, domain=domain, provenance=about)


def metrics_of(findings: Findings) -> dict[str, float]:
    """Return the key numbers, medians over seeds."""
    comparison, candidates = findings.comparison, findings.config.functions.engines
    metrics: dict[str, float] = {}
    for case in comparison.cases:
        for key, what in (("rel", "relative"), ("nrmse", "nrmse"), ("coverage95", "coverage95"), ("nll", "nll")):
            metrics[f"{case}_{key}"] = comparison.median(case, "auto", what)
        for engine in comparison.engines(case):
            metrics[f"{case}_{engine}_rel"] = comparison.median(case, engine, "relative")
            metrics[f"{case}_{engine}_coverage95"] = comparison.median(case, engine, "coverage95")
            metrics[f"{case}_{engine}_fit_cpu_s"] = comparison.median(case, engine, "fit_cpu_s")
    coverages = [metrics[f"{case}_coverage95"] for case in comparison.cases]
    metrics |= {"coverage95_mean": float(np.mean(coverages)), "coverage95_min": float(np.min(coverages))}
    metrics["auto_over_best"] = max(over_best(comparison, candidates).values())
    for law, one in findings.spreads.items():
        for key, value in zip(("mean_err", "std_err", "w1"), one.errors, strict=True):
            metrics[f"{key}_{law}"] = value
    if findings.sobol is not None:
        model, exact = findings.sobol
        metrics["sobol_first_err"] = float(np.abs(model.first.value - exact.first.value).max())
        metrics["sobol_total_err"] = float(np.abs(model.total.value - exact.total.value).max())
    for case, found in findings.races.items():
        metrics[f"adaptive_over_lhs_cost_{case}"] = found.cost_ratio
    return metrics


def tell(findings: Findings, metrics: Mapping[str, float]) -> Report:
    """Return the report, with every figure drawn."""
    comparison, options = findings.comparison, findings.config.functions
    report = Report(
        "Several fidelities, one prediction",
        "A handful of costly runs and many cheap ones of test functions with known answers. Every engine is fitted to "
        "the same runs and judged on fresh points; the automatic choice sees only runs, never the points it is "
        "judged on.",
    )
    report.facts(
        {
            "functions": len(comparison.cases),
            "automatic choice over the best engine, worst": metrics["auto_over_best"],
            "95 % intervals that hold, mean": metrics["coverage95_mean"],
            "95 % intervals that hold, least": metrics["coverage95_min"],
        }
    )
    _levels(report, findings)
    _engines(report, findings)
    if any(CASES[case].n_feature == 1 for case in comparison.cases):
        report.figure("curves", figures.curves(curves_of(comparison)), "Functions of one input by the engine chosen.")
    seed = comparison.seeds(comparison.cases[0])[0]
    predictions = {}
    for case in comparison.cases:
        one = comparison.found[case, comparison.choices[case, seed], seed]
        truth = CASES[case].levels[-1](CASES[case].test_points(options.n_test, seed))
        predictions[case] = Prediction(truth, one.values["mean"], one.values["std"])
    report.figure("parities", figures.parities(predictions), "Fresh points: prediction with 95 % interval over truth.")
    _spreads(report, findings)
    _races(report, findings)
    return report


def curves_of(comparison: Comparison) -> dict[str, Curve]:
    """Return the functions of one input by the engine chosen for the first design."""
    found = {}
    for case in comparison.cases:
        seed = comparison.seeds(case)[0]
        engine = comparison.choices[case, seed]
        line = comparison.found[case, engine, seed].line
        if line is not None:
            x = CASES[case].scaled(np.linspace(0, 1, N_LINE)[:, None])
            low, high = CASES[case].levels[0](x), CASES[case].levels[-1](x)
            label = f"{case}: {ENGINES[engine].label}"
            found[label] = Curve(x[:, 0], high, low, *line, CASES[case].sample(seed))
    return found


def _levels(report: Report, findings: Findings) -> None:
    report.section("What there is to learn from the cheap level", "The truth over the cheapest level, uniform points.")
    pairs: dict[str, tuple[Array, Array]] = {case: low_and_high(case, 600, 11) for case in findings.comparison.cases}
    report.figure("correlations", figures.correlations(pairs), "Truth over cheapest level; r is their correlation.")


def _engines(report: Report, findings: Findings) -> None:
    comparison, options = findings.comparison, findings.config.functions
    n = options.n_seed
    over = f"Medians over {n} designs." if n > 1 else "One design of each function."
    report.section(
        "The engines",
        f"{over} Errors are relative to the norm of the truth; `kriging of the truth alone` does not look at the cheap "
        "runs: where it wins, they do not help.",
    )
    engines = [*options.engines, *options.others]
    table = {case: {e: comparison.median(case, e, "relative") for e in engines} for case in comparison.cases}
    labels = {engine: ENGINES[engine].label for engine in engines}
    report.figure("errors", figures.errors(table, labels, "error, relative"), "Errors of all engines on fresh points.")
    for what, caption in (
        ("relative", "Error relative to the norm of the truth."),
        ("coverage95", "Share of fresh points inside the 95 % interval."),
        ("fit_cpu_s", "CPU seconds of one fit on one core."),
    ):
        rows = [[case, *(_cell(comparison.median(case, e, what)) for e in ("auto", *engines))] for case in table]
        report.table(("function", "automatic", *(labels[e] for e in engines)), rows, caption)
    picked = {case: sorted({comparison.choices[case, s] for s in comparison.seeds(case)}) for case in table}
    lines = [f"- `{case}`: {', '.join(labels[engine] for engine in names)}" for case, names in picked.items()]
    report.text("Chosen by held-out runs of the truth:\n\n" + "\n".join(lines))
    ratios = over_best(comparison, options.engines)
    lost = [f"`{case}` ({value:.2f} times the error of the best)" for case, value in ratios.items() if value > 1.15]
    if lost:
        report.text(f"The automatic choice missed the best engine by more than 15 % on {', '.join(lost)}.")
    coverage = {}
    for engine in engines:
        ones = [one for (_, name, _), one in comparison.found.items() if name == engine]
        if ones:
            levels = ones[0].scores.coverage
            coverage[labels[engine]] = {p: float(np.mean([one.scores.coverage[p] for one in ones])) for p in levels}
    report.figure("reliability", figures.reliability(coverage), "Coverage over all functions, by engine.")
    failed = sorted({f"- {labels[e]} on `{case}`: {text}" for (case, e, _), text in comparison.failures.items()})
    if failed:
        report.text("Without result:\n\n" + "\n".join(failed))


def _cell(value: float) -> float | None:
    return float(f"{value:.3g}") if np.isfinite(value) else None


def _spreads(report: Report, findings: Findings) -> None:
    if not findings.spreads:
        return
    name = findings.config.functions.cases[-1]
    report.section(
        f"The distribution of `{name}`",
        "The law of the inputs pushed through the model, beside exact Monte Carlo on the truth. The band is the "
        "sampling error and the model's own error together.",
    )
    drawn = {f"{law} inputs": one.drawn() for law, one in findings.spreads.items()}
    report.figure("densities", figures.densities(drawn, "output"), "Density and distribution function of the output.")
    rows = [(law, *map(_cell, one.errors)) for law, one in findings.spreads.items()]
    columns = ("inputs", "error of the mean", "error of the standard deviation", "Wasserstein-1 distance")
    report.table(columns, rows, "In standard deviations of the truth.")
    if findings.sobol is not None:
        model, exact = findings.sobol
        names = BOREHOLE_INPUTS if name == "borehole" else model.names
        bars = {"first order": model.first, "total": model.total}
        shown = {label: (one.value, 1.96 * one.standard_error) for label, one in bars.items()}
        true = {"first order": exact.first.value, "total": exact.total.value}
        caption = "Sobol indices with 95 % intervals that hold the model's own error; the lines are those of the truth."
        if len(names) <= 20:
            report.figure("sensitivities", figures.sensitivities(names, shown, true), caption)


def _races(report: Report, findings: Findings) -> None:
    if not findings.races:
        return
    report.section(
        "Which run to buy next",
        "Runs bought one by one where they lower the uncertainty of the truth most for their cost, against Latin "
        "hypercubes of both levels of the same cost.",
    )
    for case, one in findings.races.items():
        lines = {"adaptive": one.adaptive, "Latin hypercubes": one.fixed}
        figure = figures.costs(lines, "cost of all runs (runs of the cheapest level)", "error, relative")
        ratio = one.cost_ratio
        verdict = f"{ratio:.2f} times their cost" if np.isfinite(ratio) else "not reached at the same cost"
        report.figure(f"race_{case}", figure, f"`{case}`: the error of the largest hypercube at {verdict}.")
