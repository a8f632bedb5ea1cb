"""`sciml plugins`."""

from __future__ import annotations

from typing import Any

import click

from sciml.cli.commands import package_commands
from sciml.cli.errors import State, debug_option
from sciml.cli.output import print_json, print_pairs, print_table
from sciml.hookspecs import HOOK_API
from sciml.plugins import Entry, Plugin, PluginError, catalogue


@click.command(epilog="\b\nExample:\n  sciml plugins\n  sciml plugins acoustics --debug")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
@click.pass_context
def plugins(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """List the plugins found, what each registers, and the reason when one is not used; or describe plugin NAME."""
    from sciml.plugins import plugins as load_plugins

    state = ctx.find_root().obj
    records = load_plugins().plugins
    if name is not None:
        records = [record for record in records if record.name == name]
        if not records:
            known = ", ".join(record.name for record in load_plugins().plugins) or "none"
            raise PluginError(f"plugin {name!r}: expected one of those found, got an unknown name; found: {known}")
    if as_json:
        commands = [vars(command) for command in package_commands()] if name is None else []
        print_json({"hook_api": HOOK_API, "plugins": [_record(record) for record in records], "commands": commands})
    elif name is None:
        _print_all(records)
    else:
        for record in records:
            _print_one(record, isinstance(state, State) and state.debug)


def _print_all(records: list[Plugin]) -> None:
    rows = [[r.name, r.status, f"{r.distribution} {r.version}", _registers(r), r.reason] for r in records]
    print_table(("PLUGIN", "STATUS", "DISTRIBUTION", "REGISTERS", "REASON"), rows)
    commands = [[c.name, "clash" if c.clash else "-", c.distribution, c.target, c.clash] for c in package_commands()]
    if commands:
        click.echo()
        print_table(("COMMAND", "STATUS", "DISTRIBUTION", "TARGET", "REASON"), commands)


def _print_one(record: Plugin, debug: bool) -> None:
    pairs = [(key, str(value)) for key, value in _record(record).items() if key != "registers" and value]
    for entry in _entries(record):
        item = entry.registration
        pairs.append((entry.kind, f"{item.name} ({item.target}): {item.summary}"))
    print_pairs(pairs)
    if record.details:
        click.echo(f"\n{record.details}" if debug else "add --debug for the traceback")


def _record(record: Plugin) -> dict[str, Any]:
    return {
        "name": record.name,
        "status": record.status,
        "distribution": record.distribution,
        "version": record.version,
        "module": record.module,
        "registers": _registered(record),
        "reason": record.reason,
    }


def _registers(record: Plugin) -> str:
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in _registered(record).items())


def _registered(record: Plugin) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for entry in _entries(record):
        names.setdefault(entry.kind, []).append(entry.name)
    return names


def _entries(record: Plugin) -> list[Entry]:
    return [entry for entry in catalogue() if entry.plugin is record]
