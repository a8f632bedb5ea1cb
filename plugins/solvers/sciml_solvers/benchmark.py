"""What `sciml bench solvers` measures beyond the comparison: the peers, growth with the grid, masks unlike training."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sciml import Report, Run
from sciml.threads import one_core
from sciml_solvers.baselines import Measured, measure
from sciml_solvers.compare import geometric_mean, timed
from sciml_solvers.gallery import problem
from sciml_solvers.guard import GuardedCycle
from sciml_solvers.learned import LearnedCycle
from sciml_solvers.memory import peak, reset_peak, resident
from sciml_solvers.multigrid import Multigrid
from sciml_solvers.problems import MaskProblem
from sciml_solvers.solve import solve

if TYPE_CHECKING:
    from sciml_solvers.experiment import Findings

PEERS = {
    "multigrid": "multigrid-PCG, this project",
    "pyamg_rs": "PyAMG, Ruge-Stuben, PCG",
    "pyamg_sa": "PyAMG, smoothed aggregation, PCG",
    "petsc_hypre": "PETSc, hypre BoomerAMG, PCG",
    "petsc_gamg": "PETSc, GAMG, PCG",
    "ic0": "incomplete Cholesky, ilupp, PCG",
    "box_dct": "cosine transform of the box, PCG",
    "deflated": "deflated CG, 16 Ritz vectors",
    "jacobi": "Jacobi-PCG, SciPy",
    "cg": "CG, SciPy",
}
KEYS = (
    "mgpcg_vs_pyamg_rs_solve_128", "mgpcg_vs_best_pyamg_total_128", "mgpcg_vs_scipy_cg_128", "mgpcg_vs_dct_total_128",
    "memory_vs_pyamg_sa_128", "iteration_growth_per_doubling", "fp16_extra_iterations_128",
    "learned_vs_tuned_iterations", "learned_ood_worst_wall_ratio", "dcdm_vs_cg_iterations_2d_64",
)  # fmt: skip
UNLIKE = ("jumps", "lognormal", "anisotropic", "maze", "porous")
N_LATER = 4
BYTES_PER_CELL = 300
"""Free memory that a solve must find, three times what it takes."""


def measure_peers(findings: Findings, run: Run, report: Report) -> dict[str, float]:
    """Measure, add sections to the report, and return the metrics; keys of `KEYS` that were not measured are NaN."""
    n = findings.config.n_bench
    report.section("Peers", f"`solids` on {n}³ cells, one core, one rule: the true residual of the same matrix.")
    found, missing = _peers(findings, run)
    metrics = {**dict.fromkeys(KEYS, math.nan), **findings.metrics, **_ratios(found, n)}
    rows = [_row(name, found[name]) for name in PEERS if name in found]
    caption = "CPU seconds of one core; the sparse matrix counts as given, multigrid is set up from the mask."
    report.table(("method", "iterations", "set-up (s)", "solve (s)", "residual", "peak memory (MB)"), rows, caption, 0)
    if missing:
        report.text("\n\n".join(missing))
    metrics |= _growth(findings, report, found)
    metrics |= _unlike(findings, run, report)
    report.section("Key numbers", "Ratios are times of the peer over ours; memory and iterations are ours over theirs.")
    values = [(key, "not measured" if math.isnan(metrics[key]) else metrics[key]) for key in KEYS]
    report.table(("key", "value"), values)
    return metrics


def _peers(findings: Findings, run: Run) -> tuple[dict[str, Measured], list[str]]:
    """Return what each method needed, and a sentence for each that could not be measured."""
    config, found, missing = findings.config, dict[str, Measured](), list[str]()
    task = problem("solids", config.n_bench)
    with run.progress.track(len(PEERS), "peers") as update:
        for number, name in enumerate(PEERS):
            update(number, PEERS[name])
            try:
                found[name] = measure(name, task, config.rtol, n_repeats=config.masks.n_repeats)
            except ImportError as error:
                missing.append(f"{PEERS[name]} was not measured: {error}.")
            run.log(f"measured {name}" if name in found else f"not measured: {name}")
    return found, missing


def _row(name: str, one: Measured) -> tuple[Any, ...]:
    times = (float(f"{value:.3g}") for value in (one.setup_s, one.solve_s))
    memory = None if one.bytes is None else round(one.bytes / 1e6)
    return (PEERS[name], one.iterations, *times, f"{one.residual_true:.1e}", memory)


def _ratios(found: Mapping[str, Measured], n: int) -> dict[str, float]:
    """Return the ratios that the methods measured allow, each with the size in its name."""
    ours, metrics = found["multigrid"], dict[str, float]()
    total = {name: one.setup_s + one.solve_s for name, one in found.items()}
    if "pyamg_rs" in found and "pyamg_sa" in found:
        metrics["mgpcg_vs_pyamg_rs_solve"] = found["pyamg_rs"].solve_s / ours.solve_s
        metrics["mgpcg_vs_best_pyamg_total"] = min(total["pyamg_sa"], total["pyamg_rs"]) / total["multigrid"]
        if ours.bytes and found["pyamg_sa"].bytes:
            metrics["memory_vs_pyamg_sa"] = ours.bytes / found["pyamg_sa"].bytes
    for name in (name for name in ("petsc_hypre", "petsc_gamg") if name in found):
        metrics[f"mgpcg_vs_{name}_solve"] = found[name].solve_s / ours.solve_s
        metrics[f"mgpcg_vs_{name}_total"] = total[name] / total["multigrid"]
    metrics["mgpcg_vs_scipy_cg"] = found["cg"].solve_s / ours.solve_s
    metrics["mgpcg_vs_dct_total"] = total["box_dct"] / total["multigrid"]
    sized = {f"{key}_{n}": value for key, value in metrics.items()}
    for name, one in found.items():
        sized |= {f"{name}_iterations_{n}": one.iterations, f"{name}_setup_cpu_s_{n}": one.setup_s}
        sized |= {f"{name}_solve_cpu_s_{n}": one.solve_s, f"{name}_residual_{n}": one.residual_true}
    return sized


def _growth(findings: Findings, report: Report, found: Mapping[str, Measured]) -> dict[str, float]:
    """Count iterations from a quarter to twice the size, and at the size with the cycle in half a type.

    The growth is the largest factor of a doubling; twice the size is left out where free memory does not hold it.
    """
    n, rtol = findings.config.n_bench, findings.config.rtol
    counts = {size: solve(problem("solids", size), rtol=rtol).iterations for size in (n // 4, n // 2)}
    counts[n] = found["multigrid"].iterations
    metrics = dict[str, float]()
    rows: list[tuple[Any, ...]] = [(f"{size}³", count, None) for size, count in counts.items()]
    if _free_bytes() > BYTES_PER_CELL * (2 * n) ** 3:
        task = problem("solids", 2 * n)
        before = resident() if reset_peak() else None
        counts[2 * n] = solve(task, rtol=rtol).iterations
        after = peak()
        memory = None if before is None or after is None else max(0, after - before)
        rows.append((f"{2 * n}³", counts[2 * n], None if memory is None else round(memory / 1e6)))
        metrics |= {f"multigrid_iterations_{2 * n}": counts[2 * n]}
        metrics |= {} if memory is None else {f"multigrid_bytes_{2 * n}": memory}
    with one_core():
        half = solve(problem("solids", n), rtol=rtol, dtype=torch.float16).iterations
    rows.append((f"{n}³, cycle in emulated float16", half, None))
    caption = "Iterations on `solids` as the grid is refined, and peak memory where it is measured here."
    report.table(("cells", "multigrid iterations", "peak memory (MB)"), rows, caption)
    metrics[f"fp16_extra_iterations_{n}"] = half - counts[n]
    return {**metrics, "iteration_growth_per_doubling": max(b / a for a, b in pairwise(counts.values()))}


def _free_bytes() -> int:
    """Return the free memory of the machine, zero where it is not known."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


