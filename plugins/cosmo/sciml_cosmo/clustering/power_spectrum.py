"""The power spectrum of points or fields in a periodic box, and its multipoles along the line of sight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sciml_kernels.mesh_paint import mesh_paint
from sciml_kernels.mesh_paint.window import transform as window_transform
from torch import Tensor

Array = NDArray[np.float64]
LEGENDRE = {0: lambda mu2: torch.ones_like(mu2), 2: lambda mu2: 1.5 * mu2 - 0.5,
            4: lambda mu2: (35 * mu2**2 - 30 * mu2 + 3) / 8}  # fmt: skip


@dataclass(frozen=True)
class Spectrum:
    """A power spectrum in shells of wave numbers.

    Parameters
    ----------
    k : (shell,)
        Mean wave number of the modes, h/Mpc.
    multipoles : (multipole, shell)
        P_l(k), (Mpc/h)^3, in the order of `orders`.
    orders
        l of each row.
    n_mode : (shell,)
        Modes, k and -k both counted.
    shot_noise
        What was subtracted from P_0, (Mpc/h)^3.
    """

    k: Array
    multipoles: Array
    orders: tuple[int, ...]
    n_mode: NDArray[np.int64]
    shot_noise: float = 0.0

    @property
    def power(self) -> Array:
        """(shell,): the monopole."""
        return self.multipoles[self.orders.index(0)]

    @property
    def error(self) -> Array:
        """(shell,): standard deviation of the monopole of a Gaussian field, (P + shot noise) (2 / modes)^(1/2)."""
        return (self.power + self.shot_noise) * np.sqrt(2 / self.n_mode.clip(1))


def power_spectrum(positions: Array, box_size: float, n_mesh: int = 128, *, weights: Array | None = None,
                   edges: Array | None = None, orders: Sequence[int] = (0,)) -> Spectrum:  # fmt: skip
    """Return the power spectrum of points: painted as triangular-shaped clouds, corrected, less its shot noise.

    ``P(k) = (<|delta(k)|^2> - V sum w^2 / (sum w)^2 C(k)) / W(k)^2``, where
    ``C = prod_i (1 - s_i + 2/15 s_i^2)``, ``s_i = sin^2(k_i / 2)`` is the window's power summed over its aliases.

    Parameters
    ----------
    positions : (node, 3)
        Mpc/h.
    box_size
        Side of the periodic box, Mpc/h.
    n_mesh
        Cells along an axis.
    weights : (node,), optional
        Of the points; all one by default.
    edges : (shell + 1,), optional
        Wave numbers between shells, h/Mpc; by default shells of one fundamental mode up to two thirds of the highest.
    orders
        Multipoles, of 0, 2 and 4, the line of sight along the last axis.

    *Contract*: points without clustering have the expectation zero in every shell; the clustering of others is true
    to about a percent below half of the highest wave number, where aliases of the clustering itself begin.

    *Source*: Jing 2005 (ApJ 620, 559), eq. 17 to 20.

    Examples
    --------
    >>> points = np.random.default_rng(5).uniform(0, 100, (500, 3))
    >>> found = power_spectrum(points, 100.0, 16)
    >>> found.shot_noise, found.power.shape
    (2000.0, (5,))
    """
    x = torch.as_tensor(np.asarray(positions, np.float64)) * (n_mesh / box_size)
    w = torch.ones(len(x), dtype=torch.float64) if weights is None else torch.as_tensor(np.asarray(weights, np.float64))
    if len(x) == 0 or float(w.sum()) == 0:
        raise ValueError(f"power_spectrum: expected points with weights, got {len(x)} that sum to 0; leave the box out")
    mesh = mesh_paint(x, w[None], (n_mesh,) * 3, "tsc")[0] * (n_mesh**3 / w.sum())
    shot_noise = box_size**3 * float((w**2).sum() / w.sum() ** 2)
    noise = window = torch.ones((), dtype=torch.float64)
    for k in _waves(n_mesh):
        s = (k / 2).sin() ** 2
        noise, window = noise * (1 - s + 2 / 15 * s**2), window * window_transform(k / (2 * math.pi), "tsc") ** 2
    power = torch.fft.rfftn(mesh).abs() ** 2 * (box_size / n_mesh**2) ** 3
    return _in_shells((power - shot_noise * noise) / window, box_size, edges, orders, shot_noise)


def field_spectrum(
    transform: Tensor, box_size: float, edges: Array | None = None, orders: Sequence[int] = (0,)
) -> Spectrum:
    """Return the power spectrum of a field given by its transform (n, n, n / 2 + 1), as `torch.fft.rfftn` gives it."""
    n = transform.shape[0]
    return _in_shells(transform.abs().double().cpu() ** 2 * (box_size / n**2) ** 3, box_size, edges, orders, 0.0)


def _waves(n: int) -> tuple[Tensor, Tensor, Tensor]:
    full = 2 * math.pi * torch.fft.fftfreq(n, dtype=torch.float64)
    half = 2 * math.pi * torch.fft.rfftfreq(n, dtype=torch.float64)
    return full[:, None, None], full[None, :, None], half[None, None, :]


def _in_shells(
    power: Tensor, box_size: float, edges: Array | None, orders: Sequence[int], shot_noise: float
) -> Spectrum:
    """Average the power (n, n, n / 2 + 1) of each mode over shells; modes with k_z > 0 stand for two."""
    if not set(orders) <= set(LEGENDRE) or 0 not in orders:
        raise ValueError(f"spectrum: expected multipoles 0 and any of 2 and 4, got {tuple(orders)}; choose among them")
    n, fundamental = power.shape[0], 2 * math.pi / box_size
    bounds: Array = np.asarray(fundamental * (np.arange(1, n // 3 + 2) - 0.5) if edges is None else edges, np.float64)
    x, y, z = (k * (n / box_size) for k in _waves(n))
    square = x**2 + y**2 + z**2
    shell = torch.bucketize(square.sqrt().flatten(), torch.from_numpy(bounds), right=True) - 1
    twice = torch.full((n // 2 + 1,), 2.0, dtype=torch.float64)
    twice[0] = 1
    if n % 2 == 0:
        twice[-1] = 1
    inside = (shell >= 0) & (shell < len(bounds) - 1) & (square.flatten() > 0)
    shell, count = shell[inside], twice.expand_as(square).flatten()[inside]

    def mean(values: Tensor) -> Array:
        return (total(values * count) / modes.clamp(min=1)).numpy()

    def total(values: Tensor) -> Tensor:
        return torch.zeros(len(bounds) - 1, dtype=torch.float64).index_add_(0, shell, values)

    modes = total(count)
    flat, mu2 = power.flatten()[inside], (z**2 / square).expand_as(square).flatten()[inside]
    multipoles = np.stack([(2 * order + 1) * mean(flat * LEGENDRE[order](mu2)) for order in orders])
    k = mean(square.flatten()[inside].sqrt())
    return Spectrum(k, multipoles, tuple(orders), modes.numpy().round().astype(np.int64), shot_noise)
