"""The figures of the multi-fidelity reports: levels, intervals, distributions, sensitivities, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sciml.report import CYCLE, new_figure, plot_style
from sciml_mfuq.propagation.distribution import Distribution
from sciml_mfuq.samples import Array, Samples

Z95 = 1.959964
GREY, PALE = "#39424a", "#c9d0d5"


@dataclass(frozen=True)
class Curve:
    """A function of one input: grid (n,), truth (NaN if unknown), cheap level, mean and std there, and the runs."""

    x: Array
    truth: Array
    low: Array
    mean: Array
    std: Array
    samples: Samples


@dataclass(frozen=True)
class Prediction:
    """Truth (n,) that no model saw, and a model's mean and standard deviation there."""

    truth: Array
    mean: Array
    std: Array


@plot_style()
def curves(found: Mapping[str, Curve], xlabel: str = "x", ylabel: str = "y") -> Figure:
    """Draw functions of one input: the truth, the cheap level, the model with its 95 % interval, the runs."""
    figure, axes = _panels(len(found), 2, 5.0, 2.7, 0.6)
    for panel, (title, one) in zip(axes.flat, found.items(), strict=False):
        low, high = one.mean - Z95 * one.std, one.mean + Z95 * one.std
        panel.fill_between(one.x, low, high, color=CYCLE[0], alpha=0.25, lw=0, label="95 % interval")
        panel.plot(one.x, one.low, color=CYCLE[4], ls="--", lw=1.2, label="cheap level")
        if np.isfinite(one.truth).any():
            panel.plot(one.x, one.truth, color=GREY, lw=1.2, label="truth")
        panel.plot(one.x, one.mean, color=CYCLE[0], label="model")
        panel.plot(one.samples.truth.x[:, 0], one.samples.truth.y, "o", color=CYCLE[1], ms=5, label="runs of the truth")
        values = np.concatenate([one.truth[np.isfinite(one.truth)], one.low, one.samples.truth.y])
        margin = 0.3 * np.ptp(values)
        panel.set(title=title, xlabel=xlabel, ylabel=ylabel, ylim=(values.min() - margin, values.max() + margin))
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def _panels(n: int, n_most: int, width: float, height: float, more: float) -> tuple[Figure, np.ndarray]:
    """Return a figure of n panels, at most `n_most` beside each other; what is left of the last row stays empty."""
    n_cols = min(n_most, n)
    n_rows = -(-n // n_cols)
    figure, axes = new_figure(n_rows, n_cols, width * n_cols, more + height * n_rows)
    for panel in axes.flat[n:]:
        panel.set_axis_off()
    return figure, axes


@plot_style()
def correlations(found: Mapping[str, tuple[Array, Array]]) -> Figure:
    """Draw the truth over the cheapest level at the same points: what there is to learn from it."""
    figure, axes = _panels(len(found), 4, 2.6, 2.4, 0.3)
    for panel, (title, (low, high)) in zip(axes.flat, found.items(), strict=False):
        panel.plot(low, high, ".", ms=2.5, color=CYCLE[0], alpha=0.6, rasterized=True)
        panel.set_title(f"{title}: r = {np.corrcoef(low, high)[0, 1]:.3f}")
        panel.set(xlabel="cheapest level", ylabel="truth")
    return figure


@plot_style()
def parities(found: Mapping[str, Prediction], n_most: int = 300) -> Figure:
    """Draw predictions with 95 % intervals over the truth; those whose interval misses it in another colour."""
    figure, axes = _panels(len(found), 4, 2.7, 2.6, 0.6)
    for panel, (title, one) in zip(axes.flat, found.items(), strict=False):
        shown = slice(None, None, max(1, len(one.truth) // n_most))
        truth, mean, half = one.truth[shown], one.mean[shown], Z95 * one.std[shown]
        hit = np.abs(truth - mean) <= half
        for mask, colour, label in ((hit, CYCLE[0], "95 % interval holds the truth"), (~hit, CYCLE[1], "misses it")):
            panel.errorbar(
                truth[mask], mean[mask], half[mask], fmt=".", ms=3, lw=0.7, color=colour, alpha=0.8, label=label
            )
        ends = [truth.min(), truth.max()]
        panel.plot(ends, ends, color=GREY, lw=1)
        panel.set(title=title, xlabel="truth", ylabel="prediction")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


@plot_style()
def reliability(found: Mapping[str, Mapping[float, float]]) -> Figure:
    """Draw the share of truths inside each central interval over its nominal probability, one line for each engine."""
    figure, ((axes,),) = new_figure(width=5.6, height=4.2)
    axes.plot([0, 100], [0, 100], color=GREY, lw=1, label="calibrated")
    for number, (label, one) in enumerate(found.items()):
        nominal = 100 * np.array(list(one))
        marker = "os^Dvp*XP"[number % 9]
        axes.plot(nominal, 100 * np.array(list(one.values())), marker=marker, color=CYCLE[number % 8], label=label)
    axes.set(xlabel="nominal coverage (%)", ylabel="measured coverage (%)", xlim=(45, 100), ylim=(0, 102))
    figure.legend(loc="outside right upper")
    return figure


@plot_style()
def errors(table: Mapping[str, Mapping[str, float]], labels: Mapping[str, str], ylabel: str) -> Figure:
    """Draw an error of every engine on every case as points on a logarithmic axis; `table` is case -> engine."""
    figure, ((axes,),) = new_figure(width=9.6, height=4.2)
    engines = list(dict.fromkeys(engine for row in table.values() for engine in row))
    for number, engine in enumerate(engines):
        at = [(i, row[engine]) for i, row in enumerate(table.values()) if np.isfinite(row.get(engine, np.nan))]
        offset = (number - (len(engines) - 1) / 2) * 0.7 / len(engines)
        x, y = np.array(at).T if at else (np.zeros(0), np.zeros(0))
        look: dict[str, Any] = {"marker": "os^Dvp*XPh"[number % 10], "color": CYCLE[number % 8], "ms": 6, "ls": "none"}
        axes.plot(x + offset, y, label=labels.get(engine, engine), **look)
    axes.set(yscale="log", ylabel=ylabel)
    axes.set_xticks(range(len(table)), list(table))
    for i in range(len(table) - 1):
        axes.axvline(i + 0.5, color=PALE, lw=0.8)
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside upper left", ncols=4)
    return figure


@dataclass(frozen=True)
class Law1D:
    """A distribution of the output on a grid y (n,): density and its 95 % band, distribution function; exact ones."""

    y: Array
    density: Array
    band: Array
    exact: Array
    cdf: Array
    exact_cdf: Array


@plot_style()
def densities(found: Mapping[str, Law1D], label: str) -> Figure:
    """Draw density and distribution function of the output by the model beside exact Monte Carlo."""
    figure, axes = new_figure(len(found), 2, 9.0, 0.5 + 2.7 * len(found))
    for row, (title, one) in zip(axes, found.items(), strict=True):
        row[0].fill_between(one.y, one.density - one.band, one.density + one.band, color=CYCLE[0], alpha=0.25, lw=0)
        row[0].plot(one.y, one.exact, color=GREY, lw=2.2, label="exact, Monte Carlo on the truth")
        row[0].plot(one.y, one.density, color=CYCLE[0], ls="--", label="model")
        row[1].plot(one.y, one.exact_cdf, color=GREY, lw=2.2)
        row[1].plot(one.y, one.cdf, color=CYCLE[0], ls="--")
        row[0].set(title=title, xlabel=label, ylabel="density")
        row[1].set(title=title, xlabel=label, ylabel="distribution function")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


@plot_style()
def laws(found: Mapping[str, Distribution]) -> Figure:
    """Draw densities of outputs, each with the 95 % band of its sampling error and the model's own error."""
    figure, axes = new_figure(1, len(found), 4.4 * len(found), 3.2)
    for panel, (title, one) in zip(axes[0], found.items(), strict=True):
        y = one.grid(300)
        density = one.pdf(y)
        low, high = density.interval()
        panel.fill_between(y, np.maximum(low, 0), high, color=CYCLE[0], alpha=0.25, lw=0, label="95 % band")
        panel.plot(y, density.value, color=CYCLE[0], label="density")
        panel.set(title=title, xlabel=f"{title} ({one.unit})", ylabel="density")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


@plot_style()
def sensitivities(
    names: Sequence[str], found: Mapping[str, tuple[Array, Array]], exact: Mapping[str, Array] | None = None
) -> Figure:
    """Draw Sobol indices of every input as bars with 95 % intervals; `found` is "first"/"total" -> (value, half)."""
    figure, ((axes,),) = new_figure(width=8.0, height=3.6)
    width = 0.8 / len(found)
    for number, (label, (value, half)) in enumerate(found.items()):
        x = np.arange(len(names)) + (number - (len(found) - 1) / 2) * width
        axes.bar(x, value, 0.92 * width, yerr=half, color=CYCLE[number], ecolor=GREY, capsize=2, label=label)
        if exact is not None and label in exact:
            axes.plot(x, exact[label], "k_", ms=12, mew=2, label="exact" if number == 0 else None)
    axes.set(ylabel="share of the variance")
    axes.set_xticks(range(len(names)), list(names))
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside upper left", ncols=3)
    return figure


@plot_style()
def costs(found: Mapping[str, tuple[Array, Array]], xlabel: str, ylabel: str) -> Figure:
    """Draw errors over what the runs cost, both axes logarithmic; label -> (cost, error)."""
    figure, ((axes,),) = new_figure(width=6.4, height=4.0)
    for number, (label, (cost, error)) in enumerate(found.items()):
        axes.plot(cost, error, marker="os^Dv"[number % 5], ms=4, color=CYCLE[number], label=label)
    axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    figure.legend(loc="outside upper left", ncols=2)
    return figure


@plot_style()
def field_rows(x: Array, rows: Mapping[str, Mapping[str, Array]], xlabel: str, ylabel: str) -> Figure:
    """Draw fields along x, one panel for each point: truth, cheap level, model with its 95 % interval."""
    figure, axes = new_figure(1, len(rows), 3.6 * len(rows), 3.6, sharey=True)
    for panel, (title, row) in zip(axes[0], rows.items(), strict=True):
        low, high = (row["mean"] + sign * Z95 * row["std"] for sign in (-1, 1))
        panel.fill_between(x, low, high, color=CYCLE[0], alpha=0.25, lw=0, label="95 % interval")
        panel.plot(x, row["low"], color=CYCLE[4], ls="--", lw=1.2, label="cheap level")
        panel.plot(x, row["truth"], color=GREY, lw=1.4, label="truth")
        panel.plot(x, row["mean"], color=CYCLE[0], lw=1.2, label="model")
        panel.set(title=title, xlabel=xlabel)
    axes[0, 0].set_ylabel(ylabel)
    axes[0, 0].invert_yaxis()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure
