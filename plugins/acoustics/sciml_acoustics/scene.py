"""What surrogates are fitted to and judged by: simulated with the truth solver, or read from a user's files."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sciml_datasets import open_store, split_exactly, write_store
from sciml_datasets.cache import cached
from sciml_datasets.formats import FORMATS, find_format
from scipy import sparse

from sciml import Region
from sciml.experiment import Run
from sciml.threads import one_core
from sciml_acoustics.analytic import rigid_modal_sum
from sciml_acoustics.config import AcousticsConfig, SolverConfig
from sciml_acoustics.data import Waves
from sciml_acoustics.geometry import Room, random_points, room, source_grid
from sciml_acoustics.lookup import scattered_interpolation
from sciml_acoustics.operators import medium_of
from sciml_acoustics.pulse import gaussian_pulse
from sciml_acoustics.sem import SemMesh, WaveSolver
from sciml_acoustics.simulate import simulate, window

Array = NDArray[Any]
GENERATOR = 2  # version of what `simulate` writes; a change makes the cache start anew


@dataclass(frozen=True)
class OffNodes:
    """Receivers off the training nodes.

    Parameters
    ----------
    position : (receiver, axis), m.
    truth : pressure of the held-out sources (source, time, receiver), Pa.
    interpolation : matrix (receiver, node) with which a lookup goes from training nodes to receivers.
    """

    position: Array
    truth: Array
    interpolation: sparse.csr_matrix


@dataclass(frozen=True)
class Scene:
    """Training and held-out waves, truth off the nodes and past the window, and where all of it came from.

    Parameters
    ----------
    region : the room.
    train, test : waves of training and of held-out sources.
    off_nodes : receivers off the nodes, the truth there, and how a lookup gets there.
    origin : a sentence for the report.
    long : waves of some held-out sources over a longer window, at twice the output rate; None without a solver.
    figures : solver measurements for the metrics.
    """

    region: Region
    train: Waves
    test: Waves
    off_nodes: OffNodes
    origin: str
    long: Waves | None = None
    figures: dict[str, float] = field(default_factory=dict)


def make_scene(config: AcousticsConfig, run: Run) -> Scene:
    """Simulate, or read the user's files."""
    return _simulated(config, run) if config.data is None else _read(config, run)


def _simulated(config: AcousticsConfig, run: Run) -> Scene:
    solver, place = config.solver, room("square" if config.room == "auto" else config.room)
    medium = medium_of(solver.f_max)
    sources = source_grid(place, medium.c / solver.f_max / solver.source_ppw, solver.padding)
    generator = np.random.default_rng([run.seed, 11])
    held_out = random_points(place, solver.n_test, generator, solver.padding)
    receivers = random_points(place, config.n_receivers, generator)
    mesh = SemMesh(place, solver.order, solver.ppw, solver.f_max, medium.c)
    finer = SemMesh(place, min(solver.order + 2, 10), 1.5 * solver.ppw, solver.f_max, medium.c)
    short = window(solver, solver.t_max)
    jobs = {
        "train": (mesh, sources, short, None),
        "test": (mesh, held_out, short, None),
        "off_nodes": (finer, held_out, short, (receivers, finer.interpolation(receivers))),
        "long": (mesh, held_out[: solver.n_long], window(solver, solver.t_long, per_period=4), None),
    }
    key = {"generator": GENERATOR, "solver": asdict(solver), "room": place.name, "n_receivers": len(receivers)}
    key |= {"seed": run.seed, "device": run.device}
    folder = cached(None, key, lambda path: _simulate_all(jobs, solver, run, path))
    waves = {name: Waves.from_dataset(open_store(folder / f"{name}.nc")) for name in jobs}
    origin = (
        f"Simulated with spectral elements of degree {solver.order} at {solver.ppw:g} nodes per shortest wavelength "
        f"({len(mesh.nodes)} nodes, room {place.name!r}, wall impedance {solver.impedance:g}): {len(sources)} training "
        f"sources on a grid, {len(held_out)} held-out sources at random, {len(receivers)} receivers off the nodes "
        f"whose truth comes from a finer mesh ({len(finer.nodes)} nodes of degree {finer.order})."
    )
    figures = {"solver_vs_analytic_rel_l2": solver_error(place, held_out[0], solver)}
    off_nodes = OffNodes(receivers, waves["off_nodes"].pressure, mesh.interpolation(receivers))
    return Scene(Region(place.boxes), waves["train"], waves["test"], off_nodes, origin, waves["long"], figures)


