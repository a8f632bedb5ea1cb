"""The report of an acoustics run: pictures, sounds, the peer table, and honest words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sciml import Report
from sciml.report import plot_style
from sciml_acoustics import figures
from sciml_acoustics.compare import Row, responses
from sciml_acoustics.decay import decay_curve, field_energy
from sciml_acoustics.modal import ModalOperator
from sciml_acoustics.sound import to_audio

if TYPE_CHECKING:
    from sciml_acoustics.experiment import Findings

COLUMNS = (
    "method", "error, mean (%)", "error, max (%)", "error off the nodes (%)", "RMSE (mPa)", "size (MB)",
    "training (CPU s)", "one response (ms)",
)  # fmt: skip


def tell(findings: Findings) -> Report:
    """Return the report, with every figure drawn."""
    metrics = findings.metrics
    report = Report(
        "Sound in a room",
        "A surrogate gives the sound pressure at any receiver, for a pulse at any source position, in place of a wave "
        "solver. It is compared with that solver, with the published network, and with what one would have used instead.",
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
        _room(report, findings)
        _field(report, findings)
        _receivers(report, findings)
        _peers(report, findings)
        _beyond(report, findings)
    return report


def _room(report: Report, findings: Findings) -> None:
    scene = findings.scene
    report.section("The room and the truth", scene.origin)
    if "solver_vs_analytic_rel_l2" in findings.metrics:
        report.text(
            f"Against the exact modal sum of a rigid rectangle, resolved like this room, the solver's relative L2 error "
            f"over all nodes and the whole window is **{findings.metrics['solver_vs_analytic_rel_l2']:.1e}**: a surrogate "
            f"error below that would be an error of the truth, not of the surrogate."
        )
    if scene.train.n_axis == 2:
        figure = figures.plan(
            scene.region, scene.train.source_position, scene.test.source_position, scene.receivers[0], scene.train.node_position
        )
        report.figure("plan", figure, "Training sources, held-out sources and receivers off the nodes.")


def _field(report: Report, findings: Findings) -> None:
    scene, row = findings.scene, findings.rows["modal"]
    worst = int(np.argmax(row.errors))
    test = scene.test.sources(slice(worst, worst + 1))
    predicted = responses(findings.surrogates["modal"], test.source_position, test.node_position, test.time)
    report.section("The sound field", "The held-out source on which the recommended surrogate, the modal operator, is worst.")
    figure = figures.snapshots(scene.region, test.node_position, test.time, test.pressure[0], predicted[0])
    report.figure("field", figure, f"Solver, surrogate and their difference; relative L2 error {100 * row.errors[worst]:.2f} %.")
    if scene.train.n_axis == 2 and len(row.errors) == len(scene.test.source_position):
        figure = figures.source_errors(scene.region, scene.test.source_position, row.errors, scene.train.source_position)
        report.figure("source_errors", figure, "Error of the modal operator for each held-out source.")


def _receivers(report: Report, findings: Findings) -> None:
    scene = findings.scene
    receivers, truth = scene.receivers
    chosen = _spread(receivers, 3)
    source = scene.test.source_position[:1]
    named = {"modal": "modal", "two-step": "two_step", "published": "published"}
    predictions = {
        title: responses(findings.surrogates[name], source, receivers[chosen], scene.test.time)[0].T for title, name in named.items()
    }
    report.section("Impulse responses", "Three receivers off the nodes, one held-out source.")
    figure = figures.responses(scene.test.time, truth[0][:, chosen].T, predictions, receivers[chosen])
    report.figure("responses", figure, "Above: sound pressure. Below: its magnitude spectrum up to the band limit.")
    report.text("The same responses as sounds, all clips at one level: what is farther from the source is quieter.")
    clips, _ = to_audio(np.concatenate([truth[0][:, chosen].T, predictions["modal"]]), scene.test.time)
    for index, place in enumerate(receivers[chosen]):
        where = ", ".join(f"{x:.2f}" for x in place)
        report.audio(f"receiver-{index + 1}-solver", clips[index], 48000, f"Receiver at ({where}) m, solver")
        report.audio(f"receiver-{index + 1}-surrogate", clips[index + len(chosen)], 48000, f"Receiver at ({where}) m, surrogate")


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
        caption="Held-out sources; errors are relative L2 over the room and the window. A lookup trains nothing and stores "
        "every simulated response in half precision; its latency is that of the interpolation weights alone.",
        highlight=list(rows).index("modal"),
    )
    points = [
        {"name": row.name, "rel_l2_mean": float(row.errors.mean()), "bytes": row.n_bytes, "train_cpu_s": row.train_cpu_s, "kind": row.kind}
        for row in rows.values()
    ]
    report.figure("peers", figures.peers(points), "Error against size of what has to be stored and shipped.")
    curves = {name: (np.array(x), np.array(y)) for name, (x, y) in findings.curves.items()}
    report.figure("learning", figures.learning(curves), "Training loss of the two fits that use gradient descent; each has its own loss.")


def _cells(row: Row) -> tuple[object, ...]:
    return (
        row.name, 100.0 * float(row.errors.mean()), 100.0 * float(row.errors.max()), 100.0 * float(row.off_nodes.mean()),
        1e3 * row.rmse, row.n_bytes / 1e6, row.train_cpu_s, row.latency_ms,
    )  # fmt: skip


def _verdict(findings: Findings) -> str:
    rows, metrics = findings.rows, findings.metrics
    cubic, modal, two_step = rows["cubic_lookup"], rows["modal"], rows["two_step"]
    best = min(rows.values(), key=lambda row: float(row.errors.mean()))
    lookup_wins = cubic.errors.mean() < min(modal.errors.mean(), two_step.errors.mean())
    said = [
        f"- The smallest error on held-out sources is that of **{best.name}**.",
        (
            "- **A cubic lookup in the table of simulated responses is more accurate than every surrogate here.** "
            if lookup_wins
            else "- A cubic lookup in the table of simulated responses is no more accurate than the modal operator here. "
        )
        + f"It stores {cubic.n_bytes / 1e6:.0f} MB where the modal operator stores {modal.n_bytes / 1e6:.1f} MB "
        f"({cubic.n_bytes / modal.n_bytes:.0f} times less), and it cannot leave its time window.",
        f"- The published network, trained for {metrics['published_cpu_s']:.0f} CPU seconds, has "
        f"{metrics['published_over_two_step_error']:.0f} times the error of the two-step operator "
        f"({metrics['two_step_cpu_s']:.0f} CPU seconds). It was made for days on a GPU; these minutes say nothing about those.",
        f"- Gradient descent on the two-step trunk changes its error from {100 * metrics['two_step_untrained_rel_l2_mean']:.2f} % "
        f"to {100 * metrics['two_step_rel_l2_mean']:.2f} %: the least-squares parts do almost all of the work, and the modal "
        "operator does it without any gradient descent.",
    ]
    return "\n".join(said)


def _beyond(report: Report, findings: Findings) -> None:
    network = findings.surrogates["modal"].network
    assert isinstance(network, ModalOperator)
    delta, omega = network.poles.double().numpy()
    report.section(
        "Past the training window",
        "The modal operator is a sum of decaying room modes, so it runs on; networks and lookups end with their window.",
    )
    long, scene = findings.long, findings.scene
    if long is not None and scene.long is not None:
        levels = [decay_curve(field_energy(p, scene.long.node_weight)).mean(0) for p in (scene.long.pressure, long)]
        report.figure(
            "decay",
            figures.decay(scene.long.time, levels[0], levels[1], float(scene.train.time[-1])),
            f"Energy decay in the room, mean of {len(long)} held-out sources. After the window the relative L2 error is "
            f"{100 * findings.metrics['extrapolation_rel_l2']:.2f} %; the decay time (T20, field energy) is off by "
            f"{100 * findings.metrics['decay_time_rel_error']:.2f} % at most.",
        )
    else:
        report.text("Your files end with the window and no solver is at hand here, so this run does not judge it.")
    kept = (delta > 0) & (omega > 0) & (omega / (2 * np.pi) <= scene.train.medium.f_max)
    figure = figures.modes(omega[kept] / (2 * np.pi), 3.0 * np.log(10.0) / delta[kept])
    report.figure("modes", figure, "Identified room modes in the band: frequency and time to decay by 60 dB.")
