"""The report of the parameter task: who predicts what, what leaks, and how right the errors are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sciml import Report
from sciml.report import plot_style
from sciml_cosmo.parameters import figures
from sciml_cosmo.parameters.features import candidate_cuts
from sciml_cosmo.parameters.hybrid import MEMBERS
from sciml_cosmo.parameters.leak import TARGETS

if TYPE_CHECKING:
    from sciml_cosmo.parameters.task import Findings

TITLES = {
    "lls": "least squares, pair statistics",
    "2pcf_ridge": "2PCF, ridge",
    "multipoles": "redshift-space multipoles, ridge",
    "2pcf": "2PCF + MLP",
    "gnn_plain": "graph network, no edge-edge messages",
    "gnn": "graph network",
    "joint": "graph network that sees the 2PCF",
    "hybrid": "hybrid, weighted mean",
}
R2 = "R² = 1 − Σ(truth − prediction)² / Σ(truth − mean)² over the test boxes, for each parameter"


def tell(findings: Findings) -> Report:
    """Return the report, with every figure drawn."""
    boxes, config, metrics = findings.boxes, findings.config, findings.metrics
    origin = "read from files" if config.files else "made with a particle-mesh code"
    report = Report(
        "Cosmological parameters from haloes",
        f"{len(boxes.clouds)} boxes of {boxes.clouds[0].box_size:g} Mpc/h, {origin}, {config.n_node} haloes of each "
        f"({config.sample}), positions alone. Every model is judged on {len(findings.test)} test boxes that no fit and "
        f"no choice has seen; trained {len(findings.fitted)} times, each time with other validation boxes.",
    )
    report.facts(
        {
            "hybrid, mean R²": metrics["param_r2_hybrid"],
            "Omega_m": metrics["param_r2_hybrid_om"],
            "sigma_8": metrics["param_r2_hybrid_s8"],
            "over the better of 2PCF and graph network": metrics["param_hybrid_over_best"],
            "truth in 90 % intervals (%)": 50 * (metrics["param_coverage_90_om"] + metrics["param_coverage_90_s8"]),
        }
    )
    add_chapters(report, findings)
    return report


def add_chapters(report: Report, findings: Findings) -> None:
    """Add tables and figures of the `findings` to a report."""
    with plot_style():
        for chapter in (_models, _leaks, _clustering, _errors, _choices):
            chapter(report, findings)


def _models(report: Report, findings: Findings) -> None:
    metrics = findings.metrics
    names = sorted(TITLES, key=lambda name: -metrics[f"param_r2_{name}"])
    rows = []
    for name in names:
        cells = [
            f"{metrics[f'param_r2_{name}{end}']:.3f} ± {metrics[f'param_r2_{name}{end}_error']:.3f}"
            for end in ("_om", "_s8", "")
        ]
        rows.append((TITLES[name], *cells))
    report.section("Models")
    note = f"{R2}; the mean over seeds. ± is a bootstrap over the test boxes."
    report.table(("model", "Omega_m", "sigma_8", "mean"), rows, note, [names.index("hybrid")])
    learned = max(("2pcf", "gnn_plain", "gnn", "joint", "hybrid"), key=lambda name: metrics[f"param_r2_{name}"])
    classical = max(("lls", "2pcf_ridge", "multipoles"), key=lambda name: metrics[f"param_r2_{name}"])
    if metrics[f"param_r2_{classical}"] > metrics[f"param_r2_{learned}"]:
        report.text(f"**A linear fit wins here**: {TITLES[classical]}.")
    report.text(
        "The multipoles also use velocities, through redshift space; the others see positions only. The hybrid is the "
        "mean of three networks with weights in tenths that the validation boxes chose for each parameter."
    )
    report.figure(
        "scatter", figures.scatter(findings, ("2pcf", "gnn", "hybrid"), TITLES),
        "Test boxes: predicted against true, all seeds. Bars: standard errors of the hybrid.",
    )  # fmt: skip


def _leaks(report: Report, findings: Findings) -> None:
    report.section(
        "Leaks",
        "What can be predicted without any position: ridge regression with quadratic terms on the logarithm of the "
        "number of haloes, or on seven quantiles of the logarithms of their masses, five-fold cross-validated over all "
        "boxes. Read every R² above beside these.",
    )
    rows = [(leak.sample, leak.probe, *(round(leak.r2[name], 3) for name in TARGETS)) for leak in findings.boxes.leaks]
    report.table(("haloes", "probe sees", "Omega_m", "sigma_8"), rows, f"{R2}, all boxes.")
    fixed = findings.boxes.leaks[-1]
    if fixed.probe == "mass only" and max(fixed.r2.values()) > 0.3:
        report.text("**Masses leak** from a fixed number of haloes too, and no model here is given any.")


def _clustering(report: Report, findings: Findings) -> None:
    report.section("Clustering")
    report.figure(
        "boxes", figures.boxes(findings),
        "A slice, a fifth of the side deep, of the boxes with the lowest, the middle and the highest sigma_8.",
    )  # fmt: skip
    report.figure(
        "two-point", figures.two_point(findings),
        "Correlation functions of all boxes, coloured by sigma_8, and of the boxes with the lowest and the highest "
        "fifth of each parameter.",
    )  # fmt: skip
    report.figure(
        "multipoles", figures.multipole_curves(findings),
        "Monopole and quadrupole in redshift space, means of fifths of the boxes by sigma_8.",
    )  # fmt: skip


def _errors(report: Report, findings: Findings) -> None:
    report.section("Errors of the hybrid", "Widened on the validation boxes, counted on the test boxes.")
    report.figure("coverage", figures.coverage_curve(findings), "Share of the truth inside central intervals.")
    rows = [
        (name, *(round(100 * share, 1) for share in scores.coverage.values()), scores.sharpness, scores.crps)
        for name, scores in findings.calibrated.items()
    ]
    levels = [f"in {100 * level:g} % (%)" for level in findings.calibrated[TARGETS[0]].coverage]
    report.table(("parameter", *levels, "mean standard error", "CRPS"), rows)


def _choices(report: Report, findings: Findings) -> None:
    cuts = candidate_cuts(findings.boxes.clouds[0].box_size)
    report.section("Choices made on validation boxes")
    rows = []
    for number, one in enumerate(findings.fitted):
        weights = [" : ".join(f"{w:.1f}" for w in column) for column in one.chosen.weights.T]
        chosen = ", ".join(f"{cuts[i]:.1f}" for i in one.chosen.cuts[:4])
        rows.append((number + 1, one.chosen.form, *weights, chosen))
    mix = " : ".join(TITLES[name] for name in MEMBERS)
    report.table(
        ("training", "form of the 2PCF", "weights, Omega_m", "weights, sigma_8", "first cut-offs (Mpc/h)"), rows,
        f"Weights: {mix}.",
    )  # fmt: skip
    report.figure(
        "training", figures.training(findings, TITLES), "Validation loss (Gaussian) of the networks, first training."
    )
