"""Stock models against reference points known in closed form, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch
from sciml_fishery.grid import rule_columns, search
from sciml_fishery.models import Bounds, Model, beverton_holt, logistic, may, myers, nominal, perturbed, ricker
from sciml_fishery.noise import Purpose, draw
from sciml_fishery.objectives import Management, Objective
from sciml_fishery.policies import ConstantEscapement, ConstantMortality
from sciml_fishery.rollout import simulate
from sciml_fishery.three_species import VARIANTS, Reading, published, variant


def settled(model, fraction, n_years=3000):
    """Return the catch of a year under a constant fraction, once the stock has settled."""
    long = Model(**{**vars(model), "n_years": n_years})
    policy = ConstantMortality(("X",), ("X",), [fraction])
    return float(simulate(long, policy.fraction, seed=3, episodes=1, keep=True).path.catch[-1, 0, 0])


@pytest.mark.parametrize(("r", "k"), [(0.3, 1.0), (0.8, 2.5)])
def test_logistic_stock_yields_rk_over_four_at_r_over_two_plus_r(r, k):
    known = Bounds(r, k)
    assert settled(logistic(r, k), known.fraction) == pytest.approx(known.msy, rel=1e-5)
    for other in (0.97, 1.03):
        assert settled(logistic(r, k), other * known.fraction) < known.msy


def test_logistic_escapement_of_half_the_capacity_yields_rk_over_four():
    model, known = logistic(0.4, 3.0), Bounds(0.4, 3.0)
    assert known.escapement == 1.5
    policy = ConstantEscapement(("X",), ("X",), [known.escapement])
    path = simulate(model, policy.fraction, seed=3, episodes=1, keep=True).path
    assert path.catch[-1].item() == pytest.approx(known.msy, rel=1e-5)


@pytest.mark.parametrize("discount", [0.99, 0.95, 0.9])
def test_discounted_escapement_solves_clarks_equation(discount):
    known = Bounds(0.5, 2.0, discount)
    s = torch.tensor(known.escapement, dtype=torch.float64, requires_grad=True)
    grown = logistic(0.5, 2.0).grow(
        s[None], {**nominal(logistic(0.5, 2.0), torch.float64)}, torch.tensor(0.0), s[None] * 0
    )
    (slope,) = torch.autograd.grad(grown.sum(), s)
    assert discount * float(slope) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("model", [beverton_holt(), ricker(), logistic(), myers()], ids=lambda m: m.name)
def test_capacity_is_a_fixed_point_without_fishing(model):
    at = torch.tensor([[model.parameters["k"]]])
    grown = model.grow(at, nominal(model), torch.tensor(0.0), torch.zeros(1, 1))
    assert grown.item() == pytest.approx(model.parameters["k"], rel=1e-6)


def one_step(parameters, x, y, z, eps, r_x=None):
    """Write the equations of the paper's code once more, in plain numbers."""
    p = parameters
    eaten = [p["beta"] * z * n * n / (p["c"] ** 2 + n * n) for n in (x, y)]
    r_x = p["r_x"] if r_x is None else r_x
    return [
        x + r_x * x * (1 - x / p["k_x"]) - eaten[0] - p["c_xy"] * x * y + p["sigma_x"] * x * eps[0],
        y + p["r_y"] * y * (1 - y / p["k_y"]) - p["d"] * eaten[1] - p["c_xy"] * x * y + p["sigma_y"] * y * eps[1],
        z + z * (p["b"] * (x + p["d"] * y) - p["d_z"]) + p["sigma_z"] * z * eps[2],
    ]


@pytest.mark.parametrize(("name", "year"), [("M2", 30), ("M3", 150), ("M4", 0), ("M4", 60), ("M4", 150)])
def test_step_equals_the_equations(name, year):
    model, eps = published(name), (0.3, -1.2, 0.8)
    r_x = max(1 - year / 200, 0.5) if name == "M4" else None
    wanted = one_step(model.parameters, 0.4, 0.7, 0.5, eps, r_x)
    stock = torch.tensor([[0.4, 0.7, 0.5]])
    found = model.grow(stock, nominal(model), torch.tensor(float(year)), torch.tensor([eps]))
    assert found[0].tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_maps_over_episodes_as_over_one(name):
    model = variant(name)
    generator = torch.Generator().manual_seed(11)
    stock, noise = (torch.rand(5, 3, generator=generator) + 0.2 for _ in range(2))
    p, year = nominal(model), torch.full((5,), 37.0)
    whole = model.grow(stock, p, year, noise)
    alone = torch.vmap(lambda s, t, e: model.grow(s, p, t, e))(stock, year, noise)
    assert torch.allclose(whole, alone, atol=1e-6)


