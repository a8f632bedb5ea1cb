"""A particle-mesh code: second-order Lagrangian start, forces by the Fourier transform, steps that keep linear growth.

All lengths are in cells of the mesh and all times in 1 / H0. A particle has the place x and the momentum p = a^2 dx/dt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from sciml_kernels.mesh_paint import mesh_paint
from sciml_kernels.mesh_read import mesh_read
from torch import Tensor

from sciml_cosmo.generate.power import Universe

Power = Callable[[NDArray[np.float64]], NDArray[np.float64]]
MESH = (-3, -2, -1)


@dataclass(frozen=True)
class Particles:
    """Equal particles in a periodic box.

    Parameters
    ----------
    positions, momenta : (node, axis)
        x in cells, and p = a^2 dx/dt in cells H0.
    scale_factor
        a.
    """

    positions: Tensor
    momenta: Tensor
    scale_factor: float


Axes = tuple[Tensor, Tensor, Tensor]


def waves(n: int, like: Tensor) -> tuple[Axes, Axes]:
    """Return the wave numbers of the three axes of a real transform of n^3 cells, in radians per cell, broadcastable.

    Twice: as they are, for squares and windows, and for derivatives with that of the highest frequency set to zero,
    since a real field has no derivative there.
    """
    full = 2 * math.pi * torch.fft.fftfreq(n, dtype=like.dtype, device=like.device)
    half = 2 * math.pi * torch.fft.rfftfreq(n, dtype=like.dtype, device=like.device)
    axes = full[:, None, None], full[None, :, None], half[None, None, :]
    odd_x, odd_y, odd_z = (torch.where(k.abs() < 0.999 * math.pi, k, 0) for k in axes)
    return axes, (odd_x, odd_y, odd_z)


def inverse_square(k: Axes) -> Tensor:
    """Return 1 / k^2 on the mesh, zero at k = 0."""
    square = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    return torch.where(square > 0, 1 / square.clamp(min=1e-12), 0)


def gaussian_field(power: Power, n: int, cell: float, seed: list[int], device: str = "cpu") -> Tensor:
    """Return the transform (n, n, n / 2 + 1) of a Gaussian field of n^3 cells, float32.

    ``delta(k) = eps(k) (P(k) / V_cell)^(1/2)``, with eps the transform of independent standard normals.

    Parameters
    ----------
    power
        P(k) in (Mpc/h)^3, k in h/Mpc.
    n
        Cells along an axis.
    cell
        Side of a cell, Mpc/h.
    seed
        Of the normals, which are drawn on the CPU: the field does not depend on the device.
    device
        Where the field lives.
    """
    normals = np.random.default_rng(seed).standard_normal((n, n, n), dtype=np.float32)
    k_full, k_half = (2 * np.pi / cell * freq(n) for freq in (np.fft.fftfreq, np.fft.rfftfreq))
    k = np.sqrt(k_full[:, None, None] ** 2 + k_full[None, :, None] ** 2 + k_half**2)
    # the spectrum is smooth: from a fine table, not at two million points
    table = np.geomspace(k[k > 0].min(), k.max(), 1024)
    amplitude = np.exp(0.5 * np.interp(np.log(k.clip(table[0])), np.log(table), np.log(power(table) / cell**3)))
    amplitude[0, 0, 0] = 0
    return torch.fft.rfftn(torch.from_numpy(normals).to(device)) * torch.from_numpy(amplitude).float().to(device)


def displacements(density: Tensor) -> tuple[Tensor, Tensor]:
    """Return first- and second-order displacements (3, n, n, n) at D = 1 of a linear density, in its cells.

    ``x = q - D grad phi1 + D2 grad phi2`` with ``lap phi1 = delta`` and
    ``lap phi2 = sum_(i<j) (phi1_ii phi1_jj - phi1_ij^2)``.

    Parameters
    ----------
    density : (n, n, n / 2 + 1)
        Transform of delta.

    *Source*: Bouchet et al. 1995 (A&A 296, 575); Scoccimarro 1998 (MNRAS 299, 1097), appendix D.
    """
    n = density.shape[0]
    axes, k = waves(n, density.real)
    green, size = inverse_square(axes), (n, n, n)

    def back(field: Tensor) -> Tensor:
        return torch.fft.irfftn(field, s=size, dim=MESH)

    potential = -density * green
    first = torch.stack([back(-1j * k[i] * potential) for i in range(3)])
    diagonal = [back(-k[i] * k[i] * potential) for i in range(3)]
    source = diagonal[0] * (diagonal[1] + diagonal[2]) + diagonal[1] * diagonal[2]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        source -= back(-k[i] * k[j] * potential) ** 2
    potential = -torch.fft.rfftn(source, dim=MESH) * green
    return first, torch.stack([back(1j * k[i] * potential) for i in range(3)])


def begin(universe: Universe, density: Tensor, a: float, n_mesh: int) -> Particles:
    """Return particles, one for each cell of the linear density, displaced to second order, on a mesh of n_mesh^3.

    Parameters
    ----------
    universe
        Whose growth moves them; D2 = -3/7 D^2 Omega(a)^(-1/143), f2 = 2 Omega(a)^(6/11).
    density : (n, n, n / 2 + 1)
        Transform of the linear density at a = 1.
    a
        Scale factor of the start.
    n_mesh
        Cells of the mesh along an axis.

    *Source*: Bouchet et al. 1995, section 3, for D2 and f2 in flat universes.
    """
    n = density.shape[0]
    scale = n_mesh / n
    first, second = (field.flatten(1).T * scale for field in displacements(density))
    axis = torch.arange(n, dtype=first.dtype, device=first.device) * scale
    lattice = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    omega = universe.omega_m / a**3 / float(universe.expansion(a)) ** 2
    growth, rate = float(universe.growth(a)), float(universe.growth_rate(a))
    growth2, rate2 = -3 / 7 * growth**2 * omega ** (-1 / 143), 2 * omega ** (6 / 11)
    speed = a**2 * float(universe.expansion(a))
    momenta = speed * (rate * growth * first + rate2 * growth2 * second)
    return Particles(lattice + growth * first + growth2 * second, momenta, a)


class Gravity:
    """The force of equal particles on each other, ``div F = -delta``, on a mesh of n_mesh^3 cells.

    ``F(k) = i k / k^2 delta(k) / W(k)^2`` with W = prod_i sinc^2(k_i / 2), the window of painting and again of reading.
    The correction ends at the highest frequency of the particles' lattice: beyond it, it would amplify the pattern of
    the lattice itself, whose aliases then add to the power on all scales.

    Parameters
    ----------
    n_mesh
        Cells along an axis.
    n_lattice
        Particles along an axis at the start.
    like
        A tensor of the type and on the device to work with.

    *Contract*: the forces add up to zero to rounding, since both windows are the same and the kernel is odd.
    """

    def __init__(self, n_mesh: int, n_lattice: int, like: Tensor) -> None:
        self.n_mesh = n_mesh
        axes, self.k = waves(n_mesh, like)
        x, y, z = (torch.sinc(k / (2 * math.pi)) ** -4 for k in axes)
        inverse = inverse_square(axes)
        self.green = inverse * torch.where(inverse > (n_mesh / (math.pi * n_lattice)) ** 2, x * y * z, 1)
        self.field = torch.empty((3, n_mesh, n_mesh, n_mesh), dtype=like.dtype, device=like.device)

    def __call__(self, positions: Tensor) -> Tensor:
        """Return the force (node, axis) at positions in cells."""
        n = self.n_mesh
        mass = torch.full((1, len(positions)), n**3 / len(positions), dtype=positions.dtype, device=positions.device)
        potential = torch.fft.rfftn(mesh_paint(positions, mass, (n, n, n))[0]).mul_(self.green)
        # i k times a complex number, written out: half the products
        turned = torch.complex(-potential.imag, potential.real)
        for axis, k in enumerate(self.k):
            self.field[axis] = _to_real(torch.mul(turned, k, out=potential))
        return mesh_read(self.field, positions).T


def _to_real(field: Tensor) -> Tensor:
    """Return the inverse transform to (n, n, n), overwriting the field; by SciPy on a CPU, in half the time there."""
    size = (field.shape[0],) * 3
    if field.device.type == "cpu":
        return torch.from_numpy(scipy.fft.irfftn(field.numpy(), s=size, overwrite_x=True))
    return torch.fft.irfftn(field, s=size)


def evolve(universe: Universe, particles: Particles, steps: NDArray[np.float64], n_mesh: int) -> Particles:
    """Move particles through the scale factors `steps`, of which the first is theirs: kick, drift, kick.

    With ``G(a) = a^2 E f D``, the momentum of a Zel'dovich displacement, the factors of a kick and of a drift are
    ``(G(a1) - G(a0)) / D(a_r)`` and ``(D(a1) - D(a0)) / G(a_r)``, a_r where the force or the momentum was taken:
    linear growth is exact however long the steps are.

    *Source*: Feng, Chu, Seljak and McDonald 2016 (MNRAS 463, 2273), section 2.2.

    *Departures*: the half of a step is taken in a, and forces are corrected for the windows of painting and reading.

    *Limit*: particles that have moved by much less than a cell feel the pattern of their lattice; start where the
    displacements are about a cell, or waves of a few cells grow wrongly.
    """
    if abs(steps[0] - particles.scale_factor) > 1e-12 or (np.diff(steps) <= 0).any():
        got = f"{steps} for particles at {particles.scale_factor}"
        raise ValueError(
            f"evolve: expected scale factors that rise from that of the particles, got {got}; correct them"
        )
    gravity = Gravity(n_mesh, round(len(particles.positions) ** (1 / 3)), particles.positions)

    def growth(a: float) -> float:
        return float(universe.growth(a))

    def speed(a: float) -> float:
        return float(a**2 * universe.expansion(a) * universe.growth_rate(a) * universe.growth(a))

    x, p = particles.positions.clone(), particles.momenta.clone()
    force = gravity(x)
    for a, after in pairwise(map(float, steps)):
        middle = 0.5 * (a + after)
        p.add_(force, alpha=(speed(middle) - speed(a)) / growth(a))
        x.add_(p, alpha=(growth(after) - growth(a)) / speed(middle)).remainder_(n_mesh)
        force = gravity(x)
        p.add_(force, alpha=(speed(after) - speed(middle)) / growth(after))
    return Particles(x, p, float(steps[-1]))


def velocities(particles: Particles, cell: float) -> Tensor:
    """Return peculiar velocities (node, axis) in km/s, a dx/dt; `cell` is in Mpc/h."""
    return particles.momenta * (100 * cell / particles.scale_factor)
