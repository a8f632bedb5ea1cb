"""Statistics of an output against closed forms, and whether their errors are what they say."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.integrate
import scipy.stats as st
from sciml_mfuq.propagation.density import kernel_density, silverman
from sciml_mfuq.propagation.distribution import MOMENTS
from sciml_mfuq.propagation.laws import Law
from sciml_mfuq.propagation.moments import Moments
from sciml_mfuq.propagation.propagate import propagate

NORMALS = Law({"a": st.norm(1, 2), "b": st.norm(-3, 1), "c": st.norm(0, 2)})
ISHIGAMI = Law.uniform(np.tile([[-np.pi, np.pi]], (3, 1)))


def ishigami(x):
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


def total(x):
    return x.sum(1)


def test_moments_merge_to_those_of_all_numbers_far_from_zero():
    y = 1e6 + st.gamma(2).rvs(3000, random_state=np.random.default_rng(3))
    merged = sum((Moments.of(part) for part in np.split(y, [1, 2, 700, 700, 2100])), Moments())
    assert merged.n == 3000
    assert merged.mean == pytest.approx(y.mean(), rel=1e-14)
    assert merged.variance == pytest.approx(y.var(ddof=1), rel=1e-10)
    assert merged.skewness == pytest.approx(st.skew(y), rel=1e-8)
    assert merged.excess_kurtosis == pytest.approx(st.kurtosis(y), rel=1e-8)


def within(statistic, truth, sigmas=5.0):
    return np.all(np.abs(statistic.value - truth) <= sigmas * statistic.sampling + 1e-12)


@pytest.mark.parametrize("method", ["sobol", "lhs", "random"])
def test_sum_of_normals_is_normal(method):
    found = propagate(total, NORMALS, 2**16, seed=3, method=method)
    law = st.norm(-2, 3)
    for name, truth in zip(MOMENTS, (-2, 3, 0, 0), strict=True):
        assert within(found.moments()[name], truth)
    p = np.array([0.01, 0.3, 0.5, 0.99])
    assert within(found.quantile(p), law.ppf(p))
    at = np.array([-8.0, -2.0, 1.5])
    assert within(found.cdf(at), law.cdf(at))
    low, high = found.failure_interval(4.0)
    assert low < law.sf(4.0) < high
    assert within(found.failure_probability(4.0), law.sf(4.0))
    assert found.wasserstein(law.ppf((np.arange(4096) + 0.5) / 4096)).value < 0.02 * 3


def test_correlation_of_the_inputs_reaches_the_output():
    law = Law({"a": st.norm(0, 1), "b": st.norm(0, 2)}, [[1, 0.5], [0.5, 1]])
    assert within(propagate(total, law, 2**15, seed=5).moments()["std"], np.sqrt(1 + 4 + 2 * 0.5 * 2))


def test_moments_of_a_lognormal_output():
    law = st.lognorm(0.4)
    found = propagate(lambda x: np.exp(0.4 * x[:, 0]), Law({"a": st.norm()}), 2**17, seed=7).moments()
    mean, variance, skewness, kurtosis = law.stats("mvsk")
    for name, truth in zip(MOMENTS, (mean, np.sqrt(variance), skewness, kurtosis), strict=True):
        assert within(found[name], truth)
        assert found[name].sampling < 0.02 * truth


def test_tail_of_a_chi_square_output():
    law = Law({f"x{i}": st.norm() for i in range(4)})
    found = propagate(lambda x: (x**2).sum(1), law, 2**17, seed=9)
    for threshold in (9.49, 18.47):  # 5 % and 0.1 %
        truth = st.chi2(4).sf(threshold)
        assert within(found.failure_probability(threshold), truth)
        low, high = found.failure_interval(threshold)
        assert low < truth < high
    low, high = found.failure_interval(1e6)
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025 ** (1 / 2**17), rel=1e-6)  # no failure in n runs


def test_moments_of_ishigami():
    found = propagate(ishigami, ISHIGAMI, 2**17, seed=11).moments()
    b = 0.1
    variance = 49 / 8 + b * np.pi**4 / 5 + b**2 * np.pi**8 / 18 + 0.5
    # y - 3.5 = sin(x1) (1 + b x3^4) - 3.5 cos(2 x2): two independent terms whose odd moments vanish
    power = [np.pi ** (4 * k) / (4 * k + 1) for k in range(5)]
    second = 1 + 2 * b * power[1] + b**2 * power[2]
    fourth = 3 / 8 * np.dot([1, 4 * b, 6 * b**2, 4 * b**3, b**4], power) + 6 * second / 2 * 49 / 8 + 3 / 8 * 3.5**4
    truths = (3.5, np.sqrt(variance), 0, fourth / variance**2 - 3)
    for name, truth in zip(MOMENTS, truths, strict=True):
        assert within(found[name], truth)
        assert found[name].sampling < 1e-2


@pytest.mark.parametrize("method", ["sobol", "random"])
def test_sampling_errors_are_those_of_repeated_samples(method):
    runs = [propagate(ishigami, ISHIGAMI, 2**11, seed=seed, method=method) for seed in range(1, 41)]
    for pick in (lambda d: d.moments()["mean"], lambda d: d.moments()["std"], lambda d: d.failure_probability(8.0)):
        found = [pick(run) for run in runs]
        spread = np.std([item.value for item in found], ddof=1)
        told = np.sqrt(np.mean([item.sampling**2 for item in found]))
        assert told == pytest.approx(spread, rel=0.4)


def test_intervals_of_the_mean_cover_as_often_as_they_say():
    covered = []
    for seed in range(1, 201):
        low, high = propagate(total, NORMALS, 64, seed=seed, method="random").moments()["mean"].interval(0.9)
        covered.append(low <= -2 <= high)
    assert np.mean(covered) == pytest.approx(0.9, abs=3.5 * np.sqrt(0.09 / 200))


def test_clopper_pearson_interval_is_not_too_short():
    law, truth = Law({"a": st.uniform(0, 1)}), 0.02
    covered = []
    for seed in range(1, 301):
        low, high = propagate(lambda x: x[:, 0], law, 256, seed=seed, method="random").failure_interval(1 - truth)
        covered.append(low <= truth <= high)
    assert np.mean(covered) >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 300)


def smooth_error(x, seed, length):
    generator = np.random.default_rng(seed)
    waves, phases = generator.standard_normal((200, x.shape[1])) / length, generator.uniform(0, 2 * np.pi, 200)
    return np.cos(x @ waves.T + phases).sum(1) * np.sqrt(2 / 200)


@pytest.mark.parametrize("length", [0.3, 2.0, 50.0])
def test_surrogate_bound_covers_errors_of_any_correlation_length(length):
    s = 0.15
    told = propagate(lambda x: (ishigami(x), np.full(len(x), s)), ISHIGAMI, 2**12, seed=3)
    bounds = {name: item.surrogate for name, item in told.moments().items()} | {
        "tail": told.failure_probability(8.0).surrogate
    }
    truth = propagate(ishigami, ISHIGAMI, 2**12, seed=3)
    exact = {name: item.value for name, item in truth.moments().items()} | {
        "tail": truth.failure_probability(8.0).value
    }
    moves = {name: [] for name in bounds}
    for seed in range(1, 33):
        wrong = propagate(lambda x, k=seed: ishigami(x) + s * smooth_error(x, k, length), ISHIGAMI, 2**12, seed=3)
        for name, item in (wrong.moments() | {"tail": wrong.failure_probability(8.0)}).items():
            moves[name].append(item.value - exact[name])
    for name, moved in moves.items():
        assert np.sqrt(np.mean(np.square(moved))) <= 1.3 * bounds[name] + 1e-12, name


def test_surrogate_bound_of_mean_and_std_is_known_for_a_constant_error():
    found = propagate(lambda x: (total(x), np.full(len(x), 0.3)), NORMALS, 2**16, seed=5)
    moments = found.moments()
    assert moments["mean"].surrogate_bound == pytest.approx(0.3, rel=1e-9)
    assert moments["std"].surrogate_bound == pytest.approx(0.3 * np.sqrt(2 / np.pi), rel=1e-2)  # s E|z|
    assert moments["std"].surrogate_white == pytest.approx(np.hypot(3, 0.3) - 3, rel=0.1)
    plain = propagate(total, NORMALS, 2**16, seed=5)
    inner, outer = plain.failure_interval(4.0), found.failure_interval(4.0)
    assert outer[0] < inner[0] < inner[1] < outer[1]
    assert np.all(found.quantile([0.1, 0.9]).surrogate_bound == pytest.approx(0.3, rel=1e-6))


def test_density_is_the_normal_one_and_integrates_to_one():
    found = propagate(total, NORMALS, 2**17, seed=13)
    at = found.grid(801)
    density = found.pdf(at)
    smoothed = st.norm(-2, np.hypot(3, found.bandwidth)).pdf(at)
    assert np.abs(density.value - smoothed).max() < 0.01 * smoothed.max()
    assert scipy.integrate.trapezoid(density.value, at) == pytest.approx(1, abs=2e-3)
    assert density.sampling.max() < 0.02 * smoothed.max()


def test_binned_density_is_the_sum_of_kernels():
    y = st.gamma(2).rvs(300, random_state=np.random.default_rng(5))
    h, at = silverman(y), np.linspace(-1, 8, 57)
    exact = st.norm.pdf((at[:, None] - y) / h).mean(1) / h
    assert np.abs(kernel_density(y, at, h) - exact).max() < 4e-3 * exact.max()


def test_density_at_a_hard_end_is_half_of_that_inside():
    y = (np.arange(2**16) + 0.5) / 2**16
    assert kernel_density(y, np.array([0.0, 0.5, 1.0]), 0.02) == pytest.approx([0.5, 1.0, 0.5], rel=1e-2)


def test_dataset_carries_units_seed_and_the_error_of_everything():
    data = propagate(ishigami, ISHIGAMI, 2**12, seed=3, name="lift", unit="N").to_xarray([8.0, 10.0])
    assert data.attrs["seed"] == 3
    assert data.attrs["n"] == 2**12
    assert data.attrs["bandwidth"] > 0
    assert data["mean"].attrs["units"] == data["quantile"].attrs["units"] == "N"
    assert data["pdf"].attrs["units"] == "(N)**-1"
    assert data["failure_probability"].dims == ("threshold",)
    for name in ("mean", "std", "skewness", "excess_kurtosis", "quantile", "pdf", "cdf", "failure_probability"):
        assert data[f"{name}_error"].dims == (*data[name].dims, "error")
        assert bool(np.isfinite(data[f"{name}_error"]).all())


def test_inputs_are_never_held_together():
    law = Law.uniform(np.tile([[0.0, 1.0]], (32, 1)))
    propagate(total, law, 2**10, seed=3)
    tracemalloc.start()
    propagate(total, law, 2**18, seed=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    inputs, outputs, batch = 2**18 * 32 * 8, 2**18 * 8, 2**14 * 32 * 8
    assert peak < 4 * outputs + 6 * batch < inputs


@pytest.mark.parametrize(
    ("predict", "words"),
    [
        (lambda x: np.full(len(x), 2.5), "vary with the inputs, got 2.5"),
        (lambda x: np.where(x[:, 0] > 0, np.nan, 1.0), "not finite|that are not"),
        (lambda x: x, "one number for each point"),
        (lambda x: (x.sum(1), -np.ones(len(x))), "standard errors >= 0"),
        (lambda x: (x.sum(1), np.full(len(x), np.nan)), "finite"),
    ],
)
def test_output_that_has_no_statistics_is_refused_in_a_sentence(predict, words):
    with pytest.raises(ValueError, match=words):
        propagate(predict, NORMALS, 256, seed=3)
    with pytest.raises(ValueError, match="replicates"):
        propagate(total, NORMALS, 8, seed=3)
