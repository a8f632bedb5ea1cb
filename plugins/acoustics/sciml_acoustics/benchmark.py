"""What `sciml bench acoustics` measures beyond the comparison: solvers, few sources, optimization steps."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sciml import Report, Run, Surrogate
from sciml.threads import one_core
from sciml_acoustics.analytic import rigid_modal_sum
from sciml_acoustics.compare import relative_l2, responses
from sciml_acoustics.config import AcousticsConfig
from sciml_acoustics.deeponet import DeepONet
from sciml_acoustics.deeponet_fit import DeepONetFit, Samples
from sciml_acoustics.fdtd import FdtdSolver
from sciml_acoustics.fitting import timed
from sciml_acoustics.geometry import room
from sciml_acoustics.linear import fit_linear
from sciml_acoustics.lookup import Lookup
from sciml_acoustics.operators import medium_of
from sciml_acoustics.pulse import gaussian_pulse
from sciml_acoustics.scene import Scene
from sciml_acoustics.sem import SemMesh, WaveSolver
from sciml_acoustics.simulate import simulate, window
from sciml_acoustics.subspace import proper_orthogonal

N_SOURCES = 100


def measure(config: AcousticsConfig, scene: Scene, run: Run, report: Report) -> dict[str, float]:
    """Measure solvers, source counts and optimization steps, add them to the report, return the metrics."""
    report.section("Benchmarks", "Measured in this run, one after the other on the same machine.")
    metrics: dict[str, float] = {}
    with run.progress.track(3, "benchmarks") as update:
        for index, part in enumerate((_solvers, _few_sources, _steps)):
            metrics |= part(config, scene, report)
            update(index + 1)
    return metrics


def _solvers(config: AcousticsConfig, scene: Scene, report: Report) -> dict[str, float]:
    """Time the solvers in the square room on one core, and all cores together; compare each with the modal sum."""
    solver, place = config.solver, room("square")
    medium, times = medium_of(solver.f_max), window(solver, solver.t_max)
    source = np.full((1, 2), 0.8)
    mesh = SemMesh(place, solver.order, solver.ppw, solver.f_max, medium.c)
    rows: list[tuple[Any, ...]] = []
    metrics = {}
    candidates: list[tuple[str, Any, np.ndarray]] = [
        (f"spectral elements, float{bits}", WaveSolver(mesh, dtype=dtype), mesh.nodes)
        for bits, dtype in ((64, torch.float64), (32, torch.float32))
    ]
    for ppw in (12, 24, 48):
        fdtd = FdtdSolver(place, np.inf, ppw, solver.f_max, medium.c)
        candidates.append((f"finite differences, {ppw} nodes per wavelength", fdtd, fdtd.nodes))
    with one_core():
        for name, candidate, nodes in candidates:
            pulse = gaussian_pulse(np.repeat(source, 8, axis=0), nodes, medium.sigma0)
            solved, cpu_s = timed(lambda c=candidate, p=pulse: c.solve(p, times))  # type: ignore[misc]
            truth = rigid_modal_sum(place, source, nodes, times, medium.sigma0, medium.c)
            rows.append((name, len(nodes), 100 * float(relative_l2(solved[:1].numpy(), truth)[0]), cpu_s / 8))
        for name, candidate, nodes in candidates[:2]:
            pulse = gaussian_pulse(np.repeat(source, N_SOURCES, axis=0), nodes, medium.sigma0)
            _, cpu_s = timed(lambda c=candidate, p=pulse: c.solve(p, times))  # type: ignore[misc]
            bits = name[-2:]
            metrics[f"node_updates_per_core_s_float{bits}"] = candidate.work(N_SOURCES, times).node_updates / cpu_s
    started = time.perf_counter()
    simulate(mesh, solver, np.repeat(source, N_SOURCES, axis=0), times)
    metrics["solve_100_sources_wall_s"] = time.perf_counter() - started
    metrics["fdtd_cpu_s_over_sem_at_1_percent"] = _cost_at(rows[2:], 1.0) / rows[0][3]
    report.table(
        ("solver", "nodes", "error (%)", "one source (CPU s)"), rows,
        caption="A rigid 2 m square over 50 ms against the exact modal sum; one core, sources in batches of eight.",
    )  # fmt: skip
    return metrics


def _cost_at(rows: list[tuple[Any, ...]], percent: float) -> float:
    """Return the CPU seconds at which a family of solvers meets an error, by the power law of its measured ones."""
    errors, seconds = (np.log([row[i] for row in rows]) for i in (2, 3))
    slope, offset = np.polyfit(errors, seconds, 1)
    return float(np.exp(slope * np.log(percent) + offset))


def _few_sources(config: AcousticsConfig, scene: Scene, report: Report) -> dict[str, float]:
    """Fit the linear operator to every other source of the grid, then to every third, beside the cubic lookup."""
    rows: list[tuple[float, ...]] = []
    metrics: dict[str, float] = {}
    train, fits = scene.train, config.fits
    wavelength = train.medium.c / train.medium.f_max
    band = (2.0 * np.pi / wavelength * fits.band, fits.margin * wavelength)
    for stride in (1, 2, 3):
        chosen = np.ones(len(train.source_position), bool)
        for column in train.source_position.T:
            chosen &= np.unique(column.round(9), return_inverse=True)[1] % stride == 0
        few = train.sources(chosen)
        with one_core():
            subspace = proper_orthogonal(few, fits.tolerance, fits.max_rank)
            network = fit_linear(few, subspace, scene.region, band, fits.sensor_ppw, fits.linear_rank)
        test = scene.test
        predicted = responses(Surrogate(network), test.source_position, test.node_position, test.time)
        ours = float(relative_l2(predicted, test.pressure, test.node_weight).mean())
        table = Lookup(few, "cubic").predict(test.source_position)
        theirs = float(relative_l2(table, test.pressure, test.node_weight).mean())
        rows.append((int(chosen.sum()), 100 * ours, 100 * theirs))
        metrics |= {f"linear_rel_l2_mean_every_{stride}": ours, f"cubic_lookup_rel_l2_mean_every_{stride}": theirs}
    report.table(
        ("training sources", "linear operator (%)", "cubic lookup (%)"), rows,
        caption="Mean error on the same held-out sources when only every first, second or third source of each row and "
        "column of the grid is simulated.",
    )  # fmt: skip
    return metrics


def _steps(config: AcousticsConfig, scene: Scene, report: Report) -> dict[str, float]:
    """Time optimization steps with coordinates drawn for each source and shared by all, in the same network."""
    network = DeepONet(scene.region.boxes, scene.train.medium, config.deeponet, 1)
    samples, generator = Samples(network, scene.train), torch.Generator().manual_seed(5)
    rates = {}
    hows = {"own": replace(config.deeponet_fit, fixes=()), "shared": config.mended_fit}
    with one_core():
        for name, how in hows.items():

            def step(how: DeepONetFit = how) -> None:
                samples.error(network, *samples.draw(generator, how)).backward()

            step()
            _, cpu_s = timed(lambda step=step: [step() for _ in range(5)])  # type: ignore[misc]
            rates[name] = 5.0 / cpu_s
    report.table(
        ("coordinates", "steps per CPU s"), list(rates.items()),
        caption="Gradient of the loss in the published network at this run's width, one core.",
    )  # fmt: skip
    return {"steps_per_cpu_s_own": rates["own"], "steps_per_cpu_s_shared": rates["shared"]}
