from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from sciml_cosmo.generate.bench_trees import count, heaviest_sum
from sciml_cosmo.generate.branching import grow, tables_of, unresolved
from sciml_cosmo.generate.design import cosmologies
from sciml_cosmo.generate.halo_structure import G, age, concentration, fastest, formation
from sciml_cosmo.generate.merger_trees import TreesConfig, make_forest
from sciml_cosmo.generate.power import Universe
from sciml_cosmo.generate.press_schechter import COLLAPSE, FITTED, PLAIN, tabulate
from sciml_cosmo.generate.tree_figures import columns, draw_tree
from sciml_cosmo.trees.definitions import ladder
from sciml_cosmo.trees.transforms import trim
from scipy.integrate import quad
from scipy.special import erfc

SMALL = TreesConfig(n_cosmology=3, n_tree_each=2)
CORNERS = [(0.1, 0.6), (0.1, 1.0), (0.3, 0.8), (0.5, 0.6), (0.5, 1.0)]


@pytest.fixture(scope="module")
def forest():
    return make_forest(SMALL, seed=5)


@pytest.fixture(scope="module")
def theory():
    return tabulate(Universe(0.3, 0.8), 1e8, 2e14)


def equal(one, other):
    arrays = ("features", "descendant", "start", "targets", "simulation")
    same = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
    return same and all(np.array_equal(one.extra[name], other.extra[name]) for name in one.extra)


def test_trees_depend_on_their_seed_and_number_only(forest):
    assert equal(make_forest(SMALL, seed=5), forest)
    assert not equal(make_forest(SMALL, seed=6), forest)
    more = make_forest(TreesConfig(n_cosmology=4, n_tree_each=3), seed=5)
    assert equal(more.take([0, 1, 3, 4, 6, 7]), forest)


def test_trees_grown_by_workers_or_found_again_are_the_same(forest, tmp_path):
    assert equal(make_forest(SMALL, seed=5, n_worker=2, folder=tmp_path), forest)
    stored = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(stored) == 3
    assert equal(make_forest(SMALL, seed=5, folder=tmp_path), forest)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stored


def test_progenitors_never_weigh_more_than_their_descendant(forest):
    progenitor, descendant = forest.edge_index
    assert (forest.features[progenitor, 0] < forest.features[descendant, 0]).all()
    assert heaviest_sum(forest) < 1


def test_haloes_are_resolved_and_roots_within_their_range(forest):
    mass, a = 10.0 ** forest.features[:, 0].astype(float), forest.features[:, 3]
    assert mass.min() > 3e10 * (1 - 1e-6)
    assert mass[forest.start[:-1]].min() > 1e13 * (1 - 1e-6)
    assert mass[forest.start[:-1]].max() < 1e14 * (1 + 1e-6)
    assert np.allclose(a, 11.0 ** (-forest.extra["snapshot"] / 59), rtol=1e-6)
    assert equal(trim(forest, 3e10), forest)
    assert np.array_equal(forest.targets, cosmologies(3, 5)[forest.simulation])


def test_progenitors_of_a_node_come_one_snapshot_before_it(forest):
    progenitor, descendant = forest.edge_index
    snapshot = forest.extra["snapshot"]
    assert (snapshot[progenitor] == snapshot[descendant] + 1).all()
    assert (forest.extra["path_length"][progenitor] == 1).all()


def test_main_branch_follows_the_heaviest_progenitor(forest):
    main, mass = forest.extra["main_branch"], forest.features[:, 0]
    for tree in range(forest.n_tree):
        nodes = np.arange(forest.start[tree], forest.start[tree + 1])
        node = nodes[0]
        followed = {node}
        while len(above := np.flatnonzero(forest.descendant == node)):
            node = above[np.argmax(mass[above])]
            followed.add(node)
        assert set(nodes[main[nodes]]) == followed


