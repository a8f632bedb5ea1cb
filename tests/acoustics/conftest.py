"""One small square room for all tests of surrogates: 400 Hz, 30 ms, 49 sources; half a second to make and fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from sciml_acoustics.data import Waves
from sciml_acoustics.deeponet import DeepONet, DeepONetOptions
from sciml_acoustics.geometry import random_points, room, source_grid
from sciml_acoustics.linear import fit_linear
from sciml_acoustics.modal import fit_modal
from sciml_acoustics.operators import medium_of
from sciml_acoustics.pulse import gaussian_pulse
from sciml_acoustics.sem import SemMesh, WaveSolver
from sciml_acoustics.subspace import Subspace, proper_orthogonal
from sciml_acoustics.two_step import prepare_two_step

from sciml import Region

F_MAX = 400.0


@dataclass(frozen=True)
class Small:
    """Training and held-out waves of the square room, their subspace, and how wide the cosine frame is."""

    mesh: SemMesh
    region: Region
    train: Waves
    test: Waves
    long: Waves
    subspace: Subspace
    band: tuple[float, float]


@pytest.fixture(scope="session")
def small() -> Small:
    place, medium = room("square"), medium_of(F_MAX)
    wavelength = medium.c / F_MAX
    mesh = SemMesh(place, 5, 7.0, F_MAX, medium.c)
    sources = source_grid(place, wavelength / 4, 0.4)
    held_out = random_points(place, 5, np.random.default_rng(3), 0.4)
    solver = WaveSolver(mesh, 17.98)

    def waves(source: np.ndarray, n_time: int) -> Waves:
        time = np.arange(n_time) / (2 * F_MAX)
        pulse = gaussian_pulse(source, mesh.nodes, medium.sigma0, medium.amplitude)
        pressure = solver.solve(pulse, time).numpy().astype(np.float32)
        return Waves(source, mesh.nodes, mesh.weights, time, pressure, medium)

    train, test, long = waves(sources, 25), waves(held_out, 25), waves(held_out, 73)
    band = (2 * math.pi / wavelength * 1.6, 0.6 * wavelength)
    return Small(mesh, Region(place.boxes), train, test, long, proper_orthogonal(train, 1e-3, 400), band)


@pytest.fixture(scope="session")
def networks(small) -> dict[str, Any]:
    """Every registered surrogate, fitted to the small room; the DeepONet is only initialised."""
    arguments = (small.train, small.subspace, small.region, small.band)
    return {
        "acoustics.modal": fit_modal(*arguments, 3.0),
        "acoustics.linear": fit_linear(*arguments, 3.0, 40),
        "acoustics.two_step": prepare_two_step(*arguments, 3.0, 40, 5),
        "acoustics.deeponet": DeepONet(
            [[list(low), list(high)] for low, high in small.region.boxes],
            small.train.medium,
            DeepONetOptions(width=8, n_outputs=4),
            5,
        ),
    }


@pytest.fixture(scope="session")
def evaluate():
    """Give ``evaluate(network, source, receiver, time)``: pressure (source, time, receiver) in the network's dtype."""

    def pressure(network, source, receiver, time, dtype=torch.float32):
        given = {"source_position": source, "receiver_position": receiver, "time": time}
        wanted = {field.name for field in network.spec.inputs}
        tensors = {name: torch.as_tensor(value, dtype=dtype) for name, value in given.items() if name in wanted}
        with torch.no_grad():
            return network(**tensors)["pressure"].numpy().transpose(0, 2, 1)

    return pressure
