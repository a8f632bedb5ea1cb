"""Tables and JSON on standard output: rich on a terminal, aligned plain text elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: columns separated by two spaces or more where no terminal reads it."""
    if sys.stdout.isatty():
        _print_rich(columns, rows)
        return
    lines = [list(columns), *(["-" if cell == "" else " ".join(cell.split()) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print lines "name: value", the values aligned."""
    width = max((len(name) for name, _ in pairs), default=0) + 1
    for name, value in pairs:
        click.echo(f"{name + ':':<{width}} {value}".rstrip())


def print_json(data: Any) -> None:
    """Print plain data as indented JSON."""
    click.echo(json.dumps(data, indent=2))


def number(value: Any) -> str:
    """Return a number with six significant digits, whole numbers in full."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
