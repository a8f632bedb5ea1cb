"""The closed-form linear operator: superposition, accuracy, and its factors."""

from __future__ import annotations

import copy

import numpy as np
import torch
from sciml_acoustics.branch import SensorBranch
from sciml_acoustics.compare import relative_l2
from sciml_acoustics.linear import LinearOperator, fit_linear, source_factors
from sciml_acoustics.pulse import gaussian_pulse


def test_linear_operator_superposes_pulses(networks):
    """The response is a matrix times the sampled pulse, so responses of sums are sums of responses."""
    network = networks["acoustics.linear"]
    receiver = torch.tensor([[0.3, 1.2], [1.0, 1.0]])
    phi = network.frame(receiver) @ network.shapes
    kernel = torch.einsum("mk,tkr,nr->mnt", network.branch.weight, network.core, phi)
    source = torch.tensor([[0.6, 0.7], [1.4, 1.1], [0.9, 1.3]])
    found = network(source_position=source, receiver_position=receiver)["pressure"]
    wanted = torch.einsum("sm,mnt->snt", network.branch.pulse(source), kernel)
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5 * float(wanted.abs().max()))


def test_linear_operator_is_proportional_to_the_amplitude(networks, evaluate):
    network = copy.deepcopy(networks["acoustics.linear"]).double()
    pulse = network.config["pulse"]
    thrice = LinearOperator(**{**network.config, "pulse": [pulse[0], 3 * pulse[1]]}).double()
    thrice.load_state_dict(network.state_dict())
    at = (np.array([[0.8, 1.0]]), np.array([[1.1, 0.5]]), None)
    one, three = (evaluate(n, *at, torch.float64) for n in (network, thrice))
    np.testing.assert_allclose(three, 3 * one, rtol=1e-12)


def test_linear_operator_predicts_held_out_sources_on_and_off_the_nodes(networks, small, evaluate):
    network, test = networks["acoustics.linear"], small.test
    found = evaluate(network, test.source_position, test.node_position, test.time)
    assert relative_l2(found, test.pressure, test.node_weight).max() < 0.02
    points = np.random.default_rng(67).uniform(0.05, 1.95, (50, 2))
    truth = np.stack([(small.mesh.interpolation(points) @ field.T).T for field in test.pressure])
    assert relative_l2(evaluate(network, test.source_position, points, test.time), truth).max() < 0.02


def test_source_factors_reproduce_the_training_amplitudes_at_full_rank(small):
    """W fits the coefficients of the singular value decomposition: branch times core gives the amplitudes back."""
    sensors = SensorBranch(np.asarray(small.mesh.nodes[::5]), 1.0, 1.0, 1).sensors.numpy()
    weights, core, error = source_factors(small.train, small.subspace, sensors, 49)
    medium = small.train.medium
    pulse = gaussian_pulse(small.train.source_position, sensors, medium.sigma0, medium.amplitude)
    found = np.einsum("sk,tkr->str", pulse @ weights, core)
    assert np.linalg.norm(found - small.subspace.amplitude) < 2e-2 * np.linalg.norm(small.subspace.amplitude)
    assert 0 < error < 0.1
    assert core.shape == (25, 49, small.subspace.shapes.shape[1])


def test_linear_rank_is_bounded_by_the_number_of_sources(small):
    few = small.train.sources(slice(0, 6))
    subspace = type(small.subspace)(
        small.subspace.shapes, small.subspace.strength, small.subspace.amplitude[:6], small.subspace.lost
    )
    network = fit_linear(few, subspace, small.region, small.band, 2.0, 100)
    assert network.core.shape[1] == 6
