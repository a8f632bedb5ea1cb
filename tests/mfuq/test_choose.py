from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sciml_mfuq import choose as subject
from sciml_mfuq.choose import HeldOut, best, choose, folds, hold_out
from sciml_mfuq.engines import fit_engine
from sciml_mfuq.model import evaluate
from sciml_mfuq.samples import Samples
from sciml_mfuq.study.functions import CASES
from scipy.stats import norm


@pytest.mark.parametrize(("n", "n_group"), [(3, 3), (8, 8), (9, 5), (150, 5), (151, 1)])
def test_folds_leave_each_run_out_once_and_a_fifth_of_many(n, n_group):
    parts = folds(n, seed=3)
    assert len(parts) == n_group
    left_out = np.concatenate(parts)
    assert len(set(left_out.tolist())) == len(left_out) == (n if n <= 150 else n // 5)


def test_held_out_runs_are_predicted_by_models_that_did_not_see_them(monkeypatch):
    samples, seen = CASES["park"].sample(5), []

    def fit(engine, given, seed, lower=None):
        seen.append(given.truth.x)
        return original(engine, given, seed, lower)

    original = subject.fit_engine
    monkeypatch.setattr(subject, "fit_engine", fit)
    found = hold_out("gp", samples, seed=5)
    assert sorted(found.truth) == sorted(samples.truth.y)
    parts = folds(len(samples.truth.x), 5)
    for part, x in zip(parts, seen, strict=True):
        assert len(x) == len(samples.truth.x) - len(part)
        assert not (samples.truth.x[part][:, None] == x).all(2).any()


def test_useless_cheap_level_leaves_the_truth_alone():
    samples = CASES["park"].sample(5)
    noise = np.random.default_rng(9).standard_normal(len(samples.levels[0].y))
    spoiled = Samples((replace(samples.levels[0], y=noise), samples.truth), samples.bounds)
    assert choose(samples, ("gp", "cokriging"), seed=5).engine == "cokriging"
    assert choose(spoiled, ("gp", "cokriging"), seed=5).ignores_cheap_levels


def test_engine_that_fails_is_passed_over_with_its_sentence(monkeypatch):
    original = subject.fit_engine

    def fit(engine, given, seed, lower=None):
        if engine == "cokriging":
            raise ValueError("cokriging: expected luck, got none; try again")
        return original(engine, given, seed, lower)

    monkeypatch.setattr(subject, "fit_engine", fit)
    choice = choose(CASES["c1"].sample(5), ("gp", "cokriging"), seed=5)
    assert choice.engine == "gp"
    assert choice.failures == {"cokriging": "cokriging: expected luck, got none; try again"}
    with pytest.raises(ValueError, match="expected luck"):
        choose(CASES["c1"].sample(5), ("cokriging",), seed=5)


def test_two_runs_of_the_truth_give_no_evidence_and_the_first_engine():
    samples = CASES["c1"].sample(5).truth_kept(np.array([True, False, False, True]))
    assert not np.isfinite(hold_out("gp", samples, 5).rmse)
    assert choose(samples, ("cokriging", "gp"), seed=5).engine == "cokriging"


def test_unknown_engine_is_refused():
    with pytest.raises(ValueError, match="choose: expected engines among gp, cokriging"):
        choose(CASES["c1"].sample(5), ("krigging",), seed=5)


def test_log_density_is_that_of_the_normal_law_whose_common_scale_suits_the_truth_best():
    truth, mean, std = np.array([1.0, 2.0, 0.5]), np.array([0.0, 2.5, 0.4]), np.array([1.0, 0.5, 0.2])
    one = HeldOut(truth, mean, std)
    by_scale = [norm.logpdf(truth, mean, scale * std).mean() for scale in np.geomspace(0.1, 10, 2001)]
    assert one.log_density == pytest.approx(max(by_scale), abs=1e-5)
    assert HeldOut(truth, mean, 7 * std).log_density == pytest.approx(one.log_density, rel=1e-12)
    assert one.rmse == pytest.approx(np.sqrt(np.mean([1, 0.25, 0.01])))


def test_an_engine_that_knows_where_it_errs_beats_one_that_errs_a_little_less():
    truth = np.array([0.1, -0.1, 0.1, 3.0])
    aware = HeldOut(truth, np.zeros(4), np.array([0.1, 0.1, 0.1, 3.0]))
    blind = HeldOut(truth, np.array([0.0, 0.0, 0.0, 0.2]), np.full(4, 0.5))
    assert blind.rmse < aware.rmse
    assert best({"blind": blind, "aware": aware}, "") == "aware"


def test_best_takes_the_least_error_where_all_is_sure():
    truth = np.linspace(0, 1, 40)
    close, far = (HeldOut(truth, truth + d, np.full(40, 0.1)) for d in (0.01, 0.2))
    assert best({"far": far, "close": close}, "far") == "close"
    assert best({}, "gp") == "gp"


@pytest.mark.parametrize("engine", ["cokriging", "nargp", "residual"])
def test_cheap_levels_taken_over_are_those_that_would_be_fitted_again(engine):
    samples = CASES["c4"].sample(5)
    whole = fit_engine(engine, samples, 5)
    kept = samples.truth_kept(np.arange(len(samples.truth.x)) % 4 > 0)
    again, taken = fit_engine(engine, kept, 5), fit_engine(engine, kept, 5, whole)
    x = CASES["c4"].test_points(50, 3)
    for a, b in zip(evaluate(again, x), evaluate(taken, x), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(evaluate(whole, x), evaluate(fit_engine(engine, samples, 5), x), strict=True):
        np.testing.assert_array_equal(a, b)
