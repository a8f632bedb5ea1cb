"""`sciml run acoustics`: simulate or read a room, fit surrogates, compare them with each other and with lookups."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciml import Experiment, Network, Region, Results, Run, Surrogate
from sciml.experiment import content_hash
from sciml.training import FitState
from sciml_acoustics.compare import Row, extrapolate, judge_lookup, judge_surrogate, static_latency
from sciml_acoustics.config import PRESETS, AcousticsConfig
from sciml_acoustics.decay import decay_time, field_energy
from sciml_acoustics.deeponet_fit import fit_deeponet
from sciml_acoustics.linear import fit_linear
from sciml_acoustics.lookup import Lookup
from sciml_acoustics.modal import ModalOperator, fit_modal
from sciml_acoustics.scene import Scene, make_scene
from sciml_acoustics.story import tell
from sciml_acoustics.subspace import Subspace, proper_orthogonal
from sciml_acoustics.threads import one_core
from sciml_acoustics.two_step import prepare_two_step, train_trunk


@dataclass(frozen=True)
class Findings:
    """Everything that the report tells: the scene, the fitted surrogates, the peer table and the extrapolation."""

    config: AcousticsConfig
    scene: Scene
    surrogates: Mapping[str, Surrogate]
    rows: Mapping[str, Row]
    curves: Mapping[str, tuple[list[float], list[float]]]
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
        scene = make_scene(config, run)
        run.record(data_sha256=content_hash(scene.train.pressure, scene.test.pressure))
        findings = _judge(config, scene, _fit_all(config, scene, run), run)
        return Results(findings.metrics, tell(findings), findings.surrogates["modal"])

    def bench(self, config: AcousticsConfig, run: Run) -> Results:
        """Compare with every peer; the default run already holds them all."""
        return self.run(config, run)


@dataclass
class _Fitted:
    """Surrogates by name with their CPU seconds and learning curves (CPU s, loss)."""

    networks: dict[str, Network]
    cpu_s: dict[str, float]
    curves: dict[str, tuple[list[float], list[float]]]
    untrained: Network | None = None


def _fit_all(config: AcousticsConfig, scene: Scene, run: Run) -> _Fitted:
    fits, train, room = config.fits, scene.train, scene.region
    wavelength = train.medium.c / train.medium.f_max
    band = (2.0 * math.pi / wavelength * fits.band, fits.margin * wavelength)
    fitted = _Fitted({}, {}, {})
    with one_core(), run.progress.track(4, "fit surrogates in closed form") as update:
        subspace, subspace_s = _timed(lambda: proper_orthogonal(train, fits.tolerance, fits.max_rank))
        update(1, f"{subspace.shapes.shape[1]} spatial modes")
        modal, modal_s = _timed(lambda: fit_modal(train, subspace, room, band, fits.sensor_ppw))
        update(2, "modal")
        linear, linear_s = _timed(lambda: fit_linear(train, subspace, room, band, fits.sensor_ppw, fits.linear_rank))
        update(3, "linear")
        two_step, step_s = _timed(
            lambda: prepare_two_step(train, subspace, room, band, fits.sensor_ppw, fits.two_step_rank, run.seed)
        )
        update(4, "two-step branch")
    fitted.networks |= {"modal": modal, "linear": linear, "two_step": two_step}
    fitted.cpu_s |= {"modal": modal_s + subspace_s, "linear": linear_s + subspace_s, "two_step": step_s + subspace_s}
    fitted.untrained = type(two_step)(**two_step.config)
    fitted.untrained.load_state_dict(two_step.state_dict())
    _train(config, scene, subspace, run, fitted)
    return fitted


def _train(config: AcousticsConfig, scene: Scene, subspace: Subspace, run: Run, fitted: _Fitted) -> None:
    n_steps = config.fits.two_step_steps
    with run.progress.track(n_steps, "train the two-step trunk") as update:
        curve = _Curve(lambda state: update(state.step, f"loss {state.loss:.2e}"))
        _, cpu_s = _timed(
            lambda: train_trunk(
                fitted.networks["two_step"], scene.train, subspace,
                n_steps=n_steps, seed=run.seed, checkpoint=run.checkpoint("two_step"), on_state=curve,
            )
        )  # fmt: skip
    fitted.cpu_s["two_step"] += cpu_s
    fitted.curves["two-step trunk"] = curve.points
    options = config.deeponet_fit
    total = options.budget_cpu_s or options.n_steps
    with run.progress.track(total, "train the published DeepONet") as update:
        curve = _Curve(
            lambda state: update(min(total, curve.points[0][-1] if options.budget_cpu_s else state.step), f"loss {state.loss:.2e}")
        )
        (published, _), fitted.cpu_s["published"] = _timed(
            lambda: fit_deeponet(
                scene.train, config.deeponet, options, run.seed, run.checkpoint("published"), curve,
                boxes=scene.region.boxes, device=run.device,
            )
        )  # fmt: skip
    fitted.networks["published"] = published.to("cpu")
    fitted.curves["published DeepONet"] = curve.points


class _Curve:
    """Collects (CPU seconds, loss) of a fit, and passes each state on."""

    def __init__(self, shown: Callable[[FitState], None]) -> None:
        self.points: tuple[list[float], list[float]] = ([], [])
        self._shown, self._start = shown, time.process_time()

    def __call__(self, state: FitState) -> None:
        self.points[0].append(time.process_time() - self._start)
        self.points[1].append(state.loss)
        self._shown(state)


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    return call(), time.process_time() - start


TITLES = {
    "modal": ("modal", "closed form"),
    "linear": ("linear", "closed form"),
    "two_step": ("two-step", "neural"),
    "published": ("published DeepONet", "published"),
}


def _judge(config: AcousticsConfig, scene: Scene, fitted: _Fitted, run: Run) -> Findings:
    domain = {"source_position": training_region(scene.train.source_position)}
    provenance = {"seed": run.seed, "data": config.data or "simulated", **run.records}
    surrogates = {name: Surrogate(network, domain=domain, provenance=provenance) for name, network in fitted.networks.items()}
    rows = {}
    kinds = {"nearest": "nearest lookup", "linear": "bilinear lookup", "cubic": "cubic lookup"}
    with run.progress.track(len(kinds) + len(surrogates) + 1, "compare on held-out sources") as update:
        for kind, title in kinds.items():
            rows[f"{kind}_lookup"] = judge_lookup(title, Lookup(scene.train, kind), scene)  # type: ignore[arg-type]
            update(len(rows), title)
        for name, surrogate in surrogates.items():
            rows[name] = judge_surrogate(*TITLES[name], surrogate, scene, fitted.cpu_s[name])
            update(len(rows), TITLES[name][0])
        assert fitted.untrained is not None
        untrained = judge_surrogate("two-step, untrained trunk", "closed form", Surrogate(fitted.untrained), scene, 0.0)
        metrics, long = _metrics(scene, rows, surrogates)
    metrics["two_step_untrained_rel_l2_mean"] = float(untrained.errors.mean())
    return Findings(config, scene, surrogates, rows, fitted.curves, long, metrics)


def _metrics(scene: Scene, rows: Mapping[str, Row], surrogates: Mapping[str, Surrogate]) -> tuple[dict[str, float], np.ndarray | None]:
    best, published, cubic = rows["modal"], rows["published"], rows["cubic_lookup"]
    network = surrogates["modal"].network
    assert isinstance(network, ModalOperator)
    metrics = {
        "rel_l2_mean": float(best.errors.mean()),
        "rel_l2_max": float(best.errors.max()),
        "rel_l2_offnode_mean": float(best.off_nodes.mean()),
        "rmse_pa": best.rmse,
        "published_rel_l2_mean": float(published.errors.mean()),
        "cubic_lookup_rel_l2_mean": float(cubic.errors.mean()),
        "train_cpu_s": best.train_cpu_s,
        "published_cpu_s": published.train_cpu_s,
        "latency_ms_moving_receiver": best.latency_ms,
        "latency_ms_static_receiver": static_latency(network, scene),
        "surrogate_bytes": best.n_bytes,
        "lookup_bytes": cubic.n_bytes,
        "lookup_over_surrogate_bytes": cubic.n_bytes / best.n_bytes,
        "two_step_over_published_error": float(rows["two_step"].errors.mean() / published.errors.mean()),
        **{f"{name}_rel_l2_mean": float(row.errors.mean()) for name, row in rows.items() if name not in ("modal", "published")},
        **{f"{name}_rel_l2_offnode_mean": float(row.off_nodes.mean()) for name, row in rows.items() if name != "modal"},
        "two_step_cpu_s": rows["two_step"].train_cpu_s,
        **scene.figures,
    }
    metrics["published_over_two_step_error"] = 1.0 / metrics.pop("two_step_over_published_error")
    later, long = _extrapolation(scene, surrogates["modal"])
    return {**metrics, **later}, long


def _extrapolation(scene: Scene, surrogate: Surrogate) -> tuple[dict[str, float], np.ndarray | None]:
    """Judge the modal operator past its window: against the solver, or None where only the user's window is known."""
    if scene.long is None:
        return {"extrapolation_rel_l2": math.nan, "decay_time_rel_error": math.nan}, None
    error, predicted = extrapolate(surrogate, scene.long, float(scene.train.time[-1]))
    truth_s, ours_s = (
        decay_time(field_energy(pressure, scene.long.node_weight), scene.long.time).seconds
        for pressure in (scene.long.pressure, predicted)
    )
    ratio = np.abs(ours_s / truth_s - 1.0)
    return {"extrapolation_rel_l2": error, "decay_time_rel_error": float(ratio.max())}, predicted


def training_region(source: np.ndarray) -> Region:
    """Return the training domain of sources: within the largest neighbour distance of one, inside their bounding box."""
    low, high = source.min(0), source.max(0)
    distance = np.linalg.norm(source[:, None] - source[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    reach = distance.min(1).max() if len(source) > 1 else 0.0
    boxes = zip(np.maximum(source - reach, low), np.minimum(source + reach, high), strict=True)
    return Region(tuple((tuple(a), tuple(b)) for a, b in boxes))
