"""The figures of the velocity report: a slice of a box with its velocities, predicted against true, R^2 box by box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sciml.report import CYCLE, MAGNITUDE, new_figure, plot_style
from sciml_cosmo.cloud import Cloud

Array = NDArray[np.float64]
DARK = "#39424a"


@plot_style()
def box_slice(cloud: Cloud, shown: Mapping[str, Array], depth: float = 20.0) -> Figure:
    """Draw the nodes of a slice and their velocities in its plane, one panel for each set of velocities.

    Parameters
    ----------
    cloud : the box.
    shown : velocities (node, axis) by title.
    depth : of the slice along the third axis, Mpc/h, around the richest height.
    """
    heights = np.histogram(cloud.positions[:, 2], np.arange(0.0, cloud.box_size + depth / 2, depth))
    low = float(heights[1][heights[0].argmax()])
    inside = (cloud.positions[:, 2] >= low) & (cloud.positions[:, 2] < low + depth)
    x, y, _ = cloud.positions[inside].T
    size = np.full(len(x), 8.0)
    if cloud.masses is not None:
        size = 3 + 22 * (cloud.masses[inside] / cloud.masses.max()) ** 0.6
    figure, axes = new_figure(1, len(shown), 3.9 * len(shown), 4.0, sharex=True, sharey=True)
    typical = np.sqrt((cloud.velocities[:, :2] ** 2).sum(1).mean())
    for panel, (title, velocities) in zip(axes[0], shown.items(), strict=True):
        u, v, w = velocities[inside].T
        panel.scatter(x, y, s=size, c=DARK, alpha=0.25, linewidths=0)
        arrows: Any = panel.quiver(
            x, y, u, v, w, angles="xy", scale_units="xy", scale=typical / (0.06 * cloud.box_size), cmap="coolwarm",
            clim=(-2 * typical, 2 * typical), width=0.0045,
        )  # fmt: skip
        panel.set(title=title, xlabel="x (Mpc/h)", xlim=(0, cloud.box_size), ylim=(0, cloud.box_size), aspect="equal")
        panel.grid(False)
    axes[0, 0].set_ylabel("y (Mpc/h)")
    axes[0, -1].quiverkey(
        arrows, 0.74, 1.045, typical, f"{typical:.0f} km/s", labelpos="E", coordinates="axes", color=DARK
    )
    figure.colorbar(arrows, ax=axes, label="velocity along z (km/s)", shrink=0.75, pad=0.015)
    return figure


@plot_style()
def scatter(truth: Sequence[Array], shown: Mapping[str, Sequence[Array]]) -> Figure:
    """Draw the density of predicted against true components, all test boxes together, one panel for each method."""
    figure, axes = new_figure(1, len(shown), 3.4 * len(shown) + 0.6, 3.7, sharex=True, sharey=True)
    true = np.concatenate([values.ravel() for values in truth])
    limit = float(np.quantile(np.abs(true), 0.998))
    for panel, (title, predicted) in zip(axes[0], shown.items(), strict=True):
        guess = np.concatenate([values.ravel() for values in predicted])
        drawn: Any = panel.hexbin(
            true, guess, gridsize=55, extent=(-limit, limit, -limit, limit), bins="log", mincnt=1, cmap=MAGNITUDE,
            linewidths=0.1,
        )  # fmt: skip
        panel.plot([-limit, limit], [-limit, limit], color=DARK, lw=0.9, ls=(0, (4, 3)))
        panel.set(title=title, xlabel="true (km/s)", xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    axes[0, 0].set_ylabel("predicted (km/s)")
    figure.colorbar(drawn, ax=axes, label="components", shrink=0.8, pad=0.015)
    return figure


@plot_style()
def by_cosmology(omega_m: Array, values: Mapping[str, Array]) -> Figure:
    """Draw R^2 of every test box over its matter density.

    Parameters
    ----------
    omega_m : (box,)
    values : R^2 (box,) by title.
    """
    figure, ((axes,),) = new_figure(width=8.4, height=3.9)
    for marker, colour, (title, found) in zip("os^vD", CYCLE, values.items(), strict=False):
        axes.scatter(omega_m, found, s=28, marker=marker, color=colour, label=title, alpha=0.85, linewidths=0)
    low = min(float(np.quantile(found, 0.05)) for found in values.values())
    axes.set(xlabel="matter density of the test box", ylabel="R² of the box", ylim=(max(low - 0.1, -0.5), 1.0))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure
