"""What `sciml bench cosmo` measures: kernels and generators against peers, then every task on held-out simulations."""

from __future__ import annotations

from sciml import Report, Results, Run
from sciml_cosmo import bench_search
from sciml_cosmo.config import CosmoConfig
from sciml_cosmo.experiment import run_task
from sciml_cosmo.generate import bench as bench_boxes
from sciml_cosmo.generate import bench_trees
from sciml_cosmo.trees import bench as bench_networks
from sciml_cosmo.velocity import bench as bench_velocity
from sciml_cosmo.velocity.compare import explore
from sciml_cosmo.velocity.task import results_of


def benchmark(config: CosmoConfig, run: Run) -> Results:
    """Measure, report, and return the key numbers; the surrogate is that of the last task.

    Each task leaves its own report in ``tasks/<name>`` of the run folder.
    """
    report = Report(
        "Universes, neighbours and networks",
        "Kernels and generators against what they replace, side by side in one run; then what every method finds on "
        "simulations that no fit has seen.",
    )
    findings = explore(config.velocity, run)
    metrics = {
        **bench_search.measure(run, report),
        **bench_boxes.measure(run, report),
        **bench_trees.measure(run, report),
        **bench_networks.measure_steps(run, report),
        **bench_velocity.measure(findings, config.velocity, run, report),
    }
    surrogate = None
    for task in config.bench:
        run.log(f"task {task}")
        results = results_of(findings, run) if task == "velocity" else run_task(task, config, run)
        report.section(f"Task {task}", f"Its own report is `tasks/{task}/report.html`.")
        report.table(("key", "value"), [[key, value] for key, value in results.metrics.items()])
        results.report.write(run.folder / "tasks" / task)
        metrics, surrogate = {**metrics, **results.metrics}, results.surrogate
    return Results(metrics, report, surrogate)
