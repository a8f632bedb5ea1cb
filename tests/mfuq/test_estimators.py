"""Means over several fidelities: unbiased, of the planned variance, optimal, and covered by their intervals."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import scipy.stats as st
from sciml_mfuq.estimators.acv import acv, acv_plan
from sciml_mfuq.estimators.estimate import Estimate, control_variate, monte_carlo, variance_terms
from sciml_mfuq.estimators.groups import Plan, group_variance, pilot_covariance
from sciml_mfuq.estimators.mfmc import mfmc, mfmc_ratios
from sciml_mfuq.estimators.mlblue import blue_plan, mlblue
from sciml_mfuq.estimators.repeated import control_variate_repeats, cv_rmse_over_mc
from sciml_mfuq.propagation.laws import Law
from sciml_mfuq.study.functions import CASES

COVARIANCE = np.array([[4.0, 2.7, 1.6], [2.7, 2.25, 1.2], [1.6, 1.2, 1.44]])
COSTS = np.array([1.0, 0.1, 0.005])
PLANNERS = {
    "mfmc": mfmc,
    "acv_mf": lambda *given: acv(*given, form="mf"),
    "acv_is": lambda *given: acv(*given, form="is"),
    "mlblue": mlblue,
}


def ladder(n_models, seed):
    """Return a random covariance of models that are good copies of the truth, and falling costs."""
    generator = np.random.default_rng(seed)
    factor = np.eye(n_models) * generator.uniform(0.1, 0.6, n_models)
    factor[:, 0] += 1
    return factor @ factor.T, 10.0 ** -np.arange(n_models)


def sums(plan):
    totals = np.zeros(len(plan.costs))
    for group, weights in zip(plan.groups, plan.weights, strict=True):
        totals[list(group)] += weights
    return totals


def least_variance(plan):
    """Minimise the variance over all unbiased weights by an equality-constrained quadratic programme."""
    sizes = [len(group) for group in plan.groups]
    n_weights, n_models = sum(sizes), len(plan.costs)
    quadratic, constraint, at = np.zeros((n_weights, n_weights)), np.zeros((n_models, n_weights)), 0
    for group, n, size in zip(plan.groups, plan.counts, sizes, strict=True):
        block = slice(at, at + size)
        quadratic[block, block] = plan.covariance[np.ix_(group, group)] / n
        constraint[list(group), range(at, at + size)] = 1
        at += size
    zero = np.zeros((n_models, n_models))
    system = np.block([[quadratic, constraint.T], [constraint, zero]])
    w = np.linalg.lstsq(system, np.append(np.zeros(n_weights), np.eye(n_models)[0]), rcond=None)[0][:n_weights]
    return w @ quadratic @ w


# ---- one surrogate as control variate ----


def test_variance_terms_average_to_the_sample_variance_and_tell_its_error():
    generator = np.random.default_rng(3)
    y = generator.gamma(2, size=(4000, 40))
    terms = variance_terms(y)
    assert np.allclose(terms.mean(0), y.var(0, ddof=1), rtol=1e-12)
    told = np.sqrt((terms.var(0, ddof=1) / len(y)).mean())
    exact = np.sqrt((st.gamma(2).stats("k") + 2) * 4 / len(y))  # var s^2 = sigma^4 (kurtosis + 2) / n
    assert told == pytest.approx(exact, rel=0.1)


def test_control_with_exact_mean_reduces_the_variance_by_one_minus_rho_squared():
    generator = np.random.default_rng(5)
    c = generator.standard_normal((4000, 60))
    y = 3 + 0.8 * c + 0.6 * generator.standard_normal(c.shape)
    found = [control_variate(a, b, 0.0) for a, b in zip(y, c, strict=True)]
    assert np.var([item.value for item in found]) * 60 == pytest.approx(0.36, rel=0.1)
    assert np.mean([item.standard_error**2 for item in found]) * 60 == pytest.approx(0.36, rel=0.1)
    assert np.mean([item.value for item in found]) == pytest.approx(3, abs=4 * 0.6 / np.sqrt(60 * 4000))


@pytest.mark.parametrize("coefficient", [None, 1.0])
@pytest.mark.parametrize("n", [5, 40])
def test_interval_of_a_normal_pair_covers_at_any_sample_size(coefficient, n):
    generator, covered = np.random.default_rng([7, n]), []
    for _ in range(2000):
        c = generator.standard_normal(n)
        y = 1.1 * c + 0.3 * generator.standard_normal(n)
        low, high = control_variate(y, c, monte_carlo(generator.standard_normal(200)), coefficient).interval()
        covered.append(low <= 0 <= high)
    assert 0.935 <= np.mean(covered) <= 0.965


def test_regressed_coefficient_is_biased_by_one_over_n_and_a_given_one_is_not():
    def bias(n, coefficient, n_repeats=8_000):
        generator = np.random.default_rng([11, n])
        c = generator.exponential(size=(n_repeats, n))
        values = [control_variate(row**2, row, 1.0, coefficient).value for row in c]
        return np.mean(values) - 2, np.std(values) / np.sqrt(n_repeats)

    (few, error), (more, _) = bias(6, None), bias(24, None)
    assert few < -5 * error
    assert 2.0 < few / more < 8.0
    value, error = bias(6, 3.0)
    assert abs(value) < 4 * error


BOREHOLE = CASES["borehole"]
BOREHOLE_LAW = Law.uniform(BOREHOLE.bounds)
REFERENCE = BOREHOLE.levels[-1](BOREHOLE_LAW.sample(2**19, seed=101))


def wrong_borehole(x):
    """Return 1.02 times the truth with a ripple of 5 % of its standard deviation: a surrogate biased on purpose."""
    unit = (x - BOREHOLE.bounds[:, 0]) / np.diff(BOREHOLE.bounds).T
    ripple = np.sqrt(2) * np.sin(2 * np.pi * unit @ np.arange(1, 9))
    return 1.02 * BOREHOLE.levels[-1](x) + 0.05 * REFERENCE.std() * ripple


def test_interval_with_a_biased_surrogate_covers_and_without_its_own_sampling_error_does_not():
    truth, sigma, n_repeats = REFERENCE.mean(), REFERENCE.std(), 1000
    low, width = BOREHOLE.bounds[:, 0], np.diff(BOREHOLE.bounds).T
    generator, errors, covered, short = np.random.default_rng(17), [], [], []
    for _ in range(n_repeats):
        x, more = (low + width * generator.random((n, 8)) for n in (50, 20_000))
        y, control, control_mean = BOREHOLE.levels[-1](x), wrong_borehole(x), monte_carlo(wrong_borehole(more))
        estimate = control_variate(y, control, control_mean)
        errors.append((estimate.value - truth) / sigma)
        for found, intervals in (
            (estimate, covered),
            (control_variate(y, control, control_mean.value), short),  # as if the surrogate's mean were exact
        ):
            lower, upper = found.interval()
            intervals.append(lower <= truth <= upper)
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean(short) < 0.85
    rmse = np.sqrt(np.mean(np.square(errors)))
    assert rmse < 0.011  # plain Monte Carlo with as many runs of the truth: 0.141
    assert abs(np.mean(errors)) < 4 * rmse / np.sqrt(n_repeats)


def test_surrogate_of_a_useless_cheap_level_helps_where_the_level_itself_does_not():
    """C3: the level is uncorrelated with the truth; a nonlinear map of it, wrong by 3 %, is a good control."""
    low, high = CASES["c3"].levels
    law = Law.uniform(CASES["c3"].bounds)
    truth, sigma = high(law.sample(2**18, seed=3)).mean(), high(law.sample(2**18, seed=3)).std()

    def surrogate(x):
        return (x[:, 0] - 1.37) * low(x) ** 2

    ratio, _ = cv_rmse_over_mc(
        [high, low], law, [1, 0.01], budget=100, true_mean=truth, n_pilot=30, n_repeats=200, seed=5
    )
    assert ratio > 0.9
    values, _, _ = control_variate_repeats(high, surrogate, law, n_truth=14, n_surrogate=20_000, n_repeats=400, seed=7)
    assert np.sqrt(np.mean((values - truth) ** 2)) < sigma / np.sqrt(14) / 5


def test_variance_of_the_truth_comes_out_unbiased_with_a_biased_control():
    generator, values, told = np.random.default_rng(13), [], []
    for _ in range(2000):
        z, more, rest = generator.standard_normal(30), generator.standard_normal(3000), generator.standard_normal(30)
        y, c, c_more = z + 0.1 * rest, 1.3 * z, 1.3 * more
        found = control_variate(*map(variance_terms, (y, c)), monte_carlo(variance_terms(c_more)), coefficient=1 / 1.69)
        values.append(found.value)
        told.append(found.standard_error)
    assert np.mean(values) == pytest.approx(1.01, abs=4 * np.std(values) / np.sqrt(2000))
    assert np.std(values) < 0.5 * np.sqrt(2 / 29)
    assert np.sqrt(np.mean(np.square(told))) == pytest.approx(np.std(values), rel=0.15)


# ---- several models ----


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("budget", [12.0, 100.0, 3000.0])
def test_plan_is_unbiased_affordable_and_better_than_monte_carlo(name, budget):
    plan = PLANNERS[name](COVARIANCE, COSTS, budget)
    assert np.allclose(sums(plan), [1, 0, 0], atol=1e-9)
    assert plan.cost <= budget * (1 + 1e-9)
    assert plan.variance < COVARIANCE[0, 0] / budget
    assert plan.variance >= least_variance(plan) * (1 - 1e-9)


def test_weights_and_variances_are_those_of_a_peer():
    """The numbers were computed once with pyapprox 2.0.0 (classes MFMCEstimator, GMFEstimator and GISEstimator with
    recursion index (0, 0), MLBLUEEstimator) from this covariance and these costs: for MFMC the ratios and variance at
    budget 100; else for partitions of 60, 140 and 800 runs, and for groups of 20, 50, 400 and 30 runs. Its sign of the
    control weights is the other one.
    """
    ratios = mfmc_ratios(COVARIANCE, COSTS)
    assert np.allclose(ratios[1:], [4.386315775439719, 21.62952281743501], rtol=1e-12)
    m = 100 / (COSTS @ ratios) * ratios
    a = COVARIANCE[0] / np.diag(COVARIANCE)
    assert np.allclose(a[1:], [1.2, 1.1111111111111112], rtol=1e-12)
    nested = 4 / m[0] + (1 / m[0] - 1 / m[1]) * (-(2.7**2) / 2.25) + (1 / m[1] - 1 / m[2]) * (-(1.6**2) / 1.44)
    assert nested == pytest.approx(0.0181831965942396, rel=1e-8)
    for n_runs, form, weights, variance in (
        ([60, 200, 1000], "mf", [0.9078916372202592, 0.5477031802120144], 0.02433898704358067),
        ([60, 200, 860], "is", [0.9129696969696972, 0.5785454545454545], 0.02355660606060606),
    ):
        plan = acv_plan(n_runs, COVARIANCE, COSTS, form)
        assert plan.variance == pytest.approx(variance, rel=1e-8)
        first = plan.weights[plan.groups.index((0, 1, 2))]
        share = np.array([60 / n for n in n_runs[1:]])
        assert np.allclose(-first[1:] / (1 - share), weights, rtol=1e-8)
    plan = blue_plan([(0, 1), (1, 2), (2,), (0, 1, 2)], [20, 50, 400, 30], COVARIANCE, COSTS)
    beta = [0.3686232657417294, -0.28588260405549676, 0.6101173959445038, -0.41053895410885793, 0.7831376734258274]
    beta += [0.6313767342582713, -0.32423479188900767, -0.3725987193169692]
    assert np.allclose(np.concatenate(plan.weights), beta, rtol=1e-8)
    assert plan.variance == pytest.approx(0.0351305016008538, rel=1e-8)


def test_mfmc_reaches_the_variance_of_its_theorem():
    budget, rho2 = 1e6, COVARIANCE[0] ** 2 / (4 * np.diag(COVARIANCE))
    gains = rho2 - np.append(rho2[1:], 0)
    theorem = 4 / budget * np.sum(np.sqrt(COSTS * gains)) ** 2
    assert mfmc(COVARIANCE, COSTS, budget).variance == pytest.approx(theorem, rel=1e-4)


def test_mfmc_leaves_out_models_that_do_not_pay():
    covariance = np.array([[1, 0.9, 0.3], [0.9, 1, 0.3], [0.3, 0.3, 1.0]])
    assert mfmc(covariance, [1, 0.01, 0.5], 100).n_runs[2] == 0
    assert mfmc(covariance, [1, 0.9, 0.8], 100).n_runs == (100, 0, 0)  # plain Monte Carlo


@pytest.mark.parametrize("form", ["mf", "is"])
def test_acv_covariances_are_the_published_ones(form):
    """Off the diagonal F is (r_i - 1)(r_j - 1) / (r_i r_j) for IS, (min r - 1) / min r for MF; on it (r - 1) / r."""
    n_runs, n = np.array([40, 160, 1000]), 40
    r = n_runs[1:] / n
    off = np.prod((r - 1) / r) if form == "is" else (r.min() - 1) / r.min()
    f = np.array([[(r[0] - 1) / r[0], off], [off, (r[1] - 1) / r[1]]])
    c = COVARIANCE[1:, 0] * np.diag(f)
    variance = (4 - c @ np.linalg.solve(f * COVARIANCE[1:, 1:], c)) / n
    assert acv_plan(n_runs, COVARIANCE, COSTS, form).variance == pytest.approx(variance, rel=1e-12)


def test_acv_runs_are_not_beaten_by_a_dense_search():
    for form in ("mf", "is"):
        found = acv(COVARIANCE, COSTS, 1e5, form).variance
        ratios = np.exp(np.linspace(0.05, 6, 40))
        best = np.inf
        for one in ratios:
            for two in ratios:
                n = np.floor(1e5 / (COSTS @ [1, one, two]) * np.array([1, one, two]))
                best = min(best, acv_plan(n, COVARIANCE, COSTS, form).variance)
        assert found <= best * 1.001


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_blue_weights_are_the_least_variance_ones_and_beat_other_weights_on_their_groups(seed):
    covariance, costs = ladder(4, seed)
    for plan in (mfmc(covariance, costs, 200), acv(covariance, costs, 200), mlblue(covariance, costs, 200)):
        best = blue_plan(plan.groups, plan.counts, covariance, costs)
        assert best.variance == pytest.approx(least_variance(plan), rel=1e-8)
        assert best.variance <= plan.variance * (1 + 1e-12)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mlblue_beats_the_other_plans_and_a_convex_solver_finds_no_better(seed):
    covariance, costs = ladder(3, seed)
    budget = 1e5
    plan = mlblue(covariance, costs, budget)
    for name in ("mfmc", "acv_mf", "acv_is"):
        assert plan.variance <= PLANNERS[name](covariance, costs, budget).variance * 1.001
    groups = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    group_costs = np.array([costs[list(group)].sum() for group in groups])

    def dual(multiplier):  # max l_0 subject to l_k^T C_k^{-1} l_k <= c_k bounds the variance from below
        return [
            c - multiplier[list(g)] @ np.linalg.solve(covariance[np.ix_(g, g)], multiplier[list(g)])
            for g, c in zip(groups, group_costs, strict=True)
        ]

    start = {"x0": np.full(3, 1e-3), "constraints": {"type": "ineq", "fun": dual}, "method": "SLSQP"}
    solved = scipy.optimize.minimize(lambda multiplier: -multiplier[0], **start, options={"ftol": 1e-12})
    bound = solved.x[0] ** 2 / budget
    assert bound * (1 - 1e-6) <= plan.variance <= bound * 1.003


@pytest.mark.parametrize("likeness", [1.0, 1e-3])
def test_mlblue_finds_its_groups_among_six_models_of_any_likeness(likeness):
    generator = np.random.default_rng(5)
    factor = likeness * np.diag(generator.uniform(0.01, 1, 6))
    factor[:, 0] += generator.uniform(0.5, 2, 6)
    covariance, costs = factor @ factor.T, 10.0 ** -np.arange(6)
    plan = mlblue(covariance, costs, 1e4)
    assert plan.variance <= mfmc(covariance, costs, 1e4).variance * 1.001
    assert plan.variance <= acv(covariance, costs, 1e4).variance * 1.001


@pytest.mark.parametrize("name", PLANNERS)
def test_repeated_runs_have_the_planned_mean_variance_and_coverage(name):
    """Jointly normal models: the planned variance is exact, and so is the interval but for Welch's rule."""
    plan = PLANNERS[name](COVARIANCE, COSTS, 60.0)
    generator, factor, found = np.random.default_rng(19), np.linalg.cholesky(COVARIANCE), []
    for _ in range(2000):
        draws = [generator.standard_normal((n, 3)) @ factor.T + [7, -3, 40] for n in plan.counts]
        found.append(plan.combine([y[:, list(group)] for y, group in zip(draws, plan.groups, strict=True)]))
    values = np.array([item.value for item in found])
    assert values.mean() == pytest.approx(7, abs=4 * np.sqrt(plan.variance / 2000))
    assert values.var() == pytest.approx(plan.variance, rel=0.12)
    assert np.mean([item.standard_error**2 for item in found]) == pytest.approx(plan.variance, rel=0.05)
    covered = [low <= 7 <= high for low, high in (item.interval() for item in found)]
    assert 0.93 <= np.mean(covered) <= 0.97


