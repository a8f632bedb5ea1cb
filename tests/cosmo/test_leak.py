"""The leak guard finds a count and a mass that carry a target, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.parameters.leak import fixed_number, leak_report, targets_of

L = 20.0


def clouds(n=60, count=None, mass=None, seed=3, with_masses=True):
    """Return clouds whose number and masses are functions of Omega_m; positions are noise."""
    generator = np.random.default_rng(seed)
    made = []
    for i in range(n):
        omega, sigma = generator.uniform(0.1, 0.5), generator.uniform(0.6, 1.0)
        n_node = int(count(omega)) if count else 40
        masses = (mass(omega) if mass else 1e13) * 10 ** generator.uniform(0, 1, n_node) if with_masses else None
        truth = {"Omega_m": omega, "sigma_8": sigma}
        made.append(Cloud(generator.uniform(0, L, (n_node, 3)), np.zeros((n_node, 3)), L, masses, truth, 0.0, i))
    return made


def by_probe(leaks):
    return {leak.probe: leak.r2 for leak in leaks}


def test_count_only_probe_finds_a_count_and_fixed_number_silences_it():
    made = clouds(count=lambda omega: 40 + 400 * omega)
    assert by_probe(leak_report(made))["count only"]["Omega_m"] > 0.95
    for seed in (None, 5):
        kept = fixed_number(made, 40, seed)
        assert {len(cloud) for cloud in kept} == {40}
        found = by_probe(leak_report(kept))["count only"]
        assert max(found.values()) <= 0


def test_mass_only_probe_finds_masses_that_scale_with_a_target_and_no_other():
    found = by_probe(leak_report(clouds(mass=lambda omega: 1e13 * omega)))["mass only"]
    assert found["Omega_m"] > 0.9
    assert found["sigma_8"] < 0.3


def test_nothing_leaks_from_noise():
    for found in by_probe(leak_report(clouds(n=200))).values():
        assert max(found.values()) < 0.1


def test_probe_never_sees_a_simulation_that_it_is_judged_on():
    # four clouds of each simulation share a count that names it, but no law binds the count to the target
    generator = np.random.default_rng(8)
    made = []
    for simulation in range(40):
        truth = {"Omega_m": generator.uniform(0.1, 0.5), "sigma_8": 0.8 + 0.001 * simulation}
        for _ in range(4):
            n_node = 20 + (17 * simulation) % 40
            nodes = generator.uniform(0, L, (n_node, 3))
            made.append(Cloud(nodes, np.zeros((n_node, 3)), L, None, truth, 0.0, simulation))
    (found,) = leak_report(made)
    assert found.r2["Omega_m"] < 0.1


def test_probe_reads_no_position():
    made = clouds(count=lambda omega: 40 + 100 * omega)
    moved = [Cloud(c.positions[::-1] / 3, c.velocities, L, c.masses, c.cosmology, 0.0, c.simulation) for c in made]
    assert leak_report(made) == leak_report(moved)


def test_fixed_number_keeps_the_heaviest_or_a_choice_that_depends_on_seed_and_simulation_alone():
    made = clouds(count=lambda omega: 50 + 20 * omega)
    for cloud, kept in zip(made, fixed_number(made, 30), strict=True):
        np.testing.assert_array_equal(kept.masses, np.sort(cloud.masses)[::-1][:30])
    some = fixed_number(made, 30, 5)
    np.testing.assert_array_equal(fixed_number(made[7:9], 30, 5)[0].positions, some[7].positions)
    assert (fixed_number(made, 30, 6)[7].positions != some[7].positions).any()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fixed_number(clouds(), 41), "at least 41 nodes"),
        (lambda: leak_report(clouds(n=3)), "at least 5 simulations"),
        (lambda: leak_report(clouds(), np.zeros((3, 2))), "one row for each"),
        (lambda: targets_of([Cloud(np.ones((2, 3)), np.zeros((2, 3)), L)]), "Omega_m"),
        (lambda: targets_of([]), "got 0"),
    ],
)
def test_bad_input_is_told_in_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()