@pytest.mark.parametrize(("omega_m", "sigma_8"), CORNERS)
def test_splits_are_drawn_from_a_bound_of_their_rate(omega_m, sigma_8):
    theory = tabulate(Universe(omega_m, sigma_8), 1e10, 1e15)
    for parent in (1e11, 1e12, 1e13, 1e14):
        mass = np.geomspace(1.5e10, parent / 2, 200)
        rate = theory.rate(parent, mass, COLLAPSE, replace(PLAIN, gamma1=FITTED.gamma1))
        q, half, parent_sigma = mass / parent, theory.sigma(mass[-1]), theory.sigma(np.array(parent))
        alpha = np.interp(np.log(mass[-1]), theory.log_mass, theory.slope)
        v = theory.sigma(mass) ** 2 / (theory.sigma(mass) ** 2 - parent_sigma**2) ** 1.5
        beta = np.log(v[0] / v[-1]) / np.log(2 * q[0])
        factor = (half / parent_sigma * (2 * q) ** -alpha) ** FITTED.gamma1
        bound = np.sqrt(2 / np.pi) * alpha * v[-1] * (2 * q) ** beta / q * factor
        assert (rate <= bound * (1 + 1e-4)).all()


def test_smooth_infall_has_the_integral_of_the_paper():
    for gamma1 in (0.38, 0.0, -0.2):
        for u in (0.02, 0.5, 3.0, 40.0):
            expected = quad(lambda v, g=gamma1: (1 + v**-2) ** (g / 2), 0, u, limit=200)[0]
            assert unresolved(np.array(u), gamma1) == pytest.approx(expected, rel=1e-6)


def test_sigma_is_that_of_the_power_spectrum(theory):
    eight = 4 / 3 * np.pi * 8**3 * 2.77536627e11 * 0.3
    assert tabulate(Universe(0.3, 0.8), 1e8, 1e15).sigma(np.array(eight)) == pytest.approx(0.8, rel=1e-5)
    cosmology = pytest.importorskip("colossus.cosmology.cosmology")
    flat = {"flat": True, "H0": 67.11, "Om0": 0.3, "Ob0": 0.049, "sigma8": 0.8, "ns": 0.9624}
    theirs = cosmology.Cosmology(name="flat", relspecies=False, persistence="", **flat)
    mass = np.geomspace(1e9, 1e14, 20)
    radius = np.cbrt(3 * mass / (4 * np.pi * 2.77536627e11 * 0.3))
    assert theory.sigma(mass) == pytest.approx(theirs.sigma(radius), rel=1e-3)  # they interpolate to that
    a = np.array([0.1, 0.3, 0.7])
    assert theory.barrier_at(a) == pytest.approx(COLLAPSE / theirs.growthFactor(1 / a - 1), rel=1e-4)
    assert theory.scale_factor_at(theory.barrier_at(a)) == pytest.approx(a, rel=1e-6)


def test_progenitors_hold_the_mass_that_has_crossed_the_barrier(theory):
    # the share of the mass in progenitors above M is erfc(dw / (2 dS)^(1/2))
    for step in (0.1, 0.8):
        log_mass = np.linspace(np.log(1e10), np.log(1e13) - 1e-9, 2_000_001)
        mass = np.exp(log_mass)
        share = np.trapezoid(mass / 1e13 * theory.progenitors(1e13, mass, COLLAPSE, COLLAPSE + step), log_mass)
        spread = theory.sigma(mass[0]) ** 2 - theory.sigma(np.array(1e13)) ** 2
        assert share == pytest.approx(erfc(step / np.sqrt(2 * spread)), abs=2e-3)


@pytest.mark.parametrize("modifier", [FITTED, PLAIN])
def test_progenitors_of_a_small_step_are_those_of_theory(theory, modifier):
    one = count(theory, modifier, 1e13, 0.1, np.random.default_rng(17), n_halo=10_000)
    assert (np.abs(one.found - one.expected) < 4.5 * one.error + 0.03 * one.expected).all()


def test_mass_that_falls_in_unresolved_is_that_of_theory(theory):
    tables, rng = tables_of(theory, PLAIN, 1e10), np.random.default_rng(19)
    left = [grow(1e13, np.array([COLLAPSE, COLLAPSE + 0.05]), tables, rng)[0][1:].sum() / 1e13 for _ in range(4000)]
    spread = theory.sigma(np.array(1e10)) ** 2 - theory.sigma(np.array(1e13)) ** 2
    assert 1 - np.mean(left) == pytest.approx(1 - erfc(0.05 / np.sqrt(2 * spread)), rel=0.03)


