"""Errors, bytes and latencies of surrogates and lookups, measured the same way for all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sciml import Surrogate
from sciml_acoustics.data import Waves, queries
from sciml_acoustics.lookup import Lookup
from sciml_acoustics.modal import ModalOperator
from sciml_acoustics.scene import Scene
from sciml_acoustics.threads import one_core

Array = NDArray[Any]


@dataclass(frozen=True)
class Row:
    """One line of the peer table; errors are relative L2 over room and time, per held-out source."""

    name: str
    kind: str
    errors: Array
    off_nodes: Array
    rmse: float
    n_bytes: int
    train_cpu_s: float
    latency_ms: float


def relative_l2(predicted: Array, truth: Array, weight: Array | None = None) -> Array:
    """Return ||p - q|| / ||q|| (source,) over time and nodes (source, time, node), quadrature-weighted over nodes."""
    weight = np.ones(truth.shape[2]) if weight is None else weight
    error = ((predicted.astype(np.float64) - truth) ** 2 @ weight).sum(1)
    return np.asarray(np.sqrt(error / (truth.astype(np.float64) ** 2 @ weight).sum(1)))


def responses(surrogate: Surrogate, source: Array, receiver: Array, time_: Array) -> Array:
    """Return predicted pressures (source, time, receiver), Pa, a few sources at a time to bound the memory."""
    parts = [
        surrogate.predict(queries(part, receiver, time_))["pressure"].values.transpose(0, 2, 1)
        for part in np.array_split(source, max(1, len(source) // 8))
    ]
    return np.concatenate(parts)


def judge_surrogate(name: str, kind: str, surrogate: Surrogate, scene: Scene, train_cpu_s: float) -> Row:
    """Judge a surrogate on held-out sources, at the nodes and at receivers off the nodes."""
    test, (receivers, truth) = scene.test, scene.receivers
    predicted = responses(surrogate, test.source_position, test.node_position, test.time)
    off_nodes = responses(surrogate, test.source_position, receivers, test.time)
    latency = moving_latency(surrogate, test.source_position[0], receivers, test.time)
    return _row(name, kind, predicted, off_nodes, scene, surrogate.n_bytes, train_cpu_s, latency)


def judge_lookup(name: str, lookup: Lookup, scene: Scene) -> Row:
    """Judge a table of the training responses the same way; between nodes it uses the scene's interpolation."""
    test, (receivers, _) = scene.test, scene.receivers
    same_nodes = test.node_position.shape == scene.train.node_position.shape
    predicted = lookup.predict(test.source_position) if same_nodes else None
    off_nodes = lookup.predict(test.source_position, scene.at_receivers)
    source = test.source_position[:1]
    one = scene.at_receivers[:1]
    latency = latency_ms(lambda: lookup.weights(source), n_calls=5) + latency_ms(lambda: one @ np.ones(one.shape[1]), 5)
    return _row(name, "lookup", off_nodes if predicted is None else predicted, off_nodes, scene, lookup.n_bytes, 0.0, latency)


def _row(name: str, kind: str, predicted: Array, off_nodes: Array, scene: Scene, n_bytes: int, cpu: float, latency: float) -> Row:
    test = scene.test
    if predicted.shape != test.pressure.shape:  # another mesh: the held-out nodes are the receivers off the nodes
        errors = relative_l2(off_nodes, scene.receivers[1])
        rmse = float(np.sqrt(((off_nodes - scene.receivers[1]) ** 2).mean()))
    else:
        errors = relative_l2(predicted, test.pressure, test.node_weight)
        share = test.node_weight / test.node_weight.sum()
        rmse = float(np.sqrt((((predicted - test.pressure) ** 2) @ share).mean()))
    return Row(name, kind, errors, relative_l2(off_nodes, scene.receivers[1]), rmse, n_bytes, cpu, latency)


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
    inputs = {name: value for name, value in inputs.items() if name in {field.name for field in surrogate.spec.inputs}}
    moving = iter(torch.as_tensor(np.resize(receivers, (1000, 1, receivers.shape[1])), dtype=torch.float32, device=device))
    with one_core(), torch.inference_mode():
        return latency_ms(lambda: network(receiver_position=next(moving), **inputs))


def static_latency(network: ModalOperator, scene: Scene) -> float:
    """Return ms for one 100-sample response to a new source at a receiver that stays, on one core of the CPU."""
    receiver = torch.as_tensor(scene.receivers[0][0], dtype=torch.float32)
    time_ = torch.as_tensor(scene.test.time[:100], dtype=torch.float32)
    sources = iter(torch.as_tensor(np.resize(scene.test.source_position, (3000, scene.test.n_axis)), dtype=torch.float32))
    with one_core(), torch.inference_mode():
        listener = network.listener(receiver, time_)
        return latency_ms(lambda: listener(next(sources)), n_calls=2000)


def extrapolate(surrogate: Surrogate, long: Waves, window_end: float) -> tuple[float, Array]:
    """Return the relative L2 error after `window_end` (s) over all nodes and sources, and the predicted long waves."""
    predicted = responses(surrogate, long.source_position, long.node_position, long.time)
    later = long.time > window_end + 1e-9
    return float(relative_l2(predicted[:, later], long.pressure[:, later], long.node_weight).mean()), predicted
