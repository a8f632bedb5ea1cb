"""The reports of the tasks on trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sciml import Report, calibration
from sciml.report import plot_style
from sciml_cosmo.generate.tree_figures import draw_tree
from sciml_cosmo.trees import figures

if TYPE_CHECKING:
    from sciml_cosmo.trees.infill_task import InfillStudy
    from sciml_cosmo.trees.parameters_task import Study

BARS = (0.39, 0.76, 0.69, 0.88)  # ridge on mass and time of 256 x 5 trees: single and mean of five
R2 = "R² = 1 − Σ(truth − answer)² / Σ(truth − mean)² over all held-out trees at once, one parameter at a time"


def tell_parameters(study: Study) -> Report:
    """Return the report of `parameters_task`."""
    metrics, best = study.metrics, study.rows[study.best]
    n_simulation = len(np.unique(study.forest.simulation[study.splits["test"]]))
    report = Report(
        "Cosmology from merger trees",
        f"Omega_m and sigma_8 from single merger trees, judged on {len(study.splits['test'])} trees of {n_simulation} "
        f"simulations that no fit saw. {R2}; errors by drawing simulations with replacement. The validation trees "
        f"chose **{best.title}** ({best.sees}).",
    )
    n = study.config.n_mean
    titles = {"om": "Omega_m", "s8": "sigma_8"}
    report.facts(
        {f"R², {titles[p]}, {words}": metrics[f"tree_{p}_r2_{key}"] for p in ("om", "s8")
         for key, words in (("single", "one tree"), (f"mean{n}", f"mean of {n}"))}
    )  # fmt: skip
    with plot_style():
        for chapter in (_table, _answers, _leaks, _errors, _pictures):
            chapter(report, study)
    return report


def _table(report: Report, study: Study) -> None:
    n, metrics = study.config.n_mean, study.metrics
    keys = [f"{p}_r2_{key}" for key in ("single", f"mean{n}") for p in ("om", "s8")]
    lines = []
    for name, row in study.rows.items():
        cells = (f"{metrics[f'tree_{name}_{key}']:.3f} ± {metrics[f'tree_{name}_{key}_error']:.3f}" for key in keys)
        lines.append((row.title, row.sees, *cells, row.n_number or None, float(f"{row.cpu_s:.3g}") or None))
    columns = ("model", "sees", "Omega_m", "sigma_8", f"Omega_m, mean of {n}", f"sigma_8, mean of {n}",
               "fitted numbers", "CPU (s)")  # fmt: skip
    report.section("Every row", f"{R2}.")
    report.table(columns, lines, "", [list(study.rows).index(study.best)])
    values = np.array([[metrics[f"tree_{name}_{key}"] for key in keys] for name in study.rows])
    errors = np.array([[metrics[f"tree_{name}_{key}_error"] for key in keys] for name in study.rows])
    shown = [f"{row.title} ({row.sees})" for row in study.rows.values()]
    report.figure(
        "tree-rows", figures.draw_rows(shown, values, errors, BARS if n == 5 else (*BARS[:2], None, None)),
        "Dashed: what a ridge on moments and main branch reached with mass and time of 256 x 5 trees, the bar.",
    )  # fmt: skip


def _answers(report: Report, study: Study) -> None:
    trees = study.splits["test"]
    truth, simulation, row = study.forest.targets[trees], study.forest.simulation[trees], study.rows[study.best]
    assert row.fitted is not None
    groups = [np.flatnonzero(simulation == one)[: study.config.n_mean] for one in np.unique(simulation)]
    means = tuple(np.stack([values[rows].mean(0) for rows in groups]) for values in (truth, row.test))
    drawn = figures.draw_answers(truth, row.test, row.fitted.test.std.numpy(), (means[0], means[1]))
    report.figure("tree-answers", drawn, f"Answers of {row.title} for trees that no fit saw, with their errors.")


def _leaks(report: Report, study: Study) -> None:
    metrics = study.metrics
    report.section(
        "What leaks",
        "A model of trees may learn from less than the tree. The number of nodes and their masses alone say what the "
        "first rows show. Concentration and largest speed say more: at one mass and time the speed depends on the "
        "density that a halo virialises at, which is a function of Omega_m alone. Where the trees are grown here that "
        "relation has no scatter at fixed concentration, so that Omega_m can be read off **any single node** of the "
        "past; only the rows that see mass and time alone measure what the growth of the tree itself tells.",
    )
    lines = [
        (study.rows[name].title, study.rows[name].sees, metrics[f"tree_{name}_om_r2_single"],
         metrics[f"tree_{name}_s8_r2_single"])
        for name in ("count", "mass", "moments_mass_time", "history_mass_time", "scan_mass_time", "moments")
    ]  # fmt: skip
    report.table(("probe", "sees", "R², Omega_m", "R², sigma_8"), lines, "Single trees, none of the fits saw them.")


def _errors(report: Report, study: Study) -> None:
    truth = study.forest.targets[study.splits["test"]]
    lines = []
    for row in study.rows.values():
        if row.fitted is not None:
            found = calibration(truth, row.test, row.fitted.test.std.double().numpy())
            lines.append((row.title, row.sees, *(round(found.coverage[level], 3) for level in (0.5, 0.8, 0.9, 0.95))))
    report.section(
        "How sure",
        "Standard errors are scaled on the validation trees. The virtual node, attention and the scan answer with an "
        "error for each tree, the others with one for all.",
    )
    report.table(("model", "sees", "50 %", "80 %", "90 %", "95 %"), lines, "Truths inside the central interval.")


def _pictures(report: Report, study: Study) -> None:
    sizes = np.diff(study.forest.start)
    tree = int(np.argsort(sizes)[len(sizes) // 10])
    om, s8 = study.forest.targets[tree]
    report.section("A tree")
    report.figure(
        "tree", draw_tree(study.forest, tree),
        f"A small tree of {sizes[tree]} haloes, Omega_m = {om:.2f}, sigma_8 = {s8:.2f}.",
    )  # fmt: skip
    curves = {f"{r.title} ({r.sees})": r.fitted.curve for r in study.rows.values() if r.fitted and r.fitted.curve}
    report.section("Learning")
    report.figure(
        "tree-learning", figures.draw_learning(curves, "squared error / variance"), "On the validation trees."
    )


def tell_infill(study: InfillStudy) -> Report:
    """Return the report of `infill_task`."""
    metrics = study.metrics
    n_test = len(study.samples["test"])
    report = Report(
        "Lost mergers",
        "Every second snapshot of a tree is dropped. At each merger that remains: did it happen in the later interval, "
        f"or was a merger node dropped? Judged on {n_test:,} merger nodes of simulations that no fit saw; errors by "
        "drawing simulations with replacement.",
    )
    report.facts(
        {"best MPNN": metrics["infill_mpnn_best_accuracy"], "nearest in time": metrics["infill_time_accuracy"],
         "gain over time": metrics["infill_gain_over_time"], "majority": metrics["infill_majority_accuracy"]}
    )  # fmt: skip
    with plot_style():
        for chapter in (_classifiers, _times, _coarse_tree):
            chapter(report, study)
    return report


def _classifiers(report: Report, study: InfillStudy) -> None:
    metrics = study.metrics
    lines = [(row.title, f"{metrics[f'infill_{name}_accuracy']:.3f} ± {metrics[f'infill_{name}_accuracy_error']:.3f}",
              row.n_number or None, float(f"{row.cpu_s:.3g}") or None) for name, row in study.rows.items()]  # fmt: skip
    report.section("Every row")
    marked = [list(study.rows).index(study.best)]
    report.table(("classifier", "accuracy", "fitted numbers", "CPU (s)"), lines, "", marked)
    values, errors = (
        np.array([metrics[f"infill_{name}_accuracy{end}"] for name in study.rows]) for end in ("", "_error")
    )
    titles = [row.title for row in study.rows.values()]
    drawn = figures.draw_accuracies(titles, values, errors, metrics["infill_majority_accuracy"])
    report.figure("infill-accuracy", drawn, "Fraction of merger nodes that are told right.")
    curves = {row.title: row.curve for row in study.rows.values() if row.curve}
    drawn = figures.draw_learning(curves, "cross entropy")
    report.figure("infill-learning", drawn, "Learning, on the merger nodes of the validation simulations.")


def _times(report: Report, study: InfillStudy) -> None:
    report.section(
        "Why time tells",
        "Outputs of a simulation are uneven in time. Where the earlier of the two intervals is the longer one, a "
        "merger more likely fell into it. The nearest neighbours in the scale factor alone find that; with masses "
        "beside it, the neighbours are no longer at one snapshot and most of that knowledge is lost.",
    )
    report.figure("infill-times", figures.draw_times(*study.times), "One point for each snapshot that is kept.")


def _coarse_tree(report: Report, study: InfillStudy) -> None:
    sizes = np.diff(study.coarse.start)
    tree = int(np.argsort(sizes)[len(sizes) // 10])
    report.section("A coarse tree")
    report.figure("infill-tree", draw_tree(study.coarse, tree), f"A coarse tree of {sizes[tree]} haloes.")
