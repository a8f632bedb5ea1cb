"""The readable rule as CSV and Markdown, and back from CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import torch

from sciml.artifact import atomic_file
from sciml_fishery.policies import PredatorEscapement

COLUMNS = ("fishery", "predator_stock", "escapement", "gain")


def to_csv(rule: PredatorEscapement) -> str:
    """Return one line per fishery and knot: the predator's stock, the escapement there, the gain of the fishery."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("seen", *rule.sees))
    writer.writerow(COLUMNS)
    for name, gain, levels in zip(rule.fisheries, rule.gain.tolist(), rule.level.tolist(), strict=True):
        for knot, level in zip(rule.config["knots"], levels, strict=True):
            writer.writerow((name, f"{knot:g}", f"{level:.3g}", f"{gain:.3g}"))
    return text.getvalue()


def from_csv(path: str | Path) -> PredatorEscapement:
    """Read a rule written by :func:`to_csv`; a file of another form is a ValueError that names it."""
    try:
        with Path(path).open(newline="") as stream:
            (_, *sees), header, *lines = csv.reader(stream)
        if tuple(header) != COLUMNS:
            raise ValueError(f"columns {header}")
        names = list(dict.fromkeys(line[0] for line in lines))
        rows = {name: [list(map(float, line[1:])) for line in lines if line[0] == name] for name in names}
        knots = [row[0] for row in rows[names[0]]]
        levels, gains = [[row[1] for row in rows[name]] for name in names], [rows[name][0][2] for name in names]
        return PredatorEscapement(sees, names, knots, levels, gains)
    except (OSError, ValueError, IndexError) as error:
        wanted = f"a line of what is seen and columns {', '.join(COLUMNS)}"
        raise ValueError(f"{path}: expected {wanted}, got {error}; write it with to_csv") from None


def to_markdown(rule: PredatorEscapement, loss: str = "") -> str:
    """Return the rule as a page for a manager; `loss` is a sentence about what it costs against the network."""
    predator = rule.sees[-1]
    levels = rule.level.detach().clamp(min=0)
    head = f"| {predator} | " + " | ".join(f"leave of {name}" for name in rule.fisheries) + " |"
    lines = [f"| {knot:g} | " + " | ".join(f"{level:.2f}" for level in column) + " |"
             for knot, column in zip(rule.config["knots"], levels.T.tolist(), strict=True)]  # fmt: skip
    gains = ", ".join(
        f"{gain:.0%} of the surplus of {n}" for gain, n in zip(rule.gain.tolist(), rule.fisheries, strict=True)
    )
    return "\n".join(
        [
            "# Harvest rule", "",
            f"1. Survey the stocks. Find the row of {predator}; between rows interpolate on a logarithmic scale of "
            f"{predator}, beyond them take the nearest row.",
            "2. What exceeds the level of a stock is its surplus. Below the level, do not fish.",
            f"3. Take {gains}.", "",
            head, "|" + "---|" * (1 + len(rule.fisheries)), *lines, "",
            f"{count_numbers(rule)} numbers in all. Stocks are in units of the carrying capacity. {loss}".strip(), "",
        ]
    )  # fmt: skip


def count_numbers(rule: PredatorEscapement) -> int:
    """Return how many numbers the rule is made of, its knots apart."""
    return rule.level.numel() + rule.gain.numel()


def write_rule(rule: PredatorEscapement, folder: Path, loss: str) -> None:
    """Write rule.csv and rule.md into a folder."""
    for name, text in (("rule.csv", to_csv(rule)), ("rule.md", to_markdown(rule, loss))):
        with atomic_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def rounded(rule: PredatorEscapement) -> PredatorEscapement:
    """Return the rule with the three digits that are written."""
    levels = [[float(f"{value:.3g}") for value in row] for row in rule.level.tolist()]
    gains = [float(f"{value:.3g}") for value in rule.gain.tolist()]
    with torch.no_grad():
        return PredatorEscapement(rule.sees, rule.fisheries, rule.config["knots"], levels, gains)
