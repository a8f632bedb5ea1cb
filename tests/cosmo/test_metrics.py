"""The three definitions of R^2 agree where they must and differ where they should."""

import numpy as np
import pytest
from sciml_cosmo.metrics import MODES, bootstrap, r2


def clouds(seed, sizes=(40, 70, 25)):
    generator = np.random.default_rng(seed)
    return [generator.normal(3.0, 1.0 + i, (n, 3)) for i, n in enumerate(sizes)]


@pytest.mark.parametrize("mode", MODES)
def test_r2_is_one_for_exact_predictions_and_invariant_under_scale(mode):
    truth, guess = clouds(1), clouds(2)
    assert r2(truth, truth, mode) == 1
    scaled = r2([5 * t - 3 for t in truth], [5 * g - 3 for g in guess], mode)
    assert scaled == pytest.approx(r2(truth, guess, mode), abs=1e-12)


def test_r2_of_the_mean_is_zero():
    truth = clouds(3)
    assert r2(truth, [np.full_like(t, t.mean()) for t in truth]) == pytest.approx(0, abs=1e-12)
    assert r2(truth, [np.tile(t.mean(0), (len(t), 1)) for t in truth], "per_axis") == pytest.approx(0, abs=1e-12)


def test_definitions_agree_for_one_column_and_follow_their_formulas():
    truth, guess = clouds(4), clouds(5)
    one = [r2(truth[0][:, 0], guess[0][:, 0], mode) for mode in MODES]
    assert one == pytest.approx([one[0]] * 3)
    each = [1 - ((t - g) ** 2).sum() / ((t - t.mean()) ** 2).sum() for t, g in zip(truth, guess, strict=True)]
    assert r2(truth, guess) == pytest.approx(np.mean(each))
    mse, var = (np.mean([f(t, g) for t, g in zip(truth, guess, strict=True)])
                for f in (lambda t, g: ((t - g) ** 2).mean(), lambda t, g: t.var()))  # fmt: skip
    assert r2(truth, guess, "pooled") == pytest.approx(1 - mse / var)
    axes = [r2(t[:, a], g[:, a]) for t, g in zip(truth, guess, strict=True) for a in range(3)]
    assert r2(truth, guess, "per_axis") == pytest.approx(np.mean(axes))


def test_bootstrap_error_is_that_of_a_mean_of_clouds():
    generator = np.random.default_rng(6)
    truth = [generator.standard_normal((200, 3)) for _ in range(300)]
    guess = [t + generator.uniform(0.1, 0.9) * generator.standard_normal(t.shape) for t in truth]
    value, error = bootstrap(truth, guess, n_draw=400, seed=8)
    each = [r2([t], [g]) for t, g in zip(truth, guess, strict=True)]
    assert value == pytest.approx(np.mean(each))
    assert error == pytest.approx(np.std(each) / np.sqrt(300), rel=0.15)
    assert bootstrap(truth, guess, n_draw=400, seed=8) == (value, error)


def test_bad_input_is_refused_in_a_sentence():
    truth = clouds(7)
    with pytest.raises(ValueError, match="mode one of"):
        r2(truth, truth, "best")
    with pytest.raises(ValueError, match="as many predictions"):
        r2(truth, truth[:2])
    with pytest.raises(ValueError, match="of one shape"):
        r2(truth, [t[:, :2] for t in truth])
    with pytest.raises(ValueError, match="constant truth in cloud 0"):
        r2([np.ones((4, 3))], [np.ones((4, 3))])
