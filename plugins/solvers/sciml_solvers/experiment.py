"""`sciml run solvers`: pressure-like problems by every method, with what is trained, on masks it has not seen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sciml import Experiment, Results, Run, Surrogate
from sciml.experiment import content_hash
from sciml.threads import one_core
from sciml.training import FitOptions, seeded
from sciml_solvers.compare import (
    Timed,
    by_conjugate_gradients,
    by_directions,
    by_multigrid,
    geometric_mean,
    shortest,
    tuned,
    warm_up,
)
from sciml_solvers.config import PRESETS, SolversConfig
from sciml_solvers.dcdm import DcdmOptions, network_direction
from sciml_solvers.dcdm_data import ritz
from sciml_solvers.dcdm_fit import MINUTES_2D, System, fit_direction
from sciml_solvers.dcdm_net import Cells, DcdmNet
from sciml_solvers.gallery import problem
from sciml_solvers.learned import LearnedCycle, learned_cycle
from sciml_solvers.learned_fit import LearnedFit, fit_cycle
from sciml_solvers.multigrid import Multigrid
from sciml_solvers.problems import MaskProblem
from sciml_solvers.story import tell

UNSEEN = 1000  # added to the seed of a run for the problems that nothing is trained on
Rows = Mapping[str, Mapping[str, Timed]]


@dataclass(frozen=True)
class Trained:
    """A network, the CPU seconds that its training took, and its losses."""

    network: DcdmNet | LearnedCycle
    cpu_s: float
    curve: tuple[list[float], list[float]]


@dataclass(frozen=True)
class Comparison:
    """Problems by name, and problem -> method -> how it did."""

    problems: Mapping[str, MaskProblem]
    rows: Rows


@dataclass(frozen=True)
class Findings:
    """Everything that the report tells.

    Parameters
    ----------
    masks : in three dimensions, methods "cg", "jacobi", "multigrid", "tuned" and "learned".
    planes : in two dimensions, methods "cg", "multigrid" and "dcdm".
    cycle, directions : what was trained.
    metrics : the key numbers.
    larger : the empty box with more cells than the directions were trained for, methods "cg" and "dcdm".
    """

    config: SolversConfig
    masks: Comparison
    planes: Comparison
    cycle: Trained
    directions: Trained
    metrics: Mapping[str, float]
    larger: Rows = field(default_factory=dict)


class Solvers(Experiment):
    """Linear solvers for pressure-like problems: classical multigrid, a learned cycle, learned directions."""

    @property
    def presets(self) -> Mapping[str, SolversConfig]:
        """default: minutes on two cores; quick: a first look; long: more training, a quarter of an hour."""
        return PRESETS

    def run(self, config: SolversConfig, run: Run) -> Results:
        """Train the cycle and the directions, solve problems that neither has seen, compare, report."""
        findings = self._findings(config, run)
        return Results(findings.metrics, tell(findings), _surrogate(findings, run))

    def bench(self, config: SolversConfig, run: Run) -> Results:
        """Compare as `run` does, and measure the peers at the size `n_bench`."""
        from sciml_solvers.benchmark import measure_peers

        findings = self._findings(config, run)
        report = tell(findings)
        metrics = {**findings.metrics, **measure_peers(findings, run, report)}
        return Results(metrics, report, _surrogate(findings, run))

    def _findings(self, config: SolversConfig, run: Run) -> Findings:
        seed = run.seed + UNSEEN
        masks = {name: problem(name, config.masks.n, seed=seed) for name in config.masks.names}
        planes = {name: problem(name, config.directions.n, 2, seed=seed) for name in config.directions.names}
        everything = [*masks.values(), *planes.values()]
        run.record(data_sha256=content_hash(*(array for p in everything for array in (p.cells, p.rhs))))
        with one_core():
            warm_up()
            cycle, directions = train_cycle(config, run), train_directions(config, run)
            rows, setting = compare_masks(config, masks, cycle, run)
            plane_rows = compare_planes(config, planes, directions, run)
            larger = compare_larger(config, directions, run)
        metrics = dict(zip(("tuned_omega", "tuned_coarse_scale"), setting, strict=True))
        metrics |= {"cycle_train_cpu_s": cycle.cpu_s, "directions_train_cpu_s": directions.cpu_s}
        metrics |= _metrics(config, rows, plane_rows)
        for name, row in larger.items():
            if row["dcdm"].converged:
                metrics[f"dcdm_vs_cg_iterations_2d_{name}"] = row["dcdm"].iterations / row["cg"].iterations
        comparisons = (Comparison(masks, rows), Comparison(planes, plane_rows))
        return Findings(config, *comparisons, cycle, directions, metrics, larger)


def _surrogate(findings: Findings, run: Run) -> Surrogate:
    """Return the direction network as a surrogate; any residual is in its domain, as it sees residuals of norm one."""
    options = findings.config.directions
    trained_on = {"problem": "empty", "cells": options.n, "n_steps": options.n_steps, "n_vectors": options.n_vectors}
    return Surrogate(findings.directions.network, provenance={"seed": run.seed, **run.records, **trained_on})


def train_cycle(config: SolversConfig, run: Run) -> Trained:
    """Train the cycle's network on random masks; a resumed run takes up where it was."""
    network = LearnedCycle(seed=run.seed)
    options = LearnedFit(n_steps=config.cycle.n_steps, n_masks=config.cycle.n_masks)
    start, curve = time.process_time(), (list[float](), list[float]())
    with run.progress.track(options.n_steps, "train the cycle") as update:
        keep = FitOptions(clip_norm=1.0, checkpoint=run.checkpoint("cycle"))
        for state in fit_cycle(network, options, seed=run.seed, fit_options=keep):
            curve[0].append(time.process_time() - start)
            curve[1].append(state.loss)
            update(state.step, f"loss {state.loss:.3f}")
    return Trained(network, time.process_time() - start, curve)


