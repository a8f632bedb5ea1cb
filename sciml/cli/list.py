"""`sciml list`."""

from __future__ import annotations

import click

from sciml.cli.errors import debug_option
from sciml.cli.output import print_json, print_table
from sciml.hookspecs import KINDS


@click.command(name="list", epilog="\b\nExample:\n  sciml list experiments\n  sciml list --json")
@click.argument("kind", required=False, type=click.Choice(KINDS))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def list_(kind: str | None, as_json: bool) -> None:
    """List what the installed plugins offer, all of it or one KIND."""
    from sciml.plugins import catalogue, plugins

    rows = [
        {
            "kind": entry.kind,
            "name": entry.name,
            "plugin": entry.plugin.name,
            "distribution": entry.plugin.distribution,
            "summary": entry.registration.summary,
            "available": entry.missing == "",
            "missing": entry.missing,
        }
        for entry in catalogue()
        if kind in (None, entry.kind)
    ]
    if as_json:
        print_json(rows)
    else:
        cells = [
            [str(row[key]) for key in ("kind", "name", "plugin", "summary")] + [row["missing"] or "ok"] for row in rows
        ]
        print_table(
            ("KIND", "NAME", "PLUGIN", "SUMMARY", "AVAILABLE"), [[str(cell) for cell in line] for line in cells]
        )
    failed = [plugin.name for plugin in plugins().plugins if plugin.status in ("broken", "incompatible")]
    if failed:
        click.echo(f"left out: {', '.join(failed)}; see sciml plugins", err=True)
