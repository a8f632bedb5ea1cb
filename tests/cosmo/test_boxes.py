"""Generated boxes: growth, forces, displacements and haloes against what is known of them."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import torch
from sciml_cosmo.clustering.power_spectrum import field_spectrum, power_spectrum
from sciml_cosmo.generate import power as power_module
from sciml_cosmo.generate.boxes import BoxesConfig, SimulationConfig, Task, make_boxes, particle_mass, simulate, tasks
from sciml_cosmo.generate.design import cosmologies
from sciml_cosmo.generate.friends import haloes
from sciml_cosmo.generate.linking import friends_of_friends
from sciml_cosmo.generate.particle_mesh import Gravity, Particles, begin, displacements, evolve, gaussian_field
from sciml_cosmo.generate.power import Universe
from scipy.integrate import quad

needs_colossus = pytest.mark.skipif(
    importlib.util.find_spec("colossus") is None, reason="needs colossus: pip install 'sciml-toolkit[cosmo]'"
)
SMALL = SimulationConfig(box_size=40.0, n_particle=16, n_mesh=32, n_step=4, least=5)


def wave_particles(universe, amplitude, a, n=16, n_mesh=32, mode=1):
    """Return particles displaced by the exact solution q + D(a) A sin(k q) along the first axis, and q."""
    axis = np.arange(n) * n_mesh / n
    q = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    move = np.zeros_like(q)
    move[:, 0] = amplitude * np.sin(2 * np.pi * mode / n_mesh * q[:, 0])
    growth = float(universe.growth(a))
    speed = a**2 * float(universe.expansion(a)) * float(universe.growth_rate(a)) * growth
    return Particles(torch.from_numpy(q + growth * move), torch.from_numpy(speed * move), a), q, move


def test_growth_is_the_growing_solution():
    """D = 5/2 Omega_m H integral da / (a H)^3 (Heath 1977), scaled to one today."""
    universe = Universe(0.27, 0.8)

    def heath(a):
        return float(universe.expansion(a)) * quad(lambda s: (s * float(universe.expansion(s))) ** -3, 0, a)[0]

    for a in (0.1, 0.4, 0.8):
        assert float(universe.growth(a)) == pytest.approx(heath(a) / heath(1.0), rel=1e-8)
        step = 1e-5
        slope = math.log(float(universe.growth(a * (1 + step)) / universe.growth(a * (1 - step)))) / (2 * step)
        assert float(universe.growth_rate(a)) == pytest.approx(slope, rel=1e-7)


@needs_colossus
def test_power_has_its_sigma_8():
    universe, k = Universe(0.3, 0.77), np.geomspace(1e-4, 30, 4000)
    x = 8 * k
    window = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    variance = np.trapezoid(k**3 * universe.power(k) * window**2 / (2 * np.pi**2), np.log(k))
    assert math.sqrt(variance) == pytest.approx(0.77, rel=2e-3)
    assert universe.power(np.array([0.0])).tolist() == [0.0]


def test_gaussian_field_has_the_power_it_is_drawn_from():
    def slope(k):
        return 5e3 * (k / 0.1) ** -1.5

    spectra = [field_spectrum(gaussian_field(slope, 24, 5.0, [6, i]), 120.0) for i in range(12)]
    ratio = np.mean([one.power for one in spectra], axis=0) / slope(spectra[0].k)
    error = np.sqrt(2 / spectra[0].n_mode / len(spectra))
    assert (np.abs(ratio - 1) < 4 * error + 0.02).all()  # a shell has a width


def test_plane_wave_has_no_second_order():
    n = 16
    wave = torch.cos(2 * math.pi * torch.arange(n, dtype=torch.float64) / n)[:, None, None].expand(n, n, n)
    first, second = displacements(torch.fft.rfftn(0.3 * wave))
    k = 2 * math.pi / n
    wanted = -0.3 / k * torch.sin(k * torch.arange(n, dtype=torch.float64))
    assert torch.allclose(first[0, :, 3, 5], wanted, atol=1e-12)
    assert first[1:].abs().max() < 1e-12
    assert second.abs().max() < 1e-12


def test_crossed_waves_have_the_second_order_of_their_product():
    """delta = A (cos kx + cos ky): the source is A^2 cos kx cos ky, and psi2_x = A^2 sin kx cos ky / (2 k)."""
    n, amplitude = 16, 0.2
    k = 2 * math.pi / n
    x = k * torch.arange(n, dtype=torch.float64)
    density = amplitude * (torch.cos(x)[:, None, None] + torch.cos(x)[None, :, None]).expand(n, n, n)
    second = displacements(torch.fft.rfftn(density))[1]
    wanted = amplitude**2 / (2 * k) * torch.sin(x)[:, None] * torch.cos(x)[None, :]
    assert torch.allclose(second[0, :, :, 4], wanted, atol=1e-12)
    assert second[2].abs().max() < 1e-12


def test_forces_add_up_to_zero_and_move_no_particle_by_itself():
    generator = torch.Generator().manual_seed(17)
    positions = 32 * torch.rand(16**3, 3, generator=generator, dtype=torch.float64)
    force = Gravity(32, 16, positions)(positions)
    assert force.sum(0).abs().max() < 1e-10 * force.abs().sum()
    alone = torch.tensor([[3.3, 8.1, 5.9]], dtype=torch.float64)
    assert Gravity(8, 1, alone)(alone).abs().max() < 1e-9


def test_plane_wave_follows_zeldovich_until_shells_cross():
    """In one dimension x = q + D A sin(k q) is exact until D A k = 1; here from 0.2 to 0.8 of that, in six steps.

    What is left is the smoothing of the wave's steep part by the mesh: its error falls with the cell.
    """
    universe, errors = Universe(0.3, 0.8), []
    for n in (16, 32, 64):
        amplitude = 0.8 * n / (2 * np.pi)
        particles, q, move = wave_particles(universe, amplitude, 0.2, n, n)
        found = evolve(universe, particles, np.linspace(0.2, 1.0, 7), n)
        off = (found.positions.numpy() - (q + move) + n / 2) % n - n / 2
        speed = float(universe.expansion(1.0) * universe.growth_rate(1.0))
        slow = found.momenta.numpy()[:, 0] - speed * move[:, 0]
        errors.append([np.sqrt((off[:, 0] ** 2).mean()) / amplitude, np.sqrt((slow**2).mean()) / amplitude / speed])
        assert np.abs(off[:, 1:]).max() < 1e-9
    errors = np.array(errors)
    assert (errors[1:] < 0.7 * errors[:-1]).all()
    assert (errors[2] < [0.008, 0.02]).all()


@needs_colossus
def test_long_waves_grow_linearly_and_momentum_is_kept():
    """Power over that of the same linear field, in two boxes with cells of 3.1 Mpc/h, for k < 0.08 h/Mpc."""
    universe, box, n_mesh = Universe(0.3, 0.8), 200.0, 64
    edges, ratios = 2 * np.pi / box * np.array([0.5, 1.5, 2.5]), []
    for number in range(2):
        density = gaussian_field(universe.power, 32, box / 32, [21, number])
        found = evolve(universe, begin(universe, density, 0.1, n_mesh), np.linspace(0.1, 1, 9), n_mesh)
        grown = power_spectrum(found.positions.double().numpy() * box / n_mesh, box, n_mesh, edges=edges)
        # the particles began on a lattice, which has no shot noise on such scales
        ratios.append((grown.power + grown.shot_noise) / field_spectrum(density, box, edges).power)
        momenta = found.momenta.double()
        assert float(momenta.sum(0).norm() / momenta.norm(dim=1).sum()) < 1e-6
    assert np.mean(ratios, axis=0) == pytest.approx(1, abs=0.05)


def test_friends_are_those_of_brute_force():
    rng = np.random.default_rng(31)
    for n_node, box, link in ((400, 10.0, 0.9), (60, 1.0, 0.3), (300, 5.0, 2.4), (500, 7.0, 0.01)):
        x = rng.uniform(0, box, (n_node, 3))
        gap = np.abs(x[:, None] - x[None])
        near = (np.minimum(gap, box - gap) ** 2).sum(-1) <= link**2
        wanted = np.arange(n_node)
        while True:
            smallest = np.where(near, wanted, n_node).min(1)
            if (smallest == wanted).all():
                break
            wanted = smallest
        found = friends_of_friends(x, box, link)
        assert (found[:, None] == found[None]).tolist() == (wanted[:, None] == wanted[None]).tolist()


def test_halo_across_the_edge_has_its_centre_there():
    x = np.array([[9.9, 5.0, 0.1], [0.1, 5.0, 9.9], [0.3, 5.0, 9.7], [4.0, 4.0, 4.0], [4.1, 4.0, 4.0], [7.0, 7.0, 7.0]])
    v = np.arange(18.0).reshape(6, 3)
    found = haloes(x, v, np.array([1, 1, 1, 0, 0, 2]), 10.0, 2)
    assert found.counts.tolist() == [3, 2]
    assert np.allclose(found.positions, [[0.1, 5.0, 9.9], [4.05, 4.0, 4.0]])
    assert np.allclose(found.velocities, [v[:3].mean(0), v[3:5].mean(0)])
    assert len(haloes(x, v, np.arange(6), 10.0, 2).counts) == 0


def test_designs_fill_the_priors_and_begin_alike():
    design = cosmologies(64, 7)
    assert (cosmologies(9, 7) == design[:9]).all()
    assert not (cosmologies(64, 8) == design).any()
    # one point in each of 64 equal intervals of either parameter
    for values, low, high in zip(design.T, (0.1, 0.6), (0.5, 1.0), strict=True):
        assert sorted(np.floor((values - low) / (high - low) * 64).astype(int)) == list(range(64))


@needs_colossus
def test_boxes_of_a_short_design_are_the_first_of_a_long_one(tmp_path):
    long = make_boxes(BoxesConfig(4, SMALL), 5, tmp_path / "long", n_worker=1)
    short = make_boxes(BoxesConfig(2, SMALL), 5, tmp_path / "short", n_worker=1)
    for one, other in zip(short, long, strict=False):
        assert (one.positions == other.positions).all()
        assert (one.velocities == other.velocities).all()
    assert [cloud.simulation for cloud in long] == [0, 1, 2, 3]
    cosmology = {"Omega_m": tasks(BoxesConfig(4, SMALL), 5)[3].omega_m, "sigma_8": float(cosmologies(4, 5)[3, 1])}
    assert long[3].cosmology == cosmology
    assert long[3].masses is not None
    counts = long[3].masses / particle_mass(cosmology["Omega_m"], SMALL)
    assert np.allclose(counts, np.round(counts))
    assert (np.diff(counts) <= 1e-6).all()
    assert counts.min() > SMALL.least - 0.5


@needs_colossus
def test_boxes_that_are_kept_are_not_made_again(tmp_path, monkeypatch):
    first = make_boxes(BoxesConfig(2, SMALL), 5, tmp_path, n_worker=1)
    monkeypatch.setattr("sciml_cosmo.generate.boxes.simulate", lambda task: pytest.fail("made again"))
    again = make_boxes(BoxesConfig(2, SMALL), 5, tmp_path, n_worker=1)
    assert all((one.positions == other.positions).all() for one, other in zip(first, again, strict=True))


@needs_colossus
def test_velocities_are_those_of_the_particles_in_km_per_s():
    """Haloes move as their particles do: the scatter of both agrees, a few hundred km/s in a box of 40 Mpc/h."""
    particles, found = simulate(Task(0.3, 0.8, 23, 1, SMALL))
    spread = float(particles.momenta.double().std()) * 100 * SMALL.box_size / SMALL.n_mesh
    assert 0.5 < found.velocities.std() / spread < 1.5
    assert 50 < spread < 500


def test_absent_colossus_is_told_in_a_sentence(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(power_module.importlib, "import_module", missing)
    with pytest.raises(RuntimeError, match=r"expected the package colossus, got none; install it with: pip install"):
        make_boxes(BoxesConfig(1, SMALL), 5)


def test_wrong_settings_are_told_in_a_sentence():
    universe = Universe(0.3, 0.8)
    particles, _, _ = wave_particles(universe, 0.1, 0.5)
    with pytest.raises(ValueError, match="expected scale factors that rise"):
        evolve(universe, particles, np.array([0.4, 1.0]), 32)
    with pytest.raises(ValueError, match="n_box: expected at least one box"):
        BoxesConfig(0)
    with pytest.raises(ValueError, match="SimulationConfig: expected"):
        SimulationConfig(n_particle=64, n_mesh=32)
    with pytest.raises(ValueError, match="Universe: expected"):
        Universe(0.04, 0.8)
    with pytest.raises(ValueError, match="friends_of_friends: expected positions"):
        friends_of_friends(np.array([[11.0, 0, 0]]), 10.0, 0.5)
    with pytest.raises(ValueError, match="friends_of_friends: expected positions"):
        friends_of_friends(np.array([[1.0, 0, 0]]), 10.0, 6.0)
    with pytest.raises(ValueError, match="cosmologies: expected at least one"):
        cosmologies(0, 3)
