"""The two-step operator: closed-form branch, variable projection, training and resuming."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sciml_acoustics.compare import relative_l2
from sciml_acoustics.two_step import SineTrunk, TwoStep, _TrunkLoss, neuron_count, prepare_two_step, train_trunk

from sciml import Region
from sciml.training import seeded


@pytest.fixture
def untrained(small):
    return prepare_two_step(small.train, small.subspace, small.region, small.band, 3.0, 40, 5)


def test_two_step_branch_is_the_linear_operators_where_ranks_agree(networks):
    linear, two_step = networks["acoustics.linear"], networks["acoustics.two_step"]
    assert torch.equal(linear.branch.weight, two_step.branch.weight)
    assert torch.equal(linear.core, two_step.core)


def test_two_step_superposes_pulses(networks):
    network = networks["acoustics.two_step"]
    receiver, source = torch.tensor([[0.3, 1.2], [1.0, 1.0]]), torch.tensor([[0.6, 0.7], [1.4, 1.1]])
    kernel = torch.einsum("mk,tkr,nr->mnt", network.branch.weight, network.core, network.trunk(receiver))
    wanted = torch.einsum("sm,mnt->snt", network.branch.pulse(source), kernel)
    found = network(source_position=source, receiver_position=receiver)["pressure"]
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5 * float(wanted.detach().abs().max()))


def test_trunk_loss_is_the_share_that_the_best_output_layer_cannot_reach(small, untrained):
    loss = _TrunkLoss(small.train, small.subspace)
    root = np.sqrt(small.train.node_weight)[:, None]
    with torch.no_grad():
        hidden = untrained.trunk.hidden(torch.as_tensor(small.train.node_position)).numpy() * root
        value = float(loss(untrained.trunk, seeded(1)))
    targets = small.subspace.shapes * small.subspace.strength * root
    rest = hidden @ np.linalg.lstsq(hidden, targets, rcond=1e-5)[0] - targets
    best = (rest**2).sum() / (targets**2).sum()
    assert best * 0.98 <= value <= best * 1.05 + 1e-10


def test_trunk_loss_gradient_equals_central_differences(small):
    trunk = SineTrunk([1.0, 1.0], 60, small.subspace.shapes.shape[1]).double()
    trunk.initialise(small.band[0], seeded(71))
    loss = _TrunkLoss(small.train, small.subspace)
    loss(trunk, seeded(1)).backward()
    for parameter in (trunk.wave_vector, trunk.phase):
        direction = torch.randn(parameter.shape, generator=seeded(73), dtype=torch.float64)
        analytic = float((parameter.grad * direction).sum())
        step, values = 1e-5, []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * step * direction
                values.append(float(loss(trunk, seeded(1))))
                parameter -= sign * step * direction
        assert analytic == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_training_lowers_the_loss_and_the_solved_output_layer_belongs_to_the_trained_neurons(small):
    untrained = prepare_two_step(small.train, small.subspace, small.region, (9.0, 0.3), 3.0, 40, 5)
    loss = _TrunkLoss(small.train, small.subspace)
    with torch.no_grad():
        before = float(loss(untrained.trunk, seeded(1)))
    states = train_trunk(untrained, small.train, small.subspace, n_steps=20, seed=5)
    with torch.no_grad():
        after = float(loss(untrained.trunk, seeded(1)))
        phi = untrained.trunk.double()(torch.as_tensor(small.train.node_position)).numpy()
    assert [state.step for state in states] == list(range(1, 21))
    assert after < 0.75 * before
    rest = (phi - small.subspace.shapes) * small.subspace.strength * np.sqrt(small.train.node_weight)[:, None]
    share = (rest**2).sum() / (small.subspace.strength**2).sum()
    assert share == pytest.approx(after, rel=0.05)


def test_two_step_predicts_held_out_sources(small, untrained, evaluate):
    test = small.test
    train_trunk(untrained, small.train, small.subspace, n_steps=15, seed=5)
    found = evaluate(untrained, test.source_position, test.node_position, test.time)
    assert relative_l2(found, test.pressure, test.node_weight).max() < 0.03


def test_killed_training_resumes_to_the_same_bits(small, untrained, tmp_path):
    class Killed(Exception):
        pass

    def kill(state):
        if state.step == 28:  # the checkpoint was written after step 25
            raise Killed

    whole, parts = untrained, copy.deepcopy(untrained)
    options = {"n_steps": 32, "seed": 5}
    train_trunk(whole, small.train, small.subspace, **options)
    with pytest.raises(Killed):
        train_trunk(parts, small.train, small.subspace, checkpoint=tmp_path / "fit", on_state=kill, **options)
    resumed = prepare_two_step(small.train, small.subspace, small.region, small.band, 3.0, 40, 5)
    states = train_trunk(resumed, small.train, small.subspace, checkpoint=tmp_path / "fit", **options)
    assert states[0].step == 26
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_finished_training_resumes_without_another_step(small, untrained, tmp_path):
    train_trunk(untrained, small.train, small.subspace, n_steps=3, seed=5, checkpoint=tmp_path / "fit")
    again = prepare_two_step(small.train, small.subspace, small.region, small.band, 3.0, 40, 5)
    states = train_trunk(again, small.train, small.subspace, n_steps=3, seed=5, checkpoint=tmp_path / "fit")
    assert [state.step for state in states] == [3]
    for name, tensor in untrained.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_equal_seeds_give_equal_trunks_and_wave_vectors_fill_the_ball():
    trunks = [SineTrunk([0.0, 0.0], 4000, 1) for _ in range(3)]
    for trunk, seed in zip(trunks, (79, 79, 83), strict=True):
        trunk.initialise(10.0, seeded(seed))
    assert torch.equal(trunks[0].wave_vector, trunks[1].wave_vector)
    assert not torch.equal(trunks[0].wave_vector, trunks[2].wave_vector)
    k = trunks[0].wave_vector.detach().norm(dim=0).numpy()
    assert k.max() <= 10.0
    assert abs((k < 5.0).mean() - 0.25) < 0.03  # a quarter of the disc's area


@pytest.mark.parametrize("n_axis", [1, 2, 3])
def test_neuron_count_follows_weyl(n_axis):
    """Twice the size of a large box takes nearly 2^d times the plane waves."""
    small_box, large_box = (Region((((0.0,) * n_axis, (side,) * n_axis),)) for side in (4.0, 8.0))
    ratio = neuron_count(large_box, 20.0, 0.0) / neuron_count(small_box, 20.0, 0.0)
    assert ratio == pytest.approx(2**n_axis, rel=0.05)


def test_two_step_config_rebuilds_the_network(untrained):
    again = TwoStep(**untrained.config)
    again.load_state_dict(untrained.state_dict())
    inputs = {"source_position": torch.tensor([[0.7, 0.8]]), "receiver_position": torch.tensor([[1.0, 0.1]])}
    assert torch.equal(again(**inputs)["pressure"], untrained(**inputs)["pressure"])
