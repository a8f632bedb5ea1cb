"""Pictures of generated boxes: a slice with its haloes, how many haloes of which mass, growth of long waves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray
from sciml_kernels.mesh_paint import mesh_paint

from sciml.report import CYCLE, MAGNITUDE, new_figure, plot_style
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.generate.power import CRITICAL_DENSITY

Array = NDArray[np.float64]
N_PIXEL = 128


@plot_style()
def density_slice(positions: Array, cloud: Cloud, depth: float = 12.0) -> Figure:
    """Draw the matter in a slice of a box, and the haloes in it as circles of 1.5 radii of 200 mean densities.

    Parameters
    ----------
    positions : (node, axis)
        Of the particles, Mpc/h.
    cloud
        The haloes, with masses.
    depth
        Of the slice along the last axis, Mpc/h.
    """
    box = cloud.box_size
    inside = torch.from_numpy(positions[positions[:, 2] < depth]) * torch.tensor([N_PIXEL / box, N_PIXEL / box, 0])
    mean = len(positions) * depth / box / N_PIXEL**2
    weights = torch.full((1, len(inside)), 1 / mean, dtype=torch.float64)
    image = mesh_paint(inside, weights, (N_PIXEL, N_PIXEL, 1), "tsc")[0, :, :, 0].numpy()
    figure, (axes,) = new_figure(1, 2, width=10.6, height=5.2, sharex=True, sharey=True)
    assert cloud.masses is not None
    near = cloud.positions[:, 2] < depth
    density = CRITICAL_DENSITY * cloud.cosmology["Omega_m"]
    radius = (3 * cloud.masses[near] / (4 * np.pi * 200 * density)) ** (1 / 3)
    for panel in axes:
        drawn = panel.imshow(
            np.log10(image.T.clip(0.01)), origin="lower", extent=(0, box, 0, box), cmap=MAGNITUDE, vmin=-0.8, vmax=1.8
        )
        panel.set(xlabel="x (Mpc/h)", xlim=(0, box), ylim=(0, box))
    axes[0].set(ylabel="y (Mpc/h)", title="matter")
    axes[1].set_title("and its haloes, with their velocities")
    for (x, y, _), r in zip(cloud.positions[near], radius, strict=True):
        axes[1].add_artist(Circle((x, y), 1.5 * r, fill=False, color=CYCLE[1], linewidth=1.0))
    heavy = np.flatnonzero(near)[:150]
    (x, y, _), (u, v, _) = cloud.positions[heavy].T, cloud.velocities[heavy].T
    axes[1].quiver(x, y, u, v, color="white", scale=9000, width=0.0028, headwidth=4)
    figure.colorbar(drawn, ax=list(axes), label="log₁₀ of the density over its mean", shrink=0.9)
    return figure


@plot_style()
def mass_function(masses: Sequence[Array], volume: float, theory: tuple[Array, Array] | None, least: float) -> Figure:
    """Draw haloes per volume and unit of ln M, of all boxes together, with Poisson errors, beside a fitted law.

    Parameters
    ----------
    masses
        Of the haloes of each box, Msun/h.
    volume
        Of a box, (Mpc/h)^3.
    theory
        Masses, Msun/h, and the law's dn / d ln M, (h/Mpc)^3.
    least
        Mass of the smallest halo that is kept.
    """
    every = np.concatenate(list(masses))
    edges = np.geomspace(least, every.max() * 1.001, 13)
    counts, _ = np.histogram(every, edges)
    scale = 1 / (volume * len(masses) * np.diff(np.log(edges)))
    middle = np.sqrt(edges[1:] * edges[:-1])
    figure, ((axes,),) = new_figure(width=6.4, height=4.2)
    axes.errorbar(middle, counts * scale, np.sqrt(counts) * scale, fmt="o", color=CYCLE[0], label="boxes made here")
    if theory is not None:
        axes.plot(*theory, color=CYCLE[1], label="Jenkins et al. 2001, friends of friends")
    axes.set(xscale="log", yscale="log", xlabel="mass (Msun/h)", ylabel="dn / d ln M  (h³/Mpc³)")
    axes.legend()
    return figure


@plot_style()
def growth(k: Array, ratios: Array) -> Figure:
    """Draw P(k) over the linear one of the same initial field: every box (box, shell), their mean, and 3 %."""
    figure, ((axes,),) = new_figure(width=6.4, height=3.8)
    axes.plot(k, ratios.T, color="#9aa5ae", linewidth=0.8)
    error = ratios.std(0, ddof=1) / np.sqrt(len(ratios))
    axes.errorbar(k, ratios.mean(0), error, fmt="o-", color=CYCLE[0], label=f"mean of {len(ratios)} boxes")
    axes.axhspan(0.97, 1.03, color=CYCLE[2], alpha=0.15, linewidth=0)
    axes.axvline(0.05, color="black", linestyle=":", linewidth=1)
    axes.set(xlabel="k (h/Mpc)", ylabel="P / linear P of the same waves", xlim=(0, 0.26), ylim=(0.8, 1.3))
    axes.legend(loc="upper center")
    return figure