def test_variance_is_unbiased_with_the_weights_for_the_mean():
    plan = mfmc(COVARIANCE, COSTS, 100.0)
    generator, factor, found = np.random.default_rng(23), np.linalg.cholesky(COVARIANCE), []
    for _ in range(2000):
        draws = [generator.standard_normal((n, 3)) @ factor.T for n in plan.counts]
        values = [y[:, list(group)] for y, group in zip(draws, plan.groups, strict=True)]
        found.append(plan.combine(values, statistic="variance").value)
    assert np.mean(found) == pytest.approx(4.0, abs=4 * np.std(found) / np.sqrt(2000))
    assert np.std(found) < 4 * np.sqrt(2 / 99)  # plain Monte Carlo at the same cost


def test_error_on_park_at_equal_cost_is_a_third_of_plain_monte_carlo_or_less():
    park = CASES["park"]
    low, high = park.levels
    law = Law.uniform(park.bounds)
    truth = high(law.sample(2**18, seed=3)).mean()
    ratio, with_pilot = cv_rmse_over_mc(
        [high, low], law, [1, 0.01], budget=200, true_mean=truth, n_pilot=20, n_repeats=300, seed=29
    )
    assert ratio <= 1 / 3
    assert with_pilot <= 1 / 3
    rho2 = 0.9937**2
    assert ratio == pytest.approx(np.sqrt(1 - rho2) + np.sqrt(0.01 * rho2), rel=0.15)  # theory


