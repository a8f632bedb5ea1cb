"""What a painted density says about motion: smoothed contrast, linear flow and tide, read where the haloes are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sciml_kernels.mesh_paint import mesh_paint
from sciml_kernels.mesh_paint.window import WIDTHS, transform
from sciml_kernels.mesh_read import mesh_read
from torch import Tensor


@dataclass(frozen=True)
class Mesh:
    """A cubic periodic mesh.

    Parameters
    ----------
    n_mesh
        Points along an axis.
    window
        Of painting and reading: "cic" or "tsc".
    """

    n_mesh: int = 64
    window: str = "tsc"

    def __post_init__(self) -> None:
        if self.n_mesh < 4 or self.window not in WIDTHS:
            raise ValueError(f"Mesh: expected n_mesh >= 4 and window cic or tsc, got {self}; correct it")

    def waves(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return wave vectors (3, k_x, k_y, k_z), their squares and the window's transform, for a box of side 1.

        At the highest wave number of an axis that component is zero: there the derivative of a real mesh has no phase.
        """
        n = self.n_mesh
        whole = torch.fft.fftfreq(n, 1 / n).to(like)
        wave = torch.stack(torch.meshgrid(whole, whole, whole[: n // 2 + 1].abs(), indexing="ij"))
        window = transform(wave / n, self.window).prod(0)
        squared = (2 * math.pi) ** 2 * wave.square().sum(0)
        squared[0, 0, 0] = 1.0  # the mean, whose contrast is zero
        return 2 * math.pi * torch.where(2 * wave.abs() == n, 0, wave), squared, window

    def contrast(self, positions: Tensor, weights: Tensor) -> Tensor:
        """Return the contrast rho / mean - 1, (channel, x, y, z), of weights (channel, node) in a box of side 1.

        `positions` are (node, axis).
        """
        n = self.n_mesh
        painted = mesh_paint(n * positions, weights, (n, n, n), self.window)
        return painted / painted.mean((1, 2, 3), keepdim=True) - 1


DEFAULT = Mesh()


def flow_of(contrast: Tensor, mesh: Mesh) -> Tensor:
    """Return u = nabla nabla^-2 (-contrast) on the mesh, in sides of the box: (..., axis, x, y, z).

    ``u(k) = i k / k^2 delta(k)``, so that ``-div u = delta``; the velocity of linear theory is f H a u.

    Parameters
    ----------
    contrast : (..., x, y, z)
    mesh : its mesh.
    """
    wave, squared, _ = mesh.waves(contrast)
    transform = torch.fft.rfftn(contrast, dim=(-3, -2, -1))[..., None, :, :, :]
    return torch.fft.irfftn(1j * wave / squared * transform, s=contrast.shape[-3:], dim=(-3, -2, -1))


@dataclass(frozen=True, eq=False)
class Fields:
    """Fields at the places of the nodes.

    Parameters
    ----------
    contrast : (channel, smoothing, node)
    flow : (channel, smoothing, beta, node, axis)
        u in Mpc/h; its divergence is minus the smoothed contrast.
    tide : (channel, smoothing, node, axis, axis)
        The traceless part of nabla nabla nabla^-2 contrast; empty unless asked for.
    """

    contrast: Tensor
    flow: Tensor
    tide: Tensor


def fields_at(positions: Tensor, weights: Tensor, box_size: float, smoothing: Sequence[float], *,
              mesh: Mesh = DEFAULT, betas: Sequence[float] = (0.0,), line: Tensor | None = None,
              tide: bool = False) -> Fields:  # fmt: skip
    """Return contrast, flow and tide of the painted nodes, where the nodes are.

    With W_R = exp(-k^2 R^2 / 2) and mu the cosine between k and the line of sight,

        u(k) = i k / k^2  W_R(k) delta(k) / (1 + beta mu^2),

    compensated for the window of painting and reading.

    Parameters
    ----------
    positions : (node, axis)
        Mpc/h, in [0, box_size).
    weights : (channel, node)
        Such as one and the mass.
    box_size
        Mpc/h.
    smoothing
        Lengths R, Mpc/h, none below the mesh's cell.
    mesh
        Where it is computed.
    betas
        Of Kaiser's factor; 0 in real space.
    line : (axis,)
        Unit vector of the line of sight; needed for betas other than 0.
    tide
        Whether the tide is wanted, six more transforms for each channel and smoothing.

    *Contract*: translating by whole cells and rotating by the symmetries of the cube commute with it.

    *Source*: Peebles, The Large-Scale Structure of the Universe (1980), section 14; Kaiser, MNRAS 227 (1987), eq. 3.5.
    """
    if min(smoothing) < box_size / mesh.n_mesh * (1 - 1e-9):
        got = f"{min(smoothing):g} with cells of {box_size / mesh.n_mesh:g} Mpc/h"
        raise ValueError(f"fields_at: expected no smoothing below the cell, got {got}; refine the mesh")
    if any(betas) and line is None:
        raise ValueError("fields_at: expected a line of sight for a beta other than 0, got none; give one")
    scaled = positions / box_size
    wave, squared, window = mesh.waves(positions)
    size = (mesh.n_mesh,) * 3
    transform = torch.fft.rfftn(mesh.contrast(scaled, weights), dim=(1, 2, 3)) / window**2
    lengths = torch.as_tensor(smoothing).to(positions)[:, None, None, None] / box_size
    smooth = transform[:, None] * torch.exp(-squared * lengths**2 / 2)  # (channel, smoothing, k)

    def read(part: Tensor) -> Tensor:
        values = torch.fft.irfftn(part.flatten(0, -4), s=size, dim=(1, 2, 3))
        return mesh_read(values, mesh.n_mesh * scaled, mesh.window).unflatten(0, part.shape[:-3])

    cosine = 0 if line is None else torch.einsum("a,axyz->xyz", line.to(positions), wave).square() / squared
    kaiser = torch.stack([1 / (1 + beta * cosine) * torch.ones_like(squared) for beta in betas])
    flow = read(smooth[:, :, None, None] * kaiser[:, None] * (1j * box_size * wave / squared))
    found = torch.zeros(*smooth.shape[:2], 0, 3, 3, dtype=positions.dtype, device=positions.device)
    if tide:
        pairs = [(a, b) for a in range(3) for b in range(a, 3)]
        upper = read(smooth[:, :, None] * torch.stack([wave[a] * wave[b] for a, b in pairs]) / squared)
        place = [pairs.index((min(a, b), max(a, b))) for a in range(3) for b in range(3)]
        full = upper[:, :, place].unflatten(2, (3, 3)).movedim(-1, 2)
        trace = full.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
        found = full - trace * torch.eye(3).to(positions)
    return Fields(read(smooth), flow.transpose(-1, -2), found)