def train_directions(config: SolversConfig, run: Run) -> Trained:
    """Train the direction network on Ritz vectors of the matrix of an empty box, as published but in minutes.

    *Departures*: by default the network sees residuals of mean square one (`scaling`), and its rate falls from 30 times
    the published one to zero over 1,000 times fewer steps; `MINUTES_2D` says what that does.
    """
    options = config.directions
    how = replace(MINUTES_2D, n_vectors=options.n_vectors, n_samples=options.n_steps * MINUTES_2D.batch)
    empty, network = problem("empty", options.n, 2), DcdmNet(2, scaling=options.scaling, seed=run.seed)
    matrix = empty.matrix()
    start, curve = time.process_time(), (list[float](), list[float]())
    data = ritz(matrix, options.n_vectors, seeded(run.seed, "ritz"), progress=run.progress)
    system = System(matrix, Cells.of_mask(empty.fluid), data)
    with run.progress.track(how.n_steps, "train the directions") as update:
        keep = FitOptions(checkpoint=run.checkpoint("directions"))
        for state in fit_direction(network, [system], how, seed=run.seed, fit_options=keep):
            curve[0].append(time.process_time() - start)
            curve[1].append(state.loss)
            update(state.step, f"loss {state.loss:.3f}")
    return Trained(network, time.process_time() - start, curve)


def compare_masks(
    config: SolversConfig, masks: Mapping[str, MaskProblem], cycle: Trained, run: Run
) -> tuple[Rows, tuple[float, float]]:
    """Solve the three-dimensional problems by every method; also return the setting of the tuned cycle."""
    network = cycle.network
    assert isinstance(network, LearnedCycle)
    rtol, n_repeats = config.rtol, config.masks.n_repeats
    with run.progress.track(len(masks) + 1, "compare in 3-D") as update:
        setting, _ = tuned(list(masks.values()), rtol)
        update(1, "tuned")
        omega, scale = setting
        cycles = {
            "multigrid": Multigrid,
            "tuned": lambda p: Multigrid(p, smoothing=(1, 1), omega=omega, coarse_scale=scale),
            "learned": lambda p: learned_cycle(network, p),
        }
        rows: dict[str, dict[str, Timed]] = {}
        for name, task in masks.items():
            rows[name] = {
                "cg": by_conjugate_gradients(task, "none", rtol),
                "jacobi": by_conjugate_gradients(task, "jacobi", rtol),
            }
            for method, make in cycles.items():
                rows[name][method] = shortest(lambda t=task, m=make: by_multigrid(t, m, rtol), n_repeats)  # type: ignore[misc]
            update(1 + len(rows), name)
    return rows, setting


