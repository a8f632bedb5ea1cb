"""What `sciml bench fishery` measures beyond the comparison: other models, learning speed, throughput, peers."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sciml import Report, Run
from sciml.threads import one_core
from sciml_fishery.bptt import train, trained
from sciml_fishery.compare import CHOOSING, TITLES, UNSEEN, choose, grid_of, timed, with_sell_out
from sciml_fishery.config import FisheryConfig
from sciml_fishery.dp import solve
from sciml_fishery.figures import matrix
from sciml_fishery.grid import KINDS, Kind, search
from sciml_fishery.models import Model
from sciml_fishery.policies import ConstantEscapement, ConstantMortality, Policy, PredatorEscapement, neural
from sciml_fishery.robust import regret, transfer
from sciml_fishery.rollout import Outcome, simulate
from sciml_fishery.study import one_species
from sciml_fishery.three_species import published

if TYPE_CHECKING:
    from sciml_fishery.experiment import Findings

KEYS = (
    "m4_learned_over_cmort", "m4_learned_over_cesc", "m4_learned_over_dp", "m3_learned_over_dp", "m2_learned_over_dp",
    "m1_learned_over_dp", "m4_reward_at_survival_98", "rule_over_network", "cpu_s_to_beat_cmort_sb3_over_ours",
    "env_steps_vs_dummyvecenv", "robust_over_nominal_q05", "robust_nominal_loss", "dp_value_vs_simulation",
    "published_table_worst_z", "zabiotic_learned_over_cesc", "v0drift_1_learned_over_cesc", "search_vs_python_loop",
    "transfer_worst",
)  # fmt: skip
LEARNED = ("network", "rule", "sell_out")
Rules = dict[str, tuple[Model, Policy]]  # by the world that a rule was trained on
CASES = (("M3", 2), ("M2", 1), ("M1", 1), ("ZABIOTIC", 2), ("V0DRIFT", 1))
PUBLISHED: dict[tuple[str, Kind], tuple[float, float, tuple[float, ...]]] = {  # mean, sd of 100 episodes, levels
    ("M2", "escapement"): (19.52, 2.19, (0.22,)),
    ("M2", "mortality"): (19.77, 2.01, (0.29,)),
    ("M3", "escapement"): (48.36, 11.6, (0.38, 0.52)),
    ("M3", "mortality"): (62.30, 12.7, (0.30, 0.25)),
    ("M4", "escapement"): (36.76, 8.93, (0.52, 0.38)),
    ("M4", "mortality"): (44.52, 5.31, (0.13, 0.27)),
}


def measure_peers(findings: Findings, run: Run, report: Report) -> dict[str, float]:
    """Measure, add sections to the report, and return the metrics; keys of `KEYS` that were not measured are NaN."""
    metrics = {**dict.fromkeys(KEYS, math.nan), **findings.metrics}
    with one_core():
        metrics |= _published_table(run, report)
        measured, rules = _other_models(findings.config, run, report)
        metrics |= measured | _trained_and_tested(findings, rules, run, report)
        metrics |= _title_question(metrics, findings.config.n_test, run, report)
        try:
            metrics |= _throughput(findings.config, report)
            metrics |= _learning_speed(findings, run, report)
        except ImportError as error:
            report.text(f"The peers were not measured: {error}; pip install 'sciml-toolkit[bench]'.")
    report.section("Key numbers")
    values = [(key, "not measured" if math.isnan(metrics[key]) else metrics[key]) for key in KEYS]
    report.table(("key", "value"), values)
    return metrics


def _published_table(run: Run, report: Report) -> dict[str, float]:
    """Follow the published constant policies under the paper's accounting, in standard errors of the difference."""
    rows, worst = list[tuple[Any, ...]](), 0.0
    for (name, kind), (mean, sd, levels) in PUBLISHED.items():
        model = published(name)
        family = ConstantMortality if kind == "mortality" else ConstantEscapement
        policy = family(model.sees, model.yields, levels)
        ours = simulate(model, policy.fraction, seed=run.seed + UNSEEN, episodes=2000).paper_reward.double()
        z = (float(ours.mean()) - mean) / math.hypot(sd / 10, float(ours.std()) / len(ours) ** 0.5)
        rows.append((name, kind, f"{mean:.2f} ± {sd / 10:.2f}", round(float(ours.mean()), 2), round(z, 1)))
        worst = max(worst, abs(z))
    report.section("The published table", "Constant policies at the published levels, counted as the paper counts.")
    columns = ("model", "policy", "published", "here, 2000 fresh episodes", "difference (standard errors)")
    report.table(columns, rows, "The paper judges on the episodes that it tuned on; that flatters it by about one.")
    return {"published_table_worst_z": worst}


