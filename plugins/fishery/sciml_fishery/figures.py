"""The figures of the fishery report: rewards, policies as maps, the readable rule, trajectories, the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from sciml.report import CYCLE, MAGNITUDE, new_figure, plot_style
from sciml_fishery.compare import TITLES, Curve, Strategy
from sciml_fishery.models import Model
from sciml_fishery.policies import Policy, PredatorEscapement
from sciml_fishery.robust import Stability

if TYPE_CHECKING:
    from sciml_fishery.dp import OptimalPolicy

Array = NDArray[Any]
COLOURS = {"optimum": CYCLE[6], "learned": CYCLE[0], "constant": CYCLE[1]}
PUBLISHED = {"PPO (paper)": (0.94, 48.75), "PPO+GP (paper)": (0.98, 49.44)}  # Model 4
PUBLISHED_GAINS = {  # over constant escapement, Model 4, at deviations of 4 to 20 %
    "PPO (paper)": (11.2, 9.8, 9.5, 8.5, 6.7),
    "PPO+GP (paper)": (12.5, 11.6, 11.2, 10.0, 8.3),
}
N_SIDE, DARK = 61, "#39424a"


@plot_style()
def rewards(strategies: Mapping[str, Strategy]) -> Figure:
    """Draw how the rewards of the episodes are spread, one violin per strategy, the means as points."""
    names = sorted(strategies, key=lambda name: strategies[name].outcome.mean)
    figure, ((axes,),) = new_figure(width=9.0, height=0.8 + 0.46 * len(names))
    values = [strategies[name].outcome.reward.numpy() for name in names]
    low = min(float(np.quantile(v, 0.01)) for v in values)
    drawn: Any = axes.violinplot(
        [v.clip(low, None) for v in values], orientation="horizontal", widths=0.85, showextrema=False
    )
    for body, name in zip(drawn["bodies"], names, strict=True):
        body.set(facecolor=COLOURS[TITLES[name][1]], alpha=0.45, linewidth=0)
    axes.scatter([v.mean() for v in values], range(1, len(names) + 1), s=26, c="#1b2126", zorder=3)
    axes.set_yticks(range(1, len(names) + 1), [TITLES[name][0] for name in names])
    axes.set(xlabel="reward of an episode (catch, in carrying capacities)", ylim=(0.4, len(names) + 0.6))
    axes.grid(axis="y", visible=False)
    handles = [Line2D([], [], lw=7, alpha=0.45, color=colour, label=kind) for kind, colour in COLOURS.items()]
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def decisions(model: Model, policy: Policy, fishery: int, other: float, year: float) -> tuple[Array, Array, Array]:
    """Return own stock, predator's stock and the fraction (predator, own) with every other stock at `other`."""
    i = model.fished[fishery]
    own = torch.linspace(0.02, 1.2, N_SIDE)
    predator = torch.linspace(0.05, 1.5, N_SIDE)
    z, n = torch.meshgrid(predator, own, indexing="ij")
    stock = torch.full((N_SIDE * N_SIDE, len(model.species)), other)
    stock[:, -1] = z.flatten()
    stock[:, i] = n.flatten()
    with torch.no_grad():
        fraction = policy.fraction(stock, torch.full((len(stock),), year))[:, fishery]
    return own.numpy(), predator.numpy(), fraction.reshape(N_SIDE, N_SIDE).numpy()


@plot_style()
def maps(model: Model, policies: Mapping[str, Policy], year: float) -> Figure:
    """Draw the fraction that each policy takes of each stock, over that stock and the predator's."""
    n_rows = len(model.fished)
    figure, axes = new_figure(
        n_rows, len(policies), 1.2 + 2.5 * len(policies), 0.9 + 2.5 * n_rows, sharex=True, sharey=True
    )
    for row, panels in enumerate(axes):
        for panel, (name, policy) in zip(panels, policies.items(), strict=True):
            own, predator, fraction = decisions(model, policy, row, 0.6, year)
            look: dict[str, Any] = {"cmap": MAGNITUDE, "vmin": 0, "vmax": 1, "shading": "nearest", "rasterized": True}
            drawn = panel.pcolormesh(own, predator, fraction, **look)
            panel.contour(own, predator, fraction, levels=[1e-3], colors="white", linewidths=1.0)
            if row == 0:
                panel.set_title(TITLES[name][0], fontsize="small")
            panel.set_xlabel(f"stock {model.species[model.fished[row]]}")
            panel.tick_params(labelbottom=True)
        panels[0].set_ylabel(f"predator {model.species[-1]}")
    figure.colorbar(drawn, ax=axes, label="fraction to fish", shrink=0.8)
    return figure


