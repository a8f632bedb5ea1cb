"""The modal operator: room modes identified from the waves, which run on past the training window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sciml import Region
from sciml_acoustics.branch import RoomNetwork, fit_ridge, sensor_grid
from sciml_acoustics.data import Waves
from sciml_acoustics.frame import CosineFrame, weighted_fit
from sciml_acoustics.subspace import Subspace

Array = NDArray[Any]
REGULARIZATIONS = (1e-13, 1e-12, 1e-11, 1e-10, 1e-8)


class ModalOperator(RoomNetwork):
    """Impulse responses as a sum of decaying room modes.

        p(s, x, t) = Re sum_m c_m(s) psi_m(x) exp((-delta_m + i omega_m) t)

    c_m depends linearly on the pulse, psi_m is a combination of cosine functions, and the poles are those of the
    two-step recursion that the training waves obey. Time is an input: any time, also past the training window.

    Parameters
    ----------
    boxes : the room as boxes (low, high), m.
    sensors : (sensor, axis) positions at which the pulse is sampled, m.
    pulse : width sigma0 (m) and peak (Pa).
    n_modes : number of poles with omega >= 0.
    band : largest wave number (rad/m) and margin (m) of the cosine frame.

    *Contract*: linear in the pulse; no mode grows (delta >= 0).
    """

    registered: ClassVar[str] = "acoustics.modal"
    poles: torch.Tensor
    shapes: torch.Tensor

    def __init__(
        self,
        boxes: Sequence[Any],
        sensors: ArrayLike,
        pulse: Sequence[float],
        n_modes: int,
        band: Sequence[float],
    ) -> None:
        super().__init__(boxes, sensors, pulse, 2 * n_modes, n_modes=n_modes, band=band)
        self.frame = CosineFrame(*self.region.bounding_box, band[0], band[1])
        self.register_buffer("shapes", torch.zeros(self.frame.n_features, 2 * n_modes))
        self.register_buffer("poles", torch.zeros(2, n_modes))  # delta (1/s) and omega (rad/s)

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the pressure (source, receiver, time)."""
        psi = self.frame(inputs["receiver_position"]) @ self.shapes.to(inputs["receiver_position"])
        turned = self._turn(self.branch(inputs["source_position"])[:, None, :], inputs["time"])
        return {"pressure": torch.einsum("sth,rh->srt", turned, psi)}

    def _turn(self, coefficients: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Turn coefficients (..., 1, 2 mode) to the times: (..., time, 2 mode), conjugated for a plain dot with psi."""
        delta, omega = self.poles.to(time)
        real, imaginary = coefficients.chunk(2, -1)
        decay = torch.exp(-delta * time[:, None])
        # The phase grows to thousands of radians: it is reduced in double precision, and only then rounded.
        phase = torch.remainder(omega.double() * time.double()[:, None], 2.0 * math.pi).to(time.dtype)
        cosine, sine = decay * torch.cos(phase), decay * torch.sin(phase)
        return torch.cat([real * cosine - imaginary * sine, -(real * sine + imaginary * cosine)], -1)

    def listener(self, position: torch.Tensor, time: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the fast map from a source (axis,) to the response (time,) at one receiver (axis,) that stays.

        All that depends on the receiver is folded into one matrix (sensor, time); only the pulse is left to do.
        """
        psi = (self.frame(position[None]) @ self.shapes.to(position))[0]
        matrix = torch.einsum(
            "mth,h->tm", self._turn(self.branch.weight.to(position)[:, None, :], time), psi
        ).contiguous()
        matrix *= self.branch.amplitude
        sensors, rate = (self.branch.sensors.to(position) / self.branch.sigma0).T.contiguous(), 1.0 / self.branch.sigma0

        def respond(source: torch.Tensor) -> torch.Tensor:
            offset = torch.sub(sensors, source[:, None], alpha=rate)
            return torch.mv(matrix, offset.square_().sum(0).neg_().exp_())

        return respond


@dataclass(frozen=True)
class Recursion:
    """Poles of the two-step recursion ``a_(n+1) = A_1 a_n + A_2 a_(n-1)`` per output step, and their mode vectors.

    `poles` (mode,) complex with omega >= 0; `vectors` (coordinate, mode); `n_clipped` growing poles put on the circle.
    """

    poles: Array
    vectors: Array
    regularization: float
    n_clipped: int


@dataclass(frozen=True)
class Delays:
    """Normal equations of the two-step recursion: G (2r, 2r) and H (2r, r) of G A^T = H."""

    gram: Array
    cross: Array

    @classmethod
    def of(cls, amplitude: Array) -> Delays:
        """Return the normal equations of amplitudes (source, time, coordinate)."""
        rank = amplitude.shape[2]
        before = np.concatenate([amplitude[:, 1:-1], amplitude[:, :-2]], -1).reshape(-1, 2 * rank)
        return cls(before.T @ before, before.T @ amplitude[:, 2:].reshape(-1, rank))


def identify(delays: Delays, regularization: float) -> Recursion:
    """Identify the recursion by regularised least squares.

    The eigenvectors of the block companion matrix are (lambda v, v): v is the mode, and a_n = sum v lambda^n g.

    *Source*: dynamic mode decomposition with two delays; Schmid, J. Fluid Mech. 656 (2010). One delay would do for
    pressure and velocity; two are needed because only pressure is observed.
    """
    rank = delays.cross.shape[1]
    shift = regularization * np.trace(delays.gram) / len(delays.gram)
    companion = np.zeros((2 * rank, 2 * rank))
    companion[:rank] = np.linalg.solve(delays.gram + shift * np.eye(2 * rank), delays.cross).T
    companion[rank:, :rank] = np.eye(rank)
    poles, vectors = np.linalg.eig(companion)
    kept = poles.imag >= 0.0
    poles, vectors = poles[kept], vectors[rank:, kept]
    size = np.abs(poles)
    clipped = np.where(size > 1.0, poles / np.maximum(size, 1e-300), poles)
    return Recursion(clipped, vectors / np.linalg.norm(vectors, axis=0), regularization, int((size > 1.0).sum()))


def excitations(recursion: Recursion, amplitude: Array) -> Array:
    """Return g (source, mode): how strongly each mode rings, by least squares over the whole window.

    With a_n = Re sum_m v_m lambda_m^n g_m the normal matrix is a Hadamard product of the vectors' Gram matrix and
    geometric sums of the poles, so no (time x coordinate) matrix is ever formed.
    """
    poles = np.concatenate([recursion.poles, recursion.poles.conj()])
    vectors = np.concatenate([recursion.vectors, recursion.vectors.conj()], 1)
    powers = poles[None, :] ** np.arange(amplitude.shape[1])[:, None]  # (time, mode)
    normal = (vectors.conj().T @ vectors) * (powers.conj().T @ powers)
    normal[np.diag_indices_from(normal)] *= 1.0 + 1e-12
    projected = np.einsum("tm,stm->sm", powers.conj(), amplitude @ vectors.conj())
    solved = np.linalg.solve(normal, projected.T).T
    # The columns of a real pole and of its conjugate coincide: only their sum is determined.
    n_modes = len(recursion.poles)
    return np.asarray(solved[:, :n_modes] + solved[:, n_modes:].conj())


def choose_recursion(subspace: Subspace) -> Recursion:
    """Identify with the regularization that continues left-out training sources best beyond the first half window.

    Every fifth training source is left out, the excitations of those are read from the first half of the window only,
    and the second half judges: what matters is how the recursion runs on. No test source is seen.
    """
    amplitude = subspace.amplitude
    held = np.arange(len(amplitude)) % 5 == 2
    half = amplitude.shape[1] // 2
    kept = Delays.of(amplitude[~held])
    errors = []
    for regularization in REGULARIZATIONS:
        recursion = identify(kept, regularization)
        strength = excitations(recursion, amplitude[held, :half])
        later = recursion.poles[None, :] ** np.arange(half, amplitude.shape[1])[:, None]
        ringing = strength[:, None, :] * later
        forecast = ringing.real @ recursion.vectors.real.T - ringing.imag @ recursion.vectors.imag.T
        errors.append(float(np.linalg.norm(forecast - amplitude[held, half:])))
    return identify(Delays.of(amplitude), REGULARIZATIONS[int(np.argmin(errors))])


def unfold(poles: Array, wave_number: Array, step: float, c: float) -> Array:
    """Return continuous poles -delta + i omega (1/s) of `poles` per output step of `step` seconds.

    Output every `step` seconds cannot tell omega from omega + 2 pi n / step, but the wave number k (rad/m) of the mode
    shape can: of all branches of the logarithm that one is taken whose |omega| is nearest to c k. Without it modes
    above the Nyquist frequency come out right at the output times and wrong between them.
    """
    logarithm = np.log(np.where(poles == 0.0, np.finfo(float).tiny, poles)) / step
    turns = np.arange(-4, 5)[:, None] * 2.0 * np.pi / step
    nearest = np.argmin(np.abs(np.abs(logarithm.imag + turns) - c * wave_number), axis=0)
    return np.asarray(logarithm + 1j * turns[nearest, 0])


def mean_wave_number(gradient: Array, values: Array, weights: Array) -> Array:
    """Return the root of ||grad psi||^2 / ||psi||^2 (mode,), rad/m, of complex shapes.

    Parameters
    ----------
    gradient : (axis, node, 2 mode), real parts first. values : (node, 2 mode). weights : (node,).
    """
    stretch, norm = (np.einsum("n,anm->m", weights, np.square(field)) for field in (gradient, values[None]))
    n_modes = values.shape[1] // 2
    return np.asarray(np.sqrt((stretch[:n_modes] + stretch[n_modes:]) / (norm[:n_modes] + norm[n_modes:])))


def fit_modal(waves: Waves, subspace: Subspace, room: Region, band: tuple[float, float], ppw: float) -> ModalOperator:
    """Fit poles, mode shapes and excitations to the training waves; closed form, no gradient descent."""
    recursion = choose_recursion(subspace)
    strength = excitations(recursion, subspace.amplitude)
    sensors = sensor_grid(*room.bounding_box, ppw, waves.medium)
    medium = waves.medium
    network = ModalOperator(room.boxes, sensors, (medium.sigma0, medium.amplitude), len(recursion.poles), band)
    positions = torch.as_tensor(waves.source_position, dtype=torch.float64)
    weights, _, _ = fit_ridge(
        network.branch.pulse(positions).numpy(), np.concatenate([strength.real, strength.imag], 1)
    )
    nodes = torch.as_tensor(waves.node_position, dtype=torch.float64)
    features = network.frame(nodes).numpy()
    modes = subspace.shapes @ np.concatenate([recursion.vectors.real, recursion.vectors.imag], 1)
    shapes = weighted_fit(features, modes, waves.node_weight)
    gradient = network.frame.gradient(nodes).numpy() @ shapes
    wave_number = mean_wave_number(gradient, features @ shapes, waves.node_weight)
    poles = unfold(recursion.poles, wave_number, waves.time[1] - waves.time[0], medium.c)
    network.branch.weight.copy_(torch.as_tensor(weights))
    network.shapes.copy_(torch.as_tensor(shapes))
    network.poles.copy_(torch.as_tensor(np.stack([np.maximum(-poles.real, 0.0), poles.imag])))
    return network
