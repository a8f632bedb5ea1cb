"""Every family of policies keeps the toolkit's contract; training, smoothing and the readable rule do what they say."""

from __future__ import annotations

import pytest
import torch
from sciml_fishery.bptt import BpttConfig, expected_returns, survive, train, trained, worst_share
from sciml_fishery.dp import solve
from sciml_fishery.models import Bounds, Model, logistic, may
from sciml_fishery.objectives import Objective
from sciml_fishery.policies import (
    ConstantEscapement,
    ConstantMortality,
    HockeyStick,
    PredatorEscapement,
    TablePolicy,
    neural,
    tabulate,
)
from sciml_fishery.ppo import PpoConfig, train_ppo
from sciml_fishery.robust import lifted, regret, stability, transfer
from sciml_fishery.rollout import simulate
from sciml_fishery.rules import count_numbers, from_csv, rounded, to_csv, to_markdown
from sciml_fishery.sell_out import SellOutEscapement
from sciml_fishery.smoothing import SmoothedPolicy, smooth
from sciml_fishery.three_species import published, variant

from sciml import Region, Surrogate
from sciml.testing import check_surrogate

SEES, FISHED = ("X", "Y", "Z"), ("X", "Y")
AXES = [[0.05, 0.3, 0.8, 1.4]] * 3


def stocks(n, seed=12):
    return 0.1 + torch.rand(n, 3, generator=torch.Generator().manual_seed(seed))


def optimal():
    return solve(Model(**{**vars(published("M3")), "n_years": 4}), (9, 8, 7)).policy


FAMILIES = {
    "constant_mortality": lambda: ConstantMortality(SEES, FISHED, [0.15, 0.25]),
    "constant_escapement": lambda: ConstantEscapement(SEES, FISHED, [0.4, 0.5]),
    "hockey_stick": lambda: HockeyStick(SEES, FISHED),
    "predator_escapement": lambda: PredatorEscapement(SEES, FISHED),
    "network": lambda: neural(SEES, FISHED, 5),
    "network, fraction and clock": lambda: neural(SEES, FISHED, 5, head="fraction", clock=200.0, width=16),
    "table": lambda: tabulate(neural(SEES, FISHED, 5), AXES),
    "sell_out": lambda: SellOutEscapement(SEES, FISHED, endings=[[0.2, 50, 0.06, 2]] * 2),
    "smoothed": lambda: smooth(neural(SEES, FISHED, 5), stocks(40), [0.5] * 3),
    "optimal": optimal,
}


@pytest.mark.parametrize("name", list(FAMILIES))
def test_policy_keeps_the_contract_of_a_surrogate(name):
    domain = {"stock": Region((((0.1,) * 3, (1.2,) * 3),)), "year": Region.interval(0.0, 3.0)}
    failed = [check for check in check_surrogate(Surrogate(FAMILIES[name](), domain=domain)) if not check.passed]
    assert not failed, failed


@pytest.mark.parametrize("name", list(FAMILIES))
def test_fractions_are_fractions_at_any_stock(name):
    stock = torch.cat([stocks(20) * 10, torch.zeros(2, 3)])
    fraction = FAMILIES[name]().fraction(stock, torch.zeros(len(stock)))
    assert fraction.shape == (22, 2)
    assert ((fraction >= 0) & (fraction <= 1)).all()


def test_predator_escapement_has_constant_escapement_as_a_special_case():
    special = PredatorEscapement(SEES, FISHED, levels=[[0.4] * 5, [0.5] * 5], gains=[1.0, 1.0])
    plain = ConstantEscapement(SEES, FISHED, [0.4, 0.5])
    assert torch.allclose(special.fraction(stocks(9), torch.zeros(9)), plain.fraction(stocks(9), torch.zeros(9)))


def test_table_is_exact_at_its_points_and_linear_in_between():
    network = neural(SEES, FISHED, 5)
    table = tabulate(network, AXES)
    points = torch.cartesian_prod(*map(torch.tensor, AXES))
    year = torch.zeros(len(points))
    assert torch.allclose(table.fraction(points, year), network.fraction(points, year), atol=1e-5)
    a, b = points[:1], points[1:2]
    middle = (a * b).sqrt()
    ends = table.fraction(torch.cat([a, b]), torch.zeros(2))
    assert torch.allclose(table.fraction(middle, torch.zeros(1))[0], ends.mean(0), atol=1e-5)


def test_smoothing_without_noise_goes_through_the_decisions():
    network, points = neural(SEES, FISHED, 5), stocks(30)
    smoothed = smooth(network, points, [0.5] * 3, noise=1e-3)
    assert isinstance(smoothed, SmoothedPolicy)
    year = torch.zeros(30)
    assert torch.allclose(smoothed.fraction(points, year), network.fraction(points, year), atol=1e-2)


def test_survivors_have_the_law_of_a_truncated_normal():
    mean, sd, n = 0.08, 0.04, 200_000
    noise = torch.randn(n, generator=torch.Generator().manual_seed(12))
    stock, chance = survive(torch.full((n, 1), mean), torch.full((n, 1), sd), 0.05, noise[:, None])
    free = mean + sd * torch.randn(n, generator=torch.Generator().manual_seed(13))
    kept = free[free > 0.05]
    assert float(chance[0]) == pytest.approx(len(kept) / n, abs=4 * 0.5 / n**0.5)
    assert float(stock.mean()) == pytest.approx(float(kept.mean()), abs=4 * sd / n**0.5 * 2)
    assert float(stock.std()) == pytest.approx(float(kept.std()), rel=0.02)


def test_training_objective_has_the_expectation_of_the_simulation():
    model, policy = published("M4"), ConstantMortality(SEES, FISHED, [0.16, 0.27])
    objective = Objective(death_cost=10.0)
    with torch.no_grad():
        smooth_reward = expected_returns(model, policy, 31, torch.arange(3000), objective).double()
    hard = simulate(model, policy.fraction, seed=32, episodes=3000, objective=objective)
    assert hard.survival < 0.9
    error = (float(smooth_reward.var()) / 3000 + hard.error**2) ** 0.5
    assert abs(float(smooth_reward.mean()) - hard.mean) < 4 * error


def test_gradient_of_the_training_objective_is_that_of_its_differences():
    model = Model(**{**vars(published("M4")), "n_years": 25})

    def reward(level):
        policy = ConstantMortality(SEES, FISHED, [0.3, 0.3])
        policy.level.data = torch.tensor([level, 0.3])
        return policy, expected_returns(model, policy, 31, torch.arange(64)).mean()

    policy, value = reward(0.3)
    value.backward()
    high, low = (float(reward(0.3 + step)[1].detach()) for step in (0.01, -0.01))
    assert float(policy.level.grad[0]) == pytest.approx((high - low) / 0.02, rel=0.02)


def test_training_finds_the_escapement_of_the_logistic_stock():
    # many years, so that the liquidation in the last one hardly counts
    model = Model(**{**vars(logistic(0.5, 1.0)), "n_years": 150, "initial": (0.6,)})
    policy = ConstantEscapement(("X",), ("X",), [0.3])
    trained(train(model, policy, BpttConfig(60, 4, 0.02), 5))
    assert float(policy.level[0].detach()) == pytest.approx(Bounds(0.5, 1.0).escapement, abs=0.01)


def test_worst_share_is_the_mean_of_the_tail():
    returns = torch.arange(10.0)
    assert float(worst_share(0.2)(returns)) == 0.5
    assert float(worst_share(1.0)(returns)) == 4.5


def test_killed_training_goes_on_to_the_same_policy(tmp_path):
    model = Model(**{**vars(published("M4")), "n_years": 8})
    whole, part = PredatorEscapement(SEES, FISHED), PredatorEscapement(SEES, FISHED)
    trained(train(model, whole, BpttConfig(21, 8), 5, checkpoint=tmp_path / "a"))
    steps = train(model, part, BpttConfig(21, 8), 5, checkpoint=tmp_path / "b")
    next(state for state in steps if state.step == 20)
    again = PredatorEscapement(SEES, FISHED)
    trained(train(model, again, BpttConfig(21, 8), 5, checkpoint=tmp_path / "b"))
    assert torch.equal(whole.level, again.level)


