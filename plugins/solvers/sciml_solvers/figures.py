"""The figures of the solver reports: masks, solutions, residual histories, training losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from sciml.report import CYCLE, SIGNED, new_figure, plot_style
from sciml_solvers.compare import Timed
from sciml_solvers.problems import AIR, FLUID, SOLID, MaskProblem

Array = NDArray[Any]
METHODS = {
    "cg": ("CG", CYCLE[4], ":"),
    "jacobi": ("Jacobi-PCG", CYCLE[3], "--"),
    "multigrid": ("multigrid-PCG, 2+2 sweeps", CYCLE[0], "-"),
    "tuned": ("multigrid-PCG, 1+1, tuned", CYCLE[5], "--"),
    "learned": ("learned cycle, 1+1", CYCLE[2], "-"),
    "dcdm": ("DCDM", CYCLE[1], "-"),
}
KINDS = {SOLID: ("solid", "#6b757d"), FLUID: ("fluid", "#cfe3f1"), AIR: ("air", "#fff3d6")}


@plot_style()
def masks(problems: Mapping[str, MaskProblem]) -> Figure:
    """Draw the kinds of the cells in the plane in the middle of each problem; air is at the pressure zero."""
    n_cols = min(6, len(problems))
    n_rows = -(-len(problems) // n_cols)
    figure, axes = new_figure(n_rows, n_cols, 0.6 + 1.75 * n_cols, 0.5 + 1.95 * n_rows)
    colours = ListedColormap([colour for _, colour in KINDS.values()])
    for panel in axes.flat[len(problems) :]:
        panel.set_axis_off()
    for panel, (name, problem) in zip(axes.flat, problems.items(), strict=False):
        look: dict[str, Any] = {"cmap": colours, "vmin": SOLID, "vmax": AIR, "interpolation": "nearest"}
        panel.imshow(middle(problem.cells).T, origin="lower", **look)
        panel.set(title=name.replace("_", " "), xticks=[], yticks=[])
    handles = [Patch(facecolor=colour, edgecolor="#8a939b", label=name) for name, colour in KINDS.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


@plot_style()
def solution(problem: MaskProblem, answer: Array) -> Figure:
    """Draw the source and the pressure in the plane in the middle, solids and air in their own colours."""
    figure, axes = new_figure(1, 2, 8.6, 3.9)
    fields = (("source", problem.rhs), ("pressure", answer))
    kinds, colours = middle(problem.cells), ListedColormap([colour for _, colour in KINDS.values()])
    for panel, (name, field) in zip(axes[0], fields, strict=True):
        panel.imshow(kinds.T, origin="lower", cmap=colours, vmin=SOLID, vmax=AIR, interpolation="nearest")
        values = np.ma.masked_where(kinds != FLUID, middle(field))
        most = float(np.abs(values).max()) or 1.0
        drawn = panel.imshow(values.T, origin="lower", cmap=SIGNED, vmin=-most, vmax=most, interpolation="nearest")
        panel.set(title=name, xlabel="cell along x")
        figure.colorbar(drawn, ax=panel, shrink=0.9)
    axes[0, 0].set_ylabel("cell along " + ("z" if problem.cells.ndim == 3 else "y"))
    return figure


@plot_style()
def histories(rows: Mapping[str, Timed], rtol: float) -> Figure:
    """Draw the relative residuals of several methods over iterations and over CPU seconds, all axes logarithmic."""
    figure, axes = new_figure(1, 2, 10.4, 4.3, sharey=True)
    for method, row in rows.items():
        name, colour, line = METHODS[method]
        look: dict[str, Any] = {"color": colour, "ls": line, "label": f"{name}: {row.iterations}"}
        number = np.arange(1, len(row.history))
        axes[0, 0].plot(number, row.history[1:], marker="o" if len(number) < 30 else None, ms=3.5, **look)
        seen = row.seconds > 0
        axes[0, 1].plot(row.seconds[seen], row.history[seen], marker="o" if len(number) < 30 else None, ms=3.5, **look)
    for panel, label in zip(axes[0], ("iterations", "CPU time, set-up included (s)"), strict=True):
        panel.axhline(rtol, color="#39424a", lw=1.0, ls=(0, (1, 2)))
        panel.set(xscale="log", yscale="log", xlabel=label)
    axes[0, 0].set_ylabel("norm of the residual, relative")
    axes[0, 0].set_ylim(bottom=rtol / 10)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, [f"{text} iterations" for text in labels], loc="outside upper left", ncols=3)
    return figure


@plot_style()
def bars(rows: Mapping[str, Mapping[str, Timed]]) -> Figure:
    """Draw the CPU seconds of every method on every problem, side by side on a logarithmic axis."""
    methods = list(next(iter(rows.values())))
    figure, ((axes,),) = new_figure(width=9.6, height=4.0)
    width = 0.8 / len(methods)
    for place, method in enumerate(methods):
        name, colour, _ = METHODS[method]
        x = np.arange(len(rows)) + (place - (len(methods) - 1) / 2) * width
        axes.bar(x, [row[method].cpu_s for row in rows.values()], 0.92 * width, color=colour, label=name)
    axes.set(yscale="log", ylabel="CPU time, set-up included (s)")
    axes.set_xticks(range(len(rows)), [name.replace("_", " ") for name in rows])
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside upper left", ncols=3)
    return figure


@plot_style()
def learning(curves: Mapping[str, tuple[Array, Array]]) -> Figure:
    """Draw losses over CPU seconds, one panel each, a running median over a fiftieth of the steps on top."""
    figure, axes = new_figure(1, len(curves), 4.8 * len(curves), 3.4)
    for place, (label, (seconds, loss)) in enumerate(curves.items()):
        panel = axes[0, place]
        width = max(1, len(loss) // 50)
        n_whole = len(loss) // width * width
        panel.plot(seconds, loss, color="#c9d0d5", lw=0.8)
        panel.plot(
            np.asarray(seconds)[:n_whole].reshape(-1, width).mean(1),
            np.median(np.asarray(loss)[:n_whole].reshape(-1, width), axis=1),
            color=CYCLE[place],
        )
        low, high = np.percentile(loss, (1, 99.8))
        margin = 0.1 * (high - low) if low < 0 else 0.0
        panel.set(xlabel="CPU time (s)", ylabel=label, yscale="log" if low > 0 else "linear")
        panel.set_ylim(low - margin, high + margin)
    return figure


def middle(grid: Array) -> Array:
    """Return the plane in the middle of the second of three axes; grids with two axes as they are."""
    return grid if grid.ndim == 2 else grid[:, grid.shape[1] // 2]