def _policies(config: FisheryConfig, model: Model, seed: int) -> dict[str, Policy]:
    """Return the constant policies, the optimum and those of `LEARNED`, by name."""
    policies: dict[str, Policy] = {}
    for kind in KINDS:
        points = config.search.n_points if len(model.fished) == 1 or model.drift else 21
        policies[kind] = search(model, kind, points, config.search.n_episodes, seed).policy
    policies["optimum"] = solve(model, grid_of(config, model)).policy
    policies["network"] = neural(model.sees, model.yields, seed)
    policies["rule"] = PredatorEscapement(model.sees, model.yields)
    trained(train(model, policies["network"], config.network, seed))
    trained(train(model, policies["rule"], config.rule, seed))
    bases = {name: (policies[name], 0.0) for name in ("rule", "escapement")}
    policies["sell_out"], _ = with_sell_out(config, model, bases, seed)
    return policies


def _other_models(config: FisheryConfig, run: Run, report: Report) -> tuple[dict[str, float], Rules]:
    """Learn, search and solve the other models and the variants where the paper's learned policies lost.

    "Learned" in a metric is the one of `LEARNED` that earns most on episodes kept for choosing.
    """
    metrics, rows, found = dict[str, float](), list[tuple[Any, ...]](), Rules()
    with run.progress.track(len(CASES), "other models") as update:
        for number, (name, n_fisheries) in enumerate(CASES):
            case = replace(config, model=name, n_fisheries=n_fisheries)
            model = case.stock()

            def judge(policy: Any, model: Model = model) -> Outcome:
                return simulate(model, policy.fraction, seed=run.seed + UNSEEN, episodes=config.n_test)

            policies = _policies(case, model, run.seed)
            outcomes = {n: judge(policy) for n, policy in policies.items()}
            learned = {n: policies[n] for n in LEARNED}
            chosen = choose(model, learned, run.seed + CHOOSING, config.n_test)
            found[name] = model, policies["rule"]
            key = name.lower() + ("_1" if name == "V0DRIFT" else "")
            best = outcomes[chosen].mean
            metrics |= {f"{key}_{n}_reward": o.mean for n, o in outcomes.items()}
            metrics |= {f"{key}_{n}_survival": o.survival for n, o in outcomes.items()}
            metrics[f"{key}_learned_over_cesc"] = best / outcomes["escapement"].mean
            metrics[f"{key}_learned_over_dp"] = best / outcomes["optimum"].mean
            cells = (f"{o.mean:.2f} / {100 * o.survival:.0f}" for o in outcomes.values())
            rows.append((f"{name}, {n_fisheries} fished" if name not in ("M1", "M2", "M3") else name, *cells))
            run.log(f"measured {name}")
            update(number + 1, name)
    report.section(
        "Other models",
        "In the paper's data constant escapement beats its learned policies in ZABIOTIC with two fisheries (36.5 "
        "against 33.2) and in V0DRIFT with one (11.1 against 8.7).",
    )
    columns = ("model", *KINDS, "optimum", *LEARNED)
    titles = ("model", *(TITLES[name][0] for name in columns[1:]))
    report.table(titles, rows, "Reward / survival (%) on the same fresh episodes for a row.")
    return metrics, found


def _trained_and_tested(findings: Findings, rules: Rules, run: Run, report: Report) -> dict[str, float]:
    """Fish every world by the rules that were trained on each of those with its species and fisheries."""
    own = findings.model
    known = {own.name.split(",")[0]: (own, findings.strategies["rule"].policy)} | rules
    alike = {n: (m, p) for n, (m, p) in known.items() if (m.species, m.fished) == (own.species, own.fished)}
    if len(alike) < 2:
        return {}
    worlds = {name: model for name, (model, _) in alike.items()}
    reward = transfer(worlds, {n: p.fraction for n, (_, p) in alike.items()}, run.seed + UNSEEN, findings.config.n_test)
    names = list(worlds)
    percent = np.array([[100 * reward[world][name] / reward[world][world] for world in names] for name in names])
    report.section("Trained in one world, tested in another", "The readable rule, trained on the model of each row.")
    drawn = matrix(names, names, percent, "tested in", "of the rule trained there (%)")
    report.figure("transfer", drawn, "Reward in percent of that of the rule that was trained in the world it is in.")
    lines = [(name, *(round(reward[world][name], 2) for world in names)) for name in names]
    report.table(("trained on", *(f"tested on {name}" for name in names)), lines)
    return {"transfer_worst": float(percent.min()) / 100}


def _title_question(metrics: dict[str, float], n_test: int, run: Run, report: Report) -> dict[str, float]:
    """Fish Model 2 by the optimal policies of one-species models: what leaving out two species costs."""
    world = published("M2")
    optimum = metrics["m2_optimum_reward"]
    lost = regret(world, one_species(world), optimum, run.seed + UNSEEN, n_test)
    report.section(
        "The same in Model 2",
        "The question of the paper's code: the exact optimum of a one-species model, or an approximate policy of the "
        "true one? In Model 2 the chosen learned policy loses "
        f"{100 * (1 - metrics['m2_learned_over_dp']):.1f} % of the optimum.",
    )
    rows = [(name, round(100 * share, 1)) for name, share in lost.items()]
    report.table(("one-species model, solved exactly", "reward lost in Model 2 (%)"), rows)
    return {f"m2_one_species_regret_{name.replace(' ', '_')}": share for name, share in lost.items()}


