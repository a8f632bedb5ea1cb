"""What surrogates are fitted to and judged by: simulated with the truth solver, or read from a user's files."""

from __future__ import annotations

import time as clock
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sciml_datasets import open_store, split_exactly, write_store
from sciml_datasets.cache import cached
from sciml_datasets.formats import FORMATS, find_format

from sciml import Region
from sciml.experiment import Run
from sciml_acoustics.analytic import rigid_modal_sum
from sciml_acoustics.config import AcousticsConfig, SolverConfig
from sciml_acoustics.data import Medium, Waves
from sciml_acoustics.geometry import Room, random_points, room, source_grid
from sciml_acoustics.lookup import scattered_interpolation
from sciml_acoustics.operators import medium_of
from sciml_acoustics.pulse import gaussian_pulse
from sciml_acoustics.sem import SemMesh, WaveSolver
from sciml_acoustics.threads import one_core

Array = NDArray[Any]
GENERATOR = 1  # version of what `simulate` writes; a change makes the cache start anew


@dataclass(frozen=True)
class Scene:
    """Training and held-out waves, truth off the nodes and past the window, and where all of it came from.

    Parameters
    ----------
    region : the room.
    train, test : waves of training and of held-out sources.
    receivers : positions off the nodes (receiver, axis), m, and the truth there (source, time, receiver), Pa.
    long : waves of some held-out sources over a longer window; None when no solver is at hand.
    at_receivers : matrix (receiver, node) with which a lookup interpolates between nodes.
    origin : a sentence for the report.
    figures : solver measurements for the metrics.
    """

    region: Region
    train: Waves
    test: Waves
    receivers: tuple[Array, Array]
    long: Waves | None
    at_receivers: sparse.csr_matrix
    origin: str
    figures: dict[str, float]


def make_scene(config: AcousticsConfig, run: Run) -> Scene:
    """Simulate, or read the user's files."""
    return _simulated(config, run) if config.data is None else _read(config, run)