def _unlike(findings: Findings, run: Run, report: Report) -> dict[str, float]:
    """Time the guarded learned cycle, set-up and first solve, against the classical cycle with the same sweeps."""
    network, rtol, n = findings.cycle.network, findings.config.rtol, findings.config.masks.n
    assert isinstance(network, LearnedCycle)
    rows, first, later = list[tuple[Any, ...]](), list[float](), list[float]()
    n_repeats = findings.config.masks.n_repeats
    with one_core(), run.progress.track(len(UNLIKE), "unlike the training") as update:
        for number, name in enumerate(UNLIKE):
            task = problem(name, n, seed=run.seed + 2000)
            row = _beside(task, network, rtol, n_repeats)
            first.append(row[-2])
            later.append(row[-1])
            rows.append((name, *row))
            update(number + 1, name)
    report.section(
        "The learned cycle on masks unlike its training",
        f"Jumps of 10⁴, a log-normal coefficient, anisotropy, one-cell walls and pores on {n}³ cells. A guard asks the "
        "network only where many cells look alike, and compares one step of both cycles at the first solve; that "
        "costs, and it counts.",
    )
    columns = ("problem", "classical 1+1", "guarded", "cycle used", "first solve", "later solves")
    report.table(columns, rows, "Iterations, and CPU time over that of the classical cycle with the same sweeps.")
    return {
        "learned_ood_worst_wall_ratio": max(first),
        "learned_ood_mean_wall_ratio": geometric_mean(first),
        "learned_ood_worst_later_ratio": max(later),
    }


def _beside(
    task: MaskProblem, network: LearnedCycle, rtol: float, n_repeats: int
) -> tuple[int, int, str, float, float]:
    """Return iterations of the classical and the guarded cycle, the one used, and ratios of their least CPU times."""
    seconds = np.full((n_repeats, 4), np.inf)
    for row in seconds:  # in turn, so that both see the same load
        classical, setup_s = timed(lambda: Multigrid(task, smoothing=(1, 1)))
        theirs, row[0] = timed(lambda c=classical: solve(task, preconditioner=c, rtol=rtol))  # type: ignore[misc]
        row[0] += setup_s
        _, row[1] = timed(lambda c=classical: [solve(task, preconditioner=c, rtol=rtol) for _ in range(N_LATER)])  # type: ignore[misc]
        guarded, setup_s = timed(lambda: GuardedCycle(task, network))
        ours, row[2] = timed(lambda g=guarded: g.solve(rtol=rtol))  # type: ignore[misc]
        row[2] += setup_s
        _, row[3] = timed(lambda g=guarded: [g.solve(rtol=rtol) for _ in range(N_LATER)])  # type: ignore[misc]
    their_first, their_later, first, later = seconds.min(0)
    used = "classical" if ours.fallback else "learned"
    return theirs.iterations, ours.iterations, used, float(first / their_first), float(later / their_later)
