"""The study of models behind addresses: any UM-Bridge servers as levels, from the cheapest to the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
import xarray as xr
from scipy.stats import qmc

from sciml import FieldSpec, Operator, Report, Results, Run, Surrogate
from sciml.experiment import content_hash
from sciml.plugins import plugins
from sciml.threads import one_core
from sciml_mfuq.choose import Choice, choose
from sciml_mfuq.engines import ENGINES, fit_engine
from sciml_mfuq.model import evaluate, relative_error
from sciml_mfuq.samples import Array, Samples
from sciml_mfuq.simulators.simulator import converged_only, marked
from sciml_mfuq.study import figures
from sciml_mfuq.study.config import MfuqConfig, UrlsConfig
from sciml_mfuq.surrogate import Input, MultiFidelity, Output
from sciml_mfuq.tables import samples_of, to_dataset

OPERATOR = "couplings.umbridge"
"""Registered name of the operator that asks a model behind a URL."""
OUTPUT = Output("y", description="The output that was asked for")


@dataclass(frozen=True)
class UrlFindings:
    """The choice among the engines, its prediction of fresh runs of the truth, and errors relative to their norm."""

    samples: Samples
    choice: Choice
    prediction: figures.Prediction
    error: float
    alone_error: float


def study_urls(config: MfuqConfig, run: Run) -> Results:
    """Ask the models, fit, judge on fresh runs of the truth, report."""
    options = config.urls
    inputs = [Input(f"x{i + 1}", "1", *ends) for i, ends in enumerate(zip(options.low, options.high, strict=True))]
    models = {url: _model(url) for url in options.urls}  # one that is not there is told before any is run
    plan = [*zip(models, options.n_run, strict=True), (options.urls[-1], options.n_test)]
    runs = []
    with run.progress.track(len(plan) + 1, "models behind addresses") as update, one_core():
        for number, (url, n) in enumerate(plan):
            runs.append(ask(models[url], inputs, _points(inputs, n, run.seed, number), options))
            update(number + 1, url)
        found = _judged(dict(zip(options.urls, runs, strict=False)), runs[-1], inputs, options, run.seed)
        update(len(plan) + 1, "fits")
    run.record(data_sha256=content_hash(*(one["y"].values for one in runs)))
    network = MultiFidelity.of(inputs, [OUTPUT], [[found.choice.predictor]])
    domain = {one.name: one.field.bounds for one in inputs if one.field.bounds is not None}
    surrogate = Surrogate(network, domain=domain, provenance={"urls": list(options.urls), "seed": run.seed})
    n_failed = sum(int((~one["converged"].values).sum()) for one in runs)
    held_out = found.choice.evidence[found.choice.engine].rmse / float(np.sqrt(np.mean(found.samples.truth.y**2)))
    metrics = {"urls_rel": found.error, "urls_alone_rel": found.alone_error, "urls_held_out_rel": held_out}
    inside = np.abs(found.prediction.truth - found.prediction.mean) <= 1.96 * found.prediction.std
    metrics |= {"urls_coverage95": float(inside.mean()), "urls_n_failed": float(n_failed)}
    return Results(metrics, _tell(found, runs, options, metrics), surrogate)


def ask(model: Operator, inputs: Sequence[Input], x: Array, options: UrlsConfig) -> xr.Dataset:
    """Return the runs of a model at points (batch, feature), several at a time.

    *Contract*: a point that the server refuses or cannot compute is NaN, `converged` false, and `reason` says why.
    """

    def one(point: Array) -> tuple[float, str]:
        data = xr.Dataset({"inputs": (("batch", "feature"), point[None], {"units": "1"})})
        try:
            values = model(data)["outputs"].values[0]
        except ValueError as error:
            return np.nan, str(error)
        if options.output >= len(values):
            raise ValueError(f"urls.output: expected less than {len(values)} outputs, got {options.output}; lower it")
        return float(values[options.output]), ""

    with ThreadPoolExecutor(options.n_parallel) as pool:
        answers = list(pool.map(one, x))
    values = xr.Dataset({"y": ("batch", np.array([value for value, _ in answers]), {"units": "1"})})
    return marked(values, to_dataset(inputs, x), [reason for _, reason in answers])


def _model(url: str) -> Operator:
    """Return the operator of ``http://host:port/model``."""
    parts = urlsplit(url)
    base, _, name = parts.path.rpartition("/")
    fields = (FieldSpec("inputs", ("batch", "feature")),), (FieldSpec("outputs", ("batch", "value")),)
    address = f"{parts.scheme}://{parts.netloc}{base}"
    made: Operator = plugins().resolve("operators", OPERATOR)(address, *fields, model=name or "forward", n_parallel=1)
    return made


def _points(inputs: Sequence[Input], n: int, seed: int, stream: int) -> Array:
    u = qmc.LatinHypercube(len(inputs), rng=np.random.default_rng([seed, stream])).random(n)
    low, high = np.array([one.range for one in inputs]).T
    return np.asarray(low + u * (high - low))


def _judged(
    levels: Mapping[str, xr.Dataset], test: xr.Dataset, inputs: Sequence[Input], options: UrlsConfig, seed: int
) -> UrlFindings:
    costs = dict(zip(options.urls, options.costs, strict=True))
    kept = {url: converged_only(one, url)[0] for url, one in levels.items()}
    samples = samples_of(kept, inputs, OUTPUT, costs=costs)
    fresh = samples_of({"truth": converged_only(test, "truth")[0]}, inputs, OUTPUT).truth
    choice = choose(samples, options.engines, seed=seed)
    mean, std = evaluate(choice.predictor, fresh.x)
    alone = evaluate(fit_engine("gp", samples, seed), fresh.x)[0]
    errors = relative_error(mean, fresh.y), relative_error(alone, fresh.y)
    return UrlFindings(samples, choice, figures.Prediction(fresh.y, mean, std), *errors)


def _tell(found: UrlFindings, runs: Sequence[xr.Dataset], options: UrlsConfig, metrics: Mapping[str, float]) -> Report:
    report = Report(
        "Models behind addresses",
        f"{len(options.urls)} UM-Bridge models over {len(options.low)} inputs, the last one as the truth, judged on "
        f"{len(found.prediction.truth)} of its runs that nothing was fitted to.",
    )
    report.facts(
        {
            "error, relative": metrics["urls_rel"],
            "error without the cheap models": metrics["urls_alone_rel"],
            "error of left-out runs": metrics["urls_held_out_rel"],
            "95 % intervals that hold": metrics["urls_coverage95"],
        }
    )
    report.text(f"Chosen by left-out runs: {ENGINES[found.choice.engine].label}.")
    report.figure("parity", figures.parities({"y": found.prediction}), "Prediction with its 95 % interval over truth.")
    names = [*options.urls, f"{options.urls[-1]}, to judge"]
    rows = []
    for name, one in zip(names, runs, strict=True):
        lost = int((~one["converged"].values).sum())
        rows.append((name, one.sizes["batch"], lost))
        reasons = Counter(str(reason) for reason in one["reason"].values if reason)
        report.text("\n".join(f"- {name}: {n} runs without an answer: {why}" for why, n in reasons.most_common(3)))
    report.table(("model", "runs", "without an answer"), rows, "Runs without an answer were left out.")
    return report
