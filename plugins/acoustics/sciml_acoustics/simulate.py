"""Simulated waves of many sources, a few at a time on each core."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from sciml.threads import one_core
from sciml_acoustics.config import SolverConfig
from sciml_acoustics.data import Waves
from sciml_acoustics.operators import medium_of
from sciml_acoustics.pulse import gaussian_pulse
from sciml_acoustics.sem import SemMesh, WaveSolver

Array = NDArray[Any]
CHUNK = {"cpu": 24, "cuda": 512}  # sources solved together: their fields stay in the cache of a core


def simulate(
    mesh: SemMesh,
    solver: SolverConfig,
    source: Array,
    time: Array,
    *,
    at: tuple[Array, sparse.csr_matrix] | None = None,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda done: None,
) -> Waves:
    """Return waves, in single precision, of pulses at `source` (source, axis), m, at `time` (time,), s.

    On the CPU each core takes its own chunks of sources, because a matrix product of this size gains nothing from two
    threads that wait for each other.

    Parameters
    ----------
    at : receivers (receiver, axis), m, and the matrix (receiver, node) to them, instead of all nodes.
    progress : receives the done fraction.
    """
    waves, medium = WaveSolver(mesh, solver.impedance, device=device), medium_of(solver.f_max)
    position, matrix = (mesh.nodes, None) if at is None else at
    weight = mesh.weights if at is None else np.ones(len(position))
    pressure = np.empty((len(source), len(time), len(position)), np.float32)
    chunks = np.array_split(np.arange(len(source)), max(1, len(source) // CHUNK[device]))
    done: list[int] = []

    def solve(chunk: Array) -> None:
        pulse = gaussian_pulse(source[chunk], mesh.nodes, medium.sigma0, medium.amplitude)
        for step, state in enumerate(waves.march(pulse, time)):
            field = state.pressure.cpu().numpy()
            pressure[chunk, step] = field if matrix is None else (matrix @ field.T).T
        done.append(len(chunk))
        progress(sum(done) / len(source))

    n_workers = torch.get_num_threads() if device == "cpu" else 1
    with one_core(), ThreadPoolExecutor(n_workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(solve, chunks))
    return Waves(source, position, weight, time, pressure, medium)


def window(solver: SolverConfig, length: float, per_period: int = 2) -> Array:
    """Return output times (s) from 0 to `length`, `per_period` of them per shortest period."""
    rate = per_period * solver.f_max
    return np.arange(round(length * rate) + 1) / rate
