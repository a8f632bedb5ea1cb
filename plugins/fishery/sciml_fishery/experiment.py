"""`sciml run fishery`: a stock, the best policies of every family, the optimum, and a rule that can be read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from sciml import Experiment, Region, Results, Run, Surrogate
from sciml.threads import one_core
from sciml_fishery.benchmark import measure_peers
from sciml_fishery.compare import TITLES, UNSEEN, Found, Strategy, find_all, fractional, judge, pareto, paths
from sciml_fishery.config import PRESETS, FisheryConfig
from sciml_fishery.models import Model
from sciml_fishery.policies import ConstantMortality, PredatorEscapement
from sciml_fishery.rules import count_numbers, write_rule
from sciml_fishery.story import tell
from sciml_fishery.study import Study, study

PICTURED = ("mortality", "escapement", "rule", "optimum")
PUBLISHED_PPO_GP = 49.44  # reward of the paper's best policy on Model 4


@dataclass(frozen=True)
class Pictured:
    """What is drawn beside the strategies.

    Parameters
    ----------
    front, fractions : survival and reward of optima with further costs of a loss, and of less constant mortality.
    paths : stocks of one hundred episodes under some of the strategies.
    study : what strategies earn where the world is another one.
    """

    front: list[tuple[float, float, float]]
    fractions: list[tuple[float, float, float]]
    paths: Mapping[str, Any]
    study: Study


@dataclass(frozen=True)
class Findings:
    """Everything that the report tells.

    Parameters
    ----------
    model, config : the stock and the settings.
    found : what was found, and which learned policy was chosen.
    strategies : policies by name and how they did.
    pictured : what is drawn beside them.
    metrics : numbers by name.
    """

    model: Model
    config: FisheryConfig
    found: Found
    strategies: Mapping[str, Strategy]
    pictured: Pictured
    metrics: Mapping[str, float]


class Fishery(Experiment):
    """Harvest policies of every family against the true optimum, and a rule that a manager can read."""

    @property
    def presets(self) -> Mapping[str, FisheryConfig]:
        """default: minutes on two cores; quick: a first look; long: more training and finer grids."""
        return PRESETS

    def run(self, config: FisheryConfig, run: Run) -> Results:
        """Search, solve, train, judge, report; the recommended surrogate is the readable rule."""
        findings = explore(config, run)
        return Results(findings.metrics, tell(findings), recommended(findings, run))

    def bench(self, config: FisheryConfig, run: Run) -> Results:
        """Do what `run` does, and measure the other models, learning speed and environments against peers."""
        findings = explore(config, run, full=True)
        report = tell(findings)
        metrics = measure_peers(findings, run, report)
        return Results(metrics, report, recommended(findings, run))


def explore(config: FisheryConfig, run: Run, full: bool = False) -> Findings:
    """Find policies for the model of the configuration, judge them on fresh episodes, and study their robustness.

    Parameters
    ----------
    full : study as thoroughly as `sciml bench` does.
    """
    model = config.stock()
    with one_core():  # the tensors of a step are small
        found = find_all(config, model, run)
        strategies = judge(config, model, found, run)
        seed = run.seed + UNSEEN
        mortality = strategies["mortality"].policy
        assert isinstance(mortality, ConstantMortality)
        fractions = fractional(model, mortality, seed, config.n_test)
        front = pareto(config, model, run) if found.optimum is not None else []
        drawn = paths(model, strategies, PICTURED, seed)
        optimum = None if found.optimum is None else strategies["optimum"].outcome.mean
        tried = {name: one.policy.fraction for name, one in strategies.items() if TITLES[name][1] != "optimum"}
        with run.progress.track(len(config.study.spreads), "robustness study") as update:
            studied = study(config.study, model, tried, seed, optimum, full=full, update=update)
    metrics = summarise(model, strategies, found.chosen)
    if found.optimum is not None:
        value, simulated = found.optimum.at(model.initial), strategies["optimum"].outcome.mean
        metrics |= {"dp_value": value, "dp_value_vs_simulation": abs(value / simulated - 1)}
    rule = strategies["rule"].policy
    assert isinstance(rule, PredatorEscapement)
    metrics["rule_numbers"] = float(count_numbers(rule))
    lost_alone = studied.alone.items()
    metrics |= {f"one_species_regret_{name.replace(' ', '_')}": share for name, share in lost_alone}
    lost = 1 - metrics["rule_over_network"]
    verb = f"loses {100 * lost:.1f} % of the reward" if lost > 0 else f"earns {-100 * lost:.1f} % more"
    weights = n_weights(strategies["network"].policy)
    write_rule(rule, run.folder, f"Against a network of {weights} weights it {verb}.")
    return Findings(model, config, found, strategies, Pictured(front, fractions, drawn, studied), metrics)


def n_weights(policy: torch.nn.Module) -> int:
    """Return the number of trained numbers of a policy."""
    return sum(p.numel() for p in policy.parameters())


def summarise(model: Model, strategies: Mapping[str, Strategy], chosen: str) -> dict[str, float]:
    """Return reward, survival and CPU seconds of every strategy, and the ratios of the table of bars.

    "Learned" is the `chosen` policy, which was not chosen on these episodes.
    """
    metrics: dict[str, float] = {}
    for name, one in strategies.items():
        metrics |= {f"{name}_reward": one.outcome.mean, f"{name}_reward_error": one.outcome.error}
        metrics |= {f"{name}_survival": one.outcome.survival, f"{name}_cpu_s": one.cpu_s}
        metrics |= {f"{name}_paper_reward": float(one.outcome.paper_reward.double().mean())}
        metrics |= {f"{name}_noisy_reward": one.noisy.mean, f"{name}_noisy_q05": one.noisy.quantile(0.05)}
        metrics |= {f"{name}_noisy_survival": one.noisy.survival}
    key = model.name.split(",")[0].lower()
    learned = metrics[f"{chosen}_reward"]
    metrics[f"{key}_learned_over_cmort"] = learned / metrics["mortality_reward"]
    metrics[f"{key}_learned_over_cesc"] = learned / metrics["escapement_reward"]
    if "optimum" in strategies:
        metrics[f"{key}_learned_over_dp"] = learned / metrics["optimum_reward"]
    metrics["rule_over_network"] = metrics["rule_reward"] / metrics["network_reward"]
    metrics["robust_over_nominal_q05"] = metrics["robust_noisy_q05"] / metrics["rule_noisy_q05"]
    metrics["robust_nominal_loss"] = 1 - metrics["robust_reward"] / metrics["rule_reward"]
    if key == "m4":
        learned_names = [name for name in strategies if TITLES[name][1] == "learned"]
        safe = [name for name in learned_names if metrics[f"{name}_survival"] >= 0.98]
        best = max((metrics[f"{name}_reward"] for name in safe), default=math.nan)
        if safe:
            metrics["m4_reward_at_survival_98"] = best / PUBLISHED_PPO_GP
    return metrics


def recommended(findings: Findings, run: Run) -> Surrogate:
    """Return the readable rule as a surrogate whose domain is what grids and pictures cover."""
    top = findings.model.top
    stocks, years = Region((((0.0,) * len(top), top),)), Region.interval(0.0, float(findings.model.n_years))
    domain = {"stock": stocks, "year": years}
    rewards = {key: findings.metrics[key] for key in ("rule_reward", "rule_survival", "rule_over_network")}
    provenance = {"model": findings.model.name, "seed": run.seed, **rewards}
    return Surrogate(findings.strategies["rule"].policy, domain=domain, provenance=provenance)
