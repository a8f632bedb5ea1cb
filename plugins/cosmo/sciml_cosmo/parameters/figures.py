"""The figures of the parameter task: scatter, boxes, correlation functions, coverage, training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from sciml.report import CYCLE, MAGNITUDE, new_figure, plot_style
from sciml.uncertainty import coverage
from sciml_cosmo.parameters.features import PRIOR
from sciml_cosmo.parameters.hybrid import unscaled
from sciml_cosmo.parameters.leak import TARGETS

if TYPE_CHECKING:
    from sciml_cosmo.parameters.task import Findings

DARK = "#39424a"
SYMBOLS = {"Omega_m": r"$\Omega_m$", "sigma_8": r"$\sigma_8$"}
SLICE = 0.2  # of the side


@plot_style()
def scatter(findings: Findings, names: Sequence[str], titles: Mapping[str, str]) -> Figure:
    """Draw predicted against true parameters of the test boxes for some models."""
    figure, axes = new_figure(2, len(names), 3.3 * len(names), 6.4, sharex="row", sharey="row")
    truth = findings.boxes.features.targets[findings.test]
    for row, target in enumerate(TARGETS):
        low, high = PRIOR[:, row]
        for panel, name in zip(axes[row], names, strict=True):
            panel.plot([low, high], [low, high], color=DARK, lw=0.9, ls=(0, (1, 2)))
            for number, guess in enumerate(findings.predicted(name)):
                look: dict[str, Any] = {"color": CYCLE[number % len(CYCLE)], "alpha": 0.65}
                if name == "hybrid":
                    std = findings.fitted[number].hybrid[1][findings.test, row] * (high - low) / 2
                    panel.errorbar(truth[:, row], guess[:, row], std, fmt="none", elinewidth=0.5, **look)
                panel.scatter(truth[:, row], guess[:, row], s=12, linewidths=0, **look)
            value = findings.metrics[f"param_r2_{name}_{('om', 's8')[row]}"]
            text = f"{value:.2f}".replace("-", "−")
            panel.set_title(f"{titles[name]}, R² = {text}", fontsize="small")
            panel.set(xlabel=f"true {SYMBOLS[target]}", xlim=(low, high), ylim=(low - 0.02, high + 0.02))
        axes[row, 0].set_ylabel(f"predicted {SYMBOLS[target]}")
    return figure


@plot_style()
def boxes(findings: Findings) -> Figure:
    """Draw a slice of the boxes with the lowest, middle and highest sigma_8."""
    targets, side = findings.boxes.features.targets, findings.boxes.clouds[0].box_size
    order = np.argsort(targets[:, 1])
    figure, axes = new_figure(1, 3, 10.2, 3.7, sharex=True, sharey=True)
    for panel, i in zip(axes[0], order[[0, len(order) // 2, -1]], strict=True):
        nodes = findings.boxes.clouds[i].positions
        inside = nodes[:, 2] < SLICE * side
        panel.scatter(nodes[inside, 0], nodes[inside, 1], s=9, color=CYCLE[0], alpha=0.7, linewidths=0)
        label = f"{SYMBOLS['sigma_8']} = {targets[i, 1]:.2f}, {SYMBOLS['Omega_m']} = {targets[i, 0]:.2f}"
        panel.set_title(label, fontsize="small")
        panel.set(xlabel="x (Mpc/h)", xlim=(0, side), ylim=(0, side), aspect="equal")
        panel.grid(False)
    axes[0, 0].set_ylabel("y (Mpc/h)")
    return figure


@plot_style()
def two_point(findings: Findings) -> Figure:
    """Draw the correlation functions of all boxes by sigma_8, and the means of extreme fifths."""
    edges, xi = findings.boxes.edges, findings.boxes.features.xi
    targets = findings.boxes.features.targets
    middle = np.sqrt(edges[:-1] * edges[1:])
    figure, axes = new_figure(1, 2, 11.0, 4.2, sharey=True)
    colours = ScalarMappable(Normalize(*PRIOR[:, 1]), MAGNITUDE)
    for i in np.argsort(targets[:, 1]):
        axes[0, 0].plot(middle, middle * xi[i], color=colours.to_rgba(targets[i, 1]), lw=0.5, alpha=0.5)
    figure.colorbar(colours, ax=axes[0, 0], label=SYMBOLS["sigma_8"])
    for column, target in enumerate(TARGETS):
        low, high = np.quantile(targets[:, column], (0.2, 0.8))
        groups = {"lowest": targets[:, column] <= low, "highest": targets[:, column] >= high}
        for style, (which, members) in zip(("-", "--"), groups.items(), strict=True):
            mean, error = xi[members].mean(0), xi[members].std(0) / np.sqrt(members.sum())
            label = f"{which} fifth of {SYMBOLS[target]}"
            axes[0, 1].errorbar(middle, middle * mean, middle * error, ls=style, color=CYCLE[column], label=label)
    axes[0, 1].legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    low, high = np.quantile(middle * xi, (0.002, 0.998))
    for panel in axes[0]:
        panel.axhline(0, color=DARK, lw=0.8)
        panel.set(xscale="log", xlabel="r (Mpc/h)", ylim=(low, high))
    axes[0, 0].set_ylabel(r"$r\,\xi(r)$ (Mpc/h)")
    return figure


@plot_style()
def multipole_curves(findings: Findings) -> Figure:
    """Draw monopole and quadrupole in redshift space, means of fifths of the boxes by sigma_8."""
    edges, targets = findings.boxes.edges, findings.boxes.features.targets
    middle = np.sqrt(edges[:-1] * edges[1:])
    seen = findings.boxes.features.seen.reshape(len(targets), 2, -1)
    figure, axes = new_figure(1, 2, 10.4, 3.9)
    colours = ScalarMappable(Normalize(*PRIOR[:, 1]), MAGNITUDE)
    for members in np.array_split(np.argsort(targets[:, 1]), 5):
        colour = colours.to_rgba(targets[members, 1].mean())
        for panel, order in zip(axes[0], (0, 1), strict=True):
            mean = seen[members, order].mean(0)
            error = seen[members, order].std(0) / np.sqrt(len(members))
            panel.errorbar(middle, middle * mean, middle * error, color=colour, lw=1.2)
    for panel, order in zip(axes[0], (0, 2), strict=True):
        panel.axhline(0, color=DARK, lw=0.8)
        panel.set(xscale="log", xlabel="s (Mpc/h)", ylabel=rf"$s\,\xi_{order}(s)$ (Mpc/h)")
    figure.colorbar(colours, ax=axes[0, 1], label=SYMBOLS["sigma_8"])
    return figure


@plot_style()
def coverage_curve(findings: Findings) -> Figure:
    """Draw the share of the truth inside central intervals of the hybrid over their nominal probability."""
    figure, ((axes,),) = new_figure(width=5.6, height=4.4)
    levels = np.linspace(0.05, 0.95, 19)
    axes.plot([0, 1], [0, 1], color=DARK, lw=0.9, ls=(0, (1, 2)))
    truth = findings.boxes.features.targets[findings.test]
    for i, name in enumerate(TARGETS):
        half = (PRIOR[1, i] - PRIOR[0, i]) / 2
        mean = np.stack([unscaled(one.hybrid[0])[findings.test, i] for one in findings.fitted])
        std = np.stack([one.hybrid[1][findings.test, i] * half for one in findings.fitted])
        share = coverage(np.broadcast_to(truth[:, i], mean.shape), mean, std, levels)
        axes.plot(levels, list(share.values()), marker=".", color=CYCLE[i], label=SYMBOLS[name])
    axes.set(xlabel="probability of the interval", ylabel="share of test boxes inside", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    return figure


@plot_style()
def training(findings: Findings, titles: Mapping[str, str]) -> Figure:
    """Draw the validation loss of the networks of the first seed over their training."""
    figure, ((axes,),) = new_figure(width=8.0, height=3.8)
    for name, one in findings.fitted[0].networks.items():
        step, _, loss = np.array(one.curve).T
        axes.plot(step / step[-1], loss, label=titles[name])
    axes.set(xlabel="share of the training", ylabel="validation loss")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure
