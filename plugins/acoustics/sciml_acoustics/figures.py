"""The figures of the acoustic reports: rooms, waves, responses, errors and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter
from numpy.typing import NDArray

from sciml import Region
from sciml.report import CYCLE, MAGNITUDE, SIGNED, format_number, new_figure, plot_style
from sciml_acoustics.panels import DARK, GREY, label_points, plane, room_figure, room_images

Array = NDArray[Any]
KINDS = {
    "lookup": ("s", CYCLE[4]),
    "closed form": ("o", CYCLE[0]),
    "neural": ("^", CYCLE[2]),
    "published": ("D", CYCLE[1]),
}
TRUTH: dict[str, Any] = {"color": "#b4bbc1", "lw": 4.0}  # broad and pale: a prediction on top of it stays visible
GOAL = 0.5  # per cent, drawn in `peers`


@plot_style()
def plan(boxes: Region, sources: Array, test_sources: Array, receivers: Array, node_position: Array) -> Figure:
    """Draw the room from above: training sources, held-out sources, receivers and nodes, each (n, axis) in m."""
    figure, (axes,) = room_figure(boxes, 1)
    groups = (
        (node_position, f"{len(node_position)} nodes", ".", 7, "#a9b1b8"),
        (sources, f"{len(sources)} training sources", "o", 16, CYCLE[0]),
        (test_sources, f"{len(test_sources)} held-out sources", "^", 42, CYCLE[1]),
        (receivers, f"{len(receivers)} receivers", "s", 42, CYCLE[2]),
    )
    for level, (position, name, marker, size, colour) in enumerate(groups):
        points = np.asarray(position, float).reshape(-1, boxes.n_dims)
        y = points[:, 1] if boxes.n_dims > 1 else np.full(len(points), 3.0 - level)
        edge: dict[str, Any] = {"edgecolors": "white", "linewidths": 0.6} if marker != "." else {"linewidths": 0}
        axes.scatter(points[:, 0], y, s=size, c=colour, marker=marker, label=name, zorder=2 + level, **edge)
    _legend(axes)
    return figure


@plot_style()
def snapshots(
    boxes: Region,
    node_position: Array,
    time: Array,
    truth: Array,
    predicted: Array,
    frames: int = 4,
    pulse_width: float | None = None,
) -> Figure:
    """Draw the pressure at a few times: truth, prediction, and prediction minus truth on a scale of its own.

    Parameters
    ----------
    boxes : the room, m; what is outside stays blank. In 3-D the plane at half height is shown.
    node_position : (node, axis), m.
    time : (time,), s.
    truth, predicted : (time, node), Pa.
    frames : number of times; they lie closer together at the start, where the first waves travel.
    pulse_width : m; the image has twenty pixels in it. None: 240 pixels along the longer side.
    """
    chosen = np.unique(np.rint((len(time) - 1) * np.linspace(0.0, 1.0, frames + 1)[1:] ** 2).astype(int))
    rows = np.stack([truth[chosen], predicted[chosen], predicted[chosen] - truth[chosen]]).astype(float)
    if boxes.n_dims == 1:
        return _profiles(node_position[:, 0], np.asarray(time)[chosen], rows)
    flat, near = plane(boxes, node_position)
    low, high = flat.bounding_box
    pixel = pulse_width / 20.0 if pulse_width else max(np.subtract(high, low)) / 240.0
    images = room_images(flat, node_position[near, :2], rows[..., near], pixel)
    figure, axes = room_figure(boxes, len(chosen), 3)
    fields, errors = (float(np.percentile(np.abs(part.compressed()), 99.5)) or 1.0 for part in (images[:2], images[2]))
    labels = ("Truth", "Prediction", "Prediction − truth\n(own scale)")
    for row, (image, scale, label) in enumerate(zip(images, (fields, fields, errors), labels, strict=True)):
        for column, moment in enumerate(chosen):
            panel = axes[row * len(chosen) + column]
            options: dict[str, Any] = {"cmap": SIGNED, "vmin": -scale, "vmax": scale, "interpolation": "nearest"}
            panel.imshow(image[column].T, origin="lower", extent=(low[0], high[0], low[1], high[1]), **options)
            if row == 0:
                panel.set_title(f"t = {1e3 * time[moment]:.3g} ms")
        axes[row * len(chosen)].set_ylabel(f"{label}\ny (m)")
    bars = ((axes[: 2 * len(chosen)], "pressure (Pa)", 30), (axes[2 * len(chosen) :], "error (Pa)", 15))
    for panels, name, aspect in bars:
        drawn = panels[0].images[0]
        figure.colorbar(drawn, ax=panels, label=name, aspect=aspect, extend="both")  # the scale leaves out 0.5 %
    return figure


@plot_style()
def responses(
    time: Array,
    truth: Array,
    predictions: Mapping[str, Array],
    receiver_position: Array,
    f_max: float | None = None,
) -> Figure:
    """Draw up to three impulse responses and their spectra, truth against predictions.

    Parameters
    ----------
    time : (time,), s, uniform.
    truth : (receiver, time), Pa; `predictions` name -> (receiver, time), Pa.
    receiver_position : (receiver, axis), m.
    f_max : end of the frequency axis, Hz; None: half of the sampling rate.
    """
    chosen = np.unique(np.rint(np.linspace(0, len(truth) - 1, min(3, len(truth)))).astype(int))
    figure, axes = new_figure(2, len(chosen), 1.0 + 3.4 * len(chosen), 5.2, sharex="row", sharey="row")
    step, n_padded = float(time[1] - time[0]), 8 * len(time)
    frequency = np.fft.rfftfreq(n_padded, step)
    top = -np.inf
    lines = {"truth": np.asarray(truth), **{name: np.asarray(values) for name, values in predictions.items()}}
    for column, receiver in enumerate(chosen):
        upper, lower = axes[:, column]
        for i, (name, values) in enumerate(lines.items()):
            look = TRUTH if i == 0 else {"color": CYCLE[i - 1], "lw": 1.3, "ls": ("-", "--", ":")[i % 3 - 1]}
            upper.plot(1e3 * np.asarray(time), values[receiver], label=name if column == 0 else None, **look)
            size = np.abs(np.fft.rfft(values[receiver].astype(float), n_padded)) * step
            level = 20.0 * np.log10(np.maximum(size, 1e-12))
            lower.plot(frequency, level, **look)
            top = max(top, level.max())
        place = ", ".join(f"{x:.2f}" for x in np.atleast_1d(receiver_position[receiver]))
        upper.set(title=f"Receiver at ({place}) m", xlabel="time (ms)", xlim=(1e3 * time[0], 1e3 * time[-1]))
        lower.set(xlabel="frequency (Hz)", xlim=(0.0, f_max or frequency[-1]), ylim=(top - 60.0, top + 5.0))
    axes[0, 0].set_ylabel("pressure (Pa)")
    axes[1, 0].set_ylabel("spectrum (dB re 1 Pa/Hz)")
    figure.legend(loc="outside upper left", ncols=len(lines))
    return figure


@plot_style()
def peers(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw error against size for several surrogates of one job, with their training time.

    Parameters
    ----------
    rows : each with name, rel_l2_mean (a fraction), bytes, train_cpu_s (s, or None) and kind: one of lookup, closed
        form, neural, published.
    """
    if unknown := {row["kind"] for row in rows} - set(KINDS):
        raise ValueError(f"peers: expected kinds {', '.join(KINDS)}, got {sorted(unknown)}; rename them")
    figure, ((axes,),) = new_figure(width=8.6, height=4.8)
    points = [(float(row["bytes"]), 100.0 * float(row["rel_l2_mean"])) for row in rows]
    for kind, (marker, colour) in KINDS.items():
        of_kind = [point for point, row in zip(points, rows, strict=True) if row["kind"] == kind]
        if of_kind:
            axes.scatter(*np.transpose(of_kind), s=52, c=colour, marker=marker, label=kind, zorder=3)
    goal = axes.axhline(GOAL, color=DARK, lw=1.0, ls="--")
    axes.set(xscale="log", yscale="log", xlabel="size (bytes)", ylabel="relative L2 error, held-out sources (%)")
    axes.margins(0.22, 0.18)
    axes.xaxis.set_major_formatter(EngFormatter("B"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    note = axes.text(0.995, GOAL, f"{GOAL} %", transform=goal.get_transform(), ha="right", va="bottom", color=DARK)
    _legend(axes)
    seconds = [row.get("train_cpu_s") for row in rows]
    times = ["" if s is None else f"\n{format_number(float(f'{s:.2g}'))} CPU s" for s in seconds]
    label_points(axes, points, [f"{row['name']}{s}" for row, s in zip(rows, times, strict=True)], note, goal)
    return figure


@plot_style()
def learning(curves: Mapping[str, tuple[Array, Array]]) -> Figure:
    """Draw training losses over the CPU time spent; `curves` name -> (CPU seconds, loss), both (step,)."""
    figure, ((axes,),) = new_figure(height=4.0)
    for i, (name, (cpu_s, loss)) in enumerate(curves.items()):
        positive = np.asarray(loss) > 0.0
        axes.plot(
            np.asarray(cpu_s)[positive], np.asarray(loss)[positive], label=name, ls=("-", "--", ":", "-.")[i // 8 % 4]
        )
    axes.set(yscale="log", xlabel="CPU time (s)", ylabel="training loss (relative, squared)")
    _legend(axes)
    return figure


@plot_style()
def decay(time: Array, truth_db: Array, predicted_db: Array, window_end: float) -> Figure:
    """Draw the decay of energy, truth against prediction, beyond the training window that ends at `window_end` (s).

    Parameters
    ----------
    time : (time,), s.
    truth_db, predicted_db : (time,), dB.
    """
    figure, ((axes,),) = new_figure(height=3.8)
    axes.axvspan(1e3 * time[0], 1e3 * window_end, color="#e3edf5", lw=0, zorder=0)
    seen = np.isfinite(truth_db) & np.isfinite(predicted_db)
    milliseconds = 1e3 * np.asarray(time)[seen]
    axes.plot(milliseconds, np.asarray(truth_db)[seen], label="truth", **TRUTH)
    axes.plot(milliseconds, np.asarray(predicted_db)[seen], label="prediction", color=CYCLE[0], lw=1.4)
    middle = 1e3 * (time[0] + window_end) / 2.0
    axes.text(
        middle, 0.03, "training\nwindow", transform=axes.get_xaxis_transform(), ha="center", va="bottom", color=CYCLE[0]
    )
    axes.set(xlabel="time (ms)", ylabel="energy (dB)", xlim=(1e3 * time[0], 1e3 * time[-1]))
    _legend(axes)
    return figure


@plot_style()
def source_errors(boxes: Region, position: Array, errors: Array, training_position: Array) -> Figure:
    """Draw the relative errors (source,), as fractions, of held-out sources where they are; positions (n, axis), m."""
    position, per_cent = np.asarray(position, float), 100.0 * np.asarray(errors, float)
    training = np.asarray(training_position, float)
    worst = int(np.argmax(per_cent))
    title = f"Worst {per_cent[worst]:.2g} % at ({', '.join(f'{x:.2f}' for x in position[worst])}) m"
    if boxes.n_dims == 1:
        figure, ((axes,),) = new_figure(height=3.6)
        axes.vlines(training[:, 0], 0.0, 0.04, GREY, transform=axes.get_xaxis_transform(), label="training sources")
        axes.scatter(position[:, 0], per_cent, 36, CYCLE[1], label="held-out sources")
        axes.set(xlabel="x (m)", ylabel="relative L2 error (%)", ylim=(0.0, 1.15 * per_cent[worst] or 1.0), title=title)
        _legend(axes)
        return figure
    figure, (axes,) = room_figure(boxes, 1)
    x, y = position[:, 0], position[:, 1]
    axes.scatter(training[:, 0], training[:, 1], s=14, c=GREY, marker="x", linewidths=0.9, label="training sources")
    look: dict[str, Any] = {"cmap": MAGNITUDE, "vmin": 0.0, "edgecolors": DARK, "linewidths": 0.7, "zorder": 3}
    drawn = axes.scatter(x, y, s=70, c=per_cent, label="held-out sources", **look)
    ring: dict[str, Any] = {"s": 210, "facecolors": "none", "edgecolors": CYCLE[1], "linewidths": 2.0, "zorder": 4}
    axes.scatter(x[worst], y[worst], label="worst", **ring)
    figure.colorbar(drawn, ax=axes, label="relative L2 error (%)", shrink=0.85)
    axes.set_title(title)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, columnspacing=1.0, handletextpad=0.2)
    return figure


@plot_style()
def modes(frequency_hz: Array, decay_time_s: Array, rigid_hz: Array | None = None) -> Figure:
    """Draw the decay time to 60 dB of each mode over its frequency; `rigid_hz` are those of rigid walls, as ticks."""
    frequency, seconds = np.asarray(frequency_hz, float), np.asarray(decay_time_s, float)
    shown = np.isfinite(seconds) & (seconds > 0.0)
    figure, ((axes,),) = new_figure(height=3.8)
    axes.scatter(frequency[shown], seconds[shown], 26, CYCLE[0], label=f"{shown.sum()} identified modes", zorder=3)
    if rigid_hz is not None:
        options: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "label": "rigid walls, analytic"}
        axes.vlines(np.asarray(rigid_hz, float), 0.0, 0.05, CYCLE[1], lw=1.0, **options)
    axes.set(yscale="log", xlabel="frequency (Hz)", ylabel="decay time to 60 dB (s)")
    axes.margins(y=0.12)
    if not shown.all():
        axes.set_title(f"{(~shown).sum()} modes without decay are not shown")
    _legend(axes)
    return figure


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0)


def _profiles(x: Array, times: Array, rows: Array) -> Figure:
    """The 1-D counterpart of snapshots: truth and prediction above, their difference below."""
    figure, axes = new_figure(2, len(times), 1.0 + 2.5 * len(times), 4.2, sharex=True, sharey="row")
    order = np.argsort(x)
    for column, moment in enumerate(times):
        upper, lower = axes[:, column]
        upper.plot(x[order], rows[0, column, order], label="truth", **TRUTH)
        upper.plot(x[order], rows[1, column, order], color=CYCLE[0], lw=1.4, label="prediction")
        lower.plot(x[order], rows[2, column, order], color=CYCLE[1], lw=1.4, label="prediction − truth (own scale)")
        upper.set_title(f"t = {1e3 * moment:.3g} ms")
        lower.set_xlabel("x (m)")
    axes[0, 0].set_ylabel("pressure (Pa)")
    axes[1, 0].set_ylabel("error (Pa)")
    handles = [handle for panel in axes[:, 0] for handle in panel.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure
