"""Giving up and selling out are what they say, and the search finds the ending that is known to be best."""

from __future__ import annotations

import pytest
import torch
from sciml_fishery.models import Model, logistic
from sciml_fishery.policies import ConstantEscapement, PredatorEscapement
from sciml_fishery.rollout import simulate
from sciml_fishery.sell_out import (
    NEVER,
    SellOutConfig,
    SellOutEscapement,
    as_rule,
    decode,
    mean_rewards,
    search_sell_out,
)
from sciml_fishery.three_species import published

SEES, FISHED = ("X", "Y", "Z"), ("X", "Y")


def stocks(n, seed=12):
    return 0.1 + torch.rand(n, 3, generator=torch.Generator().manual_seed(seed))


def test_sell_out_leaves_the_remnant_from_its_year_on():
    rule = SellOutEscapement(SEES, FISHED, endings=[[0, NEVER, 0.08, 190], [0, NEVER, 0.05, 195]])
    base, stock = PredatorEscapement(SEES, FISHED), stocks(9)
    for year, sold in ((189, (False, False)), (190, (True, False)), (195, (True, True))):
        left = stock[:, :2] * (1 - rule.fraction(stock, torch.full((9,), year)))
        usual = stock[:, :2] * (1 - base.fraction(stock, torch.full((9,), year)))
        for f, remnant in enumerate((0.08, 0.05)):
            assert torch.allclose(left[:, f], torch.full((9,), remnant) if sold[f] else usual[:, f], atol=1e-6)


def test_stock_is_given_up_below_its_threshold_and_only_from_its_year_on():
    rule = SellOutEscapement(("X",), ("X",), endings=[[0.3, 50, 0.06, NEVER]])
    stock = torch.tensor([[0.29], [0.31]])
    early, late = (rule.fraction(stock, torch.full((2,), year))[:, 0] for year in (49, 50))
    assert early[0] == 0
    assert float(stock[0, 0] * (1 - late[0].detach())) == pytest.approx(0.06)
    assert late[1] == early[1]


def test_rule_without_endings_is_its_base():
    stock, year = stocks(9), torch.full((9,), 199.0)
    base = PredatorEscapement(SEES, FISHED)
    assert torch.equal(SellOutEscapement(SEES, FISHED).fraction(stock, year), base.fraction(stock, year))
    constant = ConstantEscapement(SEES, FISHED, [0.4, 0.5])
    assert torch.allclose(as_rule(constant).fraction(stock, year), constant.fraction(stock, year))


def test_rewards_of_a_batch_of_rules_are_those_of_each_rule():
    model = Model(**{**vars(published("M4")), "n_years": 30})
    base, episode = PredatorEscapement(SEES, FISHED), torch.arange(20)
    place = torch.rand(3, 2, 5, generator=torch.Generator().manual_seed(12))
    scale, ending = decode(place, base, model)
    found = mean_rewards(model, base, scale, ending, episode, 5)
    for i in range(3):
        levels = base.level.detach() * scale[i, :, None]
        rule = SellOutEscapement(SEES, FISHED, levels=levels.tolist(), endings=ending[i].tolist())
        alone = simulate(model, rule.fraction, seed=5, episodes=episode)
        assert float(found[i]) == pytest.approx(alone.mean, rel=1e-4)


def test_search_sells_out_in_the_last_year_where_nothing_is_lost_by_it():
    # a logistic stock that may be fished to nothing: sell all in the last year, and not before
    model = Model(**{**vars(logistic(0.8, 1.0)), "n_years": 40, "initial": (0.6,)})
    base = as_rule(ConstantEscapement(("X",), ("X",), [0.5]))
    rule = search_sell_out(model, base, SellOutConfig(10, 32, 2, 4), 5)
    assert float(rule.ending[0, 3].detach()) == 39
    best = float(sum(0.8 * 0.25 for _ in range(39)) + 0.1 + 0.5)  # MSY, what exceeds K / 2 at first, K / 2 at last
    assert simulate(model, rule.fraction, seed=6, episodes=1).mean > 0.985 * best


def test_search_earns_more_than_its_base_and_depends_on_its_seed_alone():
    model = Model(**{**vars(published("M2")), "n_years": 20})
    base = PredatorEscapement(model.sees, model.yields)
    rule = search_sell_out(model, base, SellOutConfig(1, 4, 8, 2), 5)
    again = search_sell_out(model, base, SellOutConfig(1, 4, 8, 2), 5)
    assert torch.equal(rule.ending, again.ending)
    earned = [simulate(model, p.fraction, seed=6, episodes=400).mean for p in (rule, base)]
    assert earned[0] > earned[1]


def test_impossible_search_is_refused():
    with pytest.raises(ValueError, match="sell_out: expected generations"):
        SellOutConfig(n_elite=1)
