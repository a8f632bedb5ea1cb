"""Second-order finite differences on box unions: the simple, independent cross-check of the spectral elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from torch import Tensor

from sciml_acoustics.geometry import Room, cells
from sciml_acoustics.sem import output_interval, per_wall

Array = NDArray[np.float64]


class FdtdSolver:
    """Leapfrog on a grid with nodes on the walls: ``p_tt = c^2 lap p``, ``dp/dn = -p_t / (c xi)``.

    Balance over the cell around each node, with volume V, face areas over distances g and wall areas w:

    ``(1 + b) p(n+1) = 2 p(n) - (1 - b) p(n-1) + (c dt)^2 / V sum g (p_neighbour - p)``,
    ``b = c dt / (2 V) sum_walls w / xi``.

    Parameters
    ----------
    room : geometry; the spacing is the largest that hits every box face and satisfies ``ppw``.
    impedance : normalised specific impedance xi > 0 of all walls, or one per wall; inf is rigid.
    ppw : nodes per shortest wavelength at least; one per cent over 50 ms takes 24 to 48.
    f_max : highest frequency, Hz. c : speed of sound, m/s. dtype : of the state.

    *Contract*: second order in the spacing at a fixed ratio of step to spacing; stable for any impedance.

    *Source*: Kowalczyk and van Walstijn, IEEE Trans. Audio Speech Lang. Process. 19 (2011), section IV.
    """

    def __init__(
        self,
        room: Room,
        impedance: float | Sequence[float] = math.inf,
        ppw: float = 24.0,
        f_max: float = 1000.0,
        c: float = 343.0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        if not (ppw > 0.0 and f_max > 0.0 and c > 0.0):
            raise ValueError(f"FdtdSolver: expected positive ppw, f_max and c, got {ppw}, {f_max}, {c}; check units")
        self.room, self.c, self.dtype = room, c, dtype
        self.impedance = per_wall(impedance, len(room.walls))
        self._axes = [_uniform(lines, c / f_max / ppw) for lines in cells(room).lines]
        self.spacing = tuple(float(axis[1] - axis[0]) for axis in self._axes)
        centres = [0.5 * (axis[1:] + axis[:-1]) for axis in self._axes]
        mesh = np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1)
        inside = room.contains(mesh.reshape(-1, room.n_axis)).reshape(mesh.shape[:-1])
        self._volume, self._faces = _balance(inside, self.spacing)
        self._where = np.argwhere(self._volume > 0.0)
        self.nodes: Array = np.stack([axis[k] for axis, k in zip(self._axes, self._where.T, strict=True)], axis=1)
        self._number = np.full(self._volume.shape, -1)
        self._number[tuple(self._where.T)] = np.arange(len(self.nodes))
        self._loss = self._wall_loss() / np.where(self._volume > 0.0, self._volume, 1.0)

    def _wall_loss(self) -> Array:
        """``c sum_walls w / xi`` at every grid node."""
        loss = np.zeros(self._volume.shape)
        for wall, xi in zip(self.room.walls, self.impedance, strict=True):
            ends = np.sort(np.array([wall.start, wall.end]), axis=0)
            index = [np.rint((ends[:, a] - x[0]) / (x[1] - x[0])).astype(int) for a, x in enumerate(self._axes)]
            at = tuple(slice(low, high + 1) for low, high in index)
            size = np.ones(loss[at].shape)
            if self.room.n_axis == 2:
                size *= self.spacing[0 if wall.normal[0] == 0.0 else 1]
                flat = size.ravel()
                flat[[0, -1]] *= 0.5
                size = flat.reshape(size.shape)
            loss[at] += self.c / xi * size
        return loss

    def time_step(self, times: ArrayLike) -> tuple[float, int]:
        """Largest stable step (s) that divides the output interval, and the number of steps per interval."""
        interval = output_interval(times)
        limit = 0.99 / (self.c * math.sqrt(sum(h**-2 for h in self.spacing)))
        n_sub = max(1, math.ceil(interval / limit))
        return interval / n_sub, n_sub

    def solve(
        self, initial_pressure: ArrayLike, times: ArrayLike, progress: Callable[[float], None] | None = None
    ) -> Tensor:
        """Pressure (S, T, N) in Pa at ``times`` (T,) in s from ``initial_pressure`` (S, N) at rest."""
        initial = torch.as_tensor(initial_pressure).to(self.dtype)
        if initial.ndim != 2 or initial.shape[1] != len(self.nodes):
            raise ValueError(
                f"FdtdSolver: expected initial_pressure (S, {len(self.nodes)}), got {tuple(initial.shape)}; "
                "evaluate the pulse at solver.nodes"
            )
        dt, n_sub = self.time_step(times)
        outputs = np.rint(np.asarray(times, float) / (dt * n_sub)).astype(int) * n_sub
        at: tuple[slice | Tensor, ...] = (slice(None), *(torch.from_numpy(k) for k in self._where.T))
        now = initial.new_zeros(len(initial), *self._volume.shape)
        now[at] = initial
        volume = np.where(self._volume > 0.0, self._volume, np.inf)
        rate = initial.new_tensor((self.c * dt) ** 2 / volume)
        faces = [initial.new_tensor(face) for face in self._faces]
        damp = initial.new_tensor(0.5 * dt * self._loss)
        before = now + 0.5 * rate * _divergence(now, faces)  # a start from rest: p(-1) = p(1)
        output = initial.new_empty(len(initial), len(outputs), len(self.nodes))
        step = 0
        for k, stop in enumerate(outputs):
            while step < stop:
                ahead = (2.0 * now - (1.0 - damp) * before + rate * _divergence(now, faces)) / (1.0 + damp)
                before, now, step = now, ahead, step + 1
            output[:, k] = now[at]
            if progress is not None:
                progress((k + 1) / len(outputs))
        return output

    def interpolation(self, points: ArrayLike) -> sparse.csr_matrix:
        """Matrix (R, N) of multilinear interpolation to ``points`` (R, d) inside the room."""
        position = np.atleast_2d(np.asarray(points, float))
        outside = np.flatnonzero(~self.room.contains(position))
        if outside.size:
            raise ValueError(
                f"FdtdSolver.interpolation: expected receivers inside room {self.room.name!r}, got point {outside[0]} "
                f"at {tuple(position[outside[0]].tolist())} m, which is outside or inside furniture; move it"
            )
        matrix = sparse.csr_matrix((len(position), len(self.nodes)))
        shape = (2,) * self.room.n_axis
        for corner in np.ndindex(*shape):
            value, index = np.ones(len(position)), []
            for a, (x, h) in enumerate(zip(self._axes, self.spacing, strict=True)):
                cell = np.clip(((position[:, a] - x[0]) / h).astype(int), 0, len(x) - 2)
                part = np.clip((position[:, a] - x[cell]) / h, 0.0, 1.0)
                value = value * (part if corner[a] else 1.0 - part)
                index.append(cell + corner[a])
            number = self._number[tuple(index)]
            used = (number >= 0) & (value > 0.0)
            entry = (value[used], (np.flatnonzero(used), number[used]))
            matrix = matrix + sparse.csr_matrix(entry, matrix.shape)
        return sparse.diags(1.0 / np.asarray(matrix.sum(axis=1)).ravel()) @ matrix


def _uniform(lines: Array, largest: float) -> Array:
    """Equidistant nodes through all lines (given to a micrometre), at most ``largest`` apart."""
    step = np.gcd.reduce(np.rint(np.diff(lines) * 1e6).astype(int)) * 1e-6
    n_cell = round((lines[-1] - lines[0]) / step) * math.ceil(step / largest - 1e-9)
    return np.linspace(lines[0], lines[-1], n_cell + 1)


def _balance(inside: NDArray[np.bool_], spacing: tuple[float, ...]) -> tuple[Array, list[Array]]:
    """Volume around each node and, per axis, face area over distance between neighbouring nodes."""
    padded = np.pad(inside.astype(float), 1)
    if inside.ndim == 1:
        return 0.5 * spacing[0] * (padded[1:] + padded[:-1]), [inside / spacing[0]]
    in_x, in_y = padded[1:, :] + padded[:-1, :], padded[:, 1:] + padded[:, :-1]
    volume = 0.25 * spacing[0] * spacing[1] * (in_x[:, 1:] + in_x[:, :-1])
    across_x = 0.5 * spacing[1] / spacing[0] * in_y[1:-1, :]
    return volume, [across_x, 0.5 * spacing[0] / spacing[1] * in_x[:, 1:-1]]


def _divergence(pressure: Tensor, faces: list[Tensor]) -> Tensor:
    total = torch.zeros_like(pressure)
    for axis, face in enumerate(faces, start=1):
        n = pressure.shape[axis] - 1
        flux = face * torch.diff(pressure, dim=axis)
        total.narrow(axis, 0, n).add_(flux)
        total.narrow(axis, 1, n).sub_(flux)
    return total
