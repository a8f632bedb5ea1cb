"""One small square room for all tests of surrogates: 400 Hz, 30 ms, 49 sources; half a second to make and fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from sciml_acoustics.branch import sensor_grid
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
from sciml_datasets.formats import deeponet_acoustics

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


def as_published(waves: Waves) -> xr.Dataset:
    """Add what the published layout holds: the pulse on a uniform sensor grid over the bounding box of the nodes."""
    medium, nodes = waves.medium, waves.node_position
    sensors = sensor_grid(nodes.min(0), nodes.max(0), 2.0, medium)
    pulse = gaussian_pulse(waves.source_position, sensors, medium.sigma0, medium.amplitude)
    data = waves.to_dataset().drop_vars("node_weight")
    data["initial_pressure"] = (("source", "sensor"), pulse, {"units": "Pa"})
    data["sensor_position"] = (("sensor", "axis"), sensors, {"units": "m"})
    return data.assign_attrs(umesh_shape=[len(np.unique(axis)) for axis in sensors.T])


@pytest.fixture(scope="session")
def write_published():
    """Give ``write_published(folder, train=waves, test=waves)``, or ``all=waves`` for a folder without splits."""

    def write(folder, **splits: Waves):
        deeponet_acoustics.write({name: as_published(waves) for name, waves in splits.items()}, folder)
        return folder

    return write


@pytest.fixture(scope="session")
def user_folder(small, write_published, tmp_path_factory):
    """Files as users hold them: 49 training sources and 5 held-out ones in the square room."""
    return write_published(tmp_path_factory.mktemp("user") / "data", train=small.train, test=small.test)


@pytest.fixture(scope="session")
def box_waves():
    """Give ``box_waves(n_axis, source)``: pulses in a rigid box of 2 m, 150 Hz, 24 outputs, by a sum over modes."""

    def waves(n_axis: int, source: np.ndarray) -> Waves:
        side, n_modes, medium = 2.0, 7, medium_of(150.0)
        line = np.linspace(0.0, side, {1: 60, 2: 20, 3: 8}[n_axis])
        nodes = np.stack(np.meshgrid(*[line] * n_axis, indexing="ij"), -1).reshape(-1, n_axis)
        orders = np.stack(np.meshgrid(*[np.arange(n_modes)] * n_axis, indexing="ij"), -1).reshape(-1, n_axis)
        k, time = np.pi * orders / side, np.arange(24) / 300.0
        width = medium.sigma0 * np.sqrt(np.pi) / side * np.exp(-((k * medium.sigma0 / 2) ** 2))
        gain = (np.where(orders > 0, 2.0, 1.0) * width).prod(1)
        at_source, at_node = (np.cos(x[:, None] * k).prod(-1) for x in (source, nodes))
        turning = np.cos(medium.c * np.linalg.norm(k, axis=1) * time[:, None])
        pressure = np.einsum("m,sm,tm,nm->stn", gain, at_source, turning, at_node)
        weight = np.full(len(nodes), side**n_axis / len(nodes))
        return Waves(source, nodes, weight, time, pressure.astype(np.float32), medium)

    return waves
