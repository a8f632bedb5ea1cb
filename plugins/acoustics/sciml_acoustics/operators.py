"""The truth solvers behind the operator contract: positions in, impulse responses out."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr
from scipy import sparse

from sciml import Operator, Region, Spec
from sciml.operator import Discretization
from sciml_acoustics.data import Medium, room_spec
from sciml_acoustics.fdtd import FdtdSolver
from sciml_acoustics.geometry import Room, room
from sciml_acoustics.pulse import gaussian_pulse, pulse_width
from sciml_acoustics.sem import SemMesh, WaveSolver


def medium_of(f_max: float, c: float = 343.0) -> Medium:
    """Return air with the published pulse width for the band limit `f_max` (Hz)."""
    return Medium(c=c, f_max=f_max, sigma0=pulse_width(f_max, c))


class _RoomSolver(Operator):
    """What the solvers share: a room, its spec, and the map from positions to responses by a nodal solver."""

    discretization: ClassVar[Discretization] = "fixed"

    def __init__(self, place: Room, medium: Medium, solver: Any) -> None:
        self.room, self.medium, self.solver = place, medium, solver

    @property
    def spec(self) -> Spec:
        """Positions inside the room and times in, pressure out."""
        return room_spec(self.room.n_axis, Region(self.room.boxes))

    def _apply(self, inputs: xr.Dataset) -> xr.Dataset:
        nodes = self.solver.nodes if hasattr(self.solver, "nodes") else self.solver.mesh.nodes
        interpolate = self.solver if hasattr(self.solver, "interpolation") else self.solver.mesh
        receivers = inputs["receiver_position"].values
        at_receivers = sparse.csr_matrix((0, len(nodes)))
        if len(receivers):
            at_receivers = interpolate.interpolation(receivers)
        time = inputs["time"].values
        grid, index = output_grid(time)
        pulse = gaussian_pulse(inputs["source_position"].values, nodes, self.medium.sigma0, self.medium.amplitude)
        pressure = torch.as_tensor(self.solver.solve(pulse, grid)).cpu().numpy()[:, index]
        responses = np.empty((len(pressure), len(receivers), len(time)))
        for response, field in zip(responses, pressure, strict=True):
            response[:] = at_receivers @ field.T
        coords = {name: coord for name, coord in inputs.coords.items()}
        return xr.Dataset({"pressure": (("source", "receiver", "time"), responses, {"units": "Pa"})}, coords=coords)


class SpectralElements(_RoomSolver):
    """Spectral elements, fourth order in time; see `sciml_acoustics.sem`.

    Parameters
    ----------
    room_name : a preset room.
    impedance : normalised impedance xi of all walls; inf is rigid.
    f_max : band limit, Hz.
    ppw : nodes per shortest wavelength.
    order : polynomial degree.
    """

    def __init__(
        self,
        room_name: str = "square",
        impedance: float = 17.98,
        f_max: float = 1000.0,
        ppw: float = 6.0,
        order: int = 6,
    ) -> None:
        place, medium = room(room_name), medium_of(f_max)
        super().__init__(place, medium, WaveSolver(SemMesh(place, order, ppw, f_max, medium.c), impedance))


class FiniteDifferences(_RoomSolver):
    """Second-order finite differences, a cross-check; needs 24 to 48 nodes per wavelength for one per cent."""

    def __init__(
        self, room_name: str = "square", impedance: float = 17.98, f_max: float = 1000.0, ppw: float = 24.0
    ) -> None:
        place, medium = room(room_name), medium_of(f_max)
        super().__init__(place, medium, FdtdSolver(place, impedance, ppw, f_max, medium.c))


def output_grid(time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a uniform grid (s) from 0 that contains all of `time`, and where each lies in it.

    Solvers march through uniform outputs; times that fit no grid of a microsecond or more are refused.
    """
    times = np.asarray(time, dtype=float)
    microseconds = np.rint(times * 1e6).astype(np.int64)
    if times.size == 0 or (microseconds < 0).any() or np.abs(times * 1e6 - microseconds).max() > 1e-3:
        raise ValueError("time: expected non-negative multiples of one microsecond, got others; round the output times")
    step = int(np.gcd.reduce(microseconds)) or 1
    grid = np.arange(max(int(microseconds.max()) // step, 1) + 1) * step * 1e-6
    return grid, microseconds // step
