"""The report of a fishery run: the table of strategies, policies as pictures, the rule, and who wins where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sciml import Report
from sciml.report import plot_style
from sciml_fishery import figures
from sciml_fishery.compare import TITLES
from sciml_fishery.policies import PredatorEscapement
from sciml_fishery.rules import count_numbers
from sciml_fishery.sell_out import SellOutEscapement
from sciml_fishery.study import BASE

if TYPE_CHECKING:
    from sciml_fishery.dp import OptimalPolicy
    from sciml_fishery.experiment import Findings

MAPPED = ("optimum", "network", "rule", "escapement")


def tell(findings: Findings) -> Report:
    """Return the report, with every figure drawn."""
    model, rows = findings.model, findings.strategies
    report = Report(
        f"Fishery control, model {model.name}",
        f"A stock of {len(model.species)} species under {len(model.fished)} fisheries for {model.n_years} years. Every "
        f"policy is judged on the same {findings.config.n_test:,} fresh episodes, none of which it was chosen on. The "
        "reward is the sum of the catches, less 100 / (t + 1) where a species is lost in the year t.",
    )
    best = max((n for n in rows if TITLES[n][1] == "constant"), key=lambda n: rows[n].outcome.mean)
    facts: dict[str, Any] = {
        "readable rule, reward": rows["rule"].outcome.mean,
        "episodes without a loss (%)": 100 * rows["rule"].outcome.survival,
        f"over {TITLES[best][0]}": rows["rule"].outcome.mean / rows[best].outcome.mean,
        "over the network": findings.metrics["rule_over_network"],
    }
    if "optimum" in rows:
        facts["of the optimum (%)"] = 100 * rows["rule"].outcome.mean / rows["optimum"].outcome.mean
    report.facts(facts)
    chapters = _strategies, _rule, _sell_out, _policies, _front, _robust, _drawn_worlds, _elsewhere, _learning
    with plot_style():
        for chapter in chapters:
            chapter(report, findings)
    return report


def _strategies(report: Report, findings: Findings) -> None:
    rows = findings.strategies
    top = rows["optimum"].outcome.mean if "optimum" in rows else None
    order = sorted(rows, key=lambda name: -rows[name].outcome.mean)
    lines = []
    for name in order:
        one = rows[name].outcome
        percent = None if top is None else round(100 * one.mean / top, 1)
        paper = round(float(one.paper_reward.double().mean()), 2)
        cells = (f"{one.mean:.2f} ± {one.error:.2f}", round(100 * one.survival, 1), percent, paper)
        lines.append((TITLES[name][0], *cells, float(f"{rows[name].cpu_s:.3g}")))
    report.section("Strategies")
    columns = (
        "strategy",
        "reward",
        "survival (%)",
        "of the optimum (%)",
        "reward as the paper counts",
        "found in (CPU s)",
    )
    note = "The paper counts neither the last year nor the loss. ± is a standard error."
    report.table(columns, lines, note, [order.index("rule")])
    constant = {name: rows[name].outcome.mean for name in rows if TITLES[name][1] == "constant"}
    winner, other = findings.found.chosen, max(constant, key=lambda n: constant[n])
    ratio = rows[winner].outcome.mean / constant[other]
    if ratio > 1:
        report.text(
            f"The learned policy that was best on other episodes ({TITLES[winner][0]}) earns "
            f"**{100 * (ratio - 1):.1f} %** more than {TITLES[other][0]}."
        )
    else:
        report.text(f"**A constant policy wins here**: {TITLES[other][0]} earns more than the chosen learned one.")
    if findings.model.n_years == 200:
        report.text(
            "The loss of a species costs at most 1 after the year 100, so that the largest reward goes with selling "
            "out in the end: read reward and survival together."
        )
    report.figure(
        "rewards", figures.rewards(rows), "Rewards of the episodes; dots are means. Low tails are cut at 1 %."
    )


def _rule(report: Report, findings: Findings) -> None:
    rule = findings.strategies["rule"].policy
    assert isinstance(rule, PredatorEscapement)
    ratio = findings.metrics["rule_over_network"]
    report.section(
        "The rule",
        f"{count_numbers(rule)} numbers; also in `rule.csv` and `rule.md` of this folder. Find the level at the "
        "predator's stock, leave it, and take the given share of what exceeds it. "
        f"It earns **{100 * ratio:.1f} %** of the network's reward.",
    )
    levels = rule.level.detach().clamp(min=0).T.tolist()
    lines = [(knot, *(round(x, 3) for x in row)) for knot, row in zip(rule.config["knots"], levels, strict=True)]
    lines.append(("share of the surplus", *(round(g, 3) for g in rule.gain.tolist())))
    predator = findings.model.species[-1]
    report.table((f"predator {predator}", *(f"leave of {n}" for n in rule.fisheries)), lines)
    if len(findings.model.species) > 1:
        optimal: Any = findings.strategies["optimum"].policy if "optimum" in findings.strategies else None
        year = findings.model.n_years / 2
        drawn: OptimalPolicy | None = optimal
        report.figure(
            "rule", figures.rule_levels(findings.model, rule, drawn, year),
            "What is left of each stock. The optimum is that of one year with both prey at 1.2; it looks at prey too.",
        )  # fmt: skip


def _sell_out(report: Report, findings: Findings) -> None:
    rule = findings.strategies["sell_out"].policy
    assert isinstance(rule, SellOutEscapement)
    report.section(
        "The rule with a sell-out",
        "The end of an episode is worth a sale: from the sell-out year on each stock is fished down to the remnant. So "
        "is a stock below its giving-up threshold, from the year it may be given up on. It is what a finite horizon "
        "asks for, not what a manager should do who means to stay.",
    )
    lines = []
    for name, level, (below, since, remnant, sold) in zip(
        rule.fisheries, rule.level.tolist(), rule.ending.tolist(), strict=True
    ):
        given_up = f"below {below:.3g} from year {since:.0f} on" if below > 0 else "never"
        last = f"year {sold:.0f}" if sold < findings.model.n_years else "never"
        lines.append((name, ", ".join(f"{x:.3g}" for x in level), given_up, last, round(remnant, 3)))
    report.table(("stock", "levels at the knots of the rule", "given up", "sold out from", "remnant"), lines)


def _policies(report: Report, findings: Findings) -> None:
    model, rows = findings.model, findings.strategies
    chosen = {name: rows[name].policy for name in MAPPED if name in rows}
    year = model.n_years / 2
    report.section("Policies")
    if len(model.species) == 1:
        drawn, caption = figures.one_stock(chosen, model.top[0], year), f"Fractions in year {year:.0f}."
    else:
        drawn = figures.maps(model, chosen, year)
        caption = (
            f"Fraction of each stock to fish in year {year:.0f}, the other prey at 0.6; below the white line none."
        )
    report.figure("policies", drawn, caption)
    report.figure(
        "trajectories", figures.trajectories(model, findings.pictured.paths),
        "Median and middle 80 % of the stocks that are still there, in carrying capacities; the dotted line is where a "
        "species counts as lost.",
    )  # fmt: skip


def _front(report: Report, findings: Findings) -> None:
    report.section("Reward and survival", "The upper right is where a manager wants to be.")
    is_m4 = findings.model.name == "M4"
    drawn = figures.front(findings.strategies, findings.pictured.front, findings.pictured.fractions, is_m4)
    published = " Hollow: the paper's numbers, 100 episodes." if is_m4 else ""
    report.figure("front", drawn, f"Mean reward against survival on the same fresh episodes.{published}")
    if findings.pictured.front:
        rows = [
            (cost, round(100 * survival, 1), round(reward, 2)) for cost, survival, reward in findings.pictured.front
        ]
        report.table(("further cost of a loss", "survival (%)", "reward"), rows, "Optima by dynamic programming.")


def _robust(report: Report, findings: Findings) -> None:
    spread = findings.config.robust.spread
    report.section(
        "When the parameters are not what one thinks",
        f"Every parameter of every episode times N(1, {spread:g}²). The robust rule was trained on such episodes, with "
        "others; it gains in the worst twentieth what it may lose at the nominal parameters.",
    )
    lines = [
        (
            TITLES[name][0],
            round(one.noisy.mean, 2),
            round(one.noisy.quantile(0.05), 2),
            round(100 * one.noisy.survival, 1),
        )
        for name, one in sorted(findings.strategies.items(), key=lambda item: -item[1].noisy.mean)
    ]
    report.table(("strategy", "mean reward", "5 % quantile", "survival (%)"), lines)


def _drawn_worlds(report: Report, findings: Findings) -> None:
    noise = findings.pictured.study.noise
    names = [name for name in next(iter(noise.values())).rewards if name != BASE]
    drawn = figures.gains(noise, BASE, findings.model.name == "M4")
    report.figure("stability", drawn, "Mean over drawn worlds in which all species persist without fishing.")
    lines: list[tuple[Any, ...]] = [
        (TITLES[name][0], *(f"{one.gain(name, BASE)[0]:.2f} ± {one.gain(name, BASE)[1]:.1f}" for one in noise.values()))
        for name in names
    ]
    counts = [f"{int(one.coexist.sum())} of {len(one.coexist)}" for one in noise.values()]
    lines.append(("worlds that count, of those drawn", *counts))
    columns = (f"reward above {TITLES[BASE][0]}", *(f"{100 * spread:g} %" for spread in noise))
    report.table(columns, lines, "Mean ± standard deviation over the worlds, by deviation of every parameter.")


def _elsewhere(report: Report, findings: Findings) -> None:
    studied = findings.pictured.study
    worlds, names = list(studied.elsewhere), list(next(iter(studied.elsewhere.values())))
    reward = np.array([[studied.elsewhere[world][name] for world in worlds] for name in names])
    if len(worlds) > 1:
        report.section("In another world", "Every policy was made for the first world and is fished by in the others.")
        best, titles = reward.max(0), [TITLES[name][0] for name in names]
        shown = np.flatnonzero(best > 0)  # where every policy loses, a share of the best says nothing
        percent = 100 * reward[:, shown] / best[shown]
        drawn = figures.matrix(titles, [worlds[i] for i in shown], percent, "tested in", "of the best there (%)")
        caption = "Reward in percent of the best of these policies in that world, where one of them earns anything."
        report.figure("elsewhere", drawn, caption)
        lines = [(title, *(round(x, 2) for x in row)) for title, row in zip(titles, reward.tolist(), strict=True)]
        report.table(("reward", *worlds), lines, f"{findings.config.study.n_elsewhere} episodes in each world.")
    if studied.alone:
        report.section(
            "An approximate model or an approximate solution?",
            "The exact optimum of a one-species model, fished by here for every stock as if it were alone. The chosen "
            f"learned policy loses {100 * (1 - _of_optimum(findings)):.1f} % of the optimal reward.",
        )
        lines = [(name, round(100 * share, 1)) for name, share in studied.alone.items()]
        report.table(("one-species model, solved exactly", "reward lost (%)"), lines)


def _of_optimum(findings: Findings) -> float:
    rows = findings.strategies
    return rows[findings.found.chosen].outcome.mean / rows["optimum"].outcome.mean


def _learning(report: Report, findings: Findings) -> None:
    goal = findings.strategies["mortality"].outcome.mean
    report.section("Learning")
    report.figure(
        "learning", figures.learning(findings.found.curves, goal),
        "Through the simulation: the expected returns of each step's episodes, death costs and perturbed parameters "
        "included. PPO: its policy without exploration on a hundred episodes.",
    )  # fmt: skip
    report.text(
        "In the paper's own data constant escapement beats both learned policies in two of its variants: ZABIOTIC with "
        "two fisheries (36.5 against 33.2 and 33.1) and V0DRIFT with one (11.1 against 8.7 and 8.5). "
        "`sciml bench fishery` runs both."
    )