def test_plan_runs_callables_and_covers():
    park = CASES["park"]
    low, high = park.levels
    models, law = [high, lambda x: (low(x), np.ones(len(x)))], Law.uniform(park.bounds)
    x = law.sample(50, seed=3, method="random")
    plan = mlblue(pilot_covariance(np.stack([high(x), low(x)], -1)), [1, 0.01], 40.0)
    truth = high(law.sample(2**18, seed=3)).mean()
    covered = []
    for seed in range(1, 301):
        lower, upper = plan.combine(plan.run(models, law, seed)).interval()
        covered.append(lower <= truth <= upper)
    assert 0.91 <= np.mean(covered) <= 0.98


# ---- what cannot be estimated ----


def test_almost_perfect_levels_are_planned_with_two_runs_of_the_truth():
    low, high = BOREHOLE.levels
    x = BOREHOLE_LAW.sample(50, seed=3, method="random")
    covariance = pilot_covariance(np.stack([high(x), low(x)], -1))
    for name in PLANNERS:
        plan = PLANNERS[name](covariance, [1.0, 0.1], 50.0)
        assert plan.n_runs[0] == 2
        assert plan.variance < 0.003 * covariance[0, 0]


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize(
    ("covariance", "costs", "budget", "words"),
    [
        ([[1, 0], [0, 0]], [1, 0.1], 100, "models that vary"),
        ([[1, 2], [2, 4]], [1, 0.1], 100, "perfectly correlated"),
        ([[1, 0.5], [0.5, 1]], [1, 0.0], 100, "costs above 0"),
        ([[1, 0.5], [0.5, 1]], [1, 0.1], 2, "budget of at least 2.2"),
        ([[1, np.nan], [np.nan, 1]], [1, 0.1], 100, "finite covariance"),
        ([[1, 0.5], [0.5, 1]], [1, 0.1, 0.1], 100, "covariance \\(model, model\\)"),
    ],
)
def test_impossible_plan_is_refused_in_a_sentence(name, covariance, costs, budget, words):
    with pytest.raises(ValueError, match=words):
        PLANNERS[name](covariance, costs, budget)


