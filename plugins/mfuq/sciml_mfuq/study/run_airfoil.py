"""The study of lift and drag of an aerofoil by real programs, under an uncertain angle of attack."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.stats
import xarray as xr
from scipy.stats import qmc

from sciml import Report, Results, Run, Surrogate
from sciml.experiment import content_hash
from sciml.threads import one_core
from sciml_mfuq.choose import Choice, choose
from sciml_mfuq.engines import ENGINES, fit_engine
from sciml_mfuq.model import evaluate, relative_error
from sciml_mfuq.propagation.distribution import Distribution
from sciml_mfuq.propagation.laws import Law
from sciml_mfuq.propagation.propagate import propagate
from sciml_mfuq.samples import Array, Samples
from sciml_mfuq.simulators.airfoil import naca4
from sciml_mfuq.simulators.chain import COST_S, laminar_chain
from sciml_mfuq.simulators.neuralfoil import NeuralFoil
from sciml_mfuq.simulators.program import Execution
from sciml_mfuq.simulators.simulator import converged_only
from sciml_mfuq.simulators.xfoil import Xfoil
from sciml_mfuq.study import figures
from sciml_mfuq.study.config import AirfoilConfig, MfuqConfig
from sciml_mfuq.study.figures import Curve, Prediction
from sciml_mfuq.surrogate import Input, MultiFidelity, Output
from sciml_mfuq.tables import samples_of, to_dataset

OUTPUTS = (
    Output("lift_coefficient", "1", description="Lift coefficient"),
    Output("drag_coefficient", "1", description="Drag coefficient"),
)
INPUTS = (
    Input("angle_of_attack", "degree", -2.0, 12.0, description="Angle of attack"),
    Input("reynolds", "1", 2e5, 5e6, description="Reynolds number of the chord", logarithmic=True),
)
FEW = ("gp", "cokriging")
MANY = ("gp", "cokriging", "nargp", "residual")


@dataclass(frozen=True)
class Judged:
    """An output over angle and Reynolds number: its choice, its prediction of fresh runs, errors beside others."""

    choice: Choice
    prediction: Prediction
    error: float
    alone_error: float
    low_error: float


@dataclass(frozen=True)
class Chained:
    """An output of the laminar chain of programs: runs, choice, the curve over the angle, its distribution."""

    samples: Samples
    choice: Choice
    curve: Curve
    law: Distribution


def study_airfoil(config: MfuqConfig, run: Run) -> Results:
    """Run the programs, fit, judge on fresh runs, push the uncertain angle through, report."""
    options, execution = config.airfoil, Execution(n_workers=config.n_worker)
    with run.progress.track(4, "aerofoil") as update, one_core():
        runs = polar_runs(options, run.seed, execution)
        update(1, "runs")
        chained = {one.name: chain_of(one, options, config, run.seed, execution) for one in OUTPUTS}
        update(2, "laminar chain")
        judged = {one.name: judge(one, runs, run.seed) for one in OUTPUTS}
        update(4, "lift and drag")
    run.record(data_sha256=content_hash(*(runs[kind][one.name].values for kind in ("low", "high") for one in OUTPUTS)))
    network = MultiFidelity.of(INPUTS, OUTPUTS, [[judged[one.name].choice.predictor] for one in OUTPUTS])
    domain = {one.name: one.field.bounds for one in INPUTS if one.field.bounds is not None}
    surrogate = Surrogate(network, domain=domain, provenance={"airfoil": options.airfoil, "seed": run.seed})
    return Results(_metrics(judged, chained), _tell(judged, chained, config), surrogate)


def has_neuralfoil() -> bool:
    """Say whether the cheap level can be NeuralFoil; else it is the potential flow of XFOIL."""
    return importlib.util.find_spec("neuralfoil") is not None


def polar_runs(options: AirfoilConfig, seed: int, execution: Execution) -> dict[str, xr.Dataset]:
    """Return runs "low", "high" and "test" over angle and Reynolds number, each on a Latin hypercube of its own."""
    shape = naca4(options.airfoil)
    viscous = Xfoil(shape, inputs=("angle_of_attack", "reynolds"), execution=execution)

    def points(n: int, stream: int) -> xr.Dataset:
        u = qmc.LatinHypercube(2, rng=np.random.default_rng([seed, stream])).random(n)
        low, high = np.array([one.range for one in INPUTS]).T
        return to_dataset(INPUTS, low + u * (high - low))

    found = {}
    for number, (kind, n) in enumerate((("high", options.n_high), ("test", options.n_test))):
        found[kind] = converged_only(viscous(points(n, number)), "XFOIL")[0]
    cheap = points(options.n_low, 2)
    if has_neuralfoil():
        found["low"] = NeuralFoil(shape)(cheap)
    else:
        potential = Xfoil(shape, inputs=("angle_of_attack",), viscous=False, execution=execution)
        found["low"] = converged_only(potential(cheap[["angle_of_attack"]]), "inviscid XFOIL")[0]
    return found


def judge(output: Output, runs: Mapping[str, xr.Dataset], seed: int) -> Judged:
    """Fit one output with and without the cheap level, and judge on the test runs."""
    samples = samples_of({"low": runs["low"], "XFOIL": runs["high"]}, INPUTS, output, costs={"XFOIL": 50.0})
    test = samples_of({"XFOIL": runs["test"]}, INPUTS, output).truth
    choice, alone = choose(samples, MANY, seed=seed), fit_engine("gp", samples, seed)
    mean, std = evaluate(choice.predictor, test.x)
    low = fit_engine("gp", Samples((samples.levels[0],), samples.bounds), seed) if has_neuralfoil() else None
    low_error = np.nan if low is None else relative_error(evaluate(low, test.x)[0], test.y)
    alone_error = relative_error(evaluate(alone, test.x)[0], test.y)
    return Judged(choice, Prediction(test.y, mean, std), relative_error(mean, test.y), alone_error, float(low_error))


def chain_of(output: Output, options: AirfoilConfig, config: MfuqConfig, seed: int, execution: Execution) -> Chained:
    """Fit one output of the laminar chain, whose truth are recorded runs, and push the uncertain angle through."""
    samples = laminar_chain(output.name, execution=execution, n_neuralfoil=33 if has_neuralfoil() else 0)
    choice = choose(samples, FEW, seed=seed)
    (low, high), mean, std = samples.bounds[0], options.angle_mean, options.angle_std
    angle = scipy.stats.truncnorm((low - mean) / std, (high - mean) / std, mean, std)
    law = Law({"angle_of_attack": angle}, units={"angle_of_attack": "degree"})
    predict = functools.partial(evaluate, choice.predictor)
    spread = propagate(predict, law, config.spread.n_sample, seed=seed, name=output.name)
    x = np.linspace(low, high, 201)
    mean_line, std_line = predict(x[:, None])
    below = samples.levels[-2]
    cheap = np.interp(x, *_sorted(below.x[:, 0], below.y))
    return Chained(samples, choice, Curve(x, np.full_like(x, np.nan), cheap, mean_line, std_line, samples), spread)


def _sorted(x: Array, y: Array) -> tuple[Array, Array]:
    order = np.argsort(x)
    return x[order], y[order]


def _metrics(judged: Mapping[str, Judged], chained: Mapping[str, Chained]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for name, one in judged.items():
        short, inside = (
            name.split("_")[0],
            np.abs(one.prediction.truth - one.prediction.mean) <= 1.96 * one.prediction.std,
        )
        metrics |= {f"{short}_rel": one.error, f"{short}_alone_rel": one.alone_error, f"{short}_low_rel": one.low_error}
        metrics[f"{short}_coverage95"] = float(inside.mean())
    for name, link in chained.items():
        short, moments = name.split("_")[0], link.law.moments()
        metrics |= {f"laminar_{short}_{what}": float(moments[what].value) for what in ("mean", "std")}
        metrics[f"laminar_{short}_mean_error"] = float(moments["mean"].standard_error)
    return metrics


def _tell(judged: Mapping[str, Judged], chained: Mapping[str, Chained], config: MfuqConfig) -> Report:
    options, cheap = config.airfoil, "NeuralFoil" if has_neuralfoil() else "potential flow by XFOIL"
    report = Report(
        "Lift and drag of an aerofoil",
        f"NACA {options.airfoil}: {cheap} as the cheap level and XFOIL as the truth over angle of attack and Reynolds "
        "number; and the laminar flow at Reynolds number 1000, where the truth are three recorded runs of Nektar++.",
    )
    report.facts({f"error of the {name.split('_')[0]}, relative": one.error for name, one in judged.items()})
    report.section("Over angle and Reynolds number", "Judged on runs of XFOIL that nothing was fitted to.")
    report.figure(
        "parities",
        figures.parities({name.replace("_", " "): one.prediction for name, one in judged.items()}),
        "Prediction with its 95 % interval over XFOIL.",
    )
    rows = [
        (name.replace("_", " "), ENGINES[one.choice.engine].label, one.error, one.alone_error, one.low_error)
        for name, one in judged.items()
    ]
    columns = ("output", "engine chosen", "both levels", "XFOIL runs alone", f"{cheap} alone")
    report.table(columns, rows, "Errors relative to the norm of the truth.")
    for name, one in judged.items():
        if one.choice.ignores_cheap_levels:
            report.text(f"The cheap runs do not help to predict the {name.replace('_', ' ')}: they were not used.")
    _tell_chain(report, chained, options)
    return report


def _tell_chain(report: Report, chained: Mapping[str, Chained], options: AirfoilConfig) -> None:
    first = next(iter(chained.values())).samples
    costs = ", ".join(f"{level.name} {len(level.x)} runs of {COST_S[level.name]:g} s" for level in first.levels)
    report.section(
        "Laminar flow, Reynolds number 1000",
        f"{costs}. The angle of attack is Gaussian with mean {options.angle_mean:g}° and standard deviation "
        f"{options.angle_std:g}°, cut at the ends of the range.",
    )
    curves = {
        f"{name.replace('_', ' ')}: {ENGINES[one.choice.engine].label}": one.curve for name, one in chained.items()
    }
    about = "XFOIL (dashed), recorded Nektar++ runs (dots), the model and its 95 % interval."
    report.figure("laminar", figures.curves(curves, "angle of attack (degree)", "coefficient"), about)
    laws = {name.replace("_", " "): one.law for name, one in chained.items()}
    report.figure("laminar_laws", figures.laws(laws), "Density under the uncertain angle, with its 95 % band.")
    rows = []
    for name, one in chained.items():
        for what, value in one.law.moments().items():
            errors = (float(value.sampling), float(value.surrogate))
            rows.append((name.replace("_", " "), what.replace("_", " "), float(value.value), *errors))
    columns = ("output", "statistic", "value", "sampling error", "error of the model, at most")
    report.table(columns, rows, "Moments under the uncertain angle.")