@plot_style()
def one_stock(policies: Mapping[str, Policy], top: float, year: float) -> Figure:
    """Draw the fraction that each policy takes of a single stock."""
    figure, ((axes,),) = new_figure(width=8.2, height=4.0)
    stock = torch.linspace(0.02, top, 300)
    for name, policy in policies.items():
        with torch.no_grad():
            fraction = policy.fraction(stock[:, None], torch.full_like(stock, year))[:, 0]
        axes.plot(stock, fraction, label=TITLES[name][0])
    axes.set(xlabel="stock (carrying capacities)", ylabel="fraction to fish", ylim=(-0.02, 1.02))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


@plot_style()
def rule_levels(model: Model, rule: PredatorEscapement, optimal: OptimalPolicy | None, year: float) -> Figure:
    """Draw what the rule and the optimum leave of each stock, over the predator's; dots are the rule's numbers."""
    figure, ((axes,),) = new_figure(width=8.2, height=4.0)
    z = torch.logspace(np.log10(0.05), np.log10(1.5), 200)
    with torch.no_grad():
        levels = rule.levels_at(z)
    stock = torch.full((len(z), len(model.species)), 1.2)
    stock[:, -1] = z
    fraction = None if optimal is None else optimal.fraction(stock, torch.full((len(z),), year))
    for f, name in enumerate(rule.fisheries):
        axes.plot(z, levels[:, f], color=CYCLE[f], label=f"rule, leave of {name}")
        axes.plot(rule.config["knots"], rule.level[f].detach(), "o", color=CYCLE[f], ms=5)
        if fraction is not None:
            left = 1.2 * (1 - fraction[:, f])
            axes.plot(z, left, color=CYCLE[f], ls=":", label=f"optimum in year {year:.0f}, leaves of {name}")
    axes.set(xscale="log", xlabel=f"predator {model.species[-1]}", ylabel="stock to leave", ylim=(0, None))
    axes.set_xticks([0.05, 0.1, 0.2, 0.5, 1.0], ["0.05", "0.1", "0.2", "0.5", "1"])
    axes.minorticks_off()
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


@plot_style()
def trajectories(model: Model, paths: Mapping[str, Any]) -> Figure:
    """Draw the median and the middle 80 % of the stocks over the years, and the share of episodes that go on."""
    n_rows = len(model.species) + 1
    figure, axes = new_figure(
        n_rows, len(paths), 0.8 + 2.6 * len(paths), 0.6 + 1.45 * n_rows, sharex=True, sharey="row"
    )
    for column, (name, path) in enumerate(paths.items()):
        stock = path.stock.numpy()
        years, alive = np.arange(len(stock)), ~np.isnan(stock[..., 0])
        shown = alive.any(1)
        for i, species in enumerate(model.species):
            low, middle, high = np.nanquantile(stock[shown, :, i], (0.1, 0.5, 0.9), axis=1)
            axes[i, column].fill_between(years[shown], low, high, color=CYCLE[i], alpha=0.25, lw=0)
            axes[i, column].plot(years[shown], middle, color=CYCLE[i], lw=1.3)
            axes[i, column].axhline(model.threshold, color=DARK, lw=0.9, ls=(0, (1, 2)))
            axes[i, 0].set_ylabel(species)
            axes[i, column].set_ylim(bottom=0)
        axes[-1, column].plot(years, 100 * alive.mean(1), color=DARK)
        axes[-1, column].set(xlabel="year", ylim=(0, 105))
        axes[0, column].set_title(TITLES[name][0], fontsize="small")
    axes[-1, 0].set_ylabel("alive (%)")
    return figure


@plot_style()
def front(strategies: Mapping[str, Strategy], optima: Sequence[tuple[float, float, float]],
          fractions: Sequence[tuple[float, float, float]], published: bool) -> Figure:  # fmt: skip
    """Draw reward against survival: strategies, optima with further costs of a loss, less constant mortality.

    The right panel enlarges what lies around the optimum.
    """
    figure, axes = new_figure(1, 2, 12.4, 4.8)
    for panel in axes[0]:
        if "optimum" in strategies:
            start = strategies["optimum"].outcome
            x, y = np.transpose(sorted([(start.survival, start.mean), *((s, r) for _, s, r in optima)]))
            dashed: dict[str, Any] = {"color": COLOURS["optimum"], "ls": "--", "lw": 1.2, "marker": "s", "ms": 4}
            panel.plot(100 * x, y, label="optima, a loss costing more and more", **dashed)
        x, y = np.transpose([(s, r) for _, s, r in fractions])
        dotted: dict[str, Any] = {"color": COLOURS["constant"], "ls": ":", "marker": "."}
        panel.plot(100 * x, y, label="constant mortality at 80, 90, 95, 100 %", **dotted)
        for marker, (name, one) in zip("sDo^vpPhXd", strategies.items(), strict=False):
            look: dict[str, Any] = {"color": COLOURS[TITLES[name][1]], "marker": marker, "s": 80, "zorder": 3}
            panel.scatter(
                100 * one.outcome.survival, one.outcome.mean, label=TITLES[name][0], edgecolors="white", **look
            )
        for marker, (name, point) in zip("<>", PUBLISHED.items() if published else (), strict=False):
            panel.scatter(100 * point[0], point[1], s=60, marker=marker, facecolors="none", edgecolors=DARK, label=name)
        panel.set_xlabel("episodes in which no species is lost (%)")
        panel.margins(0.06)
    axes[0, 0].set_ylabel("mean reward (catch, in carrying capacities)")
    best = [one.outcome for name, one in strategies.items() if TITLES[name][1] != "constant"]
    low_x, low_y = (min(100 * o.survival for o in best), min(o.mean for o in best))
    high_y = max(o.mean for o in best)
    pad = 0.12 * (high_y - low_y) + 1e-3
    axes[0, 1].set(xlim=(low_x - 1.5, 101.0), ylim=(low_y - pad, high_y + pad), title="enlarged")
    axes[0, 1].legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


@plot_style()
def learning(curves: Mapping[str, Curve], goal: float) -> Figure:
    """Draw training returns over CPU seconds; `goal` is the mean reward of constant mortality on fresh episodes."""
    figure, ((axes,),) = new_figure(width=8.6, height=4.0)
    lows = []
    for name, curve in curves.items():
        seconds, value = np.transpose(curve) if curve else (np.zeros(0), np.zeros(0))
        axes.plot(seconds, value, label=TITLES[name][0], lw=1.3)
        lows += [float(np.quantile(value, 0.15))] if curve else []
    axes.axhline(goal, color=DARK, lw=1.0, ls=(0, (1, 2)), label="constant mortality")
    axes.set(xlabel="CPU time (s)", ylabel="return in training", ylim=(min(*lows, 0.8 * goal), None))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


@plot_style()
def gains(noise: Mapping[float, Stability], base: str, published: bool) -> Figure:
    """Draw what policies earn more than the `base` over the deviation of the parameters; bars are standard errors."""
    figure, ((axes,),) = new_figure(width=8.8, height=4.2)
    spreads = [100 * spread for spread in noise]
    shown = [name for name in next(iter(noise.values())).rewards if name != base]
    for i, (name, marker) in enumerate(zip(shown, "osD^vpPXd", strict=False)):
        found = [one.gain(name, base) for one in noise.values()]
        counts = [max(int(one.coexist.sum()), 1) for one in noise.values()]
        errors = [sd / n**0.5 for (_, sd), n in zip(found, counts, strict=True)]
        shift = [spread + 0.15 * (i - len(shown) / 2) for spread in spreads]  # beside each other
        look: dict[str, Any] = {"color": CYCLE[i % len(CYCLE)], "marker": marker, "ms": 5, "lw": 1.1, "capsize": 2}
        axes.errorbar(shift, [mean for mean, _ in found], errors, label=TITLES[name][0], **look)
    for name, values in PUBLISHED_GAINS.items() if published else ():
        axes.plot((4, 8, 12, 16, 20), values, "<" if name == "PPO (paper)" else ">", mfc="none", mec=DARK, label=name)
    axes.axhline(0, color=DARK, lw=0.9, ls=(0, (1, 2)))
    axes.set(xlabel="deviation of every parameter (%)", ylabel=f"reward above {TITLES[base][0]}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


@plot_style()
def matrix(rows: Sequence[str], columns: Sequence[str], percent: Array, below: str, beside: str) -> Figure:
    """Draw percentages (row, column) as colours with their numbers; `below` and `beside` name columns and colours."""
    figure, ((axes,),) = new_figure(width=3.6 + 1.0 * len(columns), height=max(3.2, 1.2 + 0.42 * len(rows)))
    low, high = max(0.0, float(percent.min())), max(100.0, float(percent.max()))
    drawn = axes.imshow(percent, cmap=MAGNITUDE, vmin=low, vmax=high, aspect="auto")
    for i, j in np.ndindex(percent.shape):
        light = drawn.norm(percent[i, j]) > 0.65
        axes.text(j, i, f"{percent[i, j]:.0f}", ha="center", va="center", color=DARK if light else "white")
    axes.set_xticks(range(len(columns)), columns, rotation=25, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel(below)
    axes.grid(visible=False)
    figure.colorbar(drawn, ax=axes, label=beside)
    return figure
