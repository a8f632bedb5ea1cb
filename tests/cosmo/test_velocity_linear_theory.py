"""Linear theory: a plane wave flows as it must, the mesh keeps the symmetries of the box, fits find what was put in."""

import math

import numpy as np
import pytest
import torch
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.velocity.linear_theory import Flows, Grid, fit, flow_rate
from sciml_cosmo.velocity.mesh_fields import Mesh, fields_at, flow_of

SIDE, F64 = 80.0, torch.float64
TURN = torch.tensor([[0, -1, 0], [0, 0, 1], [1, 0, 0]], dtype=F64)  # a symmetry of the cube


def points(seed, n=300):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, generator=generator, dtype=F64) * SIDE


def fields(positions, weights=None, line=(0.0, 0.0, 1.0), n_mesh=32):
    weights = torch.ones(1, len(positions), dtype=F64) if weights is None else weights
    line = torch.as_tensor(line, dtype=F64)
    return fields_at(positions, weights, SIDE, (3.0, 6.0), mesh=Mesh(n_mesh), betas=(0.0, 0.5), line=line, tide=True)


def lattice(n):
    axis = torch.arange(n, dtype=F64) / n
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))


@pytest.mark.parametrize("wave", [(1, 0, 0), (2, 1, 0), (3, -2, 5)])
def test_plane_wave_is_recovered_exactly(wave):
    k = 2 * math.pi * torch.tensor(wave, dtype=F64)
    phase = torch.einsum("a,axyz->xyz", k, lattice(16))
    found = flow_of(0.3 * phase.cos(), Mesh(16))
    assert torch.allclose(found, -0.3 * (k / k.square().sum())[:, None, None, None] * phase.sin(), atol=1e-15)


def test_flow_rate_is_f_times_hubble():
    assert flow_rate(1.0, 3.0) == pytest.approx(100 * 4**0.5)  # Einstein and de Sitter: a H = 100 sqrt(1 + z), f = 1
    assert flow_rate(0.3) == pytest.approx(100 * 0.3**0.55)


def plane_wave_of_points(axis, amplitude=0.02, n=24):
    """Return points of equal weight displaced so that their contrast is a cosine along an axis, to first order."""
    k = 2 * math.pi * 2 / SIDE
    places = (lattice(n) * SIDE).flatten(1).T.clone()
    places[:, axis] -= amplitude / k * torch.sin(k * places[:, axis])
    return places % SIDE, k


@pytest.mark.parametrize("axis", [0, 2])
def test_painted_plane_wave_flows_and_kaiser_slows_it_along_the_line_only(axis):
    amplitude = 0.02
    places, k = plane_wave_of_points(axis, amplitude)
    found = fields(places, n_mesh=48)
    smooth = math.exp(-((k * 3.0) ** 2) / 2)
    expected = -smooth * amplitude / k * torch.sin(k * places[:, axis])
    flow = found.flow[0, 0, :, :, axis]
    assert (flow[0] - expected).abs().max() < 0.02 * expected.abs().max()
    assert torch.allclose(flow[1], flow[0] / (1.5 if axis == 2 else 1.0), atol=1e-3 * float(expected.abs().max()))
    cosine = smooth * amplitude * torch.cos(k * places[:, axis])
    assert (found.contrast[0, 0] - cosine).abs().max() < 0.05 * cosine.abs().max()
    assert (found.tide[0, 0, :, axis, axis] - 2 / 3 * cosine).abs().max() < 0.05 * cosine.abs().max()


def test_fields_move_by_whole_cells_and_turn_with_the_cube():
    places = points(1)
    weights = torch.rand(2, 300, generator=torch.Generator().manual_seed(2), dtype=F64) + 0.1
    one, cells = fields(places, weights), torch.tensor([3.0, 30.0, 11.0], dtype=F64) * SIDE / 32
    moved = fields((places + cells) % SIDE, weights)
    turned = fields((places @ TURN.T) % SIDE, weights, TURN @ torch.tensor([0.0, 0.0, 1.0], dtype=F64))
    for name, back in (("contrast", lambda t: t), ("flow", lambda u: u @ TURN), ("tide", lambda t: TURN.T @ t @ TURN)):
        scale = getattr(one, name).abs().max()
        assert (getattr(moved, name) - getattr(one, name)).abs().max() < 1e-12 * scale
        assert (back(getattr(turned, name)) - getattr(one, name)).abs().max() < 1e-12 * scale


def test_fields_move_by_any_step_to_the_aliasing_of_the_mesh():
    places = points(3)
    one, moved = (fields((places + step) % SIDE) for step in (0.0, torch.tensor([1.1, 4.7, 0.3], dtype=F64)))
    scale = one.flow[0, 1].abs().max()
    assert (one.flow[0, 1] - moved.flow[0, 1]).abs().max() < 2e-3 * scale  # smoothed over 2.4 cells


def made(seed, omega_m, amplitude):
    """Return flows whose cloud moves with `amplitude` f H a u of the second smoothing, by mass."""
    grid = Grid((3.0, 5.0), mesh=Mesh(32))
    places = points(seed, 200).numpy()
    masses = np.random.default_rng(seed).lognormal(30, 1, 200)
    still = grid.flows(Cloud(places, np.zeros_like(places), SIDE, masses, {"Omega_m": omega_m}))
    velocities = amplitude * still.rate * still.flow[1, 1, 0]
    return Flows(still.flow, Cloud(places, velocities, SIDE, masses, {"Omega_m": omega_m}))


def test_fit_finds_weighting_smoothing_and_amplitude():
    boxes = [made(seed, omega_m, 0.7) for seed, omega_m in ((4, 0.15), (5, 0.3), (6, 0.45))]
    honest, blind = fit(boxes[:2], 1, True), fit(boxes[:2], 1, False)
    assert (honest.smoothing, honest.amplitude) == (1, pytest.approx(0.7, abs=1e-9))
    assert np.abs(honest.predict(boxes[2]) - boxes[2].cloud.velocities).max() < 1e-9
    oracle = fit(boxes[2:], 1, False)
    assert oracle.amplitude == pytest.approx(0.7 * flow_rate(0.45), abs=1e-9)
    assert np.abs(blind.predict(boxes[2]) - boxes[2].cloud.velocities).max() > 1


def test_wrong_choices_are_refused():
    with pytest.raises(ValueError, match="no smoothing below the cell"):
        fields(points(7), n_mesh=16)
    with pytest.raises(ValueError, match="a line of sight"):
        fields_at(points(8), torch.ones(1, 300, dtype=F64), SIDE, (5.0,), mesh=Mesh(32), betas=(0.3,))
    with pytest.raises(ValueError, match="n_mesh >= 4"):
        Mesh(2)