def simulate(mesh: SemMesh, solver: SolverConfig, medium: Medium, source: Array, time: Array, **means: Any) -> Waves:
    """Return the waves of pulses at `source` (source, axis), m, at all nodes and `time` (time,), s, in single precision.

    Sources are solved a few at a time, so that their fields stay in the cache; on the CPU each core takes its own
    chunks, because a matrix product of this size gains nothing from two threads that wait for each other.
    """
    waves = WaveSolver(mesh, solver.impedance, device=means.get("device", "cpu"))
    pulse = gaussian_pulse(source, mesh.nodes, medium.sigma0, medium.amplitude)
    pressure = np.empty((len(source), len(time), len(mesh.nodes)), np.float32)
    on_gpu, report = means.get("device", "cpu") != "cpu", means.get("progress", lambda done: None)
    chunks = np.array_split(np.arange(len(source)), max(1, len(source) // (512 if on_gpu else 24)))
    done = []

    def solve(chunk: Array) -> None:
        for step, state in enumerate(waves.march(pulse[chunk], time)):
            pressure[chunk, step] = state.pressure.to("cpu", torch.float32).numpy()
        done.append(len(chunk))
        report(sum(done) / len(source))

    n_workers = 1 if on_gpu else torch.get_num_threads()
    with one_core(), ThreadPoolExecutor(n_workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(solve, chunks))
    return Waves(source, mesh.nodes, mesh.weights, time, pressure, medium)


def window(solver: SolverConfig, length: float) -> Array:
    """Return output times (s) at two points per shortest period, from 0 to `length`."""
    return np.arange(round(length * 2.0 * solver.f_max) + 1) / (2.0 * solver.f_max)


def _simulated(config: AcousticsConfig, run: Run) -> Scene:
    solver, place = config.solver, room("square" if config.room == "auto" else config.room)
    medium = medium_of(solver.f_max)
    sources = source_grid(place, medium.c / solver.f_max / solver.source_ppw, solver.padding)
    generator = np.random.default_rng([run.seed, 11])
    held_out = random_points(place, solver.n_test, generator, solver.padding)
    receivers = random_points(place, config.n_receivers, generator)
    mesh = SemMesh(place, solver.order, solver.ppw, solver.f_max, medium.c)
    finer = SemMesh(place, solver.order + 2, 1.5 * solver.ppw, solver.f_max, medium.c)
    jobs = {
        "train": (mesh, sources, window(solver, solver.t_max)),
        "test": (mesh, held_out, window(solver, solver.t_max)),
        "finer": (finer, held_out, window(solver, solver.t_max)),
        "long": (mesh, held_out[: solver.n_long], window(solver, solver.t_long)),
    }
    key = {"generator": GENERATOR, "solver": asdict(solver), "room": place.name, "seed": run.seed, "device": run.device}
    started = clock.process_time()
    folder = cached(None, key, lambda path: _simulate_all(jobs, solver, medium, run, path))
    waves = {name: Waves.from_dataset(open_store(folder / f"{name}.nc")) for name in jobs}
    off_nodes = np.stack([finer.interpolation(receivers) @ field.T for field in waves["finer"].pressure])
    origin = (
        f"Simulated with spectral elements of degree {solver.order} at {solver.ppw:g} nodes per shortest wavelength "
        f"({len(mesh.nodes)} nodes, room {place.name!r}, wall impedance {solver.impedance:g}): {len(sources)} training "
        f"sources on a grid, {len(held_out)} held-out sources at random, {len(receivers)} receivers off the nodes whose "
        f"truth comes from a finer mesh ({len(finer.nodes)} nodes of degree {solver.order + 2})."
    )
    figures = {"simulation_cpu_s": clock.process_time() - started, **_accuracy(place, mesh, medium, held_out[0], solver)}
    return Scene(
        Region(place.boxes), waves["train"], waves["test"], (receivers, off_nodes.transpose(0, 2, 1)), waves["long"],
        mesh.interpolation(receivers), origin, figures,
    )  # fmt: skip


def _simulate_all(jobs: dict[str, Any], solver: SolverConfig, medium: Medium, run: Run, folder: Path) -> None:
    for name, (mesh, source, time) in jobs.items():
        with run.progress.track(1.0, f"simulate {name}: {len(source)} sources, {len(mesh.nodes)} nodes") as update:
            waves = simulate(mesh, solver, medium, source, time, device=run.device, progress=update)
        write_store(folder / f"{name}.nc", waves.to_dataset())


def _accuracy(place: Room, mesh: SemMesh, medium: Medium, source: Array, solver: SolverConfig) -> dict[str, float]:
    """Return the solver's error against the exact modal sum, in a rigid rectangle resolved like this room."""
    low, high = np.array(place.bounding_box)
    box = Room("rigid box", ((tuple(low), tuple(high)),))
    time = window(solver, solver.t_max)
    rigid = SemMesh(box, solver.order, solver.ppw, solver.f_max, medium.c)
    pulse = gaussian_pulse(source[None], rigid.nodes, medium.sigma0)
    truth = rigid_modal_sum(box, source[None], rigid.nodes, time, medium.sigma0, medium.c)
    error = WaveSolver(rigid, np.inf).solve(pulse, time).numpy() - truth
    return {"solver_vs_analytic_rel_l2": float(np.sqrt(((error**2) @ rigid.weights).sum() / ((truth**2) @ rigid.weights).sum()))}


def _read(config: AcousticsConfig, run: Run) -> Scene:
    folder = Path(str(config.data))
    reader = find_format(folder)
    splits = FORMATS[reader].read(folder)
    if "train" not in splits:
        splits = _split(splits[next(iter(splits))], run.seed)
    held_out = "test" if "test" in splits else "val"
    train, test = (Waves.from_dataset(splits[name], config.solver.f_max) for name in ("train", held_out))
    region = _region_of(config, np.concatenate([train.node_position, test.node_position]))
    if not np.allclose(train.time, test.time):
        raise ValueError(f"{folder}: expected equal output times in train and {held_out}, got different ones")
    generator = np.random.default_rng([run.seed, 12])
    same_mesh = train.node_position.shape == test.node_position.shape and np.allclose(train.node_position, test.node_position)
    if same_mesh:  # keep some nodes out of the training: they are the receivers off the nodes
        chosen = generator.permutation(len(train.node_weight))
        n_out = min(config.n_receivers, len(chosen) // 5)
        receivers = (test.node_position[chosen[:n_out]], test.pressure[:, :, chosen[:n_out]])
        train, test = train.nodes(np.sort(chosen[n_out:])), test.nodes(np.sort(chosen[n_out:]))
    else:
        receivers = (test.node_position, test.pressure)
    origin = (
        f"Read from {folder} ({reader}): {len(train.source_position)} training sources, {len(test.source_position)} sources "
        f"of the split {held_out!r} held out, {len(receivers[0])} receivers at nodes that no fit has seen. All nodes count "
        "equally, since the files hold no quadrature weights."
    )
    at_receivers = scattered_interpolation(train.node_position, receivers[0])
    return Scene(region, train, test, receivers, None, at_receivers, origin, {})


def _split(data: Any, seed: int) -> dict[str, Any]:
    """Split one set of simulations: a fifth of the sources is held out."""
    n = data.sizes["source"]
    index = split_exactly([str(i) for i in range(n)], {"train": n - max(n // 5, 1), "test": max(n // 5, 1)}, seed)
    return {name: data.isel(source=np.sort(rows)) for name, rows in index.items()}


def _region_of(config: AcousticsConfig, nodes: Array) -> Region:
    if config.room == "auto":
        return Region.around(nodes)
    region = Region(room(config.room).boxes)
    outside = ~region.contains(nodes, 1e-6)
    if outside.any():
        raise ValueError(
            f"room {config.room!r}: expected all mesh nodes of {config.data} inside, got {outside.sum()} outside, the first "
            f"at {nodes[outside][0].tolist()} m; choose another room or auto"
        )
    return region
