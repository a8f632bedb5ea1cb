"""What the velocity task costs: a step of the published network against its fast form, and least squares in memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciml import Report, Run
from sciml.executor import sweep
from sciml.threads import one_core
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.metrics import r2
from sciml_cosmo.velocity.compare import Findings, summarise
from sciml_cosmo.velocity.config import VelocityConfig
from sciml_cosmo.velocity.inverse_power import Basis
from sciml_cosmo.velocity.published import VelocityGNN
from sciml_cosmo.velocity.story import COLUMNS, lines_of
from sciml_cosmo.velocity.training import Linked, link

N_NODE, SIDE, RADIUS = 5000, 100.0, 0.1
N_WAVE, N_POWER = 25, 3
STEPS = (
    ("published: float64, every message by torch-geometric's scatter", "published", torch.float64),
    ("the same in float32", "published", torch.float32),
    ("fast form, float64", "fast", torch.float64),
    ("fast form, float32", "fast", torch.float32),
)


def measure(findings: Findings, config: VelocityConfig, run: Run, report: Report) -> dict[str, float]:
    """Measure steps and memory beside what the task found; add sections to a report and return the numbers by name.

    Parameters
    ----------
    findings, config : of the task.
    run : place, seed and progress.
    report : what is added to.
    """
    metrics = {**_measure_steps(run, report), **_measure_least_squares(run, report)}
    found = summarise(findings)
    metrics |= found | {"velocity_gnn_r2_change": _precision(findings, config)}
    report.section(
        "Velocities of haloes",
        "R² on the test boxes. The published network in the form and precision it was trained in, and as published, "
        f"differ by {metrics['velocity_gnn_r2_change']:.1e} in R² per cloud.",
    )
    report.table(COLUMNS, lines_of(findings.rows, found, "velocity_r2"), "Real space.")
    return metrics


def uniform_cloud(seed: int, n_node: int = N_NODE) -> Cloud:
    """Return uniform points with the density of the published clouds; their graph has 105,000 edges."""
    generator = np.random.default_rng(seed)
    return Cloud(generator.uniform(0, SIDE, (n_node, 3)), generator.normal(0, 300, (n_node, 3)), SIDE)


def step_seconds(network: VelocityGNN, item: Linked, n_repeat: int = 3) -> float:
    """Return the least process time of a forward and a backward pass."""
    best = math.inf
    for _ in range(n_repeat):
        start = time.process_time()
        network.zero_grad()
        found = network(item.positions, item.graph, item.box_size, item.radius)
        (found - item.velocities).square().mean().backward()
        best = min(best, time.process_time() - start)
    return best


def _measure_steps(run: Run, report: Report) -> dict[str, float]:
    cloud, rows = uniform_cloud(run.seed), []
    outputs: list[Tensor] = []
    with run.progress.track(len(STEPS), "steps of the published network") as update, one_core():
        for title, form, dtype in STEPS:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(run.seed)
                network = VelocityGNN(scale=300.0, form=form).to(dtype)  # type: ignore[arg-type]
            item = link(cloud, RADIUS, dtype)
            with torch.no_grad():  # compiles what is compiled
                outputs.append(network(item.positions, item.graph, item.box_size, item.radius).double())
            rows.append((title, step_seconds(network, item)))
            update(len(rows))
    first = rows[0][1]
    gaps = [float((found - outputs[0]).abs().max() / outputs[0].abs().max()) for found in outputs]
    report.section(
        "A step of the velocity network",
        f"{N_NODE} nodes, {item.graph.edge_index.shape[1]:,} edges, 64 features, 6 layers, forward and backward, one "
        "thread, process time, the least of three. The fast form evaluates what depends on a node once for each node, "
        "and computes the messages of a node together without keeping them.",
    )
    lines = [(title, spent, first / spent, gap) for (title, spent), gap in zip(rows, gaps, strict=True)]
    report.table(("form", "step (s)", "speed-up", "largest difference of the outputs"), lines)
    return {
        "velocity_gnn_step_speedup": first / rows[-1][1],
        "velocity_gnn_step_s": rows[-1][1],
        "velocity_gnn_published_step_s": first,
        "velocity_gnn_largest_difference": gaps[-1],
    }


@dataclass(frozen=True)
class MemoryTask:
    """What a fresh process is asked: least squares features of that many nodes, "streamed" or "dense"."""

    n_node: int
    way: str
    seed: int


def dense_features(positions: Tensor, box_size: float, n_wave: int, n_power: int) -> Tensor:
    """Return the features of `Basis` by their formula in plain torch, with arrays of n x n numbers."""
    step = positions[:, None] - positions[None]
    step -= box_size * torch.round(step / box_size)
    distance = step.norm(dim=-1)
    inverse = torch.where(distance > 0, box_size / distance, 0)
    powers, axes = [inverse**p for p in range(1, n_power + 1)], step.unbind(-1)
    found = torch.empty(*positions.shape, n_power, n_wave, dtype=positions.dtype)
    for axis, along in enumerate(axes):
        for k in range(1, n_wave + 1):
            wave = (2 * math.pi * k / box_size * along).sin_()
            for p, power in enumerate(powers):
                found[:, axis, p, k - 1] = (wave * power).sum(1)
    return found.flatten(2)


def extra_memory(task: MemoryTask) -> dict[str, float]:
    """Return the MB that the features take beyond what the process held, and their CPU seconds; for a fresh process."""
    positions = torch.from_numpy(uniform_cloud(task.seed, task.n_node).positions)
    small = torch.from_numpy(uniform_cloud(task.seed, 300).positions)
    basis = Basis(N_WAVE, N_POWER)
    ways: dict[str, Callable[[Tensor], Any]] = {
        "streamed": lambda x: [(f.flatten(0, 1).T @ f.flatten(0, 1)).sum() for _, f in basis.tiles(x, SIDE)],
        "dense": lambda x: dense_features(x, SIDE, N_WAVE, N_POWER),
    }
    with one_core():
        ways[task.way](small)  # loads and starts what is used
        before = _reset_peak()
        start = time.process_time()
        ways[task.way](positions)
        spent = time.process_time() - start
    return {"extra_mb": (_resident("VmHWM:") - before) / 1e3, "cpu_s": spent}


def _reset_peak() -> float:
    """Forget the peak of the resident memory and return what is resident now, in kB; NaN where Linux does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return math.nan
    return _resident("VmRSS:")