def test_formation_is_read_off_the_branch_where_it_is_resolved(theory):
    tables = tables_of(theory, FITTED, 1e10)
    mass, first = np.array([1e13, 1e12, 1e11]), np.array([1, 2, -1])
    omega = np.array([1.7, 2.0, 3.0])
    found = formation(mass, first, omega, np.full(3, 0.5), tables)
    assert found[0] == pytest.approx(2.0 + np.log(1e12 / 4e11) / np.log(10))  # even in ln M between two snapshots
    f = 0.04
    b = 0.815 * np.exp(-2 * f**3) * f**-0.707
    spread = theory.sigma(np.array(4e9)) ** 2 - theory.sigma(np.array(1e11)) ** 2
    assert found[2] == pytest.approx(3.0 + np.sqrt(2 * np.log(b + 1) * spread), rel=1e-6)  # the median
    late = formation(mass, first, omega, np.full(3, 0.9), tables)
    assert late[0] == found[0]
    assert late[2] < found[2]


def test_age_is_the_integral_over_the_expansion():
    universe = Universe(0.3, 0.8)
    for a in (0.2, 1.0):
        time = quad(lambda x: 1 / (x * universe.expansion(x)), 0, a)[0]
        assert 2 / (3 * np.sqrt(0.7)) * age(0.3, a) == pytest.approx(time, rel=1e-7)


def test_haloes_that_formed_earlier_are_denser_inside():
    formed = np.array([0.1, 0.2, 0.4, 0.9])
    c = concentration(0.3, np.ones(4), formed)
    assert (np.diff(c) < 0).all()
    assert c[-1] == pytest.approx(4, rel=1e-3)


def test_largest_speed_is_that_of_the_profile():
    universe, mass, a = Universe(0.3, 0.8), 1e12, 0.5
    for c in (4.0, 10.0, 30.0):
        x = universe.omega_m / (a**3 * universe.expansion(a) ** 2) - 1
        density = (18 * np.pi**2 + 82 * x - 39 * x**2) * 2.77536627e11 * universe.expansion(a) ** 2
        virial = np.cbrt(3 * mass / (4 * np.pi * density))  # physical, Mpc/h
        r = virial * np.geomspace(1e-3, 1, 20_000)
        y = c * r / virial
        inside = mass * (np.log1p(y) - y / (1 + y)) / (np.log1p(c) - c / (1 + c))
        speed = np.sqrt(G * inside / r).max()
        assert fastest(universe, a, mass, c) == pytest.approx(speed, rel=1e-3)


def test_design_fills_the_priors_and_its_prefix_is_a_design():
    design = cosmologies(64, seed=3)
    assert np.array_equal(cosmologies(10, seed=3), design[:10])
    assert not np.array_equal(cosmologies(64, seed=4), design)
    unit = (design - [0.1, 0.6]) / 0.4
    cells = np.floor(unit * 8).astype(int) @ [8, 1]
    assert np.array_equal(np.bincount(cells, minlength=64), np.ones(64))  # one point in each of 8 x 8 cells
    with pytest.raises(ValueError, match="cosmologies: expected at least one"):
        cosmologies(0, seed=3)


@pytest.mark.parametrize(
    "wrong", [{"n_tree_each": 0}, {"n_snapshot": 1}, {"resolution": 1e13}, {"margin": 0.5}, {"earliest": 0.0}]
)
def test_configurations_that_make_no_trees_are_refused(wrong):
    with pytest.raises(ValueError, match="trees: expected"):
        replace(SMALL, **wrong)


def test_a_missing_package_is_told_in_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "colossus.cosmology.cosmology", None)
    with pytest.raises(RuntimeError, match=r"^[^;]*expected the package colossus, got none; install it with: [^;]*$"):
        make_forest(SMALL, seed=5)


def test_every_branch_of_a_drawing_has_its_own_column(forest):
    one = forest.take([0])
    place = columns(one)
    n_branch = 1 + int((np.bincount(one.descendant[1:], minlength=len(place)) - 1).clip(min=0).sum())
    assert np.array_equal(np.unique(place), np.arange(n_branch))
    (lines,) = draw_tree(forest, 0).axes[0].collections[:1]
    assert len(lines.get_segments()) == len(place) - 1


def test_side_branches_stand_around_their_own():
    # 0 <- 1 <- 3 is the main branch, 2 joins it with a side branch 5 of its own, 4 joins early
    place = columns(ladder([13.0, 12.5, 11.0, 12.0, 11.5, 10.5, 10.6], [-1, 0, 0, 1, 1, 2, 2]))
    assert place[0] == place[1] == place[3]
    assert place[2] == place[6]
    assert (place[5] < place[0]) == (place[2] < place[0])
    assert (place[4] < place[0]) != (place[2] < place[0])
