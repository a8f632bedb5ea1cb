"""`sciml run acoustics`: simulate or read a room, fit surrogates, compare them with each other and with lookups."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from sciml import Experiment, Region, Results, Run, Surrogate
from sciml.experiment import content_hash
from sciml_acoustics.benchmark import measure
from sciml_acoustics.compare import Row, extrapolate, judge_lookup, judge_surrogate, static_latency
from sciml_acoustics.config import PRESETS, AcousticsConfig
from sciml_acoustics.decay import decay_time, field_energy
from sciml_acoustics.fitting import Fitted, fit_all
from sciml_acoustics.lookup import Kind, Lookup
from sciml_acoustics.scene import Scene, make_scene
from sciml_acoustics.story import tell

TITLES = {
    "modal": ("modal", "closed form"),
    "linear": ("linear", "closed form"),
    "two_step": ("two-step", "neural"),
    "untrained": ("two-step, untrained trunk", "closed form"),
    "published": ("published DeepONet", "published"),
    "mended": ("mended DeepONet", "neural"),
}
LOOKUPS: dict[Kind, str] = {"nearest": "nearest lookup", "linear": "bilinear lookup", "cubic": "cubic lookup"}


@dataclass(frozen=True)
class Findings:
    """Everything that the report tells: settings, scene, fits, peer table, waves past the window, metrics."""

    scene: Scene
    fitted: Fitted
    surrogates: Mapping[str, Surrogate]
    rows: Mapping[str, Row]
    long: np.ndarray | None
    metrics: Mapping[str, float]


class Acoustics(Experiment):
    """Sound field in a room: surrogates against the wave solver that they stand in for."""

    @property
    def presets(self) -> Mapping[str, AcousticsConfig]:
        """default: minutes on two cores; quick: a first look; paper-2d: the published sizes, for a GPU."""
        return PRESETS

    def run(self, config: AcousticsConfig, run: Run) -> Results:
        """Simulate or read, fit, compare, report; the recommended surrogate is the modal operator."""
        return self._compare(config, run)[0]

    def bench(self, config: AcousticsConfig, run: Run) -> Results:
        """Compare as `run` does, and measure the solvers, few training sources and optimization steps."""
        results, scene = self._compare(config, run)
        extra = measure(config, scene, run, results.report)
        return replace(results, metrics={**results.metrics, **extra})

    def _compare(self, config: AcousticsConfig, run: Run) -> tuple[Results, Scene]:
        scene = make_scene(config, run)
        run.record(data_sha256=content_hash(scene.train.pressure, scene.test.pressure))
        findings = judge(scene, fit_all(config, scene, run), run)
        return Results(findings.metrics, tell(findings), findings.surrogates["modal"]), scene


def judge(scene: Scene, fitted: Fitted, run: Run) -> Findings:
    """Judge every surrogate and lookup on the same held-out sources and receivers off the nodes."""
    domain = {"source_position": training_region(scene.train.source_position)}
    provenance = {"seed": run.seed, **run.records}
    surrogates = {
        name: Surrogate(network, domain=domain, provenance=provenance) for name, network in fitted.networks.items()
    }
    rows: dict[str, Row] = {}
    with run.progress.track(len(LOOKUPS) + len(surrogates) + 1, "compare on held-out sources") as update:
        for kind, title in LOOKUPS.items():
            rows[f"{kind}_lookup"] = judge_lookup(title, Lookup(scene.train, kind), scene)
            update(len(rows), title)
        for name, surrogate in surrogates.items():
            title, group = TITLES[name]
            rows[name] = judge_surrogate(title, group, surrogate, scene, fitted.cpu_s[name])
            update(len(rows), title)
        later, long = _extrapolation(scene, surrogates["modal"])
        static = {"latency_ms_static_receiver": static_latency(fitted.modal, scene)}
    metrics = {**_headline(rows), **static, **later, **scene.figures, **_per_method(rows)}
    return Findings(scene, fitted, surrogates, rows, long, metrics)


def _headline(rows: Mapping[str, Row]) -> dict[str, float]:
    best, published, cubic = rows["modal"], rows["published"], rows["cubic_lookup"]
    return {
        "rel_l2_mean": float(best.errors.mean()),
        "rel_l2_max": float(best.errors.max()),
        "rel_l2_offnode_mean": float(best.off_nodes.mean()),
        "rmse_pa": best.rmse,
        "published_rel_l2_mean": float(published.errors.mean()),
        "cubic_lookup_rel_l2_mean": float(cubic.errors.mean()),
        "train_cpu_s": best.cost.train_cpu_s,
        "published_cpu_s": published.cost.train_cpu_s,
        "latency_ms_moving_receiver": best.cost.latency_ms,
        "surrogate_bytes": best.cost.n_bytes,
        "lookup_bytes": cubic.cost.n_bytes,
        "lookup_over_surrogate_bytes": cubic.cost.n_bytes / best.cost.n_bytes,
        "published_over_two_step_error": float(published.errors.mean() / rows["two_step"].errors.mean()),
    }


def _per_method(rows: Mapping[str, Row]) -> dict[str, float]:
    """Return mean errors and CPU seconds of every method but the recommended one under its own name."""
    metrics = {}
    for name, row in rows.items():
        metrics[f"{name}_rel_l2_mean"] = float(row.errors.mean())
        metrics[f"{name}_rel_l2_max"] = float(row.errors.max())
        metrics[f"{name}_rel_l2_offnode_mean"] = float(row.off_nodes.mean())
        metrics[f"{name}_cpu_s"] = row.cost.train_cpu_s
    return metrics


def _extrapolation(scene: Scene, surrogate: Surrogate) -> tuple[dict[str, float], np.ndarray | None]:
    """Judge past the window against the solver; a user's files end with the window, so there it stays unknown."""
    if scene.long is None:
        return dict.fromkeys(("extrapolation_rel_l2", "between_samples_rel_l2", "decay_time_rel_error"), math.nan), None
    errors, predicted = extrapolate(surrogate, scene.long, scene.train.time)
    truth, ours = (
        decay_time(field_energy(pressure, scene.long.node_weight), scene.long.time)
        for pressure in (scene.long.pressure, predicted)
    )
    valid = truth.valid & ours.valid
    ratio = np.abs(ours.seconds / truth.seconds - 1.0)[valid]
    return {**errors, "decay_time_rel_error": float(ratio.max()) if valid.any() else math.nan}, predicted


def training_region(source: np.ndarray) -> Region:
    """Return the training domain: no farther from a training source than neighbours are, in their bounding box."""
    low, high = source.min(0), source.max(0)
    distance = np.linalg.norm(source[:, None] - source[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    reach = distance.min(1).max() if len(source) > 1 else 0.0
    boxes = zip(np.maximum(source - reach, low), np.minimum(source + reach, high), strict=True)
    return Region(tuple((tuple(a), tuple(b)) for a, b in boxes))
