"""Wave equation in a room by spectral elements in space and a fourth-order, energy-stable splitting in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sciml_kernels.wave_step import Medium, prepare
from sciml_kernels.wave_step.layout import node_views
from scipy import sparse
from scipy.sparse.linalg import eigsh
from torch import Tensor

from sciml_acoustics.sem_mesh import Seam, SemMesh

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
            if output > step:
                stepper.steps.advance(int(output) - step)
                step = int(output)
            yield State(step * stepper.dt, stepper.pressure(), stepper.energy())
            if progress is not None:
                progress(float(output / max(outputs[-1], 1)))

    def energy(self, pressure: ArrayLike, velocity: ArrayLike) -> Tensor:
        """Energy ``(1/2) int p_t^2 / c^2 + |grad p|^2`` (S,) of fields ``p`` and ``v = p_t`` (S, N), in float64."""
        p, v = (np.atleast_2d(np.asarray(field, float)) for field in (pressure, velocity))
        kinetic = (v * v) @ self.mesh.weights / self.mesh.c**2
        return torch.from_numpy(0.5 * (kinetic + np.einsum("sn,sn->s", p, (self.mesh.stiffness @ p.T).T)))


class _Stepper:
    """The state of a batch of sources, laid out as `wave_step` takes it, and what one output needs of it."""

    def __init__(self, solver: WaveSolver, initial: Tensor, dt: float) -> None:
        self.mesh, self.dt, self.n_source = solver.mesh, dt, len(initial)
        self.ids = [torch.from_numpy(b.nodes).to(initial.device) for b in self.mesh.blocks]
        scale, damped = self.mesh.c**2, bool(solver.damping.any())
        operators = torch.stack([self._matrices(initial, -scale * dt**2 / 12.0), self._matrices(initial, -scale * dt)])
        phi = np.where(solver.damping > 0.0, -np.expm1(-solver.damping * dt) / np.maximum(solver.damping, 1e-300), dt)
        drift = self._per_node(initial, phi) if damped else initial.new_tensor([dt])
        decay = self._per_node(initial, np.exp(-solver.damping * dt)) if damped else initial.new_empty(0)
        share = initial.new_tensor(np.concatenate([np.empty(0), *(seam.left_share for seam in self.mesh.seams)]))
        blocks = [n for b in self.mesh.blocks for n in b.nodes.shape]
        seams = [n for seam in self.mesh.seams for n in _seam_entries(seam)]
        start = torch.cat([initial[:, ids].permute(1, 0, 2).flatten() for ids in self.ids])
        medium = Medium(operators, drift, decay, share, blocks, seams)
        self.steps = prepare(torch.stack([start, torch.zeros_like(start)]), medium)
        self.phi, self.decay = node_views(drift, blocks), node_views(decay if damped else drift.new_ones(1), blocks)
        processor = self._per_node(initial, solver.damping * dt**2 / 12.0) if damped else initial.new_zeros(1)
        self.damped, self.processor = damped, node_views(processor, blocks)
        self.steps.advance(1)  # without a velocity a step is its kick alone
        # A start from rest: the velocities around the first kick are opposite.
        self.steps.velocity.flat.mul_(0.5)
        self.steps.before.flat.copy_(-self.steps.velocity.flat)

    def _matrices(self, like: Tensor, factor: float) -> Tensor:
        """Return the factor times ``M^-1 K`` along both axes of every block, the second transposed."""
        lines = [line for block in self.mesh.blocks for line in (block.x, block.y)]
        rounded = [_rounded(factor * (line.stiffness / line.weights[:, None]), like) for line in lines]
        return torch.cat([(matrix.T if k % 2 else matrix).flatten() for k, matrix in enumerate(rounded)])

    def _per_node(self, like: Tensor, values: NDArray[np.float64]) -> Tensor:
        return like.new_tensor(np.concatenate([values[b.nodes].ravel() for b in self.mesh.blocks]))

    def pressure(self) -> Tensor:
        """Processed pressure (S, N): ``p + dt^2 B v / 12`` with v the mean of the velocities around the last kick."""
        steps = self.steps
        output = steps.pressure.flat.new_empty(self.n_source, len(self.mesh.nodes))
        for ids, p, v, w, factor in zip(
            self.ids, steps.pressure.views, steps.velocity.views, steps.before.views, self.processor, strict=True
        ):
            value = torch.addcmul(p, factor, v + w, value=0.5) if self.damped else p
            output.index_copy_(1, ids.flatten(), value.permute(1, 0, 2).flatten(1))
        return output

    def energy(self) -> Tensor:
        """Discrete energy (S,) between this step and the next.

        ``E = (1/2c^2) (u' M a u + p_next' M A~ p)`` with u the velocity after the kick, ``p_next = p + phi u``,
        ``A~ = A (1 - dt^2 A / 12)`` and ``a = phi (1 + exp(-B dt)) / (2 dt)``.
        """
        steps, total = self.steps, torch.zeros((), dtype=torch.float64, device=self.steps.pressure.flat.device)
        fields = steps.pressure.views, steps.velocity.views, steps.before.views
        for block, p, u, w, phi, decay in zip(self.mesh.blocks, *fields, self.phi, self.decay, strict=True):
            mass = torch.from_numpy(np.outer(block.x.weights, block.y.weights)).to(p.device)[:, None, :]
            now, after, ahead = p.double(), u.double(), phi.double()
            kinetic = ahead * (1.0 + decay) / (2.0 * self.dt) * after**2
            potential = (now + ahead * after) * (w.double() - after) / self.dt
            total = total + (mass * (kinetic + potential)).sum(dim=(0, 2))
        return total / (2.0 * self.mesh.c**2)


def _seam_entries(seam: Seam) -> tuple[int, int, int, int, int]:
    """Return the blocks, the first shared node in each and how many are shared."""
    n_node = len(seam.left_share)
    return seam.left, seam.right, seam.left_nodes.start, seam.right_nodes.start, n_node


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
