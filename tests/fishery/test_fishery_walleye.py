"""The age-structured stock: its law of recruitment, its step, its utilities, and the published levels."""

from __future__ import annotations

import math

import pytest
import torch
from sciml_fishery.models import nominal
from sciml_fishery.rollout import simulate
from sciml_fishery.walleye import UTILITIES, grow, recruitment, walleye


@pytest.mark.parametrize(("rescaled", "usual"), [(False, math.exp(0.3**2 / 2)), (True, 0.25)])
def test_walleye_recruitment_has_the_mean_of_its_law(rescaled, usual):
    noise = torch.randn(400_000, 3, generator=torch.Generator().manual_seed(12))
    multiplier = recruitment(noise, nominal(walleye(rescaled=rescaled)))
    strong = 2 * 0.025 * 0.975
    assert float(multiplier.mean()) == pytest.approx((1 - strong) * usual + 20 * strong, abs=0.03)


def test_walleye_ages_by_a_year_and_loses_to_mortality():
    model = walleye()
    p, stock = nominal(model), torch.rand(3, 20, generator=torch.Generator().manual_seed(12))
    grown = grow(stock, p, torch.tensor(0.0), torch.zeros(3, 3))
    assert torch.allclose(grown[:, 1:19], 0.86 * stock[:, :18])
    assert torch.allclose(grown[:, 19], 0.86 * (stock[:, 18] + stock[:, 19]))


def test_walleye_utilities_count_what_they_say():
    model = walleye(n_years=30)
    outcomes = {
        name: simulate(model, lambda s, t: torch.full((len(s), 1), 0.06), seed=5, episodes=8, objective=o, keep=True)
        for name, o in UTILITIES.items()
    }
    catch = outcomes["UM1"].path.catch
    assert torch.allclose(outcomes["UM1"].reward, catch[..., 0].sum(0), rtol=1e-4)
    assert torch.allclose(outcomes["UM2"].reward, (catch[..., 0] ** 0.6).sum(0), rtol=1e-3)
    assert torch.allclose(outcomes["UM3"].reward, catch[..., 1].sum(0), rtol=1e-4)


# Of constant fishing: mean and standard deviation over 500 episodes, and the fraction. The published table gives no
# fractions; near the best one the yield is flat. The rescaled rows are those of the source's notebook.
LEVELS = {
    (False, "UM1"): (237.3, 22.7, 0.13),
    (False, "UM2"): (400.6, 20.7, 0.13),
    (False, "UM3"): (96.4, 8.3, 0.08),
    (True, "UM1"): (72.55, 18.76, 0.0714),
    (True, "UM2"): (174.69, 26.55, 0.0604),
    (True, "UM3"): (35.89, 7.71, 0.0599),
}


@pytest.mark.parametrize(("rescaled", "utility"), list(LEVELS))
def test_walleye_published_levels_are_reproduced(rescaled, utility):
    mean, sd, fraction = LEVELS[rescaled, utility]
    model, level = walleye(rescaled=rescaled), torch.tensor([[fraction]])
    outcome = simulate(model, lambda s, t: level.expand(len(s), 1), seed=2025, episodes=100,
                       objective=UTILITIES[utility])  # fmt: skip
    assert abs(outcome.mean - mean) < 3 * math.hypot(outcome.error, sd / 500**0.5)
    assert float(outcome.reward.std()) == pytest.approx(sd, rel=0.3)