def _simulate_all(jobs: dict[str, Any], solver: SolverConfig, run: Run, folder: Path) -> None:
    for name, (mesh, source, time, at) in jobs.items():
        with run.progress.track(1.0, f"simulate {name}: {len(source)} sources, {len(mesh.nodes)} nodes") as update:
            waves = simulate(mesh, solver, source, time, at=at, device=run.device, progress=update)
        write_store(folder / f"{name}.nc", waves.to_dataset())


def solver_error(place: Room, source: Array, solver: SolverConfig) -> float:
    """Return the solver's relative L2 error against the exact modal sum of a rigid rectangle at this resolution."""
    low, high = np.array(place.bounding_box)
    box = Room("rigid box", ((tuple(low), tuple(high)),))
    time, medium = window(solver, solver.t_max), medium_of(solver.f_max)
    mesh = SemMesh(box, solver.order, solver.ppw, solver.f_max, medium.c)
    truth = rigid_modal_sum(box, source[None], mesh.nodes, time, medium.sigma0, medium.c)
    pulse = gaussian_pulse(source[None], mesh.nodes, medium.sigma0)
    with one_core():
        error = WaveSolver(mesh).solve(pulse, time).numpy() - truth
    return float(np.sqrt(((error**2) @ mesh.weights).sum() / ((truth**2) @ mesh.weights).sum()))


def _read(config: AcousticsConfig, run: Run) -> Scene:
    folder = Path(str(config.data))
    reader = find_format(folder)
    splits = FORMATS[reader].read(folder)
    if len(splits) == 1:
        splits = _split(next(iter(splits.values())), run.seed, folder)
    held_out = "test" if "test" in splits else "val"
    if not {"train", held_out} <= set(splits):
        got = ", ".join(splits)
        raise ValueError(f"{folder}: expected train and test or val, or one split alone, got {got}; rename the folders")
    train, test = (
        Waves.from_dataset(splits[name], config.solver.f_max, f"{folder} {name}") for name in ("train", held_out)
    )
    region = _region_of(config, train, test)
    if train.time.shape != test.time.shape or not np.allclose(
        train.time, test.time, rtol=0.0, atol=1e-3 * train.time[1]
    ):
        raise ValueError(
            f"{folder}: expected equal output times in train and {held_out}, got different ones; resample one of them"
        )
    generator = np.random.default_rng([run.seed, 12])
    if train.shares_nodes(test):  # keep some nodes out of the training: they are the receivers off the nodes
        chosen = generator.permutation(len(train.node_weight))
        n_out = max(min(config.n_receivers, len(chosen) // 5), 1)
        receivers, truth = test.node_position[chosen[:n_out]], test.pressure[:, :, chosen[:n_out]]
        train, test = train.nodes(np.sort(chosen[n_out:])), test.nodes(np.sort(chosen[n_out:]))
    else:
        receivers, truth = test.node_position, test.pressure
    origin = (
        f"Read from {folder} ({reader}): {len(train.source_position)} training sources, {len(test.source_position)} "
        f"held-out sources of the split {held_out!r}, {len(receivers)} receivers at nodes that no fit has seen."
    )
    if "node_weight" not in splits["train"]:
        origin += " All nodes count equally, since the files hold no quadrature weights."
    off_nodes = OffNodes(receivers, truth, scattered_interpolation(train.node_position, receivers))
    return Scene(region, train, test, off_nodes, origin)


def _split(data: Any, seed: int, folder: Path) -> dict[str, Any]:
    """Split one set of simulations: a fifth of the sources is held out."""
    n = data.sizes.get("source", 0)
    if n < 2:
        raise ValueError(
            f"{folder}: expected at least two sources, one to train on and one held out, got {n}; add files"
        )
    index = split_exactly([str(i) for i in range(n)], {"train": n - max(n // 5, 1), "test": max(n // 5, 1)}, seed)
    return {name: data.isel(source=np.sort(rows)) for name, rows in index.items()}


def _region_of(config: AcousticsConfig, train: Waves, test: Waves) -> Region:
    """Return the box around all nodes, or the named room; a node or source outside it is refused."""
    nodes = np.concatenate([train.node_position, test.node_position])
    region = Region.around(nodes) if config.room == "auto" else Region(room(config.room).boxes)
    if region.n_dims != train.n_axis:
        raise ValueError(
            f"room {config.room!r}: expected a room of {train.n_axis} dimensions as the nodes of {config.data}, got "
            f"{region.n_dims}; choose another room or auto"
        )
    sources = np.concatenate([train.source_position, test.source_position])
    for what, points in (("mesh nodes", nodes), ("sources", sources)):
        outside = ~region.contains(points, 1e-6)
        if outside.any():
            raise ValueError(
                f"room {config.room!r}: expected all {what} of {config.data} inside {region} m, got {outside.sum()} "
                f"outside, the first at {points[outside][0].tolist()} m; choose another room, or correct the positions"
            )
    return region