def test_readings_differ_where_paper_and_code_do():
    assert published("M4", Reading(noise="paper")).parameters["sigma_x"] == pytest.approx(math.sqrt(0.05))
    assert published("M1").parameters["sigma"] == 0.05
    assert published("M1", Reading(one_species="workflow")).parameters["beta"] == 0.23
    stock, eps, year = torch.full((1, 3), 0.5), torch.zeros(1, 3), torch.tensor(100.0)

    def grown(name, reading):
        model = variant(name, 2, reading)
        return model.grow(stock, nominal(model), year, eps)

    assert torch.equal(grown("BETADRIFT", Reading(beta_drift="code")), grown("DEFAULT", Reading()))
    assert (grown("BETADRIFT", Reading()) < grown("DEFAULT", Reading())).any()
    doubled = grown("HOLL3", Reading(holling_3="code")) - grown("HOLL3", Reading())
    assert doubled[0].tolist() == pytest.approx([0, 0, 0.5], abs=1e-6)


def test_noise_depends_on_its_keys_alone():
    episode, year = torch.arange(40), torch.arange(7)[:, None]
    whole = draw(5, episode, year, 3)
    assert torch.equal(whole[3, 17], draw(5, torch.tensor(17), torch.tensor(3), 3))
    assert not torch.equal(whole, draw(6, episode, year, 3))
    assert not torch.equal(whole, draw(5, episode, year, 3, Purpose.OBSERVATION))


def test_noise_is_normal_and_uncorrelated():
    sample = draw(5, torch.arange(2000), torch.arange(50)[:, None], 4).double().reshape(-1, 4)
    n = len(sample)
    assert sample.mean(0).abs().max() < 4 / n**0.5
    assert (sample.var(0) - 1).abs().max() < 4 * (2 / n) ** 0.5
    assert (sample**4).mean(0).sub(3).abs().max() < 4 * (96 / n) ** 0.5
    correlation = torch.corrcoef(sample.T) - torch.eye(4)
    assert correlation.abs().max() < 4 / n**0.5


def test_episode_does_not_depend_on_the_others():
    model, policy = published("M4"), ConstantMortality(("X", "Y", "Z"), ("X", "Y"), [0.15, 0.25])
    many = simulate(model, policy.fraction, seed=5, episodes=50)
    few = simulate(model, policy.fraction, seed=5, episodes=torch.tensor([31, 7]))
    assert torch.equal(many.reward[[31, 7]], few.reward)


def test_search_by_op_equals_simulation():
    for name in ("M2", "M4"):
        model = published(name)
        for kind in ("mortality", "escapement"):
            found = search(model, kind, 3, 20, 5)
            slow = search(Model(**{**vars(model), "drift": None}), kind, 3, 20, 5)
            assert torch.allclose(found.reward, slow.reward, rtol=1e-3)
            assert rule_columns(model, kind, found.levels).shape == (len(found.levels), 14)


PUBLISHED = {  # mean and standard deviation over 100 episodes, as recomputed from the paper's data
    ("M2", "escapement"): (19.52, 2.19, (0.22,)),
    ("M2", "mortality"): (19.77, 2.01, (0.29,)),
    ("M3", "escapement"): (48.36, 11.6, (0.38, 0.52)),
    ("M3", "mortality"): (62.30, 12.7, (0.30, 0.25)),
    ("M4", "escapement"): (36.76, 8.93, (0.52, 0.38)),
    ("M4", "mortality"): (44.52, 5.31, (0.13, 0.27)),
}


@pytest.mark.parametrize(("name", "kind"), list(PUBLISHED))
def test_published_rewards_of_constant_policies_are_reproduced(name, kind):
    mean, sd, levels = PUBLISHED[name, kind]
    model = published(name)
    family = ConstantMortality if kind == "mortality" else ConstantEscapement
    policy = family(model.sees, model.yields, levels)
    outcome = simulate(model, policy.fraction, seed=2023, episodes=1000)
    ours = outcome.paper_reward.double()
    error = math.hypot(sd / 10, float(ours.std()) / len(ours) ** 0.5)
    assert abs(float(ours.mean()) - mean) < 3 * error


