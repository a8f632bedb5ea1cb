"""Policies of every family, found and judged the same way on episodes that none of them was chosen on."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from sciml import Run
from sciml_fishery.bptt import BpttConfig, train, trained, worst_share
from sciml_fishery.config import FisheryConfig
from sciml_fishery.dp import Optimum, solve
from sciml_fishery.grid import KINDS, search
from sciml_fishery.models import Model, perturbed
from sciml_fishery.objectives import Objective
from sciml_fishery.policies import ConstantEscapement, ConstantMortality, Policy, PredatorEscapement, neural
from sciml_fishery.ppo import train_ppo
from sciml_fishery.rollout import Outcome, simulate, simulate_each
from sciml_fishery.rules import rounded
from sciml_fishery.sell_out import SellOutEscapement, as_rule, search_sell_out
from sciml_fishery.smoothing import smooth

UNSEEN = 1000  # added to the seed of a run for the episodes that policies are judged on
CHOOSING = 500  # and for those that the best learned policy is chosen on
Curve = list[tuple[float, float]]
TITLES = {
    "optimum": ("optimum, sees the year", "optimum"),
    "frozen": ("optimum of mid-time, held", "optimum"),
    "network": ("network, through the simulation", "learned"),
    "rule": ("readable rule", "learned"),
    "sell_out": ("readable rule with a sell-out", "learned"),
    "robust": ("readable rule, robust", "learned"),
    "cautious": ("readable rule, cautious", "learned"),
    "ppo": ("network, PPO", "learned"),
    "smoothed": ("PPO network, smoothed (GP)", "learned"),
    "mortality": ("constant mortality", "constant"),
    "escapement": ("constant escapement", "constant"),
}


@dataclass(frozen=True)
class Strategy:
    """A policy, the CPU seconds that finding it took, and how it did with nominal and with perturbed parameters."""

    policy: Policy
    cpu_s: float
    outcome: Outcome
    noisy: Outcome


@dataclass(frozen=True)
class Found:
    """What was found for a model.

    Parameters
    ----------
    policies : by name, with their CPU seconds.
    optimum : where there is one.
    curves : training return over CPU seconds.
    chosen : the learned policy that earned most on the episodes for choosing, which are not those of the report.
    """

    policies: Mapping[str, tuple[Policy, float]]
    optimum: Optimum | None
    curves: Mapping[str, Curve]
    chosen: str


def timed(function: Any) -> tuple[Any, float]:
    """Call without arguments; return the result and the CPU seconds of this process."""
    began = time.process_time()
    return function(), time.process_time() - began


def find_all(config: FisheryConfig, model: Model, run: Run) -> Found:
    """Search, solve and train; what is trained resumes from its checkpoint."""
    policies: dict[str, tuple[Policy, float]] = {}
    with run.progress.track(2, "constant policies") as update:
        points, episodes = config.search.n_points, config.search.n_episodes
        for n, kind in enumerate(KINDS):
            found, cpu_s = timed(lambda k=kind: search(model, k, points, episodes, run.seed))
            policies[kind] = found.policy, cpu_s
            update(n + 1)
    optimum = None
    if solvable(model):
        with run.progress.track(1, "dynamic programming") as update:
            optimum, cpu_s = timed(lambda: solve(model, grid_of(config, model)))
            policies["optimum"] = optimum.policy, cpu_s
            policies["frozen"] = optimum.policy.frozen(model.n_years // 2), cpu_s
            update(1)
    curves = _learn(config, model, run, policies)
    run.log("found " + ", ".join(policies))
    learned = {name: policies[name][0] for name in TITLES if TITLES[name][1] == "learned"}
    chosen = choose(model, learned, run.seed + CHOOSING, config.n_test)
    return Found({name: policies[name] for name in TITLES if name in policies}, optimum, curves, chosen)


def choose(model: Model, policies: Mapping[str, Policy], seed: int, n_episodes: int) -> str:
    """Return the name of the policy that earns most on the same episodes."""
    decide = {name: policy.fraction for name, policy in policies.items()}
    outcomes = simulate_each(model, decide, seed=seed, episodes=torch.arange(n_episodes))
    return max(outcomes, key=lambda name: outcomes[name].mean)


def solvable(model: Model) -> bool:
    """Say whether dynamic programming on a grid applies: fished fractions, noise that is independent over species."""
    return len(model.species) <= 3 and model.harvest is None and len(model.top) == len(model.species)


def grid_of(config: FisheryConfig, model: Model) -> tuple[int, ...]:
    """Return the grid points per species; a single species gets many."""
    if len(model.species) == 1:
        return (8 * config.optimum.n_points + 1,)
    return (*[config.optimum.n_points] * (len(model.species) - 1), config.optimum.n_predator)


def _learn(
    config: FisheryConfig, model: Model, run: Run, policies: dict[str, tuple[Policy, float]]
) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    robust = config.robust
    again = BpttConfig(robust.n_steps, config.rule.n_episodes, robust.learning_rate)

    worst = worst_share(robust.worst_share)

    def learn(name: str, policy: Policy, how: BpttConfig, before: float = 0.0, **options: Any) -> Policy:
        steps = train(model, policy, how, run.seed, checkpoint=run.checkpoint(name), **options)
        with run.progress.track(how.n_steps, TITLES[name][0]) as update:
            cpu_s, curves[name] = trained(steps, update)
        policies[name] = policy, before + cpu_s
        return policy

    learn("network", neural(model.sees, model.yields, run.seed), config.network)
    rule = learn("rule", PredatorEscapement(model.sees, model.yields), config.rule)
    assert isinstance(rule, PredatorEscapement)
    spent = policies["rule"][1]
    learn("robust", copy.deepcopy(rule), again, spent, spread=robust.spread, goal=worst)
    learn("cautious", copy.deepcopy(rule), again, spent, objective=Objective(death_cost=robust.death_cost))
    policies["rule"] = rounded(rule), spent  # judged with the digits that are written
    with run.progress.track(1, TITLES["sell_out"][0]) as update:
        bases = {"rule": policies["rule"], "escapement": policies["escapement"]}
        policies["sell_out"] = with_sell_out(config, model, bases, run.seed)
        update(1)
    with run.progress.track(config.ppo.n_updates, TITLES["ppo"][0]) as update:
        curve: Curve = []
        for state in train_ppo(model, config.ppo, run.seed):
            if state.update % 5 == 0:  # on the episodes of the search; PPO's own CPU clock does not count this
                seen = simulate(model, state.policy.fraction, seed=run.seed, episodes=config.search.n_episodes)
                curve.append((state.cpu_s, seen.mean))
            update(state.update, f"reward of a year {state.reward:.3g}")
    policies["ppo"] = state.policy, state.cpu_s
    curves["ppo"] = curve
    visited = visits(model, state.policy, run.seed)
    smoothed, cpu_s = timed(lambda: smooth(state.policy, visited, [0.5] * len(model.sees)))
    policies["smoothed"] = smoothed, state.cpu_s + cpu_s
    return curves


def with_sell_out(
    config: FisheryConfig, model: Model, bases: Mapping[str, tuple[Policy, float]], seed: int
) -> tuple[SellOutEscapement, float]:
    """Search the giving-up threshold and the sell-out of the better base; return the rule and all its CPU seconds.

    The better one is that with the larger reward on the episodes of the search over constant policies.
    """
    name = choose(model, {n: policy for n, (policy, _) in bases.items()}, seed, config.search.n_episodes)
    base, before = bases[name]
    if isinstance(base, ConstantEscapement):
        base = as_rule(base)
    assert isinstance(base, PredatorEscapement)
    found, cpu_s = timed(lambda: search_sell_out(model, base, config.sell_out, seed))
    return found, before + cpu_s


def visits(model: Model, policy: Policy, seed: int, n_points: int = 400) -> torch.Tensor:
    """Return stocks (point, species) that a policy meets, evenly spread over the years of training episodes."""
    path = simulate(model, policy.fraction, seed=seed, episodes=40, keep=True).path
    assert path is not None
    stock = path.stock.flatten(0, 1)
    stock = stock[~stock.isnan().any(-1)]
    return stock[:: max(1, len(stock) // n_points)][:n_points]


def judge(config: FisheryConfig, model: Model, found: Found, run: Run) -> dict[str, Strategy]:
    """Follow every policy through the same fresh episodes, with nominal and with perturbed parameters."""
    seed, episode = run.seed + UNSEEN, torch.arange(config.n_test)
    other = perturbed(model, config.robust.spread, seed, episode)
    strategies = {}
    with run.progress.track(len(found.policies), "judge on fresh episodes") as update:
        for name, (policy, cpu_s) in found.policies.items():
            outcome = simulate(model, policy.fraction, seed=seed, episodes=episode)
            noisy = simulate(model, policy.fraction, seed=seed, episodes=episode, parameters=other)
            strategies[name] = Strategy(policy, cpu_s, outcome, noisy)
            update(len(strategies), TITLES[name][0])
    return strategies


def pareto(config: FisheryConfig, model: Model, run: Run) -> list[tuple[float, float, float]]:
    """Return (death cost, survival, reward) of the optima for several further costs of a loss."""
    seed, n, rows = run.seed + UNSEEN, config.optimum.n_front, []
    points = (n,) * len(model.species) if len(model.species) > 1 else (8 * n + 1,)
    with run.progress.track(len(config.optimum.front), "Pareto front") as update:
        for cost in config.optimum.front:
            policy = solve(model, points, Objective(death_cost=cost)).policy
            outcome = simulate(model, policy.fraction, seed=seed, episodes=config.n_test)
            rows.append((cost, outcome.survival, outcome.mean))
            update(len(rows), f"cost {cost:g}")
    return rows


def fractional(model: Model, policy: ConstantMortality, seed: int, n_test: int) -> list[tuple[float, float, float]]:
    """Return (fraction, survival, reward) of constant mortality at 80, 90, 95 and 100 %, as the paper has it."""
    rows = []
    for share in (0.8, 0.9, 0.95, 1.0):
        less = ConstantMortality(policy.sees, policy.fisheries, (share * policy.level).tolist())
        outcome = simulate(model, less.fraction, seed=seed, episodes=n_test)
        rows.append((share, outcome.survival, outcome.mean))
    return rows


def paths(model: Model, strategies: Mapping[str, Strategy], names: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Return the paths of one hundred fresh episodes under some of the strategies."""
    chosen = {name: strategies[name].policy for name in names if name in strategies}
    return {n: simulate(model, p.fraction, seed=seed, episodes=100, keep=True).path for n, p in chosen.items()}
