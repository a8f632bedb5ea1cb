"""Laws of the inputs: exact marginals, the copula's correlation, and what quasi-random points gain."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.stats as st
from sciml_mfuq.propagation.laws import Law
from scipy.special import ndtri

MARGINALS = {
    "speed": st.uniform(10, 5),
    "angle": st.norm(2, 0.3),
    "gap": st.lognorm(0.5, scale=1e-3),
    "load": st.gamma(2),
}
CORRELATION = np.array([[1, 0.6, 0, -0.3], [0.6, 1, 0.2, 0], [0, 0.2, 1, 0.5], [-0.3, 0, 0.5, 1]])


@pytest.mark.parametrize("method", ["sobol", "lhs", "random"])
@pytest.mark.parametrize("correlation", [None, CORRELATION])
def test_marginals_are_exact_with_and_without_correlation(method, correlation):
    x = Law(MARGINALS, correlation).sample(4096, seed=11, method=method)
    assert x.shape == (4096, 4)
    for column, marginal in zip(x.T, MARGINALS.values(), strict=True):
        assert st.kstest(column, marginal.cdf).pvalue > 1e-3


@pytest.mark.parametrize("method", ["sobol", "lhs", "random"])
def test_normal_scores_have_the_correlation_asked_for(method):
    x = Law(MARGINALS, CORRELATION).sample(2**14, seed=13, method=method)
    scores = [ndtri(marginal.cdf(column)) for column, marginal in zip(x.T, MARGINALS.values(), strict=True)]
    assert np.allclose(np.corrcoef(scores), CORRELATION, atol=4 / np.sqrt(len(x)))


def rmse(method, n, n_repeats=32):
    law = Law.uniform(np.tile([[0.0, 1.0]], (3, 1)))
    means = [np.exp(law.sample(n, [n, seed], method).sum(1)).mean() for seed in range(1, n_repeats + 1)]
    return np.sqrt(np.mean((np.array(means) - (np.e - 1) ** 3) ** 2))


def test_error_on_a_smooth_integrand_falls_faster_for_quasi_random_points():
    order = {m: np.log2(rmse(m, 2**6) / rmse(m, 2**12)) / 6 for m in ("sobol", "random")}
    assert order["random"] == pytest.approx(0.5, abs=0.15)
    assert order["sobol"] > 1.2  # 3/2 up to logarithms
    assert rmse("lhs", 2**8) < rmse("random", 2**8) / 2


def test_batches_are_the_sample_and_any_number_of_points_is_drawn_without_a_warning():
    law = Law(MARGINALS, CORRELATION)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in (1, 3, 100, 1000, 1024):
            parts = list(law.batches(n, seed=7, size=64))
            assert max(map(len, parts)) <= 64
            assert np.array_equal(np.concatenate(parts), law.sample(n, seed=7))


def test_same_seed_gives_the_same_points_and_another_seed_others():
    law = Law(MARGINALS)
    for method in ("sobol", "lhs", "random"):
        assert np.array_equal(law.sample(50, seed=3, method=method), law.sample(50, seed=3, method=method))
        assert not np.any(law.sample(50, seed=3, method=method) == law.sample(50, seed=4, method=method))


def test_points_stay_finite_although_quantiles_at_the_ends_are_infinite():
    law = Law({"a": st.norm(), "b": st.expon()}, [[1, 0.999], [0.999, 1]])
    assert np.isfinite(law.from_uniform(np.array([[2.0**-54, 1 - 2.0**-53], [1 - 2.0**-53, 2.0**-54]]))).all()


def test_identity_correlation_is_independence():
    assert Law(MARGINALS, np.eye(4)).independent
    assert not Law(MARGINALS, CORRELATION).independent
    u = np.random.default_rng(5).random((9, 4))
    assert np.array_equal(Law(MARGINALS, np.eye(4)).from_uniform(u), Law(MARGINALS).from_uniform(u))


@pytest.mark.parametrize(
    ("correlation", "words"),
    [
        ([[1, 0.9], [0.1, 1]], "symmetric"),
        ([[2, 0.1], [0.1, 1]], "ones on the diagonal"),
        ([[1, 1], [1, 1]], "eigenvalue"),
        ([[1, 1.2], [1.2, 1]], "eigenvalue -0.2"),
        ([[1.0]], "one row per input"),
        ([[1, np.nan], [np.nan, 1]], "finite"),
    ],
)
def test_impossible_correlation_is_refused(correlation, words):
    with pytest.raises(ValueError, match=words):
        Law({"a": st.norm(), "b": st.norm()}, correlation)


def test_bad_arguments_are_refused_in_a_sentence():
    for given, words in (
        ({}, "got none"),
        ({"a": st.norm}, "frozen"),
        ({"a": 3.0}, "frozen"),
        ({"a": st.norm(0, -1)}, "median"),
    ):
        with pytest.raises(ValueError, match=words):
            Law(given)
    law = Law({"a": st.norm()})
    with pytest.raises(ValueError, match="method"):
        law.sample(8, seed=1, method="halton")
    with pytest.raises(ValueError, match="at least one point"):
        law.sample(0, seed=1)
    with pytest.raises(ValueError, match="0 < u < 1"):
        law.from_uniform(np.array([[0.0]]))
    with pytest.raises(ValueError, match="low < high"):
        Law.uniform([[1.0, 0.0]])
    with pytest.raises(ValueError, match="units"):
        Law({"a": st.norm()}, units={"b": "m"})