def test_paper_accounting_leaves_out_the_last_year():
    model = may()
    policy = ConstantMortality(("X",), ("X",), [0.05])
    outcome = simulate(model, policy.fraction, seed=5, episodes=40, keep=True)
    catch = outcome.path.catch[..., 0]
    for i in range(40):
        n = int(outcome.years[i])
        assert float(outcome.paper_reward[i]) == pytest.approx(float(catch[: n - 1, i].sum()), abs=1e-5)
        lost = 0 if outcome.survived[i] else 100 / n
        assert float(outcome.reward[i]) == pytest.approx(float(catch[:n, i].sum()) - lost, abs=1e-4)


def test_catch_never_exceeds_its_quota_whatever_the_errors():
    model, policy = published("M4"), ConstantMortality(("X", "Y", "Z"), ("X", "Y"), [0.5, 0.5])
    rules = Management(observation_sd=0.2, implementation_sd=0.3, quota=(0.1, 0.15), tac_change=(0.5, 1.5))
    catch = simulate(model, policy.fraction, seed=5, episodes=30, management=rules, keep=True).path.catch
    assert bool((catch.nan_to_num(0) <= torch.tensor([0.1, 0.15]) + 1e-6).all())


def test_catch_changes_within_its_bounds():
    model, policy = published("M3"), ConstantMortality(("X", "Y", "Z"), ("X", "Y"), [0.2, 0.2])
    rules = Management(tac_change=(0.8, 1.2))
    catch = simulate(model, policy.fraction, seed=5, episodes=30, management=rules, keep=True).path.catch
    ratio = (catch[1:] / catch[:-1]).nan_to_num(1)
    assert ratio.min() > 0.8 - 1e-4
    assert ratio.max() < 1.2 + 1e-4


def test_fleets_share_what_is_caught():
    catch = torch.tensor([[0.2, 0.4]])
    shares = Management(shares=((0.25, 0.5), (0.75, 0.5))).by_fleet(catch)
    assert torch.allclose(shares.sum(1), catch)
    assert shares[0, 0].tolist() == pytest.approx([0.05, 0.2])


def test_stock_cost_is_the_integral_of_cost_over_stock():
    objective, n, f = Objective(stock_cost=0.2), 0.8, torch.tensor([[0.3]])
    stocks = torch.linspace(n * 0.7, n, 2001, dtype=torch.float64)
    wanted = n * 0.3 - 0.2 * float(torch.trapezoid(1 / stocks, stocks))
    assert float(objective.utility(n * f, f)) == pytest.approx(wanted, rel=1e-6)


def test_perturbed_parameters_have_the_asked_spread():
    p = perturbed(published("M4"), 0.1, 5, torch.arange(5000))
    assert float(p["beta"].mean()) == pytest.approx(0.3, abs=4 * 0.03 / 5000**0.5)
    assert float(p["beta"].std()) == pytest.approx(0.03, rel=0.05)


def changed(**changes):
    return Model(**{**vars(published("M4")), **changes})


def half(stock, year):
    return torch.full((len(stock), 2), 0.5)


def test_errors_name_model_variable_and_step():
    with pytest.raises(ValueError, match=r"model 'M4', initial"):
        changed(initial=(-0.5, 0.5, 0.7))
    with pytest.raises(ValueError, match=r"model 'M4', parameter 'beta'"):
        changed(parameters={**published("M4").parameters, "beta": math.nan})
    with pytest.raises(ValueError, match=r"model 'M4', fished"):
        changed(fished=(3,))
    with pytest.raises(ValueError, match=r"model 'M4', step 0, fraction.*1\.5"):
        simulate(published("M4"), lambda s, t: half(s, t) * 3, seed=5, episodes=4)
    with pytest.raises(ValueError, match=r"model 'M4', step 0, fraction: expected shape"):
        simulate(published("M4"), lambda s, t: half(s, t)[:, :1], seed=5, episodes=4)
    with pytest.raises(ValueError, match=r"model 'M4', step 0, grow: expected the shape"):
        simulate(changed(grow=lambda s, p, t, e: s[..., :2]), half, seed=5, episodes=4)
    with pytest.raises(ValueError, match=r"model 'M4', step 1, stock Y"):
        simulate(changed(grow=lambda s, p, t, e: s * torch.tensor([1, math.nan, 1])), half, seed=5, episodes=4)
    with pytest.raises(ValueError, match=r"difference of .'gamma'"):
        simulate(
            published("M4"), half, seed=5, episodes=4, parameters={**nominal(published("M4")), "gamma": torch.ones(1)}
        )
    with pytest.raises(ValueError, match="variant: expected one of"):
        variant("M9")
