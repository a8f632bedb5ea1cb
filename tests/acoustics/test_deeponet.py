"""The published DeepONet: its formulas, its defects and their fixes, and that it learns."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from sciml_acoustics.data import Medium, Waves, queries
from sciml_acoustics.deeponet import FIXES, DeepONet, DeepONetOptions, sensor_grid
from sciml_acoustics.deeponet_fit import DeepONetFit, Samples, fit_deeponet
from sciml_acoustics.deeponet_nets import ACTIVATIONS, Hidden, Mlp, ModMlp, positional_features, weight_bound
from sciml_acoustics.pulse import gaussian_pulse

import sciml
from sciml.testing import assert_all, check_surrogate
from sciml.training import count_parameters, seeded

SQUARE = [[[0.0, 0.0], [2.0, 2.0]]]
SMALL = {"width": 12, "n_outputs": 6}


def tube_waves(sources, n_node=41, n_time=25):
    """Modes of a rigid tube of 2 m, each a product of functions of source, receiver and time."""
    medium = Medium(f_max=250.0, sigma0=0.5)
    node, time, k = np.linspace(0, 2, n_node), np.linspace(0, 0.012, n_time), np.arange(9) * np.pi / 2
    gain = np.where(k > 0, 1, 0.5) * medium.sigma0 * np.sqrt(np.pi) * np.exp(-((k * medium.sigma0 / 2) ** 2))
    factors = [np.cos(np.multiply.outer(x, k)) for x in (np.asarray(sources), medium.c * time, node)]
    pressure = np.einsum("m,sm,tm,nm->stn", gain, *factors)
    weight = np.full(n_node, 2 / n_node)
    return Waves(np.asarray(sources)[:, None], node[:, None], weight, time, pressure, medium)


def predicted(network, waves):
    inputs = (waves.source_position, waves.node_position, waves.time)
    names = ("source_position", "receiver_position", "time")
    tensors = {name: torch.tensor(v, dtype=torch.float32) for name, v in zip(names, inputs, strict=True)}
    with torch.no_grad():
        return network(**tensors)["pressure"].numpy().transpose(0, 2, 1)


def relative(found, wanted):
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def gate_in_numpy(net, x):
    w, act = [layer.weight.detach().double().numpy() for layer in net.layers], np.sin
    b = [layer.bias.detach().double().numpy() for layer in net.layers]
    u, v = (
        act(x @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy())
        for layer in (net.encoder_u, net.encoder_v)
    )
    h = act(30 * (x @ w[0].T) + b[0])
    h = h * u + (1 - h) * v
    for i in range(1, len(w) - 1):
        h = act(net.hidden.hidden_frequency * (h @ w[i].T + b[i]))
        h = h * u + (1 - h) * v
    return h @ w[-1].T + b[-1]


@pytest.mark.parametrize("siren_hidden", [False, True])
def test_gated_net_equals_a_reference_in_numpy(siren_hidden):
    net = ModMlp(5, 3, Hidden(3, 16, "sin", siren_hidden), seeded(19))
    with torch.no_grad():  # biases start at zero, where a misplaced frequency would not show
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=seeded(len(parameter)))
    x = np.random.default_rng(11).uniform(-1, 1, (40, 5))
    found = net.double()(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(found, gate_in_numpy(net, x), rtol=1e-10, atol=1e-10)


def test_plain_net_applies_the_frequency_to_the_first_product():
    net = Mlp(2, 1, Hidden(2, 4), seeded(23)).double()
    with torch.no_grad():
        net.layers[0].bias.fill_(0.3)
    x = torch.linspace(-1, 1, 10, dtype=torch.float64).reshape(5, 2)
    first = torch.sin(30 * x @ net.layers[0].weight.T + 0.3)
    wanted = torch.sin(first @ net.layers[1].weight.T) @ net.layers[2].weight.T
    torch.testing.assert_close(net(x), wanted)


@pytest.mark.parametrize(
    ("activation", "first", "bound"),
    [
        ("sin", True, 1 / 50),
        ("sin", False, math.sqrt(6 / 50) / 30),
        ("tanh", True, math.sqrt(6 / 250)),
        ("relu", False, math.sqrt(6 / 50)),
    ],
)
def test_initial_weights_fill_the_published_range(activation, first, bound):
    assert weight_bound(50, 200, activation, first) == pytest.approx(bound)
    sizes = (50, 10) if first else (3, 50)
    net = ModMlp(*sizes, Hidden(2, 200 if first else 50, activation), seeded(29))
    layers = [net.layers[0], net.encoder_u, net.encoder_v] if first else [net.layers[1]]
    for layer in layers:
        wanted = weight_bound(layer.in_features, layer.out_features, activation, first)
        assert 0.98 * wanted < layer.weight.abs().max() <= wanted
        # The variance of a uniform law; four standard errors of its estimate from n draws.
        tolerance = 4 * math.sqrt(0.8 / layer.weight.numel())
        assert layer.weight.var().item() == pytest.approx(wanted**2 / 3, rel=tolerance)
        assert not layer.bias.any()


def test_features_are_coordinates_then_cosines_then_sines():
    points = torch.tensor([[0.25, -0.5, 0.1]], dtype=torch.float64)
    k = 2 * np.pi * np.array([500.0, 250.0, 167.0]) / 343.0
    y = points.numpy()[0]
    wanted = np.concatenate([y, *[np.cos(a * y) for a in k], *[np.sin(a * y) for a in k]])
    found = positional_features(points, torch.tensor(k))
    assert found.shape == (1, 21)
    np.testing.assert_allclose(found[0].numpy(), wanted, rtol=1e-14)


def test_published_sizes_follow_from_the_formula():
    def gated(d, w, n, k):
        return 3 * (d + 1) * w + (n - 1) * (w + 1) * w + (w + 1) * k

    plane = gated(144, 2048, 2, 100) + gated(21, 2048, 2, 100) + 1
    assert count_parameters(DeepONet(SQUARE)) == plane == 9_828_553
    cube = DeepONet([[[0.0] * 3, [2.0] * 3]], options=DeepONetOptions(n_layers=5))
    assert len(cube.sensor_position) == 12**3
    assert count_parameters(cube) == gated(1728, 2048, 5, 100) + gated(28, 2048, 5, 100) + 1 == 44_781_769


def test_plain_size_follows_from_the_formula():
    options = DeepONetOptions(architecture="mlp", n_layers=3, **SMALL, fixes=("linear_branch",))
    trunk = (21 + 1) * 12 + 2 * (12 + 1) * 12 + (12 + 1) * 6
    assert count_parameters(DeepONet(SQUARE, options=options)) == trunk + 144 * 6  # neither bias nor b_0


def test_sensor_grid_covers_the_box_at_two_points_per_wavelength():
    grid = sensor_grid((0.0, -1.0), (3.0, 1.0), 343.0 / 1000 / 2)
    assert grid.shape == (18 * 12, 2)
    np.testing.assert_allclose(np.unique(grid[:, 0]), np.linspace(0, 3, 18), atol=1e-12)
    assert grid.min(0).tolist() == [0, -1]
    assert grid.max(0).tolist() == [3, 1]


def test_time_scale_is_a_quarter_of_the_space_scale_unless_fixed():
    position, time = torch.tensor([[0.5, 1.5]]), torch.tensor([0.7 / 343.0])
    for fixes, factor in (((), 0.5), (("isotropic_time",), 2.0)):
        network = DeepONet([[[-1.0, 0.0], [2.0, 2.0]]], options=DeepONetOptions(**SMALL, fixes=fixes))
        scaled = network.scaled(position, time)[0]
        np.testing.assert_allclose(scaled, [2 * 1.5 / 3 - 1, 2 * 2.5 / 3 - 1, factor * 0.7 / 3], rtol=1e-5)


def test_branch_sees_the_same_numbers_in_training_and_prediction():
    waves = tube_waves([0.4, 1.1])
    seen = []
    network = DeepONet([[[0.0], [2.0]]], waves.medium, DeepONetOptions(**SMALL))
    network.branch.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    samples = Samples(network, waves)
    samples.error(network, torch.arange(2), torch.arange(3))
    predicted(network, waves)
    assert torch.equal(seen[0], seen[1])
    pulse = gaussian_pulse(waves.source_position, network.sensor_position.numpy(), waves.medium.sigma0)
    np.testing.assert_allclose(seen[0].numpy(), pulse / 2, atol=1e-6)  # [-2, 2] Pa become [-1, 1]


def test_branch_range_is_a_setting_and_the_amplitude_that_of_the_medium():
    options = DeepONetOptions(**SMALL, pulse_range=(-1.0, 3.0))
    network, seen = DeepONet(SQUARE, {"amplitude": 2.0}, options), []
    network.branch.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    pulses = network.pulses(network.sensor_position[:1])
    assert pulses.max() == 2.0
    network.coefficients(pulses)
    np.testing.assert_allclose(seen[0], pulses / 2 - 0.5, atol=1e-6)


def test_linear_branch_makes_the_network_linear_in_the_pulse():
    def response(amplitude, fixes):
        network = DeepONet(SQUARE, Medium(amplitude=amplitude), DeepONetOptions(**SMALL, fixes=fixes), seed=31)
        time, position = torch.linspace(0, 0.01, 4), torch.tensor([[0.3, 0.4], [1.2, 0.9]])
        return network, network(source_position=position, receiver_position=position, time=time)["pressure"]

    network, one = response(1.0, ("linear_branch",))
    assert one.abs().max() > 1e-3
    torch.testing.assert_close(response(-30.0, ("linear_branch",))[1], -30 * one, rtol=1e-5, atol=1e-7)
    a, b = torch.randn(2, 5, 144, generator=seeded(37))
    mixed = network.coefficients(2 * a - b)
    torch.testing.assert_close(mixed, 2 * network.coefficients(a) - network.coefficients(b), rtol=1e-5, atol=1e-5)
    one = response(1.0, ())[1]
    # The published branch is not linear, though its weak start makes it nearly so.
    assert (response(-30.0, ())[1] + 30 * one).abs().max() > 1e-3 * 30 * one.abs().max()


@pytest.mark.parametrize("fixes", [(), FIXES], ids=["published", "fixed"])
def test_surrogate_keeps_the_contract(fixes):
    network = DeepONet(SQUARE, options=DeepONetOptions(**SMALL, fixes=fixes), seed=5)
    assert_all(check_surrogate(sciml.Surrogate(network, domain={"time": sciml.Region.interval(0.0, 0.05)})))


def test_saved_network_predicts_the_same_bits(tmp_path):
    waves = tube_waves([0.5, 1.0, 1.4])
    network, _ = fit_deeponet(waves, DeepONetOptions(**SMALL), DeepONetFit(n_steps=2, fixes=("unit_variance",)), 41)
    assert network.pressure_scale.item() == pytest.approx(np.sqrt(np.mean(waves.pressure**2)), rel=1e-5)
    inputs = queries([[0.7]], waves.node_position[::7], waves.time[::5])
    wanted = sciml.Surrogate(network).predict(inputs)
    sciml.Surrogate(network).save(tmp_path / "surrogate")
    loaded = sciml.load(tmp_path / "surrogate")
    assert loaded.predict(inputs).identical(wanted)
    assert loaded.network.config == network.config == json.loads(json.dumps(network.config))


def test_trunk_in_pieces_equals_the_trunk_at_once(monkeypatch):
    waves, network = tube_waves([0.5]), DeepONet([[[0.0], [2.0]]], options=DeepONetOptions(**SMALL))
    whole = predicted(network, waves)
    monkeypatch.setattr("sciml_acoustics.deeponet.CHUNK", 12 * 100)  # 1025 points, 100 at a time
    np.testing.assert_allclose(predicted(network, waves), whole, rtol=1e-5, atol=1e-7)


def gradient(network, value):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(network.parameters()))])


@pytest.mark.parametrize("fixes", [(), ("linear_branch",)])
def test_shared_and_own_coordinates_have_equal_gradients_at_equal_points(fixes):
    network = DeepONet([[[0.0], [2.0]]], options=DeepONetOptions(**SMALL, fixes=fixes)).double()
    samples = Samples(network.float(), tube_waves([0.5, 0.9, 1.2]))
    source, point = torch.tensor([2, 0, 1]), torch.arange(samples.n_points)
    shared = samples.error(network, source, point)
    own = samples.error(network, source, point.expand(3, -1))
    torch.testing.assert_close(shared, own)
    torch.testing.assert_close(gradient(network, shared), gradient(network, own), rtol=1e-4, atol=1e-6)
    direct = np.mean((predicted(network, tube_waves([0.5, 0.9, 1.2])) - tube_waves([0.5, 0.9, 1.2]).pressure) ** 2)
    assert shared.item() == pytest.approx(direct, rel=1e-4)


@pytest.mark.parametrize("fixes", [(), ("shared_coordinates",)])
def test_sampled_gradient_is_unbiased(fixes):
    options = DeepONetFit(n_sources=2, n_coordinates=8, fixes=fixes)
    network = DeepONet([[[0.0], [2.0]]], options=DeepONetOptions(n_layers=1, width=4, n_outputs=2), seed=3)
    samples = Samples(network, tube_waves([0.5, 0.9, 1.2], n_node=9, n_time=5))
    whole = gradient(network, samples.error(network, torch.arange(3), torch.arange(45)))
    generator = seeded(43)
    draws = torch.stack(
        [gradient(network, samples.error(network, *samples.draw(generator, options))) for _ in range(600)]
    )
    z = ((draws.mean(0) - whole) / (draws.std(0) / math.sqrt(len(draws))).clamp_min(1e-12)).abs()
    assert z.max() < 4.5  # of 200-odd numbers, far more than chance; a biased draw gives tens
    assert z.square().mean() < 3.0


def test_draws_have_the_published_shapes_and_ranges():
    samples = Samples(
        DeepONet([[[0.0], [2.0]]], options=DeepONetOptions(**SMALL)), tube_waves(np.linspace(0.4, 1.6, 7))
    )
    source, point = samples.draw(seeded(47), DeepONetFit(n_sources=5, n_coordinates=4000))
    assert source.unique().numel() == 5
    assert point.shape == (5, 4000)
    assert (point[0] != point[1]).any()
    assert point.min() == 0
    assert point.max() == samples.n_points - 1
    source, point = samples.draw(seeded(47), DeepONetFit(n_sources=None, fixes=("shared_coordinates",)))
    assert sorted(source.tolist()) == list(range(7))
    assert point.shape == (200,)


LEARNING = {
    "published": ((), DeepONetFit(n_steps=300, n_coordinates=100), 0.40),
    "linear_shared": (
        ("linear_branch",),
        DeepONetFit(n_steps=300, n_sources=None, n_coordinates=300, fixes=("shared_coordinates",)),
        0.22,
    ),
}


@pytest.mark.parametrize("name", LEARNING)
def test_fit_predicts_held_out_sources_better_than_the_mean(name):
    fixes, fit_options, limit = LEARNING[name]
    training, held_out = tube_waves(np.linspace(0.3, 1.7, 15)), tube_waves([0.45, 0.83, 1.21, 1.58])
    network, history = fit_deeponet(training, DeepONetOptions(width=48, n_outputs=20, fixes=fixes), fit_options, 5)
    assert relative(training.pressure.mean(0), held_out.pressure) > 0.5
    assert relative(predicted(network, held_out), held_out.pressure) < limit
    assert history[-1].step == 300
    assert not network.training


class StopError(Exception):
    pass


def test_resumed_fit_equals_an_uninterrupted_one(tmp_path):
    def run(folder, stop=None):
        def on_state(state):
            if state.step == stop:
                raise StopError

        fit_options = DeepONetFit(n_steps=9, n_coordinates=5, every=3, fixes=("unit_variance", "cosine"))
        return fit_deeponet(tube_waves([0.5, 1.1]), DeepONetOptions(**SMALL), fit_options, 53, folder, on_state)

    whole, history = run(tmp_path / "whole")
    with pytest.raises(StopError):
        run(tmp_path / "killed", stop=5)
    resumed, tail = run(tmp_path / "killed")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert [state.step for state in history] == [3, 6, 9]
    assert tail == history[1:]


def test_first_step_follows_the_optimizer_asked_for():
    waves, options = tube_waves([0.5, 1.1]), DeepONetOptions(activation="tanh", **SMALL)
    start = DeepONet([[[0.0], [2.0]]], waves.medium, options, 59).trunk.layers[0].weight
    adam, adamw = (
        fit_deeponet(waves, options, DeepONetFit(n_steps=1, optimizer=name, learning_rate=0.1), 59)[0]
        .trunk.layers[0]
        .weight
        for name in ("adam", "adamw")
    )
    # Adam's first step is the rate, whatever the gradient; AdamW's is shorter by rate times decay times the weight.
    assert ((adam - start).abs() / 0.1).median().item() == pytest.approx(1.0, abs=1e-3)
    torch.testing.assert_close(adam - adamw, 1e-5 * start, rtol=0, atol=1e-7)
    assert (1e-5 * start).abs().max() > 1e-6


def test_learning_rate_follows_the_schedule_asked_for():
    def rates(fixes):
        found = []
        options = DeepONetFit(n_steps=4, n_coordinates=3, decay_steps=2, fixes=fixes)
        fit_deeponet(
            tube_waves([0.5]), DeepONetOptions(**SMALL), options, 61, on_state=lambda s: found.append(s.learning_rate)
        )
        return found

    assert rates(()) == pytest.approx([1e-3 * 0.9 ** (n / 2) for n in range(4)])
    assert rates(("cosine",)) == pytest.approx([5e-4 * (1 + math.cos(math.pi * n / 4)) for n in range(4)])


def test_equal_seeds_give_equal_networks_and_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    first, again, other = (DeepONet(SQUARE, options=DeepONetOptions(**SMALL), seed=seed) for seed in (7, 7, 8))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.trunk.layers[0].weight, again.trunk.layers[0].weight)
    assert not torch.equal(first.trunk.layers[0].weight, other.trunk.layers[0].weight)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_activations_are_those_asked_for(activation):
    hidden = Hidden(1, 3, activation)
    net, x = Mlp(2, 1, hidden, seeded(67)), torch.tensor([[0.2, -0.4]])
    wanted = {"sin": np.sin, "tanh": np.tanh, "relu": lambda v: np.maximum(v, 0)}[activation]
    product = (hidden.first_frequency * x @ net.layers[0].weight.T).detach().numpy()
    assert hidden.first_frequency == (30.0 if activation == "sin" else 1.0)
    np.testing.assert_allclose(
        net(x).detach().numpy(), wanted(product) @ net.layers[1].weight.T.detach().numpy(), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: DeepONetOptions(fixes=("isotropic",)), "Options: expected fixes among isotropic_time, .*'isotropic'"),
        (lambda: DeepONetFit(fixes=("linear_branch",)), "Fit: expected fixes among shared_coordinates, .*'linear_b"),
        (lambda: DeepONetOptions(architecture="resnet"), "expected architecture mlp, mod-mlp, got 'resnet'"),
        (lambda: DeepONetOptions(activation="gelu"), "expected activation sin, tanh, relu, got 'gelu'"),
        (lambda: DeepONetOptions(activation="tanh", fixes=("siren_hidden",)), "'sin' with siren_hidden, got 'tanh'"),
        (lambda: DeepONetOptions(pulse_range=(0.0, 2.0), fixes=("linear_branch",)), "make it symmetric"),
        (lambda: DeepONetOptions(pulse_range=(2.0, 2.0)), "expected pulse_range \\(low, high\\) with low < high"),
        (lambda: DeepONetFit(optimizer="sgd"), "expected optimizer adamw, adam, got 'sgd'"),
        (lambda: DeepONetFit(n_sources=0), "expected counts of at least 1"),
        (
            lambda: fit_deeponet(tube_waves([0.5]), DeepONetOptions(**SMALL), DeepONetFit(), 1, boxes=SQUARE),
            "fit_deeponet: expected boxes of 1 dimensions as the nodes, got 2",
        ),
        (lambda: DeepONet([[[0.0], [0.0]]]), "expected a room of positive size"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_at_construction(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
