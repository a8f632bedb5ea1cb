"""Wave equation in a room by spectral elements in space and a fourth-order, energy-stable splitting in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import eigsh
from torch import Tensor

from sciml_acoustics.sem_mesh import SemMesh

__all__ = ["SemMesh", "State", "WaveSolver", "Work"]
STABILITY_LIMIT = math.sqrt(12.0)  # of dt * omega_max, for any damping


class State(NamedTuple):
    """The field at one output time (s): pressure (S, N), Pa, and the discrete energy (S,), Pa^2 m^(d-2), float64."""

    time: float
    pressure: Tensor
    energy: Tensor


class Work(NamedTuple):
    """What a solve costs: steps, applications of the stiffness operator and nodes times sources updated by each."""

    n_steps: int
    n_applies: int
    n_nodes: int

    @property
    def node_updates(self) -> int:
        """Nodes advanced through one application of the stiffness operator, in total."""
        return self.n_applies * self.n_nodes


@dataclass
class _Field:
    """One flat tensor and its block views (n_x, n_source, n_y)."""

    flat: Tensor
    views: list[Tensor]


class WaveSolver:
    """Pressure in a room after a pulse: ``p_tt = c^2 lap p`` with locally reacting walls.

    In space ``M p_tt + C p_t + c^2 K p = 0`` with diagonal M and C. With ``A = c^2 M^-1 K``, ``B = M^-1 C`` a step is

    ``v -= dt A (p - dt^2 A p / 12);  p += phi v;  v *= exp(-B dt)``,  ``phi = (1 - exp(-B dt)) / B``.

    Parameters
    ----------
    mesh : the spectral elements.
    impedance : normalised specific impedance xi = Z / (rho c) > 0 of all walls, or one per wall; inf is rigid.
    courant : time step as a fraction of the stability limit, in (0, 1); less where walls absorb strongly.
    dtype, device : of the state; float32 is twice as fast and differs by about 3e-6 after 50 ms.

    *Contract*: without damping the discrete energy is constant up to rounding; with damping it never grows, whatever
    the impedance, because ``0 <= dt^2 A (1 - dt^2 A / 12) <= 3 < 4`` when ``dt^2 A < 12``.

    *Source*: the modified potential is Takahashi and Imada, J. Phys. Soc. Jpn. 53 (1984); the processor that raises it
    to order four Blanes, Casas and Ros, SIAM J. Sci. Comput. 21 (1999).

    *Departures*: the drift carries the damping exactly; the processor is shifted by a function of the exact flow, so
    that it is the identity at a start from rest and ``p + dt^2 B v / 12`` at output: no further applies.
    """

    def __init__(
        self,
        mesh: SemMesh,
        impedance: float | Sequence[float] = math.inf,
        *,
        courant: float = 0.7,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> None:
        if not 0.0 < courant < 1.0:
            raise ValueError(f"WaveSolver: expected 0 < courant < 1, got {courant}; 1 is the stability limit")
        self.mesh, self.courant, self.dtype, self.device = mesh, courant, dtype, torch.device(device)
        self.impedance = per_wall(impedance, len(mesh.room.walls))
        admittance = np.array([1.0 / xi for xi in self.impedance])
        self.damping: NDArray[np.float64] = mesh.c * (admittance @ mesh.wall_weights) / mesh.weights  # B, 1/s
        root = sparse.diags(mesh.weights**-0.5)
        start = np.cos(np.arange(len(mesh.nodes)) ** 2)  # fixed and rough: it meets the highest modes
        top = eigsh(root @ mesh.stiffness @ root, k=1, which="LM", v0=start, return_eigenvectors=False, tol=1e-6)
        self.omega_max = mesh.c * math.sqrt(float(top[0]))

    def time_step(self, times: ArrayLike) -> tuple[float, int]:
        """Largest admissible step (s) that divides the output interval, and the number of steps per interval."""
        interval = output_interval(times)
        # Damping never costs stability; the second term keeps the splitting error of absorbing walls near that of rigid
        # ones is (measured for xi from 1 to 18).
        limit = self.courant * STABILITY_LIMIT / (self.omega_max + float(self.damping.max()))
        n_sub = max(1, math.ceil(interval / limit))
        return interval / n_sub, n_sub

    def work(self, n_sources: int, times: ArrayLike) -> Work:
        """Steps, operator applies and nodes of ``solve`` for ``n_sources`` sources."""
        dt, _ = self.time_step(times)
        n_steps = round(float(np.asarray(times, float)[-1]) / dt) + 1
        return Work(n_steps, 2 * n_steps, n_sources * len(self.mesh.nodes))

    def solve(
        self, initial_pressure: ArrayLike, times: ArrayLike, progress: Callable[[float], None] | None = None
    ) -> Tensor:
        """Pressure (S, T, N) in Pa at ``times`` (T,) in s from ``initial_pressure`` (S, N) at rest."""
        states = self.march(initial_pressure, times, progress)
        first = next(states)
        output = first.pressure.new_empty(len(first.pressure), len(np.asarray(times)), first.pressure.shape[1])
        output[:, 0] = first.pressure
        for k, state in enumerate(states, start=1):
            output[:, k] = state.pressure
        return output

    def march(
        self, initial_pressure: ArrayLike, times: ArrayLike, progress: Callable[[float], None] | None = None
    ) -> Iterator[State]:
        """Yield the state at each of ``times`` without holding the earlier ones.

        Times must be multiples of their spacing (k, k + 1, ... steps of it); ``progress`` receives the done fraction.
        """
        initial = torch.as_tensor(initial_pressure).to(self.device, self.dtype)
        if initial.ndim != 2 or initial.shape[1] != len(self.mesh.nodes):
            raise ValueError(
                f"WaveSolver: expected initial_pressure (S, {len(self.mesh.nodes)}), got {tuple(initial.shape)}; "
                "evaluate the pulse at mesh.nodes"
            )
        dt, n_sub = self.time_step(times)
        outputs = np.rint(np.asarray(times, float) / (dt * n_sub)).astype(int) * n_sub
        return self._march(_Stepper(self, initial, dt), outputs, progress)

    def _march(
        self, stepper: _Stepper, outputs: NDArray[np.int64], progress: Callable[[float], None] | None
    ) -> Iterator[State]:
        step = 0
        for output in outputs:
            while step < output:
                step += 1
                stepper.step(keep=step == output)
            yield State(step * stepper.dt, stepper.pressure(), stepper.energy())
            if progress is not None:
                progress(float(output / max(outputs[-1], 1)))

    def energy(self, pressure: ArrayLike, velocity: ArrayLike) -> Tensor:
        """Energy ``(1/2) int p_t^2 / c^2 + |grad p|^2`` (S,) of fields ``p`` and ``v = p_t`` (S, N), in float64."""
        p, v = (np.atleast_2d(np.asarray(field, float)) for field in (pressure, velocity))
        kinetic = (v * v) @ self.mesh.weights / self.mesh.c**2
        return torch.from_numpy(0.5 * (kinetic + np.einsum("sn,sn->s", p, (self.mesh.stiffness @ p.T).T)))


class _Stepper:
    """The state of a batch of sources and the operations of one time step, all in preallocated memory."""

    def __init__(self, solver: WaveSolver, initial: Tensor, dt: float) -> None:
        self.mesh, self.dt = solver.mesh, dt
        self.damped = bool(solver.damping.any())
        self.p, self.v, self.h, self.before = (self._field(initial) for _ in range(4))
        self.blocks = [torch.from_numpy(b.nodes).to(initial.device) for b in self.mesh.blocks]
        for ids, view in zip(self.blocks, self.p.views, strict=True):
            view.copy_(initial[:, ids].permute(1, 0, 2))
        scale = self.mesh.c**2

        def operators(factor: float) -> list[tuple[Tensor, Tensor]]:
            pairs = [
                (b.x.stiffness / b.x.weights[:, None], b.y.stiffness / b.y.weights[:, None]) for b in self.mesh.blocks
            ]
            return [(_rounded(factor * x, initial), _rounded(factor * y, initial).T.contiguous()) for x, y in pairs]

        self.inner, self.outer = operators(-scale * dt**2 / 12.0), operators(-scale * dt)
        decay = np.exp(-solver.damping * dt)
        phi = np.where(solver.damping > 0.0, -np.expm1(-solver.damping * dt) / np.maximum(solver.damping, 1e-300), dt)
        self.decay, self.phi = self._per_node(initial, decay), self._per_node(initial, phi)
        self.processor = self._per_node(initial, solver.damping * dt**2 / 12.0)
        self.shares = [initial.new_tensor(seam.left_share) for seam in self.mesh.seams]
        self.kick()
        self.v.flat.mul_(0.5)  # a start from rest: the velocities around the first kick are opposite
        self.before.flat.copy_(-self.v.flat)

    def _field(self, like: Tensor) -> _Field:
        shapes = [(b.nodes.shape[0], len(like), b.nodes.shape[1]) for b in self.mesh.blocks]
        flat = like.new_zeros(sum(math.prod(shape) for shape in shapes))
        parts = flat.split([math.prod(shape) for shape in shapes])
        return _Field(flat, [part.view(shape) for part, shape in zip(parts, shapes, strict=True)])

    def _per_node(self, like: Tensor, values: NDArray[np.float64]) -> list[Tensor]:
        return [like.new_tensor(values[b.nodes])[:, None, :] for b in self.mesh.blocks]

    def _add_apply(self, source: _Field, start: _Field, into: _Field, operators: list[tuple[Tensor, Tensor]]) -> None:
        """``into = start + operator(source)``: two matrix products per block, then the seams are averaged by mass."""
        for (along_x, along_y), u, s, w in zip(operators, source.views, start.views, into.views, strict=True):
            n_x, _, n_y = u.shape
            rows, planes = (-1, n_y), (n_x, -1)
            torch.addmm(s.view(planes), along_x, u.view(planes), out=w.view(planes))
            if n_y > 1:
                w.view(rows).addmm_(u.view(rows), along_y)
        for seam, share in zip(self.mesh.seams, self.shares, strict=True):
            left = into.views[seam.left][-1, :, seam.left_nodes]
            right = into.views[seam.right][0, :, seam.right_nodes]
            right.lerp_(left, share)
            left.copy_(right)

    def step(self, keep: bool) -> None:
        """Advance by dt; ``keep`` remembers the velocity before the closing kick, which outputs need."""
        if self.damped:
            for p, v, phi, decay in zip(self.p.views, self.v.views, self.phi, self.decay, strict=True):
                p.addcmul_(v, phi)
                v.mul_(decay)
        else:
            self.p.flat.add_(self.v.flat, alpha=self.dt)
        if keep:
            self.before.flat.copy_(self.v.flat)
        self.kick()

    def kick(self) -> None:
        """``v -= dt A (p - dt^2 A p / 12)``."""
        self._add_apply(self.p, self.p, self.h, self.inner)
        self._add_apply(self.h, self.v, self.v, self.outer)

    def pressure(self) -> Tensor:
        """Processed pressure (S, N): ``p + dt^2 B v / 12`` with v the mean of the velocities around the last kick."""
        output = self.p.flat.new_empty(self.p.views[0].shape[1], len(self.mesh.nodes))
        for ids, p, v, w, factor in zip(
            self.blocks, self.p.views, self.v.views, self.before.views, self.processor, strict=True
        ):
            value = torch.addcmul(p, factor, v + w, value=0.5) if self.damped else p
            output.index_copy_(1, ids.flatten(), value.permute(1, 0, 2).flatten(1))
        return output

    def energy(self) -> Tensor:
        """Discrete energy (S,) between this step and the next.

        ``E = (1/2c^2) (u' M a u + p_next' M A~ p)`` with u the velocity after the kick, ``p_next = p + phi u``,
        ``A~ = A (1 - dt^2 A / 12)`` and ``a = phi (1 + exp(-B dt)) / (2 dt)``.
        """
        total = torch.zeros((), dtype=torch.float64, device=self.p.flat.device)
        for block, p, u, w, phi, decay in zip(
            self.mesh.blocks, self.p.views, self.v.views, self.before.views, self.phi, self.decay, strict=True
        ):
            mass = torch.from_numpy(np.outer(block.x.weights, block.y.weights)).to(p.device)[:, None, :]
            now, after, ahead = p.double(), u.double(), phi.double()
            kinetic = ahead * (1.0 + decay) / (2.0 * self.dt) * after**2
            potential = (now + ahead * after) * (w.double() - after) / self.dt
            total = total + (mass * (kinetic + potential)).sum(dim=(0, 2))
        return total / (2.0 * self.mesh.c**2)


def _rounded(matrix: NDArray[np.float64], like: Tensor) -> Tensor:
    """``matrix`` in the dtype of ``like`` with its row sums kept: an entry takes over the rounding of the larger ones.

    Row sums of a Laplacian are zero. Rounded one by one, the entries give constants a force of epsilon times the
    largest entry, which is 5e-4 of the field after 50 ms in float32; rounded this way it is 3e-6.
    """
    result, carry, rows = torch.zeros(matrix.shape, dtype=like.dtype), np.zeros(len(matrix)), np.arange(len(matrix))
    for column in np.argsort(-np.abs(matrix), axis=1, kind="stable").T:
        entry = matrix[rows, column]
        wanted = np.where(entry == 0.0, 0.0, entry + carry)
        rounded = torch.from_numpy(wanted).to(like.dtype)
        result[rows, column] = rounded
        carry = np.where(entry == 0.0, carry, wanted - rounded.double().numpy())
    return result.to(like.device)


def per_wall(impedance: float | Sequence[float], n_wall: int) -> tuple[float, ...]:
    """One positive impedance per wall."""
    values = np.broadcast_to(np.asarray(impedance, float), n_wall) if np.ndim(impedance) == 0 else np.asarray(impedance)
    if values.shape != (n_wall,) or not all(value > 0.0 for value in values):
        raise ValueError(
            f"impedance: expected one value > 0 or one for each of the {n_wall} walls, got {impedance}; "
            "use inf for a rigid wall"
        )
    return tuple(float(value) for value in values)


def output_interval(times: ArrayLike) -> float:
    """Spacing of the output times, of which all of them must be multiples."""
    values = np.asarray(times, float)
    if values.ndim != 1 or values.size == 0 or values[0] < 0.0 or np.any(np.diff(values) <= 0.0):
        raise ValueError(f"times: expected ascending values >= 0 (T,), got {values}; sort them")
    interval = float(np.diff(values).min()) if values.size > 1 else float(values[0])
    if interval == 0.0:
        return 1.0
    if np.any(np.abs(values / interval - np.rint(values / interval)) > 1e-6):
        raise ValueError(f"times: expected multiples of their spacing {interval} s; use k * spacing")
    return interval
