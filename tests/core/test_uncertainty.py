"""Scores against their integrals, coverage of known laws, the conformal guarantee, the law of total variance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import norm

from sciml.training import seeded
from sciml.uncertainty import LEVELS, Conformal, calibration, combine, coverage, crps, crps_ensemble, nll


def random(seed):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("truth", "mean", "std"), [(0.3, 0.0, 1.0), (-2.0, 1.0, 0.5), (5.0, 4.9, 3.0), (7.0, 0.0, 0.2)]
)
def test_crps_is_the_integral_of_the_squared_distance_of_distributions(truth, mean, std):
    below, _ = quad(lambda x: ndtr((x - mean) / std) ** 2, mean - 40 * std, truth, limit=200, points=[mean])
    above, _ = quad(lambda x: ndtr((mean - x) / std) ** 2, truth, max(truth, mean) + 40 * std, limit=200)
    assert crps(truth, mean, std) == pytest.approx(below + above, rel=1e-8)


def test_crps_of_a_vanishing_std_is_the_absolute_error():
    truth = random(11).normal(size=50)
    assert crps(truth, 0.0, 1e-12) == pytest.approx(np.abs(truth).mean(), rel=1e-9)


def test_crps_and_nll_are_least_for_the_law_that_the_truth_has():
    truth = random(12).normal(1.0, 2.0, size=20_000)
    for score in (crps, nll):
        best = score(truth, 1.0, 2.0)
        assert all(score(truth, mean, std) > best for mean, std in [(0.7, 2.0), (1.3, 2.0), (1.0, 1.6), (1.0, 2.5)])


def test_crps_scales_with_the_unit_and_ignores_the_origin():
    truth, mean = random(13).normal(size=(2, 30))
    std = np.full(30, 0.7)
    moved = crps(5 + 3 * truth, 5 + 3 * mean, 3 * std)
    assert moved == pytest.approx(3 * crps(truth, mean, std), rel=1e-12)


def test_nll_is_the_mean_negative_log_density():
    truth, mean = random(14).normal(size=(2, 4, 5))
    std = np.exp(random(15).normal(size=(4, 5)))
    assert nll(truth, mean, std) == pytest.approx(-norm(mean, std).logpdf(truth).mean(), rel=1e-12)


def test_ensemble_crps_by_sorting_is_the_sum_over_pairs():
    samples, truth = random(16).normal(size=(7, 3, 2)), random(17).normal(size=(3, 2))
    pairs = np.abs(samples[:, None] - samples[None]).sum((0, 1)) / (2 * 7 * 6)
    assert crps_ensemble(truth, samples) == pytest.approx((np.abs(samples - truth).mean(0) - pairs).mean(), rel=1e-12)


@pytest.mark.parametrize("n_members", [2, 5, 50])
def test_ensemble_crps_is_fair_at_any_number_of_members(n_members):
    truth = random(18).normal(0.4, 1.3, size=100_000)
    exact = crps(truth, 0.0, 1.0)
    found = crps_ensemble(truth, random(19).normal(size=(n_members, truth.size)))
    assert found == pytest.approx(exact, abs=4 * 1.5 / math.sqrt(truth.size))  # one term deviates by less than 1.5


def test_coverage_of_a_gaussian_toy_is_within_three_points_of_nominal():
    mean, std = random(21).normal(size=5000), np.exp(random(22).normal(size=5000))
    found = calibration(mean + std * random(23).normal(size=5000), mean, std)
    assert tuple(found.coverage) == LEVELS
    assert found.gap <= 0.03
    assert found.gap == max(abs(found.coverage[level] - level) for level in LEVELS)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_coverage_of_a_wrong_std_is_that_of_the_scaled_interval(factor):
    found = coverage(random(24).normal(size=40_000), 0.0, factor)
    for level, fraction in found.items():
        assert fraction == pytest.approx(2 * norm.cdf(factor * norm.ppf((1 + level) / 2)) - 1, abs=0.01)


def test_calibration_relates_its_errors():
    truth, mean = random(25).normal(size=(2, 6, 4))
    found = calibration(truth, mean, 0.5)
    r2 = 1 - ((truth - mean) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()
    assert 1 - found.nrmse**2 == pytest.approx(r2, rel=1e-12)
    assert found.rmse == pytest.approx(np.linalg.norm(truth - mean) / math.sqrt(24), rel=1e-12)
    assert found.sharpness == 0.5
    assert math.isnan(calibration(np.ones(3), 0.0, 1.0).nrmse)


@pytest.mark.parametrize("n", [4, 9, 20, 39, 200])
def test_conformal_interval_covers_as_guaranteed_whatever_the_law(n):
    """Over fresh calibration sets, P(covered) is k / (n + 1): in [level, level + 1 / (n + 1)] without ties."""
    n_repeats, n_new, source = 2000, 50, random(31)
    for level in [level for level in LEVELS if level <= n / (n + 1)]:
        covered = np.empty(n_repeats)
        for i in range(n_repeats):
            std = np.exp(source.normal(size=n + n_new))
            truth = std * source.standard_t(2, size=n + n_new) + 0.5  # heavy tails, a bias, stds all too small
            factor = Conformal(truth[:n], 0.0, std[:n] / 3).factor(level)
            covered[i] = np.mean(np.abs(truth[n:]) <= factor * std[n:] / 3)
        error = 3 * covered.std() / math.sqrt(n_repeats)
        assert level - error <= covered.mean() <= level + 1 / (n + 1) + error


def test_conformal_factor_is_the_order_statistic_with_the_finite_sample_rank():
    residuals = np.arange(1.0, 20.0)
    conformal = Conformal(random(32).permutation(residuals), 0.0, 1.0)
    assert [conformal.factor(level) for level in (0.05, 0.5, 0.9, 0.95)] == [1, 10, 18, 19]
    assert conformal.highest_level == 0.95


def test_conformal_refuses_a_level_that_so_few_points_cannot_guarantee():
    conformal = Conformal(np.arange(4.0), 0.0, 1.0)
    assert conformal.factor(0.8) == 3
    expected = r"^Conformal: expected a level up to 0.8, got 0.81 for 4 points; hold out more or ask for less$"
    with pytest.raises(ValueError, match=expected):
        conformal.factor(0.81)


def test_conformal_scale_of_calibrated_predictions_is_one_and_undoes_a_wrong_factor():
    truth = random(33).normal(size=20_000)
    for level in LEVELS:
        assert Conformal(truth, 0.0, 1.0).scale(level) == pytest.approx(1, abs=0.04)
        assert Conformal(truth, 0.0, 0.25).scale(level) == pytest.approx(4, abs=0.16)


def test_conformal_takes_leave_one_out_residuals_of_a_stable_fit():
    """Least squares with 5 coefficients: the leave-one-out error is the residual over 1 - leverage."""
    n, source, covered = 40, random(34), []
    for _ in range(400):
        x = source.normal(size=(n + 20, 5))
        y = x.sum(1) + source.standard_t(5, size=n + 20)
        q, upper = np.linalg.qr(x[:n])
        left_out = (y[:n] - q @ (q.T @ y[:n])) / (1 - (q**2).sum(1))
        factor = Conformal(left_out, 0.0, 1.0).factor(0.9)
        mean = x[n:] @ np.linalg.solve(upper, q.T @ y[:n])
        covered.append(np.mean(np.abs(y[n:] - mean) <= factor))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.03)


def test_mixture_has_the_moments_of_its_samples():
    mean, std = random(41).normal(size=(3, 2)), np.exp(random(43).normal(size=(3, 2)))
    drawn = random(44).normal(mean[:, None], std[:, None], size=(3, 400_000, 2)).reshape(-1, 2)
    found = combine(mean, std)
    np.testing.assert_allclose(found.mean, drawn.mean(0), atol=0.02)
    np.testing.assert_allclose(found.std, drawn.std(0), rtol=0.01)
    np.testing.assert_allclose(found.std**2, found.epistemic**2 + found.aleatory**2, rtol=1e-14)


def test_mixture_parts_vanish_where_they_should():
    agreeing = combine(np.full((4, 3), 2.0), np.full((4, 3), 0.5))
    assert (agreeing.epistemic == 0).all()
    assert (agreeing.std == 0.5).all()
    mute = combine(random(45).normal(size=(4, 3)))
    assert (mute.aleatory == 0).all()
    assert (mute.std == mute.epistemic).all()


def test_mixture_ignores_the_order_of_members_and_keeps_missing_points_missing():
    mean, std = random(46).normal(size=(5, 3)), np.ones((5, 3))
    mean[2, 1] = np.nan
    found, turned = combine(mean, std), combine(mean[::-1], std)
    np.testing.assert_allclose(found.std, turned.std, rtol=1e-14)
    assert np.isnan(found.mean).tolist() == [False, True, False]


def test_median_withstands_a_wild_member():
    mean = np.array([[1.0], [1.1], [0.9], [1.05], [1e6]])
    assert combine(mean).median == pytest.approx(1.05)


def test_dropout_of_a_linear_map_has_the_closed_variance():
    """For y = w . dropout(x) with rate p the variance is p / (1 - p) sum w^2 x^2; members are 2e5 drawn masks."""
    p, source = 0.2, random(47)
    w, x = source.normal(size=(2, 12))
    masks = source.random(size=(200_000, 12)) >= p
    found = combine((masks @ (w * x)) / (1 - p))
    assert found.epistemic**2 / (p / (1 - p) * np.sum(w**2 * x**2)) == pytest.approx(1, abs=0.02)
    assert found.mean == pytest.approx(w @ x, abs=4 * found.std / math.sqrt(200_000))


def test_square_error_of_the_mean_is_that_of_a_member_less_the_spread():
    """Krogh & Vedelsby (1995): the average over members exceeds the error of their mean by epistemic^2."""
    members, truth = random(51).normal(size=(6, 40)), random(52).normal(size=40)
    found = combine(members)
    average = np.mean((members - truth) ** 2, axis=0)
    np.testing.assert_allclose((found.mean - truth) ** 2, average - found.epistemic**2, rtol=1e-10, atol=1e-12)


def test_deep_ensemble_mean_is_no_worse_than_its_median_member():
    """Five tanh networks from their own starts on 80 noisy points in 8 dimensions, on 20 seeds, all descended at once.

    Where members share most of their error the statement is false: of the same networks on 16 points in one dimension
    the mean is no worse than the median member on 11 to 15 of 20 seeds.
    """
    n_seeds, n_members, n_points, n_dims, n_units = 20, 5, 80, 8, 32
    generator = seeded(50)

    def function(x):
        return torch.sin(2 * x).mean(-1, keepdim=True) * n_dims**0.5 + x[..., :1] * x[..., -1:]

    x, new = (2 * torch.rand(n_seeds, 1, n, n_dims, generator=generator) - 1 for n in (n_points, 500))
    y = function(x) + 0.1 * torch.randn(n_seeds, 1, n_points, 1, generator=generator)
    scales = {(n_dims, n_units): 1.5 * n_dims**-0.5, (1, n_units): 0.5, (n_units, 1): n_units**-0.5, (1, 1): 0.0}
    weights = [
        (scale * torch.randn(n_seeds, n_members, *shape, generator=generator)).requires_grad_()
        for shape, scale in scales.items()
    ]

    def networks(points):
        return torch.tanh(points @ weights[0] + weights[1]) @ weights[2] + weights[3]

    optimizer = torch.optim.Adam(weights, lr=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        ((networks(x) - y) ** 2).mean((-1, -2)).sum().backward()
        optimizer.step()
    errors = (networks(new) - function(new)).detach().numpy().swapaxes(0, 1)

    def rmse(values):
        return np.sqrt(np.mean(values**2, axis=(-1, -2)))

    assert np.mean(rmse(combine(errors).mean) <= np.median(rmse(errors), axis=0)) >= 0.9


@pytest.mark.parametrize(
    ("truth", "mean", "std"),
    [
        ([], [], []),
        ([1.0, np.nan], 0.0, 1.0),
        ([1.0], [np.inf], 1.0),
        ([1.0], [0.0], 0.0),
        ([1.0, 2.0], [0.0, 0.0], [1.0, -1.0]),
        ([1.0], [[0.0], [1.0]], 1.0),
    ],
)
def test_scores_refuse_what_has_no_score(truth, mean, std):
    for score in (coverage, crps, nll, calibration, Conformal):
        with pytest.raises(ValueError, match=r"^scores: expected finite truth and mean, std > 0, of one shape, got"):
            score(truth, mean, std)


def test_levels_and_members_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"^level: expected a probability between 0 and 1, got 95"):
        coverage([0.0], 0.0, 1.0, levels=[95])
    for samples in (np.zeros((1, 2)), np.zeros((3, 1)), np.full((3, 2), np.nan)):
        with pytest.raises(ValueError, match=r"^crps_ensemble: expected finite truth"):
            crps_ensemble(np.zeros(2), samples)
    for mean, std in [(1.0, 0.0), (np.zeros((0, 2)), 0.0), (np.zeros((2, 2)), np.zeros(2)), (np.zeros(2), [1.0, -1.0])]:
        with pytest.raises(ValueError, match=r"^combine: expected means"):
            combine(mean, std)


def test_scores_leave_their_inputs_alone():
    truth, mean, std = random(48).normal(size=5), np.zeros(5), np.ones(5)
    samples = random(49).normal(size=(3, 5))
    before = [array.copy() for array in (truth, mean, std, samples)]
    calibration(truth, mean, std)
    Conformal(truth, mean, std).scale(0.5)
    crps_ensemble(truth, samples)
    combine(samples, np.ones((3, 5)))
    assert all((now == old).all() for now, old in zip((truth, mean, std, samples), before, strict=True))
