"""The report of an acoustics run: pictures, sounds, the peer table, and honest words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sciml import Report
from sciml.report import plot_style
from sciml_acoustics import figures
from sciml_acoustics.compare import Row, responses
from sciml_acoustics.decay import decay_curve, field_energy
from sciml_acoustics.sound import pulse_train, to_audio

if TYPE_CHECKING:
    from sciml_acoustics.experiment import Findings

COLUMNS = (
    "method",
    "mean (%)",
    "max (%)",
    "off nodes (%)",
    "RMSE (mPa)",
    "size (MB)",
    "fit (CPU s)",
    "response (ms)",
)


def tell(findings: Findings) -> Report:
    """Return the report, with every figure drawn."""
    metrics = findings.metrics
    report = Report(
        "Sound in a room",
        "A surrogate gives the sound pressure at any receiver, for a pulse at any source position, in place of a wave "
        "solver. It is compared with that solver, with the published network, and with what one would have used "
        "instead.",
    )
    report.facts(
        {
            "error, held-out sources (%)": 100.0 * metrics["rel_l2_mean"],
            "error off the nodes (%)": 100.0 * metrics["rel_l2_offnode_mean"],
            "one response (ms)": metrics["latency_ms_moving_receiver"],
            "size (MB)": metrics["surrogate_bytes"] / 1e6,
            "training (CPU s)": metrics["train_cpu_s"],
        }
    )
    with plot_style():
        for chapter in (_room, _field, _receivers, _peers, _beyond):
            chapter(report, findings)
    return report


def _room(report: Report, findings: Findings) -> None:
    scene = findings.scene
    report.section("The room and the truth", scene.origin)
    if "solver_vs_analytic_rel_l2" in findings.metrics:
        report.text(
            "Against the exact modal sum of a rigid rectangle, resolved like this room, the solver's relative L2 error "
            f"over all nodes and the whole window is **{findings.metrics['solver_vs_analytic_rel_l2']:.1e}**. A "
            "surrogate is judged against the solver; below that number its error says nothing about the physics."
        )
    if scene.train.n_axis == 2:
        sources, held_out = scene.train.source_position, scene.test.source_position
        figure = figures.plan(scene.region, sources, held_out, scene.off_nodes.position, scene.train.node_position)
        report.figure("plan", figure, "Training sources, held-out sources and receivers off the nodes.")


def _field(report: Report, findings: Findings) -> None:
    scene, row = findings.scene, findings.rows["modal"]
    worst = int(np.argmax(row.errors))
    test = scene.test.sources(slice(worst, worst + 1))
    predicted = responses(findings.surrogates["modal"], test.source_position, test.node_position, test.time)
    report.section(
        "The sound field", "The held-out source on which the recommended surrogate, the modal operator, is worst."
    )
    figure = figures.snapshots(
        scene.region,
        test.node_position,
        test.time,
        test.pressure[0],
        predicted[0],
        pulse_width=scene.train.medium.sigma0,
    )
    error = f"{100 * row.errors[worst]:.2f} %"
    report.figure("field", figure, f"Solver, surrogate and their difference; relative L2 error {error}.")
    if scene.train.n_axis == 2:
        held_out, known = scene.test.source_position, scene.train.source_position
        figure = figures.source_errors(scene.region, held_out, row.errors, known)
        report.figure("source_errors", figure, "Error of the modal operator for each held-out source.")


def _receivers(report: Report, findings: Findings) -> None:
    scene = findings.scene
    time, source = scene.test.time, scene.test.source_position[:1]
    chosen = _spread(scene.off_nodes.position, 3)
    place, truth = scene.off_nodes.position[chosen], scene.off_nodes.truth[0][:, chosen].T
    named = {"modal": "modal", "two-step": "two_step", "published": "published"}
    predictions = {
        title: responses(findings.surrogates[name], source, place, time)[0].T for title, name in named.items()
    }
    report.section("Impulse responses", "Three receivers off the nodes, one held-out source.")
    figure = figures.responses(time, truth, predictions, place)
    report.figure("responses", figure, "Above: sound pressure. Below: its magnitude spectrum up to the band limit.")
    report.text(
        "The same responses to three clicks, all clips at one level: what is farther from the source is quieter."
    )
    clips = pulse_train(to_audio(np.concatenate([truth, predictions["modal"]]), time)[0])
    for index, point in enumerate(place):
        where = f"Receiver at ({', '.join(f'{x:.2f}' for x in point)}) m"
        report.audio(f"receiver-{index + 1}-solver", clips[index], 48000, f"{where}, solver")
        report.audio(f"receiver-{index + 1}-surrogate", clips[index + len(place)], 48000, f"{where}, surrogate")


def _spread(points: np.ndarray, count: int) -> np.ndarray:
    """Return indices of points far from one another: each next one is the farthest from those before."""
    chosen = [0]
    for _ in range(min(count, len(points)) - 1):
        distance = np.linalg.norm(points[:, None] - points[chosen][None], axis=-1).min(1)
        chosen.append(int(np.argmax(distance)))
    return np.array(chosen)


def _peers(report: Report, findings: Findings) -> None:
    rows = findings.rows
    report.section("Against what one would have used instead", _verdict(findings))
    report.table(
        COLUMNS,
        [_cells(row) for row in rows.values()],
        caption="Mean and largest relative L2 error over room and window on held-out sources; its mean off the "
        "nodes. A lookup trains nothing and "
        "stores every simulated response in half precision; its latency is that of the interpolation weights alone.",
        highlight=list(rows).index("modal"),
    )
    points = [
        {
            "name": row.name,
            "rel_l2_mean": float(row.errors.mean()),
            "bytes": row.cost.n_bytes,
            "train_cpu_s": row.cost.train_cpu_s,
            "kind": row.kind,
        }
        for name, row in rows.items()
        if name != "untrained"
    ]
    report.figure("peers", figures.peers(points), "Error against size of what has to be stored and shipped.")
    curves = {name: (np.array(x), np.array(y)) for name, (x, y) in findings.fitted.curves.items()}
    report.figure(
        "learning", figures.learning(curves), "Training loss of the fits that use gradient descent; each has its own."
    )


def _cells(row: Row) -> tuple[object, ...]:
    percent = [100.0 * float(value) for value in (row.errors.mean(), row.errors.max(), row.off_nodes.mean())]
    return (row.name, *percent, 1e3 * row.rmse, row.cost.n_bytes / 1e6, row.cost.train_cpu_s, row.cost.latency_ms)


def _verdict(findings: Findings) -> str:
    rows = findings.rows
    cubic, modal, two_step = rows["cubic_lookup"], rows["modal"], rows["two_step"]
    error = {name: f"{100 * row.errors.mean():.2g} %" for name, row in rows.items()}
    best = min(rows, key=lambda name: float(rows[name].errors.mean()))
    lookup_wins = cubic.errors.mean() < modal.errors.mean()
    lookup = f"{'**more accurate**' if lookup_wins else 'no more accurate'} than the modal operator"
    less, more = cubic.cost.n_bytes / modal.cost.n_bytes, rows["published"].errors.mean() / two_step.errors.mean()
    return "\n".join(
        [
            f"- The smallest error on held-out sources is that of **{rows[best].name}** ({error[best]}).",
            f"- A cubic lookup in the table of simulated responses ({error['cubic_lookup']}) is {lookup} "
            f"({error['modal']}). It stores {less:.0f} times as many bytes and ends with its time window.",
            f"- The published network, trained for {rows['published'].cost.train_cpu_s:.0f} CPU seconds, has "
            f"{more:,.0f} times the error of the two-step operator ({two_step.cost.train_cpu_s:.0f} CPU seconds). "
            "It was made for days on a GPU: this says what minutes buy, not what days do. With its defects "
            f"mended it has {error['mended']} instead of {error['published']}, in "
            f"{rows['mended'].cost.train_cpu_s:.0f} CPU seconds.",
            f"- Gradient descent on the two-step trunk changes its error from {error['untrained']} to "
            f"{error['two_step']}; the rest is least squares, and so is all of the modal operator.",
        ]
    )


def _beyond(report: Report, findings: Findings) -> None:
    scene, long = findings.scene, findings.long
    delta, omega = findings.fitted.modal.poles.double().numpy()
    report.section(
        "Past the training window",
        "The modal operator is a sum of decaying room modes, so it runs on; the others end with their window.",
    )
    if long is not None and scene.long is not None:
        levels = [
            decay_curve(field_energy(p, scene.long.node_weight), extrapolate=True).mean(0)
            for p in (scene.long.pressure, long)
        ]
        off = findings.metrics["decay_time_rel_error"]
        decay = f"is off by {100 * off:.2g} % at most" if np.isfinite(off) else "cannot be read from so short a record"
        figure = figures.decay(scene.long.time, levels[0], levels[1], float(scene.train.time[-1]))
        report.figure(
            "decay",
            figure,
            f"Energy decay in the room, mean of {len(long)} held-out sources. After the window the relative L2 error "
            f"is {100 * findings.metrics['extrapolation_rel_l2']:.2f} %; the decay time (T20 of the field energy) "
            f"{decay}. Between the output times of the "
            f"training data, inside the window, the error is {100 * findings.metrics['between_samples_rel_l2']:.2f} %.",
        )
    else:
        report.text("The files end with the window and no solver is at hand here, so this run does not judge it.")
    frequency = np.abs(omega) / (2.0 * np.pi)
    kept = (delta > 0) & (frequency > 0) & (frequency <= scene.train.medium.f_max)
    figure = figures.modes(frequency[kept], 3.0 * np.log(10.0) / delta[kept])
    report.figure("modes", figure, "Identified room modes in the band: frequency and time to decay by 60 dB.")
