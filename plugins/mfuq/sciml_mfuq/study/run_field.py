"""The study of the pressure on an aerofoil: potential flow as the cheap level, viscous flow as the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sciml import Report, Results, Run, Surrogate
from sciml.experiment import content_hash
from sciml.threads import one_core
from sciml_mfuq.engines import ENGINES
from sciml_mfuq.fields.cp_field import ANGLES, REYNOLDS, FieldPair, cp_field_pair
from sciml_mfuq.fields.modes import FieldFit, fit_fields
from sciml_mfuq.model import relative_error
from sciml_mfuq.samples import Array
from sciml_mfuq.simulators.program import Execution
from sciml_mfuq.study import figures
from sciml_mfuq.study.config import FieldConfig, MfuqConfig
from sciml_mfuq.surrogate import Input, MultiFidelity, Output
from sciml_mfuq.tables import samples_of

FIELD = "pressure_coefficient"
INPUTS = (
    Input("angle_of_attack", "degree", *ANGLES, description="Angle of attack"),
    Input("reynolds", "1", *REYNOLDS, description="Reynolds number of the chord", logarithmic=True),
)
FUSED = ("gp", "cokriging")
ALONE = ("gp",)


@dataclass(frozen=True)
class FieldFindings:
    """Runs, the model of both levels, and what it and others miss on runs that nothing was fitted to.

    Parameters
    ----------
    pair, fused, fit : runs, the surrogate of both levels and how its engines were chosen.
    errors : relative, of "both" levels, of the viscous flows "alone", of the potential flow ("low").
    coverage95 : share of nodes inside the 95 % interval.
    """

    pair: FieldPair
    fused: Surrogate
    fit: FieldFit
    errors: Mapping[str, float]
    coverage95: float


def fit_pair(pair: FieldPair, engines: tuple[str, ...], seed: int) -> tuple[Surrogate, FieldFit]:
    """Fit the field of a pair of simulators; each mode's engine is chosen by held-out runs."""
    n_node = pair.high.sizes["node"]
    output = Output(FIELD, "1", n_node, "Pressure coefficient at the nodes")
    samples = samples_of({"inviscid XFOIL": pair.low, "viscous XFOIL": pair.high}, INPUTS, output, costs={})
    fit = fit_fields(samples, engines, seed=seed)
    network = MultiFidelity.of(INPUTS, [output], [[choice.predictor for choice in fit.choices]])
    network.decoders[FIELD] = fit.decoder
    domain = {one.name: one.field.bounds for one in INPUTS if one.field.bounds is not None}
    return Surrogate(network, domain=domain, provenance={"seed": seed, "n_high": pair.high.sizes["batch"]}), fit


def assess_pair(pair: FieldPair, seed: int) -> FieldFindings:
    """Fit with and without the cheap level, and judge both on the test runs of the pair."""
    truth = pair.test[FIELD].transpose("batch", "node").values
    fused, fit = fit_pair(pair, FUSED, seed)
    alone, _ = fit_pair(pair, ALONE, seed)
    answer = fused.predict(pair.test, outside="allow")
    mean, std = answer[FIELD].values, answer[f"{FIELD}_std"].values
    errors = {
        "both": relative_error(mean, truth),
        "alone": relative_error(alone.predict(pair.test, outside="allow")[FIELD].values, truth),
        "low": relative_error(_nearest_low(pair), truth),
    }
    return FieldFindings(pair, fused, fit, errors, float(np.mean(np.abs(mean - truth) <= 1.96 * std)))


def study_field(config: MfuqConfig, run: Run) -> Results:
    """Run XFOIL, fit the field with and without the cheap level, judge, report."""
    found = []
    with run.progress.track(config.field.n_seed, "pressure fields") as update, one_core():
        for seed in range(run.seed, run.seed + config.field.n_seed):
            found.append(assess_pair(field_pair(config.field, seed, config.n_worker), seed))
            update(len(found), f"design {seed}")
    first = found[0]
    run.record(data_sha256=content_hash(*(part[FIELD].values for part in (first.pair.low, first.pair.high))))
    return Results(field_metrics(found), _tell(found, config), first.fused)


def field_pair(options: FieldConfig, seed: int, n_worker: int) -> FieldPair:
    """Run both flows; runs are kept in the cache."""
    execution = Execution(n_workers=n_worker)
    return cp_field_pair(options.n_low, options.n_high, options.n_test, seed=seed, execution=execution)


def field_metrics(found: list[FieldFindings]) -> dict[str, float]:
    """Return the key numbers, medians over designs."""
    both, alone, low = (np.array([one.errors[key] for one in found]) for key in ("both", "alone", "low"))
    return {
        "cp_field_rel": float(np.median(both)),
        "cp_field_alone_rel": float(np.median(alone)),
        "cp_field_low_rel": float(np.median(low)),
        "cp_field_over_alone": float(np.median(both / alone)),
        "cp_field_coverage95": float(np.median([one.coverage95 for one in found])),
    }


def _nearest_low(pair: FieldPair) -> Array:
    """Return the potential flow at the test angles, interpolated between the runs at the nearest angles."""
    order = np.argsort(pair.low["angle_of_attack"].values)
    angle = pair.low["angle_of_attack"].values[order]
    fields = pair.low[FIELD].transpose("batch", "node").values[order]
    at = pair.test["angle_of_attack"].values
    return np.stack([np.interp(at, angle, column) for column in fields.T], 1)


def _tell(found: list[FieldFindings], config: MfuqConfig) -> Report:
    first, metrics = found[0], field_metrics(found)
    report = Report(
        "Pressure on an aerofoil from two flows",
        f"The pressure coefficient on NACA 0012, angle of attack 0 to 10 degrees, Reynolds number 2×10⁵ to 5×10⁶: "
        f"{first.pair.low.sizes['batch']} potential flows and {first.pair.high.sizes['batch']} viscous ones by XFOIL, "
        f"judged on {first.pair.test.sizes['batch']} viscous flows that nothing was fitted to.",
    )
    report.facts(
        {
            "error, relative": metrics["cp_field_rel"],
            "error without the cheap level": metrics["cp_field_alone_rel"],
            "error of the cheap level alone": metrics["cp_field_low_rel"],
            "95 % intervals that hold": metrics["cp_field_coverage95"],
        }
    )
    ratio = metrics["cp_field_over_alone"]
    helped = "The cheap level helps" if ratio < 1 else "**The cheap level does not help here**"
    report.text(f"{helped}: the error is {ratio:.2f} times that of the model of the viscous flows alone.")
    report.section("Fields", "Flows that the model has not seen; pressure coefficients point down, as is the custom.")
    report.figure("fields", figures.field_rows(*_shown(first)), "Pressure along the chord, upper and lower side.")
    rows = [(f"mode {n + 1}", ENGINES[c.engine].label) for n, c in enumerate(first.fit.choices)]
    report.table(("amplitude", "engine chosen"), rows, "By how well each predicts left-out flows.")
    designs = [(i + 1, *one.errors.values(), one.coverage95) for i, one in enumerate(found)]
    columns = ("design", "both levels", "viscous flows alone", "potential flow", "coverage")
    report.table(columns, designs, "Errors relative to the norm of the truth, and nodes inside 95 % intervals.")
    if first.pair.notes:
        report.text("\n".join(f"- {note}" for note in first.pair.notes))
    return report


def _shown(found: FieldFindings) -> tuple[Array, dict[str, dict[str, Array]], str, str]:
    """Return the chord, and truth, cheap level and model of three test flows of small, middle and large angle."""
    test = found.pair.test
    order = np.argsort(test["angle_of_attack"].values)
    answer, low = found.fused.predict(test, outside="allow"), _nearest_low(found.pair)
    rows = {}
    for number in order[[len(order) // 6, len(order) // 2, -1 - len(order) // 6]]:
        angle, reynolds = float(test["angle_of_attack"][number]), float(test["reynolds"][number])
        rows[f"{angle:.1f}°, Re {reynolds:.1e}"] = {
            "truth": test[FIELD].transpose("batch", "node").values[number],
            "low": low[number],
            "mean": answer[FIELD].values[number],
            "std": answer[f"{FIELD}_std"].values[number],
        }
    return test["node_x"].values, rows, "chord", "pressure coefficient"
