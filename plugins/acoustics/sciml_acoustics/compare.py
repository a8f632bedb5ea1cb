"""Errors, bytes and latencies of surrogates and lookups, measured the same way for all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sciml import Surrogate
from sciml.threads import one_core
from sciml_acoustics.data import Waves, queries
from sciml_acoustics.lookup import Lookup
from sciml_acoustics.modal import ModalOperator
from sciml_acoustics.scene import Scene

Array = NDArray[Any]


class Cost(NamedTuple):
    """Bytes to store, CPU seconds to fit, and ms for one response at a moving receiver."""

    n_bytes: int
    train_cpu_s: float
    latency_ms: float


@dataclass(frozen=True)
class Row:
    """One line of the peer table.

    Parameters
    ----------
    name, kind : what it is called, and lookup, closed form, neural or published.
    errors : relative L2 over room and time of each held-out source.
    off_nodes : the same at the receivers off the nodes.
    rmse : root mean square error over all held-out sources, Pa.
    cost : bytes and seconds.
    """

    name: str
    kind: str
    errors: Array
    off_nodes: Array
    rmse: float
    cost: Cost


def relative_l2(predicted: Array, truth: Array, weight: Array | None = None) -> Array:
    """Return ||p - q|| / ||q|| (source,) over time and nodes (source, time, node), quadrature-weighted over nodes."""
    weight = np.ones(truth.shape[2]) if weight is None else weight
    error = ((predicted.astype(np.float64) - truth) ** 2 @ weight).sum(1)
    return np.asarray(np.sqrt(error / (truth.astype(np.float64) ** 2 @ weight).sum(1)))


def responses(surrogate: Surrogate, source: Array, receiver: Array, time_: Array) -> Array:
    """Return predicted pressures (source, time, receiver), Pa, some receivers at a time to bound the memory.

    Held-out sources may lie outside the training domain, in a user's files: they are judged all the same.
    """
    parts = [
        surrogate.predict(queries(source, part, time_), outside="allow")["pressure"].values.transpose(0, 2, 1)
        for part in np.array_split(receiver, max(1, len(receiver) // 256))
    ]
    return np.concatenate(parts, axis=2)


def judge_surrogate(name: str, kind: str, surrogate: Surrogate, scene: Scene, train_cpu_s: float) -> Row:
    """Judge a surrogate on held-out sources, at the nodes and at receivers off the nodes."""
    test, receivers = scene.test, scene.off_nodes.position
    predicted = responses(surrogate, test.source_position, test.node_position, test.time)
    off_nodes = responses(surrogate, test.source_position, receivers, test.time)
    latency = moving_latency(surrogate, test.source_position[0], receivers, test.time)
    return _row(name, kind, predicted, off_nodes, scene, Cost(surrogate.n_bytes, train_cpu_s, latency))


def judge_lookup(name: str, lookup: Lookup, scene: Scene) -> Row:
    """Judge a table of the training responses the same way; between nodes it uses the scene's interpolation."""
    test, between = scene.test, scene.off_nodes.interpolation
    off_nodes = lookup.predict(test.source_position, between)
    predicted = lookup.predict(test.source_position) if test.shares_nodes(scene.train) else off_nodes
    one, values = between[:1], np.ones(between.shape[1])
    weights_ms = latency_ms(lambda: lookup.weights(test.source_position[:1]), n_calls=5)
    cost = Cost(lookup.n_bytes, 0.0, weights_ms + latency_ms(lambda: one @ values, n_calls=5))
    return _row(name, "lookup", predicted, off_nodes, scene, cost)


def _row(name: str, kind: str, predicted: Array, off_nodes: Array, scene: Scene, cost: Cost) -> Row:
    test, truth = scene.test, scene.off_nodes.truth
    beside = relative_l2(off_nodes, truth)
    if predicted.shape != test.pressure.shape:  # a lookup on another mesh than that of the held-out sources
        return Row(name, kind, beside, beside, float(np.sqrt(((off_nodes - truth) ** 2).mean())), cost)
    share = test.node_weight / test.node_weight.sum()
    rmse = float(np.sqrt((((predicted - test.pressure) ** 2) @ share).mean()))
    return Row(name, kind, relative_l2(predicted, test.pressure, test.node_weight), beside, rmse, cost)


def latency_ms(call: Callable[[], Any], n_calls: int = 200) -> float:
    """Return the median wall time of a call in ms, after a warm-up."""
    call()
    times = []
    for _ in range(n_calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


def moving_latency(surrogate: Surrogate, source: Array, receivers: Array, time_: Array) -> float:
    """Return ms for one 100-sample response at a receiver that moves with every call, on one core of the CPU."""
    network = surrogate.network
    device = next(iter(network.state_dict().values())).device
    inputs = {
        "source_position": torch.as_tensor(source[None], dtype=torch.float32, device=device),
        "time": torch.as_tensor(time_[:100], dtype=torch.float32, device=device),
    }
    wanted = {field.name for field in surrogate.spec.inputs}
    inputs = {name: value for name, value in inputs.items() if name in wanted}
    moving = iter(
        torch.as_tensor(np.resize(receivers, (1000, 1, receivers.shape[1])), dtype=torch.float32, device=device)
    )
    with one_core(), torch.inference_mode():
        return latency_ms(lambda: network(receiver_position=next(moving), **inputs))


def static_latency(network: ModalOperator, scene: Scene) -> float:
    """Return ms for one 100-sample response to a new source at a receiver that stays, on one core of the CPU."""
    receiver = torch.as_tensor(scene.off_nodes.position[0], dtype=torch.float32)
    time_ = torch.as_tensor(scene.test.time[:100], dtype=torch.float32)
    path = np.resize(scene.test.source_position, (3000, scene.test.n_axis))
    sources = iter(torch.as_tensor(path, dtype=torch.float32))
    with one_core(), torch.inference_mode():
        listener = network.listener(receiver, time_)
        return latency_ms(lambda: listener(next(sources)), n_calls=2000)


def extrapolate(surrogate: Surrogate, long: Waves, known: Array) -> tuple[dict[str, float], Array]:
    """Judge a surrogate at times that the training never showed it, over all nodes.

    Parameters
    ----------
    long : waves over a longer window, at more times.
    known : output times (s) of the training waves.

    Returns
    -------
    Mean relative L2 errors after the training window and between its output times; the predicted long waves.
    """
    predicted = responses(surrogate, long.source_position, long.node_position, long.time)
    later = long.time > known[-1] + 1e-9
    between = ~later & (np.abs(long.time[:, None] - known).min(1) > 1e-9)
    masks = {"extrapolation_rel_l2": later, "between_samples_rel_l2": between}
    errors = {
        name: float(relative_l2(predicted[:, mask], long.pressure[:, mask], long.node_weight).mean())
        for name, mask in masks.items()
    }
    return errors, predicted