def _resident(key: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return math.nan
    return next((float(line.split()[1]) for line in lines if line.startswith(key)), math.nan)


def _measure_least_squares(run: Run, report: Report) -> dict[str, float]:
    tasks = [MemoryTask(N_NODE, way, run.seed) for way in ("streamed", "dense")]
    outcomes = sweep(extra_memory, tasks, executor="processes", n_workers=1, progress=run.progress)
    failed = [outcome.failure for outcome in outcomes if outcome.failure]
    if failed:
        raise RuntimeError(f"extra_memory: expected two measurements, got a failure; {failed[0]}")
    streamed, dense = ({name: float(value) for name, value in outcome.values.items()} for outcome in outcomes)
    report.section(
        "Least squares without an n x n array",
        f"Features of a cloud of {N_NODE} nodes along three axes, K = {N_WAVE}, P = {N_POWER}, float64, one thread, "
        "each way in a process of its own; the streamed way adds up the normal equations too.",
    )
    lines = [(name, one["extra_mb"], one["cpu_s"]) for name, one in (("streamed", streamed), ("dense torch", dense))]
    report.table(("way", "memory beyond the process (MB)", "CPU (s)"), lines)
    return {
        "lls_peak_extra_mb": streamed["extra_mb"],
        "lls_dense_peak_extra_mb": dense["extra_mb"],
        "lls_speedup": dense["cpu_s"] / streamed["cpu_s"],
        "lls_cpu_s": streamed["cpu_s"],
    }


def _precision(findings: Findings, config: VelocityConfig) -> float:
    """Return the largest change of R^2 of a test box between the trained network and its published float64 path."""
    trained = findings.networks.gnn
    published = VelocityGNN(config.published.n_feature, config.published.n_layer, trained.scale, "published").double()
    published.load_state_dict(trained.state_dict())
    changes = []
    for cloud, predicted in zip(findings.split.test, findings.rows["gnn"].predicted, strict=True):
        item = link(cloud, config.published.radius, torch.float64)
        with torch.no_grad():
            found = published(item.positions, item.graph, item.box_size, item.radius).numpy()
        changes.append(abs(r2([cloud.velocities], [predicted]) - r2([cloud.velocities], [found])))
    return max(changes)
