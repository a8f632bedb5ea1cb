"""The published network: its count, its formula edge by edge, and the fast form with the same outputs and gradients."""

import pytest
import torch
from sciml_cosmo.graph import periodic_radius_graph
from sciml_cosmo.velocity.published import VelocityGNN

SIDE, RADIUS = 30.0, 6.0


def built(seed=3, form="fast", n_feature=9, n_layer=2, scale=250.0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VelocityGNN(n_feature, n_layer, scale, form).double()


def places(seed, n=60):
    return SIDE * torch.rand(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def apply(network, positions):
    return network(positions, periodic_radius_graph(positions, SIDE, RADIUS), SIDE, RADIUS)


def by_hand(network, positions):
    """Evaluate the mean of psi(x_j) * phi((x_j - x_i) / r_c) node by node, neighbour by neighbour."""
    nodes = (positions / SIDE - 0.5) * 12**0.5
    for layer in network.layers:
        rows = []
        for i, here in enumerate(positions):
            messages = []
            for j, there in enumerate(positions):
                step = there - here
                step = step - SIDE * torch.round(step / SIDE)
                if i != j and step.norm() <= RADIUS:
                    messages.append(layer.of_node(nodes[j]) * layer.of_edge(step / RADIUS))
            nothing = torch.zeros(layer.of_edge[-1].out_features, dtype=torch.float64)
            rows.append(torch.stack(messages).mean(0) if messages else nothing)
        nodes = torch.stack(rows)
    return network.scale * network.readout(nodes)


def test_number_of_parameters_is_the_published_one():
    assert sum(p.numel() for p in VelocityGNN().parameters()) == 126_787


@pytest.mark.parametrize("form", ["fast", "published"])
def test_network_equals_its_formula_edge_by_edge(form):
    network, positions = built(form=form), places(1)
    with torch.no_grad():
        found, expected = apply(network, positions), by_hand(network, positions)
    assert (found - expected).abs().max() < 1e-12 * expected.abs().max()


def test_both_forms_have_the_same_gradients_and_single_precision_follows():
    positions = places(2)
    pair = [built(form=form) for form in ("fast", "published")]
    for network in pair:
        apply(network, positions).square().mean().backward()
    for fast, published in zip(*(network.parameters() for network in pair), strict=True):
        assert (fast.grad - published.grad).abs().max() <= 1e-11 * published.grad.abs().max()
    with torch.no_grad():
        double, single = apply(pair[0], positions), apply(pair[0].float(), positions.float())
    assert (single - double).abs().max() < 1e-4 * double.abs().max()


def test_network_is_not_invariant_and_says_so():
    network, positions = built(), places(4)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        still, moved = (apply(network, (positions + step) % SIDE) for step in (0.0, 4.0))
    assert (moved - still).abs().max() > 0.1 * still.std(0).max()
    assert "outputs change" in VelocityGNN.__doc__


def test_node_without_neighbours_gets_a_finite_velocity():
    network = built()
    with torch.no_grad():
        found = apply(network, torch.tensor([[1.0, 1.0, 1.0], [15.0, 15.0, 15.0]], dtype=torch.float64))
    assert torch.isfinite(found).all()


def test_unknown_form_is_refused():
    with pytest.raises(ValueError, match="form one of fast, published"):
        VelocityGNN(form="faster")
