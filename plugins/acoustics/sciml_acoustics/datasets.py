"""Registered data sets: waves of many sources in one room, written with a card by `sciml data make`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sciml_datasets import DatasetCard, Provenance, Sampling, write_store

from sciml import FieldSpec, Region
from sciml.progress import Progress
from sciml_acoustics.branch import sensor_grid
from sciml_acoustics.config import SolverConfig
from sciml_acoustics.data import Medium
from sciml_acoustics.geometry import Room, random_points, room, source_grid
from sciml_acoustics.operators import medium_of
from sciml_acoustics.pulse import gaussian_pulse
from sciml_acoustics.sem import SemMesh
from sciml_acoustics.simulate import simulate, window

Array = NDArray[Any]
SENSOR_PPW = 2.0  # as in the published files
SMALL = SolverConfig(f_max=500.0, t_max=0.03, n_test=12)

BODY = """## Equations

The linear wave equation for the sound pressure p(x, t) after an initial pulse, at rest at t = 0:

    p_tt = c^2 (p_xx + p_yy)                          in the room
    p(x, 0) = A exp(-|x - s|^2 / sigma0^2),  p_t(x, 0) = 0
    dp/dn = -p_t / (c xi)                             on every wall

with c = {c:g} m/s, sigma0 = c / (pi f_max / 2) = {sigma0:.4g} m, A = {amplitude:g} Pa, f_max = {f_max:g} Hz and the
normalised specific impedance xi = {impedance:g} of locally reacting walls. s is the position of the source.

## Sources of the splits

`train`: a regular grid of sources, at least {source_ppw:g} per shortest wavelength. `test`: sources drawn uniformly
from the same part of the room with the seed of `sciml data make`. All are at least {padding:g} m from the walls.

## Use

`node_weight` are quadrature weights: sum(node_weight * p^2) is the integral of p^2 over the room. `initial_pressure`
samples the pulse on a uniform grid over the bounding box of the room, also where that lies outside the room. Pressures
are stored in single precision.
"""


@dataclass(frozen=True)
class RoomWaves:
    """Impulse responses of one room, from the spectral-element solver; a `sciml_datasets.DatasetSource`.

    Parameters
    ----------
    room_name : a preset room, square or l_shape for example.
    solver : sizes of the simulation; by default seconds on one core.

    *Contract*: equal seeds give equal files; the splits share no simulation; `train` does not depend on the seed.
    """

    room_name: str
    solver: SolverConfig = SMALL

    @property
    def card(self) -> DatasetCard:
        """Equations, variables with units, license, generator, cost, grid and splits."""
        place, medium, solver = self._place, self._medium, self.solver
        texts = {**vars(medium), "impedance": solver.impedance, "source_ppw": solver.source_ppw}
        return DatasetCard(
            f"acoustics.{self.room_name}",
            f"Sound pressure in the room {place.name!r} after a Gaussian pulse, for many source positions",
            Provenance(
                "MIT",
                "generated; pulse and walls as in Borrel-Jensen et al., PNAS 121 (2024) e2312159120",
                "sciml_acoustics.datasets:RoomWaves, spectral elements of sciml_acoustics.sem",
                f"{sum(map(len, self._sources(0).values()))} simulations; at 500 Hz a second of one CPU core in all",
            ),
            Sampling("source", {name: len(source) for name, source in self._sources(0).items()}, self._grid()),
            self._fields(Region(place.boxes)),
            BODY.format(padding=solver.padding, **texts).strip(),
        )

    def make(self, folder: Path, *, seed: int, progress: Progress | None = None) -> None:
        """Simulate all sources and write `train.nc` and `test.nc` into `folder`."""
        shown, mesh, time = progress or Progress(enabled=False), self._mesh(), window(self.solver, self.solver.t_max)
        for split, source in self._sources(seed).items():
            with shown.track(1.0, f"simulate {split}: {len(source)} sources, {len(mesh.nodes)} nodes") as update:
                waves = simulate(mesh, self.solver, source, time, progress=update)
            write_store(Path(folder) / f"{split}.nc", self._labelled(waves.to_dataset(), split))

    @property
    def _place(self) -> Room:
        return room(self.room_name)

    @property
    def _medium(self) -> Medium:
        return medium_of(self.solver.f_max)

    def _mesh(self) -> SemMesh:
        return SemMesh(self._place, self.solver.order, self.solver.ppw, self.solver.f_max, self._medium.c)

    def _sources(self, seed: int) -> dict[str, Array]:
        place, solver = self._place, self.solver
        spacing = self._medium.c / solver.f_max / solver.source_ppw
        held_out = random_points(place, solver.n_test, np.random.default_rng([seed, 13]), solver.padding)
        return {"train": source_grid(place, spacing, solver.padding), "test": held_out}

    def _sensors(self) -> Array:
        return sensor_grid(*self._place.bounding_box, SENSOR_PPW, self._medium)

    def _grid(self) -> dict[str, Any]:
        time = window(self.solver, self.solver.t_max)
        return {
            "nodes": f"Gauss-Lobatto-Legendre points of spectral elements of degree {self.solver.order}",
            "n_nodes": len(self._mesh().nodes),
            "n_sensors": len(self._sensors()),
            "nodes_per_shortest_wavelength": self.solver.ppw,
            "n_times": len(time),
            "time_step_s": float(time[1] - time[0]),
        }

    def _fields(self, region: Region) -> tuple[FieldSpec, ...]:
        box = Region((region.bounding_box,))
        fields = (
            ("pressure", ("source", "time", "node"), "Pa", None, "sound pressure at the nodes"),
            ("initial_pressure", ("source", "sensor"), "Pa", None, "the pulse on a uniform grid"),
            ("source_position", ("source", "axis"), "m", region, "centre of the pulse"),
            ("node_position", ("node", "axis"), "m", region, "nodes of the solver's mesh"),
            (
                "node_weight",
                ("node",),
                "m**2",
                Region.interval(0.0, np.inf),
                "quadrature weights; they sum to the area",
            ),
            ("sensor_position", ("sensor", "axis"), "m", box, "uniform grid over the bounding box of the room"),
            ("time", ("time",), "s", Region.interval(0.0, np.inf), "time after the pulse"),
        )
        return tuple(FieldSpec(*field) for field in fields)

    def _labelled(self, waves: xr.Dataset, split: str) -> xr.Dataset:
        """Add what the published layout holds too: the sampled pulse, its sensors, and names of the simulations."""
        sensors, medium = self._sensors(), self._medium
        source = waves["source_position"].values
        pulse = gaussian_pulse(source, sensors, medium.sigma0, medium.amplitude).astype(np.float32)
        shape = [len(np.unique(axis)) for axis in sensors.T]
        data = waves.assign(
            initial_pressure=(("source", "sensor"), pulse, {"units": "Pa"}),
            sensor_position=(("sensor", "axis"), sensors, {"units": "m"}),
        ).assign_coords(
            simulation=("source", [f"{split}_{i:04d}" for i in range(len(source))]),
            axis=("axis", list("xyz"[: sensors.shape[1]])),
        )
        for field in self._fields(Region(self._place.boxes)):
            data[field.name].attrs["long_name"] = field.description
        extra = {"umesh_shape": shape, "impedance": self.solver.impedance, "room": self.room_name}
        return data.assign_attrs(extra)


SQUARE, L_SHAPE = RoomWaves("square"), RoomWaves("l_shape")
