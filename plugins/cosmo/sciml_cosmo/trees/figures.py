"""The figures of the tasks on trees: answers against the truth, all rows side by side, learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sciml.report import CYCLE, new_figure, plot_style

Array = NDArray[Any]
LABELS = ("Omega_m", "sigma_8")


@plot_style()
def draw_answers(truth: Array, predicted: Array, std: Array, means: tuple[Array, Array]) -> Figure:
    """Draw answers against the truth, a panel for each parameter: single trees with their errors, means on top.

    Parameters
    ----------
    truth, predicted, std : (tree, 2).
    means : truth and mean answer of each cosmology, each (cosmology, 2).
    """
    figure, ((left, right),) = new_figure(1, 2, 10.4, 4.9)
    for k, axes in enumerate((left, right)):
        bars = {"fmt": "o", "ms": 2.5, "lw": 0.6, "alpha": 0.45}
        axes.errorbar(truth[:, k], predicted[:, k], std[:, k], color=CYCLE[0], label="one tree", **bars)
        axes.plot(means[0][:, k], means[1][:, k], "o", ms=4.5, mfc="white", color=CYCLE[1], label="mean of a cosmology")
        ends = truth[:, k].min() - 0.02, truth[:, k].max() + 0.02
        axes.plot(ends, ends, color="#39424a", lw=1.0, zorder=1)
        axes.set(xlabel=f"{LABELS[k]}, true", ylabel=f"{LABELS[k]}, answered", xlim=ends)
    left.legend(loc="upper left")
    return figure


@plot_style()
def draw_rows(titles: Sequence[str], values: Array, errors: Array, bars: Sequence[float | None]) -> Figure:
    """Draw a number of every row as points with errors, one panel for each column.

    Parameters
    ----------
    titles : of the rows, from the top.
    values, errors : (row, 4): single and mean R^2 of the two parameters; below -0.1 they are drawn at the edge.
    bars : least squares to beat, or None, one for each column.
    """
    names = ("Omega_m, one tree", "sigma_8, one tree", "Omega_m, mean", "sigma_8, mean")
    figure, axes = new_figure(1, 4, 12.0, 0.9 + 0.34 * len(titles), sharey=True)
    at = np.arange(len(titles))[::-1]
    for k, panel in enumerate(axes[0]):
        panel.errorbar(values[:, k].clip(-0.08), at, xerr=errors[:, k], fmt="o", ms=5, color=CYCLE[0])
        if bars[k] is not None:
            panel.axvline(bars[k], color=CYCLE[1], lw=1.2, ls="--")
        panel.set(xlim=(-0.1, 1.05), title=names[k], xlabel="R² on held-out simulations")
        panel.title.set_fontsize("small")
        panel.xaxis.label.set_fontsize("small")
    axes[0, 0].set_yticks(at, titles)
    return figure


@plot_style()
def draw_learning(curves: Mapping[str, Sequence[tuple[int, float, float]]], label: str) -> Figure:
    """Draw validation errors over the steps.

    Parameters
    ----------
    curves : title -> (step, training loss, validation error or NaN).
    label : of the vertical axis.
    """
    figure, ((axes,),) = new_figure(width=9.0, height=3.8)
    for title, curve in curves.items():
        points = np.array([(step, error) for step, _, error in curve if error == error])
        axes.plot(points[:, 0], points[:, 1], "o-", ms=3, label=title)
    axes.set(yscale="log", xlabel="step", ylabel=label)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


@plot_style()
def draw_accuracies(titles: Sequence[str], values: Array, errors: Array, majority: float) -> Figure:
    """Draw the accuracy of every classifier with its error, and that of the majority as a line."""
    figure, ((axes,),) = new_figure(width=8.4, height=0.9 + 0.36 * len(titles))
    at = np.arange(len(titles))[::-1]
    axes.errorbar(values, at, xerr=errors, fmt="o", ms=6, color=CYCLE[0])
    axes.axvline(majority, color=CYCLE[1], lw=1.2, ls="--")
    axes.set_yticks(at, titles)
    axes.set(xlabel="accuracy at the merger nodes of held-out simulations (dashed: majority)")
    return figure


@plot_style()
def draw_times(scale_factor: Array, share: Array, expected: Array) -> Figure:
    """Draw the share of lost mergers over time, beside what the lengths of the two intervals alone would give.

    Parameters
    ----------
    scale_factor, share, expected : (time,), of the merger nodes at one snapshot.
    """
    figure, ((axes,),) = new_figure(width=8.4, height=3.6)
    axes.plot(scale_factor, share, "o", color=CYCLE[0], label="training trees")
    axes.plot(scale_factor, expected, "-", lw=1.2, color=CYCLE[1], label="earlier interval over both, in log a")
    axes.set(xlabel="scale factor of the merger node", ylabel="share with a lost merger", ylim=(-0.03, 1.03))
    axes.legend(loc="best")
    return figure
