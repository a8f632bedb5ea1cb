"""The report of a solver run: pictures, histories, tables, and what each method is good for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sciml import Report
from sciml.report import plot_style
from sciml_solvers import figures
from sciml_solvers.compare import Timed, geometric_mean
from sciml_solvers.figures import METHODS

if TYPE_CHECKING:
    from sciml_solvers.experiment import Findings

Rows = Mapping[str, Mapping[str, Timed]]


def tell(findings: Findings) -> Report:
    """Return the report, with every figure drawn."""
    metrics = findings.metrics
    report = Report(
        "Pressure solvers",
        "A pressure equation on a grid with solids and a free surface, solved by conjugate gradients with several "
        "preconditioners, classical and learned. Every residual is computed again from the answer; every time is CPU "
        "time of one core. Nothing was trained on the problems shown here, but for the matrix of the two-dimensional "
        "`empty`.",
    )
    dcdm = findings.planes.rows[next(iter(findings.planes.rows))]
    report.facts(
        {
            "multigrid, most iterations": max(row["multigrid"].iterations for row in findings.masks.rows.values()),
            "CPU time, CG over multigrid": _inverse(metrics.get("multigrid_vs_cg_cpu_s")),
            "iterations, learned over tuned": metrics.get("learned_vs_tuned_iterations"),
            "iterations, DCDM over CG (2-D)": _ratio(dcdm, "iterations", "cg"),
            "CPU time, DCDM over multigrid (2-D)": _ratio(dcdm, "cpu_s", "multigrid"),
        }
    )
    with plot_style():
        for chapter in (_problems, _masks, _cycle, _directions, _use):
            chapter(report, findings)
    return report


def _inverse(value: float | None) -> float | None:
    return None if value is None else 1 / value


def _ratio(row: Mapping[str, Timed], what: str, other: str) -> float | None:
    return getattr(row["dcdm"], what) / getattr(row[other], what) if row["dcdm"].converged else None


def _problems(report: Report, findings: Findings) -> None:
    n = findings.config.masks.n
    report.section(
        "The problems",
        f"`-div(k grad p) = f` on {n}³ cells: closed walls, solids that nothing passes, pressure zero in air. `jumps` "
        "has a coefficient k of 1 and 10⁴ in the squares of a chessboard; `neumann` touches no air, so that its "
        "pressure is known up to a constant.",
    )
    report.figure("masks", figures.masks(findings.masks.problems), "The plane in the middle of each problem.")
    name, problem = next(iter(findings.masks.problems.items()))
    answer = findings.masks.rows[name]["multigrid"].answer
    report.figure(
        "solution",
        figures.solution(problem, answer),
        f"`{name}`: source and pressure in the plane in the middle, cells as units; solids are dark, air is pale. "
        f"Relative residual {findings.masks.rows[name]['multigrid'].residual:.1e}.",
    )


def _masks(report: Report, findings: Findings) -> None:
    metrics, rtol = findings.metrics, findings.config.rtol
    report.section("Multigrid against conjugate gradients", f"To a relative residual of {rtol:g}.")
    if "multigrid_vs_cg_cpu_s" in metrics:
        report.text(
            f"Multigrid needs **{100 * metrics['multigrid_vs_cg_iterations']:.1f} %** of the iterations of plain "
            f"conjugate gradients and **{100 * metrics['multigrid_vs_cg_cpu_s']:.0f} %** of their CPU time (geometric "
            "means over the problems that both solve), set-up included."
        )
    name, row = next(iter(findings.masks.rows.items()))
    report.figure("histories", figures.histories(row, rtol), f"Residuals on `{name}`; the dotted line is the goal.")
    _table(report, findings.masks.rows, "iterations", f"Iterations to {rtol:g}.")
    report.figure("times", figures.bars(findings.masks.rows), "CPU time of one core, set-up and solve.")
    _table(report, findings.masks.rows, "milliseconds", "CPU time of one core, set-up and solve (ms).")
    everything = [(n, m, one) for n, row in findings.masks.rows.items() for m, one in row.items()]
    worst = max(one.residual for *_, one in everything if one.converged)
    report.text(f"The largest true residual of the solves that arrived is {worst:.2e}.")
    for problem, method, one in everything:
        if not one.converged:
            report.text(
                f"{METHODS[method][0]} did not arrive on `{problem}`: it gave up after {one.iterations} iterations at "
                f"a residual of {one.residual:.1e}, which had not fallen for long."
            )


def _table(report: Report, rows: Rows, what: str, caption: str) -> None:
    methods = list(next(iter(rows.values())))
    cells = [[name.replace("_", " "), *(_cell(row[method], what) for method in methods)] for name, row in rows.items()]
    report.table(("problem", *(METHODS[method][0] for method in methods)), cells, caption)


def _cell(row: Timed, what: str) -> object:
    value = row.iterations if what == "iterations" else float(f"{1e3 * row.cpu_s:.3g}")
    return value if row.converged else f"not in {row.iterations}" if what == "iterations" else None


def _cycle(report: Report, findings: Findings) -> None:
    metrics = findings.metrics
    rows = {n: row for n, row in findings.masks.rows.items() if row["learned"].converged and row["tuned"].converged}
    report.section(
        "The learned cycle",
        "A network of about a thousand parameters looks at each cell's surroundings and sets relaxation factors, gains "
        "and coarse weights. The cycle stays symmetric and positive whatever its weights are, so that conjugate "
        f"gradients converge. It was trained for {findings.cycle.cpu_s:.0f} CPU seconds on random masks of 16 to 48 "
        "cells along an axis.",
    )
    if not rows:
        report.text("It did not arrive on any problem.")
        return
    ratios = {n: row["learned"].iterations / row["tuned"].iterations for n, row in rows.items()}
    worst, best = max(ratios, key=lambda n: ratios[n]), min(ratios, key=lambda n: ratios[n])
    whole = geometric_mean(row["learned"].cpu_s / row["multigrid"].cpu_s for row in rows.values())
    alone = geometric_mean(row["learned"].solve_cpu_s / row["multigrid"].solve_cpu_s for row in rows.values())
    ends = "it pays where many right-hand sides follow on one mask" if alone < 1 else "**it does not pay**"
    report.text(
        f"- Against the best uniform setting (relaxation {metrics['tuned_omega']:g}, coarse scale "
        f"{metrics['tuned_coarse_scale']:g}, chosen on these very problems) with the same sweeps it needs "
        f"**{metrics['learned_vs_tuned_iterations']:.2f}** times the iterations and "
        f"{metrics['learned_vs_tuned_cpu_s']:.2f} times the CPU time, set-up included (geometric means). Best on "
        f"`{best}` ({ratios[best]:.2f}), worst on `{worst}` ({ratios[worst]:.2f}).\n"
        f"- Against the classical cycle with two sweeps on each side, the default, it takes {whole:.2f} times the CPU "
        f"time for one right-hand side, and {alone:.2f} times once both are set up: {ends}."
    )


def _directions(report: Report, findings: Findings) -> None:
    n, rows = findings.config.directions.n, findings.planes.rows
    report.section(
        "Deep conjugate directions, in two dimensions",
        f"A convolutional network proposes each search direction (DCDM). Trained for "
        f"{findings.directions.cpu_s:.0f} CPU seconds on the matrix of an empty box of {n}² cells; it has seen neither "
        "these right-hand sides nor any solid.",
    )
    report.figure(
        "planes", figures.masks(findings.planes.problems), "The problems; `empty` has the matrix of the training."
    )
    name, row = list(rows.items())[-1]
    report.figure(
        "plane_histories", figures.histories(row, findings.config.rtol), f"Residuals on `{name}`, {n}² cells."
    )
    _table(report, rows, "iterations", f"Iterations to {findings.config.rtol:g}.")
    _table(report, rows, "milliseconds", "CPU time of one core, set-up and solve (ms).")
    report.text("\n".join(_verdict(rows)))
    if findings.larger:
        caption = "The empty box with so many times the cells along each axis, for which nothing was trained."
        _table(report, findings.larger, "iterations", caption)
    curves = {
        "loss of the directions": findings.directions.curve,
        "loss of the cycle": findings.cycle.curve,
    }
    pictured = {name: (np.array(x), np.array(y)) for name, (x, y) in curves.items()}
    report.figure(
        "learning",
        figures.learning(pictured),
        "Losses of every step, and their running median. That of the cycle is the logarithm of the error's factor per "
        "step, and differs from mask to mask.",
    )


def _verdict(rows: Rows) -> list[str]:
    solved = {name: row for name, row in rows.items() if row["dcdm"].converged}
    lost = [name for name in rows if name not in solved]
    lines = []
    if solved:
        count, cg, multigrid = (
            geometric_mean(getattr(row["dcdm"], what) / getattr(row[other], what) for row in solved.values())
            for what, other in (("iterations", "cg"), ("cpu_s", "cg"), ("cpu_s", "multigrid"))
        )
        lines.append(
            f"- Where it arrives, DCDM needs {count:.2f} times the iterations of conjugate gradients. An iteration "
            f"costs an application of the network, so it takes **{cg:.1f} times their CPU time, and {multigrid:,.0f} "
            "times that of multigrid**."
        )
        if multigrid > 1:
            step, whole = (
                1e3
                * geometric_mean(row[m].cpu_s / (row[m].iterations if m == "dcdm" else 1) for row in solved.values())
                for m in ("dcdm", "multigrid")
            )
            lines.append(
                f"- **DCDM loses to multigrid in time.** One iteration costs {step:.1f} ms, a whole multigrid solve "
                f"{whole:.0f} ms: it would have to arrive in {whole / step:.1g} iterations to draw level."
            )
    if lost:
        at = ", ".join(f"`{name}` ({rows[name]['dcdm'].residual:.1e})" for name in lost)
        lines.append(f"- In the iterations that it was given it did not arrive on {at}.")
    return lines


def _use(report: Report, findings: Findings) -> None:
    report.section(
        "What each method is good for",
        "\n".join(
            [
                "- **Multigrid-PCG**: the one to take for grids with solids, air and moderate coefficients. Almost no "
                "set-up, iterations that hardly grow with the grid.",
                "- **Learned cycle**: fewer iterations than a uniform setting with the same sweeps. Predicting its "
                "factors costs more than a solve, so that it is for one mask and many right-hand sides, if at all.",
                "- **Smoothed aggregation** (PyAMG): for sparse matrices without a grid; `solve(matrix, b)` takes it.",
                "- **Conjugate gradients, plain or Jacobi**: where PyAMG is not installed, and as the yardstick.",
                "- **DCDM**: a published method, kept to be measured. Its exact steps converge whatever the network "
                "says, but not fast.",
            ]
        ),
    )