def _throughput(config: FisheryConfig, report: Report) -> dict[str, float]:
    """Count environment steps per CPU second of the batched environments and of one NumPy environment after another."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    from sciml_fishery.gym_env import FisheryVectorEnv
    from sciml_fishery.peers import PlainEnv

    model, n = published("M4"), 20_000
    ours = FisheryVectorEnv(n, model)
    ours.reset(seed=1)
    actions = torch.full((n, 2), 0.2).numpy()
    ours.step(actions)
    _, ours_s = timed(lambda: [ours.step(actions) for _ in range(100)])
    dummy = DummyVecEnv([lambda: PlainEnv(model)] * 8)
    dummy.reset()
    few = actions[:8]
    _, dummy_s = timed(lambda: [dummy.step(few) for _ in range(2000)])
    plain = PlainEnv(model)
    plain.reset(seed=1)
    _, plain_s = timed(lambda: [plain.reset() if plain.step(few[0])[2] else None for _ in range(10_000)])
    points, episodes = config.search.n_points, config.search.n_episodes
    search(model, "mortality", 3, 3, 1)
    _, search_s = timed(lambda: search(model, "mortality", points, episodes, 1))
    rates = {
        "batched environments, 20 000": 100 * n / ours_s,
        "DummyVecEnv of 8 NumPy environments": 16_000 / dummy_s,
        "one NumPy environment": 10_000 / plain_s,
        "search over constant rules, one op": points**2 * episodes * model.n_years / search_s,
    }
    report.section("Throughput", "Steps of Model 4 per CPU second of one core, noise and copies to NumPy included.")
    report.table(("environment", "steps per CPU s"), [(name, float(f"{rate:.3g}")) for name, rate in rates.items()])
    first, second, third, fourth = rates.values()
    found = {"env_steps_vs_dummyvecenv": first / second, "search_vs_python_loop": fourth / third}
    return {**found, "env_steps_per_cpu_s": first, "dummyvecenv_steps_per_cpu_s": second}


def _seconds_to_beat(goal: float, model: Model, judge: Any, config: FisheryConfig, seed: int) -> float:
    """Return the CPU seconds of training until `judge` gives the network more than the goal; NaN for never."""
    policy, spent, began = neural(model.sees, model.yields, seed), 0.0, time.process_time()
    for _ in train(model, policy, config.network, seed):
        spent += time.process_time() - began
        if judge(policy.fraction) > goal:
            return spent
        began = time.process_time()
    return math.nan


def _learning_speed(findings: Findings, run: Run, report: Report) -> dict[str, float]:
    """Measure the CPU seconds to beat constant mortality on Model 4 in 300 episodes kept for this; judging is free."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    from sciml_fishery.peers import PlainEnv
    from sciml_fishery.sb3 import Watch, learner, policy_of

    model, config = published("M4"), findings.config
    level = search(model, "mortality", config.search.n_points, config.search.n_episodes, run.seed).policy

    def judge(decide: Any) -> float:
        return simulate(model, decide, seed=run.seed + 2 * UNSEEN, episodes=300).mean

    goal = judge(level.fraction)
    ours = _seconds_to_beat(goal, model, judge, config, run.seed)
    curve: list[tuple[float, float]] = []

    def watch(peer: Any, cpu_s: float) -> bool:
        reward = judge(policy_of(peer, symmetric=False, scale=4.0))
        curve.append((cpu_s, reward))
        run.log(f"SB3 PPO: {reward:.2f} after {cpu_s:.0f} CPU s")
        return reward > goal

    peer = learner("PPO", DummyVecEnv([lambda: PlainEnv(model)] * 8), run.seed)
    with run.progress.track(1, "stable-baselines3"):
        peer.learn(config.sb3_steps, callback=Watch(watch, min(50_000, config.sb3_steps)))
    theirs, reached = curve[-1] if curve else (math.nan, -math.inf)
    beaten = reached > goal
    report.section("Learning speed", f"CPU seconds until 300 episodes earn more than constant mortality ({goal:.2f}).")
    rows = [("gradients through the simulation", float(f"{ours:.3g}"), "yes")]
    rows.append(
        ("stable-baselines3 PPO, its defaults, 8 environments", float(f"{theirs:.3g}"), "yes" if beaten else "not yet")
    )
    report.table(("learner", "CPU s", "beaten"), rows, "One seed each. Where not yet, the ratio is a lower bound.")
    return {"cpu_s_to_beat_cmort_sb3_over_ours": theirs / ours, "cpu_s_to_beat_cmort": ours, "sb3_cpu_s": theirs}
