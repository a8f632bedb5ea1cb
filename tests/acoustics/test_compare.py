"""The comparison: errors, costs and sentences are the same for all, and true."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sciml_acoustics.compare import (
    Cost,
    Row,
    extrapolate,
    judge_lookup,
    judge_surrogate,
    latency_ms,
    moving_latency,
    relative_l2,
    responses,
    static_latency,
)
from sciml_acoustics.data import queries
from sciml_acoustics.lookup import Lookup, scattered_interpolation
from sciml_acoustics.scene import OffNodes, Scene
from sciml_acoustics.story import _spread, _verdict

from sciml import Region, Surrogate


@pytest.fixture(scope="module")
def scene(small):
    points = np.random.default_rng(157).uniform(0.1, 1.9, (12, 2))
    at = small.mesh.interpolation(points)
    truth = np.stack([(at @ field.T).T for field in small.test.pressure])
    return Scene(small.region, small.train, small.test, OffNodes(points, truth, at), "a test", small.long)


@pytest.fixture(scope="module")
def surrogates(networks):
    return {name: Surrogate(network) for name, network in networks.items()}


def test_relative_error_is_that_of_the_weighted_norm():
    rng = np.random.default_rng(163)
    p, q, w = rng.normal(size=(3, 5, 7)), rng.normal(size=(3, 5, 7)), rng.uniform(size=7)
    by_hand = [np.sqrt(sum(w @ (a - b) ** 2 for a, b in zip(*s, strict=True)) / sum(w @ b**2 for b in s[1])) for s in
               zip(p, q, strict=True)]  # fmt: skip
    np.testing.assert_allclose(relative_l2(p, q, w), by_hand, rtol=1e-12)
    np.testing.assert_allclose(relative_l2(1.02 * q, q), 0.02, rtol=1e-9)
    np.testing.assert_allclose(relative_l2(p, q, 9 * w), relative_l2(p, q, w), rtol=1e-12)


def test_responses_in_parts_are_those_of_one_call(surrogates, small):
    surrogate, source = surrogates["acoustics.modal"], np.tile(small.test.source_position, (5, 1))
    receiver, time = small.test.node_position[:4], small.test.time
    whole = surrogate.predict(queries(source, receiver, time))["pressure"].values.transpose(0, 2, 1)
    np.testing.assert_allclose(responses(surrogate, source, receiver, time), whole, atol=1e-6)


def test_held_out_sources_outside_the_training_domain_are_judged(networks, scene):
    narrow = Surrogate(networks["acoustics.modal"], domain={"source_position": Region((((0.9, 0.9), (1.0, 1.0)),))})
    with pytest.raises(ValueError, match="training domain"):
        narrow.predict(queries(scene.test.source_position, scene.off_nodes.position, scene.test.time))
    assert len(judge_surrogate("modal", "closed form", narrow, scene, 1.0).errors) == 5


def test_surrogate_is_judged_by_weighted_errors_and_its_own_bytes(surrogates, scene):
    surrogate, test = surrogates["acoustics.linear"], scene.test
    row = judge_surrogate("linear", "closed form", surrogate, scene, 2.5)
    found = responses(surrogate, test.source_position, test.node_position, test.time)
    np.testing.assert_allclose(row.errors, relative_l2(found, test.pressure, test.node_weight), rtol=1e-6)
    mean = ((found - test.pressure) ** 2 @ test.node_weight).mean() / test.node_weight.sum()
    assert row.rmse == pytest.approx(np.sqrt(mean), rel=1e-5)
    assert (row.cost.n_bytes, row.cost.train_cpu_s) == (surrogate.n_bytes, 2.5)
    assert row.cost.latency_ms > 0


def test_lookup_is_judged_at_the_same_nodes_and_receivers(scene):
    lookup = Lookup(scene.train, "cubic")
    row = judge_lookup("cubic lookup", lookup, scene)
    found = lookup.predict(scene.test.source_position)
    np.testing.assert_allclose(row.errors, relative_l2(found, scene.test.pressure, scene.test.node_weight), rtol=1e-6)
    between = np.stack([(scene.off_nodes.interpolation @ field.T).T for field in found])
    np.testing.assert_allclose(row.off_nodes, relative_l2(between, scene.off_nodes.truth), rtol=1e-3)
    assert row.cost.n_bytes == lookup.n_bytes
    assert row.errors.mean() < judge_lookup("nearest", Lookup(scene.train, "nearest"), scene).errors.mean()


def test_lookup_is_not_compared_node_by_node_with_another_mesh_of_as_many_nodes(scene):
    """The held-out waves at the same nodes in another order: interpolation finds each node, so nothing changes."""
    order = np.random.default_rng(167).permutation(441)
    test = replace(
        scene.test, node_position=scene.test.node_position[order], pressure=scene.test.pressure[:, :, order],
        node_weight=scene.test.node_weight[order],
    )  # fmt: skip
    at = scattered_interpolation(scene.train.node_position, test.node_position)
    moved = replace(scene, test=test, off_nodes=OffNodes(test.node_position, test.pressure, at))
    lookup = Lookup(scene.train, "cubic")
    first, second = (judge_lookup("cubic lookup", lookup, where) for where in (scene, moved))
    np.testing.assert_allclose(second.errors, first.errors, rtol=1e-3)


def test_errors_after_the_window_and_between_samples_are_of_those_times_alone(surrogates, small):
    surrogate = surrogates["acoustics.modal"]
    long = replace(small.long, time=small.long.time / 2)  # wrong waves for these times: only the choice is tested
    errors, predicted = extrapolate(surrogate, long, small.train.time)
    index = np.arange(73)
    for name, chosen in {
        "extrapolation_rel_l2": index > 48,
        "between_samples_rel_l2": (index < 48) & (index % 2 == 1),
    }.items():
        wanted = relative_l2(predicted[:, chosen], long.pressure[:, chosen], long.node_weight).mean()
        assert errors[name] == pytest.approx(wanted, rel=1e-12)


def test_latencies_are_medians_of_calls_after_a_warm_up(surrogates, scene):
    calls = []
    assert latency_ms(lambda: calls.append(1), n_calls=7) >= 0
    assert len(calls) == 8
    for surrogate in surrogates.values():
        assert moving_latency(surrogate, scene.test.source_position[0], scene.off_nodes.position, scene.test.time) > 0
    assert static_latency(surrogates["acoustics.modal"].network, scene) > 0


def rows_of(**errors):
    cost = Cost(1000, 1.0, 0.1)
    return {name: Row(name, "", np.array([e]), np.array([e]), e, cost) for name, e in errors.items()}


@pytest.mark.parametrize(
    ("cubic", "modal", "two_step", "words"),
    [
        (0.001, 0.01, 0.02, "is **more accurate** than the modal operator"),
        (0.005, 0.01, 0.001, "is **more accurate** than the modal operator"),
        (0.02, 0.01, 0.03, "is no more accurate than the modal operator"),
    ],
)
def test_verdict_says_who_wins_whoever_it_is(cubic, modal, two_step, words):
    rows = rows_of(
        cubic_lookup=cubic, modal=modal, two_step=two_step, published=0.5, mended=0.3, untrained=two_step, linear=0.04
    )
    text = _verdict(SimpleNamespace(rows=rows))
    assert words in text
    best = min(rows, key=lambda name: rows[name].errors[0])
    assert re.search(rf"smallest error .* \*\*{best}\*\*", text)


def test_shown_receivers_lie_far_apart():
    points = np.array([[0.0, 0.0], [0.1, 0.0], [2.0, 2.0], [2.0, 1.9], [0.0, 2.0]])
    assert set(_spread(points, 3)) == {0, 2, 4}
    assert list(_spread(points[:2], 3)) == [0, 1]