def test_ppo_learns_to_spare_a_stock_that_a_fresh_network_overfishes():
    model = Model(**{**vars(logistic(0.3, 1.0)), "n_years": 60})
    fresh = simulate(model, neural(("X",), ("X",), 5, head="fraction").fraction, seed=5, episodes=1).mean
    *_, last = train_ppo(model, PpoConfig(n_updates=25, n_envs=128, n_steps=30), 5)
    assert simulate(model, last.policy.fraction, seed=5, episodes=1).mean > 1.05 * fresh


def test_ppo_depends_on_its_seed_alone():
    rewards = [[s.reward for s in train_ppo(published("M2"), PpoConfig(2, 32, 20), seed)] for seed in (5, 5, 6)]
    assert rewards[0] == rewards[1] != rewards[2]


def test_rule_comes_back_from_its_csv(tmp_path):
    rule = rounded(
        PredatorEscapement(SEES, FISHED, levels=stocks(2).repeat(1, 2)[:, :5].tolist(), gains=[0.71234, 0.8])
    )
    (tmp_path / "rule.csv").write_text(to_csv(rule))
    again = from_csv(tmp_path / "rule.csv")
    assert torch.equal(again.fraction(stocks(9), torch.zeros(9)), rule.fraction(stocks(9), torch.zeros(9)))
    assert count_numbers(rule) == 12
    text = to_markdown(rule)
    assert "| Z | leave of X | leave of Y |" in text
    assert "71% of the surplus of X" in text


def test_file_that_is_no_rule_is_refused(tmp_path):
    (tmp_path / "rule.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"rule\.csv: expected a line of what is seen"):
        from_csv(tmp_path / "rule.csv")


def test_stability_without_spread_is_the_nominal_world():
    model, policy = published("M4"), ConstantMortality(SEES, FISHED, [0.15, 0.25])
    found = stability(model, {"a": policy.fraction, "b": policy.fraction}, 0.0, 5, n_draws=4, n_episodes=10)
    nominal_reward = simulate(model, policy.fraction, seed=5, episodes=40).reward.reshape(4, 10).mean(1)
    assert torch.allclose(found.rewards["a"], nominal_reward)
    assert found.coexist.all()
    assert found.gain("a", "b") == (0.0, 0.0)


def test_transfer_judges_every_policy_in_every_world():
    policy = ConstantMortality(SEES, FISHED, [0.15, 0.25])
    worlds = {"M3": published("M3"), "CVDRIFT": variant("CVDRIFT")}
    found = transfer(worlds, {"constant": policy.fraction}, 5, 50)
    assert found["M3"]["constant"] == simulate(worlds["M3"], policy.fraction, seed=5, episodes=50).mean
    assert set(found) == set(worlds)


def test_one_species_policy_loses_in_the_world_of_three():
    simple = Model(**{**vars(may(sigma=0.1, beta=0.0)), "n_years": 200})
    world = published("M2")
    policy = lifted(ConstantEscapement(("X",), ("X",), [0.4]), world)
    assert torch.equal(
        policy(stocks(5), torch.zeros(5)), ConstantEscapement(SEES, ("X",), [0.4]).fraction(stocks(5), torch.zeros(5))
    )
    assert 0 < regret(world, {"no predator": simple}, 20.2, 5, 200)["no predator"] < 1


def test_bad_policies_are_refused():
    with pytest.raises(ValueError, match="policy: expected finite numbers of shape"):
        ConstantMortality(SEES, FISHED, [0.1])
    with pytest.raises(ValueError, match="expected ascending knots"):
        PredatorEscapement(SEES, FISHED, knots=[0.2, 0.1])
    with pytest.raises(ValueError, match="table: expected an ascending axis"):
        TablePolicy(SEES, FISHED, [[0.2, 0.1]] * 3)
    with pytest.raises(ValueError, match="network: expected the head"):
        neural(SEES, FISHED, 5, head="tail")
