"""Fits every surrogate of the comparison, and times each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from sciml import Network
from sciml.experiment import Run
from sciml.threads import one_core
from sciml.training import FitState
from sciml_acoustics.config import AcousticsConfig
from sciml_acoustics.deeponet import DeepONet, DeepONetOptions
from sciml_acoustics.deeponet_fit import DeepONetFit, fit_deeponet
from sciml_acoustics.linear import fit_linear
from sciml_acoustics.modal import ModalOperator, fit_modal
from sciml_acoustics.scene import Scene
from sciml_acoustics.subspace import Subspace, proper_orthogonal
from sciml_acoustics.two_step import TwoStep, prepare_two_step, train_trunk

Result = TypeVar("Result")


@dataclass
class Fitted:
    """Networks by name with their CPU seconds, and the learning curves (CPU s, loss) of those that are trained.

    "untrained" is the two-step operator before its trunk is trained.
    """

    modal: ModalOperator
    networks: dict[str, Network] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    curves: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)


def fit_all(config: AcousticsConfig, scene: Scene, run: Run) -> Fitted:
    """Fit the closed-form operators on one core, then train the networks; a resumed run takes up where it was."""
    fits, train, room = config.fits, scene.train, scene.region
    wavelength = train.medium.c / train.medium.f_max
    band = (2.0 * math.pi / wavelength * fits.band, fits.margin * wavelength)
    ppw = fits.sensor_ppw
    with one_core(), run.progress.track(4, "fit in closed form") as update:
        subspace, subspace_s = timed(lambda: proper_orthogonal(train, fits.tolerance, fits.max_rank))
        update(1, f"{subspace.shapes.shape[1]} spatial modes")
        modal, modal_s = timed(lambda: fit_modal(train, subspace, room, band, ppw))
        update(2, "modal")
        linear, linear_s = timed(lambda: fit_linear(train, subspace, room, band, ppw, fits.linear_rank))
        update(3, "linear")
        two_step, step_s = timed(
            lambda: prepare_two_step(train, subspace, room, band, ppw, fits.two_step_rank, run.seed)
        )
        update(4, "two-step branch")
    fitted = Fitted(modal, {"modal": modal, "linear": linear, "two_step": two_step})
    fitted.networks["untrained"] = TwoStep(**two_step.config)
    fitted.networks["untrained"].load_state_dict(two_step.state_dict())
    fitted.cpu_s = {"modal": modal_s + subspace_s, "linear": linear_s + subspace_s, "untrained": step_s + subspace_s}
    fitted.cpu_s["two_step"] = fitted.cpu_s["untrained"] + _train_two_step(
        two_step, config, scene, subspace, run, fitted
    )
    _train_deeponet("published", config.deeponet, config.deeponet_fit, scene, run, fitted)
    _train_deeponet("mended", config.mended, config.mended_fit, scene, run, fitted)
    return fitted


def _train_two_step(
    network: TwoStep, config: AcousticsConfig, scene: Scene, subspace: Subspace, run: Run, fitted: Fitted
) -> float:
    n_steps = config.fits.two_step_steps
    with run.progress.track(n_steps, "train the two-step trunk") as update:
        curve = _Curve(lambda state, cpu_s: update(state.step, f"loss {state.loss:.2e}"))
        means = {"seed": run.seed, "checkpoint": run.checkpoint("two_step"), "on_state": curve}
        _, cpu_s = timed(lambda: train_trunk(network, scene.train, subspace, n_steps=n_steps, **means))  # type: ignore[arg-type]
    fitted.curves["two-step trunk"] = curve.points
    return cpu_s


def _train_deeponet(
    name: str, options: DeepONetOptions, how: DeepONetFit, scene: Scene, run: Run, fitted: Fitted
) -> None:
    budget = how.budget_cpu_s

    def fit_it(curve: Callable[[FitState], None]) -> DeepONet:
        folder = run.checkpoint(name)
        boxes = scene.region.boxes
        return fit_deeponet(scene.train, options, how, run.seed, folder, curve, boxes=boxes, device=run.device)[0]

    with run.progress.track(budget or how.n_steps, f"train the {name} DeepONet") as update:
        curve = _Curve(
            lambda state, cpu_s: update(min(cpu_s, budget) if budget else state.step, f"loss {state.loss:.2e}")
        )
        network, fitted.cpu_s[name] = timed(lambda: fit_it(curve))
    fitted.networks[name] = network.to("cpu")
    fitted.curves[f"{name} DeepONet"] = curve.points


class _Curve:
    """Collects (CPU seconds, loss) of a fit, and passes each state on with the CPU seconds so far."""

    def __init__(self, shown: Callable[[FitState, float], None]) -> None:
        self.points: tuple[list[float], list[float]] = ([], [])
        self._shown, self._start = shown, time.process_time()

    def __call__(self, state: FitState) -> None:
        cpu_s = time.process_time() - self._start
        self.points[0].append(cpu_s)
        self.points[1].append(state.loss)
        self._shown(state, cpu_s)


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """Return the result of a call and the CPU seconds that it took."""
    start = time.process_time()
    return call(), time.process_time() - start