def test_bad_runs_are_refused_in_a_sentence():
    y = np.array([1.0, 2.0, 3.0, 5.0])
    with pytest.raises(ValueError, match="control that varies"):
        control_variate(y, np.full(4, 0.1), 0.1)
    with pytest.raises(ValueError, match="finite"):
        control_variate(y, np.array([1.0, np.nan, 2.0, 3.0]), 2.0)
    with pytest.raises(ValueError, match="at least 4 values"):
        control_variate(y[:3], y[:3], 2.0)
    with pytest.raises(ValueError, match="same inputs"):
        control_variate(y, y[:3], 2.0)
    with pytest.raises(ValueError, match="at least 2 values"):
        monte_carlo([1.0])
    with pytest.raises(ValueError, match="at least 3 values"):
        variance_terms([1.0, 2.0])
    with pytest.raises(ValueError, match="more runs than models"):
        pilot_covariance(np.ones((3, 3)))
    with pytest.raises(ValueError, match="finite"):
        pilot_covariance(np.array([[1.0, 2.0], [np.nan, 1.0], [2.0, 2.0]]))
    with pytest.raises(ValueError, match="sum to 1"):
        Plan(((0, 1),), (5,), (np.array([1.0, -0.5]),), COSTS[:2], COVARIANCE[:2, :2])
    with pytest.raises(ValueError, match="run the truth"):
        blue_plan([(1,)], [5], COVARIANCE, COSTS)
    with pytest.raises(ValueError, match="use monte_carlo"):
        acv([[1.0]], [1.0], 10)
    plan = mfmc(COVARIANCE, COSTS, 100.0)
    values = [np.ones((n, len(group))) for group, n in zip(plan.groups, plan.counts, strict=True)]
    with pytest.raises(ValueError, match="group 0: expected finite"):
        plan.combine([values[0] * np.nan, *values[1:]])
    with pytest.raises(ValueError, match="3 groups"):
        plan.combine(values[:1])
    with pytest.raises(ValueError, match="3 models"):
        plan.run([lambda x: x.sum(1)], BOREHOLE_LAW, 3)


def test_perfect_control_leaves_the_error_of_its_own_mean():
    y = np.random.default_rng(3).standard_normal(10)
    found = control_variate(y, y, Estimate(0.5, 0.1, 99))
    assert found.value == pytest.approx(0.5)
    assert found.standard_error == pytest.approx(0.1)
    assert found.dof == pytest.approx(99)
    assert group_variance([(0,)], [4], [np.array([1.0])], np.array([[8.0]])) == 2.0
