"""The equivariant network turns and moves with the box, forgets the order of the nodes, and is a surrogate."""

import pytest
import torch
from sciml_cosmo.velocity.equivariant import EquivariantVelocity
from sciml_cosmo.velocity.features import Features

SIDE, F64 = 60.0, torch.float64
TURNS = [
    torch.tensor([[0, -1, 0], [0, 0, 1], [1, 0, 0]], dtype=F64),
    torch.tensor([[-1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=F64),  # a reflection
    torch.tensor([[0, 0, 1], [0, -1, 0], [1, 0, 0]], dtype=F64),
]
ABOUT_LINE = torch.tensor([[0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=F64)


def built(seed=2, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = EquivariantVelocity(8, 2, 9.0, (4.0, 8.0), **options).double().eval()
        for parameter in network.parameters():  # also those that begin at zero
            torch.nn.init.normal_(parameter, std=0.3)
    return network


def cloud(seed, n=120):
    generator = torch.Generator().manual_seed(seed)
    return SIDE * torch.rand(n, 3, generator=generator, dtype=F64), 1e12 * (
        1 + 20 * torch.rand(n, generator=generator, dtype=F64)
    )


def velocities(network, positions, masses):
    inputs = {"position": positions[None] % SIDE, "mass": masses[None], "box_size": torch.tensor([SIDE], dtype=F64)}
    with torch.no_grad():
        return network(**inputs)["velocity"][0]


def gap(one, other):
    return float((one - other).abs().max() / one.abs().max())


@pytest.mark.parametrize("turn", TURNS)
def test_velocities_turn_with_the_symmetries_of_the_cube(turn):
    network, (positions, masses) = built(), cloud(1)
    assert gap(velocities(network, positions, masses) @ turn.T, velocities(network, positions @ turn.T, masses)) < 1e-10


def test_in_redshift_space_they_turn_about_the_line_of_sight_only():
    network, (positions, masses) = built(betas=(0.0, 1.0)), cloud(2)
    still = velocities(network, positions, masses)
    assert gap(still @ ABOUT_LINE.T, velocities(network, positions @ ABOUT_LINE.T, masses)) < 1e-10
    assert gap(still @ TURNS[0].T, velocities(network, positions @ TURNS[0].T, masses)) > 1e-3
    turned = network.view.look(positions @ TURNS[0].T % SIDE, masses, SIDE, TURNS[0][:, 2])  # the line turned too
    with torch.no_grad():
        assert gap(still @ TURNS[0].T, network.velocities(turned)) < 1e-10


def test_velocities_stay_under_translations():
    network, (positions, masses) = built(), cloud(3)
    still = velocities(network, positions, masses)
    cell = SIDE / 20  # the mesh has 1.25 points for each 4 Mpc/h, rounded up to 20
    cells = torch.tensor([3.0, 19.0, 8.0], dtype=F64) * cell
    assert gap(still, velocities(network, positions + cells, masses)) < 1e-10
    assert gap(still, velocities(network, positions + torch.tensor([7.7, 0.4, 31.0], dtype=F64), masses)) < 0.1


def test_messages_turn_with_every_rotation():
    generator = torch.Generator().manual_seed(4)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=F64)).Q
    network, (positions, masses) = built(), cloud(5)
    seen = network.view.look(positions, masses, SIDE)
    graph = type(seen.graph)(seen.graph.edge_index, seen.graph.pointer, seen.graph.vectors @ turn.T)
    with torch.no_grad():
        turned = network.velocities(Features(seen.scalars, seen.vectors @ turn.T, graph))
        assert gap(network.velocities(seen) @ turn.T, turned) < 1e-12


def test_order_of_the_nodes_does_not_matter():
    network, (positions, masses) = built(), cloud(6)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(7))
    still, shuffled = velocities(network, positions, masses), velocities(network, positions[order], masses[order])
    assert gap(still[order], shuffled) < 1e-10


def test_masses_count_by_their_ratios_only():
    network, (positions, masses) = built(), cloud(8)
    assert gap(velocities(network, positions, masses), velocities(network, positions, 7 * masses)) < 1e-12
    assert gap(velocities(network, positions, masses), velocities(network, positions, masses**1.1)) > 1e-3
    blind = built(powers=(0.0,))
    assert gap(velocities(blind, positions, masses), velocities(blind, positions, masses**1.1)) == 0


def test_gradient_of_the_positions_is_that_of_the_map():
    network, (positions, masses) = built(), cloud(9, 40)
    inputs = {"mass": masses[None], "box_size": torch.tensor([SIDE], dtype=F64)}
    generator = torch.Generator().manual_seed(10)
    step = torch.randn(40, 3, generator=generator, dtype=F64)
    probe = torch.randn(40, 3, generator=generator, dtype=F64)
    positions.requires_grad_()
    (network(position=positions[None], **inputs)["velocity"][0] * probe).sum().backward()
    slope, h = (positions.grad * step).sum(), 1e-6
    with torch.no_grad():
        ends = [velocities(network, positions + s * h * step, masses) for s in (-1, 1)]
    assert float(((ends[1] - ends[0]) * probe).sum() / (2 * h)) == pytest.approx(float(slope), rel=1e-4)
