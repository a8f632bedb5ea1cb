"""The key numbers of the multi-fidelity plugin beyond the comparison of engines, each measured by one function."""

from __future__ import annotations

import functools
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import scipy.stats

from sciml import Run, Surrogate, load
from sciml_mfuq.engines import fit_engine
from sciml_mfuq.estimators.repeated import control_variate_repeats, cv_rmse_over_mc
from sciml_mfuq.kriging.cokriging import fit_cokriging
from sciml_mfuq.model import evaluate
from sciml_mfuq.networks.residual import fit_residual
from sciml_mfuq.propagation.laws import Law
from sciml_mfuq.propagation.sobol import sobol_indices
from sciml_mfuq.samples import Array
from sciml_mfuq.sampling.infill import race
from sciml_mfuq.simulators.program import MissingProgram
from sciml_mfuq.study.config import MfuqConfig
from sciml_mfuq.study.functions import CASES
from sciml_mfuq.study.run_field import assess_pair, field_metrics, field_pair
from sciml_mfuq.study.run_functions import surrogate_of
from sciml_mfuq.study.spread import LAWS, law_of, spread
from sciml_mfuq.tables import to_dataset

Measure = Callable[[MfuqConfig, Run], dict[str, float]]
ISHIGAMI = np.array([[0.3139, 0.4424, 0.0], [0.5576, 0.4424, 0.2437]])
"""First-order and total indices for a = 7, b = 0.1, in closed form."""
R_W_FIRST = 0.8289
"""First-order index of the radius of the borehole, by Gauss quadrature."""
RIPPLE = 0.05
"""Amplitude of the deliberate error of a surrogate, in standard deviations of the truth, beside 2 % of its value."""


def large_cokriging(config: MfuqConfig, run: Run) -> dict[str, float]:
    """Fit co-kriging to 4,000 and 500 runs of the 32-dimensional function; leave it out where none are asked for."""
    if "d32" not in config.bench.large:
        return {}
    case, before = CASES["d32"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    samples = case.sample(run.seed, (4000, 500))
    start = time.process_time()
    model = fit_cokriging(samples, seed=run.seed)
    seconds = time.process_time() - start
    x = case.test_points(2000, run.seed)
    truth = case.levels[-1](x)
    mean, std = evaluate(model, x)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "cokriging_d32_4000_fit_cpu_s": seconds,
        "cokriging_d32_4000_extra_mb": (peak - before) / 1024,
        "cokriging_d32_4000_nrmse": float(np.sqrt(np.mean((mean - truth) ** 2)) / truth.std()),
        "cokriging_d32_4000_coverage95": float(np.mean(np.abs(mean - truth) <= 1.96 * std)),
    }


def moments(config: MfuqConfig, run: Run) -> dict[str, float]:
    """Push both laws through models of c1 and of d32, against exact Monte Carlo."""
    metrics = {}
    plans = [("1d", "c1", "cokriging")] + [("32d", "d32", "residual")] * ("d32" in config.bench.large)
    for label, name, engine in plans:
        case = CASES[name]
        predict = functools.partial(evaluate, fit_engine(engine, case.sample(run.seed), run.seed))
        for kind in LAWS:
            options = config.spread
            found = spread(case, predict, kind, n_sample=options.n_sample, n_exact=options.n_exact, seed=run.seed)
            for key, value in zip(("moments_mean_err", "moments_std_err", "w1"), found.errors, strict=True):
                metrics[f"{key}_{label}_{kind}"] = value
    for key in ("moments_mean_err", "moments_std_err", "w1"):
        metrics[f"{key}_1d"] = max(metrics[f"{key}_1d_{kind}"] for kind in LAWS)
        if len(plans) > 1:
            metrics[f"{key}_32d"] = max(metrics[f"{key}_32d_{kind}"] for kind in LAWS)
    return metrics


def estimators(config: MfuqConfig, run: Run) -> dict[str, float]:
    """Compare multi-fidelity Monte Carlo with plain Monte Carlo, and count intervals with a biased surrogate."""
    park, well = CASES["park"], CASES["borehole"]
    law = law_of(park, "uniform")
    truth_mean = float(np.mean(park.levels[-1](law.sample(2**20, run.seed))))
    ratio, with_pilot = cv_rmse_over_mc(
        park.levels[::-1], law, [100.0, 1.0], budget=5000.0, true_mean=truth_mean, n_pilot=20,
        n_repeats=config.bench.n_repeat, seed=run.seed,
    )  # fmt: skip
    law = law_of(well, "uniform")
    x = law.sample(2**18, run.seed + 1)
    mean, sigma = float(well.levels[-1](x).mean()), float(well.levels[-1](x).std())
    value, low, high = control_variate_repeats(
        well.levels[-1], functools.partial(_biased, sigma), law, n_truth=50, n_surrogate=20_000,
        n_repeats=config.bench.n_repeat, seed=run.seed,
    )  # fmt: skip
    return {
        "cv_rmse_over_mc": ratio,
        "cv_rmse_over_mc_with_pilot": with_pilot,
        "biased_surrogate_coverage95": float(np.mean((low <= mean) & (mean <= high))),
        "biased_surrogate_rmse_over_sigma": float(np.sqrt(np.mean((value - mean) ** 2)) / sigma),
    }