def compare_planes(config: SolversConfig, planes: Mapping[str, MaskProblem], directions: Trained, run: Run) -> Rows:
    """Solve the two-dimensional problems by learned directions, conjugate gradients and multigrid."""
    limits = DcdmOptions(config.rtol, config.directions.n_iterations, config.directions.n_previous)
    n_repeats = config.masks.n_repeats
    rows: dict[str, dict[str, Timed]] = {}
    with run.progress.track(len(planes), "compare in 2-D") as update:
        for name, task in planes.items():
            direction = network_direction(directions.network, Cells.of_mask(task.fluid))
            by_directions(task, direction, replace(limits, n_iterations=2))  # the first call of a network is slow
            rows[name] = {
                "cg": shortest(lambda t=task: by_conjugate_gradients(t, "none", config.rtol), n_repeats),  # type: ignore[misc]
                "multigrid": shortest(lambda t=task: by_multigrid(t, Multigrid, config.rtol), n_repeats),  # type: ignore[misc]
                "dcdm": by_directions(task, direction, limits),
            }
            update(len(rows), name)
    return rows


def compare_larger(config: SolversConfig, directions: Trained, run: Run) -> Rows:
    """Solve the empty box of the training with more cells, as the paper does: trained at K, run at 2 K and 4 K."""
    options, rows = config.directions, dict[str, dict[str, Timed]]()
    limits = DcdmOptions(config.rtol, options.n_iterations, options.n_previous)
    with run.progress.track(len(options.larger), "compare on larger boxes") as update:
        for factor in options.larger:
            task = problem("empty", factor * options.n, 2, seed=run.seed + UNSEEN)
            direction = network_direction(directions.network, Cells.of_mask(task.fluid))
            row = {"cg": by_conjugate_gradients(task, "none", config.rtol)}
            rows[f"empty_x{factor}"] = {**row, "dcdm": by_directions(task, direction, limits)}
            update(len(rows), f"{factor * options.n} cells along an axis")
    return rows


def _metrics(config: SolversConfig, rows: Rows, plane_rows: Rows) -> dict[str, float]:
    """Return the key numbers; ratios are geometric means over the problems that both methods solved."""
    metrics: dict[str, float] = {}
    for ours, theirs in (("multigrid", "cg"), ("multigrid", "jacobi"), ("learned", "tuned")):
        both = [row for row in rows.values() if row[ours].converged and row[theirs].converged]
        for what in ("iterations", "cpu_s") if both else ():
            ratios = [getattr(row[ours], what) / getattr(row[theirs], what) for row in both]
            metrics[f"{ours}_vs_{theirs}_{what}"] = geometric_mean(ratios)
    solved = {name: row for name, row in plane_rows.items() if row["dcdm"].converged}
    if plane_rows:
        metrics["dcdm_solved"] = len(solved) / len(plane_rows)
    for name, row in solved.items():
        metrics[f"dcdm_vs_cg_iterations_2d_{name}"] = row["dcdm"].iterations / row["cg"].iterations
        metrics[f"dcdm_vs_multigrid_cpu_s_2d_{name}"] = row["dcdm"].cpu_s / row["multigrid"].cpu_s
    if "empty" in solved and config.directions.n == 64:
        metrics["dcdm_vs_cg_iterations_2d_64"] = metrics["dcdm_vs_cg_iterations_2d_empty"]
    for prefix, found in (("", rows), ("2d_", plane_rows)):
        for name, row in found.items():
            for method, one in row.items():
                metrics[f"{prefix}{name}_{method}_residual"] = one.residual
                if one.converged:
                    metrics[f"{prefix}{name}_{method}_iterations"] = one.iterations
                    metrics[f"{prefix}{name}_{method}_cpu_s"] = one.cpu_s
    return metrics
