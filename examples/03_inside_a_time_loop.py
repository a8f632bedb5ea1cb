"""Inside another program: a receiver that moves in a time loop, and a source found from its sound by gradient descent.

The fast path of a surrogate is plain torch: one call per time step costs less than a solver's step over all nodes, and
autograd gives the slope of a response with respect to where the source is. Three microphones are enough to find it.

    python examples/03_inside_a_time_loop.py
"""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sciml_acoustics.data import Waves
from sciml_acoustics.datasets import SQUARE
from sciml_acoustics.geometry import random_points, room
from sciml_acoustics.modal import fit_modal
from sciml_acoustics.sem import SemMesh
from sciml_acoustics.simulate import simulate
from sciml_acoustics.subspace import proper_orthogonal
from sciml_datasets import open_store

import sciml

PLACE = room("square")


def fit(f_max: float) -> tuple[sciml.Surrogate, SemMesh, Waves]:
    """Make the registered data set acoustics.square, and fit the modal operator to its training split."""
    source = replace(SQUARE, solver=replace(SQUARE.solver, f_max=f_max))
    with tempfile.TemporaryDirectory() as folder:
        source.make(Path(folder), seed=1)
        with open_store(Path(folder) / "train.nc") as data:
            waves = Waves.from_dataset(data)
    wavelength = waves.medium.c / f_max
    band = (1.6 * 2.0 * math.pi / wavelength, 0.6 * wavelength)
    network = fit_modal(waves, proper_orthogonal(waves, 1e-3, 400), sciml.Region(PLACE.boxes), band, ppw=3.0)
    solver = source.solver
    return sciml.Surrogate(network), SemMesh(PLACE, solver.order, solver.ppw, f_max), waves


def follow(surrogate: sciml.Surrogate, source: np.ndarray, path: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Return what a receiver hears on its `path` (time, axis), one call per step of the loop."""
    heard = []
    source_position = torch.as_tensor(source[None], dtype=torch.float32)
    with torch.inference_mode():
        for position, t in zip(path, time, strict=True):  # your own time loop
            receiver_position = torch.as_tensor(position[None], dtype=torch.float32)
            answer = surrogate(
                source_position=source_position,
                receiver_position=receiver_position,
                time=torch.tensor([t], dtype=torch.float32),
            )
            heard.append(float(answer["pressure"]))
    return np.array(heard)


def locate(surrogate: sciml.Surrogate, measured: torch.Tensor, fixed: dict[str, torch.Tensor], starts: torch.Tensor):
    """Return the best of the `starts` (start, axis), and where gradient descent on the misfit leads from there."""

    def misfit(source_position: torch.Tensor) -> torch.Tensor:
        response = surrogate(source_position=source_position, **fixed)["pressure"]  # (source, receiver, time)
        return (response - measured).square().sum((1, 2)) / measured.square().sum()

    with torch.no_grad():
        start = starts[misfit(starts).argmin()]
    position = start.clone()[None].requires_grad_()
    optimizer = torch.optim.LBFGS([position], max_iter=50, line_search_fn="strong_wolfe", tolerance_change=1e-12)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = misfit(position).sum()
        value.backward()
        return value

    optimizer.step(closure)
    return start, position.detach()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a lower frequency: a second less")
    f_max = 400.0 if parser.parse_args().smoke else 700.0
    surrogate, mesh, waves = fit(f_max)

    generator = np.random.default_rng(9)
    hidden = random_points(PLACE, 1, generator, 0.7)  # a source that the surrogate has never seen
    truth = simulate(mesh, replace(SQUARE.solver, f_max=f_max), hidden, waves.time).pressure[0]  # (time, node)

    angle = 2.0 * math.pi * waves.time / waves.time[-1]
    path = 1.0 + 0.6 * np.stack([np.cos(angle), np.sin(angle)], -1)
    heard = follow(surrogate, hidden[0], path, waves.time)
    solved = np.asarray(mesh.interpolation(path).multiply(truth).sum(1)).ravel()
    error = np.linalg.norm(heard - solved) / np.linalg.norm(solved)
    print(f"moving receiver: relative L2 error {error:.4f} over {len(path)} steps of the loop")

    receivers = random_points(PLACE, 3, generator, 0.1)
    recording = (mesh.interpolation(receivers) @ truth.T) + 0.01 * generator.normal(size=(3, len(waves.time)))  # Pa
    double = {"dtype": torch.float64}
    fixed = {"receiver_position": torch.as_tensor(receivers, **double), "time": torch.as_tensor(waves.time, **double)}
    starts = torch.as_tensor(waves.source_position, **double)
    start, found = locate(surrogate, torch.as_tensor(recording, **double), fixed, starts)
    scan_mm, found_mm = (1e3 * np.linalg.norm(place.numpy() - hidden[0]) for place in (start, found))
    print(
        f"source found from 3 receivers with noise: {found_mm:.1f} mm off; best training source: {scan_mm:.1f} mm off"
    )


if __name__ == "__main__":
    main()