def _biased(sigma: float, x: Array) -> Array:
    well = CASES["borehole"]
    u = (x - well.bounds[:, 0]) / np.diff(well.bounds, axis=1)[:, 0]
    return 1.02 * well.levels[-1](x) + RIPPLE * sigma * np.sqrt(2) * np.sin(2 * np.pi * u.sum(1))


def adaptive(config: MfuqConfig, run: Run) -> dict[str, float]:
    """Let adaptive sampling race against hypercubes of the same cost."""
    options, metrics = config.adaptive, dict[str, float]()
    for name in dict.fromkeys((*options.cases, *(("park",) if "park" in config.bench.cases else ()))):
        ratios = []
        for seed in range(run.seed, run.seed + config.bench.n_seed):
            found = race(CASES[name], factor=options.factor, n_step=options.n_step, seed=seed, n_test=2000)
            ratios.append(found.cost_ratio)
        metrics[f"adaptive_over_lhs_cost_{name}"] = float(np.median(ratios))
    return metrics | {"adaptive_over_lhs_cost": max(metrics.values())}


def sensitivity(config: MfuqConfig, run: Run) -> dict[str, float]:
    """Estimate Sobol indices with known values, and those of the borehole by its model."""
    side = scipy.stats.uniform(-np.pi, 2 * np.pi)
    found = sobol_indices(_ishigami, Law({"x1": side, "x2": side, "x3": side}), seed=run.seed)
    well = CASES["borehole"]
    model = fit_engine("cokriging", well.sample(run.seed), run.seed)
    of_model = sobol_indices(
        functools.partial(evaluate, model), law_of(well, "uniform"), config.spread.n_sobol, seed=run.seed
    )
    return {
        "sobol_ishigami_first_err": float(np.abs(found.first.value - ISHIGAMI[0]).max()),
        "sobol_ishigami_total_err": float(np.abs(found.total.value - ISHIGAMI[1]).max()),
        "sobol_borehole_r_w_err": abs(float(of_model.first.value[0]) - R_W_FIRST),
    }


def _ishigami(x: Array) -> Array:
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


def fields(config: MfuqConfig, run: Run) -> dict[str, float]:
    """Fit pressure fields of two flows by XFOIL, several designs; NaN where the program is missing."""
    found = []
    try:
        for seed in range(run.seed, run.seed + config.bench.n_seed):
            found.append(assess_pair(field_pair(config.field, seed, config.n_worker), seed))
    except MissingProgram as error:
        run.log(f"fields were not measured: {error}")
        return {"cp_field_rel": float("nan"), "cp_field_over_alone": float("nan")}
    return field_metrics(found)


def stored_model(config: MfuqConfig, run: Run) -> tuple[Surrogate, dict[str, float]]:
    """Save, load and ask a model of 3,000 runs of the borehole."""
    case = CASES["borehole"]
    predictor = fit_residual(case.sample(run.seed, (2700, 300)), seed=run.seed)
    surrogate = surrogate_of("borehole", predictor, run)
    with tempfile.TemporaryDirectory() as folder:
        surrogate.save(Path(folder) / "model")
        size = sum(path.stat().st_size for path in (Path(folder) / "model").iterdir())
        again = load(Path(folder) / "model")
    x = case.test_points(config.bench.n_predict, run.seed)
    inputs = to_dataset(again.network.inputs, x)  # type: ignore[arg-type]
    start = time.process_time()
    answer = again.predict(inputs)
    seconds = time.process_time() - start
    truth = case.levels[-1](x)
    error = float(np.linalg.norm(answer["y"].values - truth) / np.linalg.norm(truth))
    found = {"stored_model_mb": size / 1e6, "stored_model_predict_cpu_s": seconds, "stored_model_rel": error}
    return surrogate, found


PARTS: Mapping[str, Measure] = {
    "Co-kriging of 32 inputs": large_cokriging,
    "Moments against exact Monte Carlo": moments,
    "Unbiased estimates": estimators,
    "Adaptive sampling": adaptive,
    "Sobol indices": sensitivity,
    "Pressure fields": fields,
}
"""Title in the report -> what measures it."""
