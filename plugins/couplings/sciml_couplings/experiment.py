"""`sciml run couplings`: one small surrogate, asked from C, C++, Fortran, ONNX Runtime, UM-Bridge and mock-up units."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sciml import Experiment, Results, Run, Surrogate
from sciml.artifact import read_json, write_json
from sciml.threads import one_core
from sciml_couplings.config import PRESETS, CouplingsConfig
from sciml_couplings.harvest import errors, fit_harvest
from sciml_couplings.story import Findings, Measured, tell

COMPILERS = ("g++", "gcc", "gfortran")


class Couplings(Experiment):
    """Whether other programs get from a surrogate what Python gets, and what a call costs them."""

    @property
    def presets(self) -> Mapping[str, CouplingsConfig]:
        """default: as in the README; quick: fewer requests and rounds. The compiling takes as long in both."""
        return PRESETS

    def run(self, config: CouplingsConfig, run: Run) -> Results:
        """Fit the surrogate, export it to every target, and compare each with Python."""
        with one_core():
            findings = explore(config, run)
        return Results(findings.metrics, tell(findings), findings.surrogate)

    def bench(self, config: CouplingsConfig, run: Run) -> Results:
        """Do what `run` does, and measure calls in C beside Python and ONNX Runtime, and the UM-Bridge server."""
        with one_core():
            findings = explore(config, run)
            findings = replace(findings, measured=measure(findings, run))
        return Results(findings.all_metrics, tell(findings), findings.surrogate)


def explore(config: CouplingsConfig, run: Run) -> Findings:
    """Fit, export and compare.

    Parameters
    ----------
    config, run : the settings, and the place; what is exported is left in its folder "exported".
    """
    from sciml_couplings.parity import example_errors, other_errors

    require_compilers()
    folder = run.folder / "exported"
    folder.mkdir(exist_ok=True)
    with run.progress.track(4, "couplings") as update:
        surrogate = fit_harvest(config.n_neuron, config.n_train, run.seed)
        metrics = errors(surrogate, config.n_train, run.seed)
        update(1, "compiling")
        metrics |= _compiled(surrogate, folder / "c", run)
        update(2, "programs in C, C++ and Fortran")
        begun = spent()
        differences = example_errors(surrogate, folder / "c")
        metrics["coupling_programs_cpu_s"] = spent() - begun
        update(3, "ONNX, UM-Bridge and mock-up units")
        others, untried = other_errors(surrogate, folder, run.seed)
        update(4)
    metrics |= {f"coupling_{name}_rel_err": value for name, value in (differences | others).items()}
    return Findings(config, surrogate, folder, metrics, untried)


def measure(findings: Findings, run: Run) -> Measured:
    """Measure the calls and the server.

    Parameters
    ----------
    findings, run : of :func:`explore`.
    """
    from sciml_couplings import bench_c

    config, surrogate, folder = findings.config, findings.surrogate, findings.folder
    callers = {"eager Python": functools.partial(bench_c.eager, surrogate)}
    if "onnx" not in findings.untried:
        callers["ONNX Runtime"] = functools.partial(bench_c.onnx_runtime, surrogate, folder / "harvest.onnx")
    with run.progress.track(2, "calls") as update, tempfile.TemporaryDirectory(prefix="couplings-") as workplace:
        program = bench_c.build_bench(folder / "c", Path(workplace))
        callers["C"] = functools.partial(bench_c.in_c, program, folder / "c")
        times = bench_c.call_times(callers, config.batches, config.n_call, config.n_round)
        update(1, "UM-Bridge")
        served: dict[str, float] = {}
        statuses: dict[str, tuple[int, int]] = {}
        if "umbridge" not in findings.untried:
            from sciml_couplings.bench_umbridge import many_requests, refusals

            statuses = refusals(surrogate)
            served = many_requests(surrogate, n_request=config.n_request, n_client=config.n_client)
        update(2)
    return Measured(times, served, statuses)


def require_compilers() -> None:
    """Refuse to begin where a compiler is missing, with one sentence."""
    absent = [name for name in COMPILERS if shutil.which(name) is None]
    if absent:
        wanted = ", ".join(COMPILERS)
        raise FileNotFoundError(f"couplings: expected the compilers {wanted}, got no {', '.join(absent)}; install them")


def spent() -> float:
    """Return the CPU seconds of this process and of those that it started and saw end."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _compiled(surrogate: Surrogate, folder: Path, run: Run) -> dict[str, float]:
    """Export to C, or find what a killed run has exported, and return what it took."""
    from sciml_couplings.c_export import to_c

    told = run.checkpoint("c.json")
    if not told.exists():
        shutil.rmtree(folder, ignore_errors=True)
        cpu, wall = spent(), time.perf_counter()
        to_c(surrogate, folder)
        took = {"coupling_c_export_cpu_s": spent() - cpu, "coupling_c_export_wall_s": time.perf_counter() - wall}
        write_json(told, took)
    return {str(name): float(value) for name, value in read_json(told).items()}
