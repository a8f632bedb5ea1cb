"""What `sciml bench cosmo` measures of the parameter task: its accuracies, and what its features cost beside peers."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from sciml import Report, Run
from sciml.threads import one_core
from sciml_cosmo.clustering.pair_moments import pair_statistics
from sciml_cosmo.clustering.two_point import binning, correlation, random_pairs
from sciml_cosmo.parameters.config import ParametersConfig
from sciml_cosmo.parameters.features import candidate_cuts
from sciml_cosmo.parameters.graphs import Surroundings, make_graph
from sciml_cosmo.parameters.linear import Array
from sciml_cosmo.parameters.story import add_chapters
from sciml_cosmo.parameters.task import explore

N_REPEAT = 5


def measure(config: ParametersConfig, run: Run, report: Report) -> dict[str, float]:
    """Do the task, add its chapters to the `report`, and time the features of one cloud.

    `config` holds the settings, `run` the place. Returns the metrics of the task, and the CPU seconds of the
    correlation function, beside SciPy's tree, of the pair statistics, beside NumPy's dense ones, and of a graph.
    """
    findings = explore(config, run)
    add_chapters(report, findings)
    nodes, side = findings.boxes.clouds[0].positions, findings.boxes.clouds[0].box_size
    edges, cuts = binning(config.suite, config.binning), candidate_cuts(side)
    calls: dict[str, Callable[[], object]] = {
        "param_2pcf_cpu_s": lambda: correlation(nodes, side, edges),
        "param_2pcf_ckdtree_cpu_s": lambda: tree_correlation(nodes, side, edges),
        "param_pair_statistics_cpu_s": lambda: pair_statistics(nodes, side, cuts),
        "param_pair_statistics_dense_cpu_s": lambda: dense_statistics(nodes, side, cuts),
        "param_graph_cpu_s": lambda: make_graph(nodes, side, Surroundings()),
    }
    with one_core():
        times = {name: _cpu_s(call) for name, call in calls.items()}
    report.section("Cost of the features", f"One cloud of {len(nodes)} haloes, one thread, the least of {N_REPEAT}.")
    rows = [(name.removeprefix("param_").removesuffix("_cpu_s").replace("_", " "), t) for name, t in times.items()]
    report.table(("feature", "CPU time (s)"), rows)
    return {**findings.metrics, **times}


def tree_correlation(positions: Array, box_size: float, edges: Array) -> Array:
    """Return the natural estimator (bin,) of `positions` in a box of `box_size` by SciPy's tree, in bins of `edges`."""
    tree = cKDTree(positions, boxsize=box_size)
    return np.diff(tree.count_neighbors(tree, edges)) / random_pairs(len(positions), box_size, edges) - 1


def dense_statistics(positions: Array, box_size: float, cuts: Array) -> Array:
    """Return mean, deviation and both quantiles (cut, 4) by one array of all pairs, as the published script does."""
    delta = positions[:, None] - positions
    delta -= box_size * np.round(delta / box_size)
    squared = (delta**2).sum(-1)[np.triu_indices(len(positions), 1)]
    rows = []
    for cut in cuts:
        below = squared[squared < cut**2]
        rows.append((below.mean(), below.std(), *np.quantile(below, [1 / 3, 2 / 3])) if len(below) > 1 else (0.0,) * 4)
    return np.array(rows)


def _cpu_s(call: Callable[[], object]) -> float:
    call()  # compiled and warm
    times = []
    for _ in range(N_REPEAT):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times)
