"""Sobol indices against closed forms and a peer, and what their intervals cover."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import scipy.stats as st
from sciml_mfuq.propagation.laws import Law
from sciml_mfuq.propagation.sobol import sobol_indices
from sciml_mfuq.study.functions import BOREHOLE_INPUTS, CASES, borehole

ISHIGAMI = Law.uniform(np.tile([[-np.pi, np.pi]], (3, 1)))
FIRST, TOTAL = (0.3139, 0.4424, 0.0), (0.5576, 0.4424, 0.2437)


def ishigami(x):
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


@pytest.mark.parametrize("seed", [3, 5, 7, 9, 11])
def test_indices_of_ishigami_are_the_closed_ones(seed):
    found = sobol_indices(ishigami, ISHIGAMI, seed=seed)
    assert np.abs(found.first.value - FIRST).max() <= 0.01
    assert np.abs(found.total.value - TOTAL).max() <= 0.01
    for index, truth in ((found.first, FIRST), (found.total, TOTAL)):
        low, high = index.interval()
        assert np.all((low <= truth) & (truth <= high))


def test_linear_model_of_any_marginals_splits_by_variance():
    law = Law({"a": st.norm(5, 2), "b": st.expon(scale=3), "c": st.uniform(0, np.sqrt(12))})
    found = sobol_indices(lambda x: 1e4 + x.sum(1), law, 2**14, seed=5)
    share = np.array([4, 9, 1]) / 14
    assert np.allclose(found.first.value, share, atol=0.01)
    assert np.allclose(found.total.value, share, atol=0.01)


def first_of_borehole_radius(n=2**16, n_inner=24):
    """Return S1 of r_w by an integral over it of means over the other inputs: no sampling formula of the indices."""
    bounds = CASES["borehole"].bounds
    nodes, weights = np.polynomial.legendre.leggauss(n_inner)
    others = Law.uniform(bounds).sample(n, seed=77)
    values = borehole(others)
    radii = bounds[0, 0] + (nodes + 1) / 2 * np.diff(bounds[0])[0]
    means = []
    for radius in radii:
        others[:, 0] = radius
        means.append(borehole(others).mean())
    means, weights = np.array(means), weights / 2
    return float(weights @ means**2 - (weights @ means) ** 2) / values.var()


def test_first_index_of_the_borehole_radius_is_the_converged_one():
    case = CASES["borehole"]
    truth = first_of_borehole_radius()
    found = sobol_indices(case.levels[-1], Law.uniform(case.bounds, names=BOREHOLE_INPUTS), 2**13, seed=7)
    at = found.names.index("r_w")
    assert abs(found.first.value[at] - truth) <= 0.02
    low, high = found.first.interval()
    assert low[at] <= truth <= high[at]
    data = found.to_xarray()
    assert float(data["first"].sel(input="r_w")) == found.first.value[at]
    assert data["total_error"].dims == ("input", "error")


@pytest.mark.skipif(importlib.util.find_spec("SALib") is None, reason="SALib is not installed")
def test_indices_agree_with_salib():
    from SALib.analyze import sobol as analyze
    from SALib.sample import sobol as sample

    case = CASES["borehole"]
    problem = {"num_vars": 8, "names": list(BOREHOLE_INPUTS), "bounds": case.bounds.tolist()}
    points = sample.sample(problem, 2**12, calc_second_order=False, seed=5)
    peer = analyze.analyze(problem, case.levels[-1](points), calc_second_order=False, seed=5)
    found = sobol_indices(case.levels[-1], Law.uniform(case.bounds), 2**12, seed=5)
    assert np.abs(found.first.value - peer["S1"]).max() < 0.01
    assert np.abs(found.total.value - peer["ST"]).max() < 0.01
    # both resample rows; SALib tells the half-width at 95 %
    assert np.allclose(1.96 * found.total.sampling, peer["ST_conf"], rtol=0.3, atol=2e-3)


def test_intervals_cover_although_their_bootstrap_ignores_the_balance_of_the_points():
    covered = []
    for seed in range(1, 41):
        found = sobol_indices(ishigami, ISHIGAMI, 2**9, seed=seed, n_bootstrap=50)
        for index, truth in ((found.first, FIRST), (found.total, TOTAL)):
            low, high = index.interval()
            covered.append((low <= truth) & (truth <= high))
    assert np.mean(covered) >= 0.95


def test_surrogate_error_widens_and_covers_the_truth():
    s, covered = 0.6, []
    for seed in range(1, 17):
        generator = np.random.default_rng(seed)
        waves, phases = generator.standard_normal((60, 3)) / (2.0 * 1.8), generator.uniform(0, 2 * np.pi, 60)

        def surrogate(x, waves=waves, phases=phases):
            wrong = s * np.cos(x @ waves.T + phases).sum(1) * np.sqrt(2 / 60)
            return ishigami(x) + wrong, np.full(len(x), s)

        found = sobol_indices(surrogate, ISHIGAMI, 2**10, seed=3, n_bootstrap=20)
        assert np.all(found.first.standard_error > found.first.sampling)
        for index, truth in ((found.first, FIRST), (found.total, TOTAL)):
            covered.append(np.abs(index.value - truth) <= 1.96 * index.standard_error)
    assert np.mean(covered) >= 0.93


def test_certain_surrogate_widens_nothing():
    plain = sobol_indices(ishigami, ISHIGAMI, 2**8, seed=3)
    told = sobol_indices(lambda x: (ishigami(x), np.zeros(len(x))), ISHIGAMI, 2**8, seed=3)
    assert np.array_equal(plain.first.value, told.first.value)
    assert told.first.surrogate.max() < 1e-12
    assert np.all(plain.total.surrogate == 0)


def test_what_has_no_indices_is_refused_in_a_sentence():
    correlated = Law({"a": st.norm(), "b": st.norm()}, [[1, 0.5], [0.5, 1]])
    with pytest.raises(ValueError, match="independent inputs"):
        sobol_indices(lambda x: x.sum(1), correlated, 64, seed=3)
    with pytest.raises(ValueError, match="vary"):
        sobol_indices(lambda x: np.full(len(x), 4.0), ISHIGAMI, 64, seed=3)
    with pytest.raises(ValueError, match="finite"):
        sobol_indices(lambda x: np.where(x[:, 0] > 0, np.inf, 1.0), ISHIGAMI, 64, seed=3)
    with pytest.raises(ValueError, match="ask for more"):
        sobol_indices(ishigami, ISHIGAMI, 1, seed=3)
