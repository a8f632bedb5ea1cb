"""The report of the velocity task."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sciml import Report
from sciml_cosmo.metrics import r2
from sciml_cosmo.velocity import figures
from sciml_cosmo.velocity.baselines import Row
from sciml_cosmo.velocity.compare import Findings

COLUMNS = (
    "method",
    "R² per cloud",
    "± (bootstrap)",
    "R² pooled",
    "R² per axis",
    "fitted numbers",
    "fit (CPU s)",
    "chosen",
)
KINDS = {"linear": "", "oracle": " (oracle: fitted to these boxes)", "network": ""}


def tell(findings: Findings, metrics: Mapping[str, float]) -> Report:
    """Return the report.

    Parameters
    ----------
    findings : all that was found.
    metrics : R^2 by name.
    """
    split = findings.split
    best, oracle = metrics["velocity_r2_best"], metrics["velocity_r2_oracle_lt"]
    verb = f"{best - oracle:.3f} more than" if best > oracle else f"{oracle - best:.3f} less than"
    made = f"`{findings.config.files}`" if findings.config.files else "universes made by this plugin"
    report = Report(
        "Velocities of haloes",
        f"From where haloes are and how heavy they are to how they move, in {made}. On {len(split.test)} test boxes of "
        f"cosmologies that no fit saw, the equivariant network has an R² per cloud of **{best:.3f}**, {verb} "
        "linear theory with the amplitude and smoothing of each test box taken from its own velocities.",
    )
    report.facts({
        "boxes to fit, choose, judge": " / ".join(str(len(part)) for part in split.parts),
        "nodes of a box": f"{min(map(len, split.train))}–{max(map(len, split.train))}",
        "R² honest linear theory": metrics["velocity_r2_honest_lt"],
        "R² oracle linear theory": oracle,
        "R² equivariant network": best,
    })  # fmt: skip
    _table(report, findings, metrics)
    _pictures(report, findings)
    if findings.shifted:
        _redshift(report, findings, metrics)
    _leaks(report, findings, metrics)
    return report


def lines_of(rows: Mapping[str, Row], metrics: Mapping[str, float], prefix: str) -> list[tuple]:
    """Return the lines of the table of methods, the worst first; `prefix` is that of their metrics."""
    lines = []
    for name, row in sorted(rows.items(), key=lambda item: metrics[f"{prefix}_{item[0]}"]):
        scores = [metrics[f"{prefix}_{name}{end}"] for end in ("", "_error", "_pooled", "_per_axis")]
        fitted, spent = row.about["n_fitted"], row.about.get("cpu_s")
        seconds = None if spent is None else round(spent, 1)
        lines.append((row.title + KINDS[row.kind], *(round(x, 3) for x in scores), fitted, seconds, row.about["note"]))
    return lines


def _table(report: Report, findings: Findings, metrics: Mapping[str, float]) -> None:
    report.section(
        "Every method on the same test boxes",
        "R² per cloud is the mean over boxes of 1 − S / T, with one mean velocity for all axes: what CosmoBench gives "
        "for linear theory and networks. Pooled is 1 − mean S / mean T, what it gives for least squares; per axis "
        "takes a mean for each axis. Everything is fitted on the training boxes and chosen on the validation boxes, "
        "but for the oracles. A row that is given the true Omega_m of a test box says so.",
    )
    lines = lines_of(findings.rows, metrics, "velocity_r2")
    marked = next(i for i, line in enumerate(lines) if line[0] == findings.rows[findings.best].title)
    report.table(COLUMNS, lines, "Real space.", highlight=marked)


def _pictures(report: Report, findings: Findings) -> None:
    rows, truth = findings.rows, findings.split.truth
    honest, best = rows[findings.honest], rows[findings.best]
    values = [r2([t], [p]) for t, p in zip(truth, best.predicted, strict=True)]
    middle = int(np.argsort(values)[len(values) // 2])
    cloud = findings.split.test[middle]
    report.section("A box")
    shown = {
        "true": cloud.velocities,
        "linear theory": honest.predicted[middle],
        "equivariant network": best.predicted[middle],
    }
    report.figure(
        "box", figures.box_slice(cloud, shown),
        f"A slice of 20 Mpc/h of the test box {cloud.simulation}, the median one for the network; discs are haloes, "
        "larger where heavier.",
    )  # fmt: skip
    report.section("Predicted and true")
    panels = {
        "linear theory": honest,
        "least squares": rows["lls"],
        "published network": rows["gnn"],
        "equivariant": best,
    }
    report.figure(
        "scatter", figures.scatter(truth, {title: row.predicted for title, row in panels.items()}),
        "Components of the velocities in all test boxes; the line is where they agree.",
    )  # fmt: skip
    if all("Omega_m" in cloud.cosmology for cloud in findings.split.test):
        omega_m = np.array([cloud.cosmology["Omega_m"] for cloud in findings.split.test])
        panels = {"oracle linear theory": rows[findings.oracle], **panels}
        each = {
            title: np.array([r2([t], [p]) for t, p in zip(truth, row.predicted, strict=True)])
            for title, row in panels.items()
        }
        report.figure("cosmology", figures.by_cosmology(omega_m, each), "R² of each test box over its cosmology.")


def _redshift(report: Report, findings: Findings, metrics: Mapping[str, float]) -> None:
    report.section(
        "In redshift space",
        "The third coordinate is shifted by the velocity along it, as an observer sees it. Linear theory divides by "
        "Kaiser's factor 1 + beta mu², least squares shrinks separations along the line of sight and has weights of "
        "its own there, the equivariant network sees the line of sight as one more vector, and all graphs are "
        "built anew.",
    )
    report.table(COLUMNS, lines_of(findings.shifted, metrics, "velocity_redshift_r2"), "Redshift space.")


def _leaks(report: Report, findings: Findings, metrics: Mapping[str, float]) -> None:
    lines = [("all it sees", metrics["velocity_r2_best"]), ("without the number of nodes", findings.networks.hidden)]
    if findings.networks.recommended.view.sees_mass:
        lines.append(("trained without masses", metrics["velocity_r2_equivariant_number"]))
    report.section(
        "What the network leans on",
        "The number of haloes above a mass and the masses themselves follow the cosmology, and with it how fast things "
        "move. Masses enter by their ratios within a box only, so that the particle mass of a simulation, which is "
        "proportional to Omega_m, stays unseen. The number density is an input; in the second line it is replaced, "
        "after training, by that of the average node.",
    )
    report.table(("equivariant network", "R² per cloud"), [(name, round(value, 3)) for name, value in lines])
