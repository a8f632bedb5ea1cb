"""`sciml show`."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sciml.cli.artifacts import unregistered_artifact
from sciml.cli.errors import debug_option
from sciml.cli.output import number, print_pairs, print_table

if TYPE_CHECKING:
    from sciml.plugins import Entry


@click.command(epilog="\b\nExample:\n  sciml show acoustics --preset quick\n  sciml show runs/acoustics/surrogate")
@click.argument("name", metavar="NAME|ARTIFACT")
@click.option("--preset", help="The preset whose values are shown; by default the one named default.")
@debug_option
def show(name: str, preset: str | None) -> None:
    """Show an experiment's presets and settings, another registered thing, or a saved surrogate."""
    folder = unregistered_artifact(name)
    if folder is not None:
        _show_artifact(folder)
        return
    for i, entry in enumerate(_entries(name)):
        if i:
            click.echo()
        _show_entry(entry)
        if entry.kind == "experiments":
            _show_settings(name, preset)


def _entries(name: str) -> list[Entry]:
    from sciml.plugins import PluginError, catalogue, plugins

    found = [entry for entry in catalogue() if entry.name == name]
    if not found:
        close = difflib.get_close_matches(name, {entry.name: None for entry in catalogue()}, n=2)
        if not close:
            plugins().entry("experiments", name)  # tells an unknown name from a broken plugin
        raise PluginError(f"show {name!r}: expected a registered name or a folder; did you mean {' or '.join(close)}?")
    return found


def _show_entry(entry: Entry) -> None:
    plugin = entry.plugin
    print_pairs(
        [
            (entry.kind.removesuffix("s"), entry.name),
            ("summary", entry.registration.summary),
            ("target", entry.registration.target),
            ("plugin", f"{plugin.name} ({plugin.distribution} {plugin.version})"),
            ("available", entry.missing or "yes"),
        ]
    )


def _show_settings(name: str, preset: str | None) -> None:
    from sciml.config import describe
    from sciml.experiment import preset_of
    from sciml.plugins import plugins

    experiment = plugins().resolve("experiments", name)()
    chosen = preset or "default"
    rows = list(describe(preset_of(experiment, name, chosen)))
    print_pairs([("presets", ", ".join(experiment.presets)), ("shown", chosen)])
    click.echo()
    print_table(
        ("SETTING", "VALUE", "UNIT", "HELP"), [[key, str(value), unit, text] for key, value, unit, text in rows]
    )


def _show_artifact(folder: Path) -> None:
    from sciml.artifact import read_artifact
    from sciml.fields import Spec, region_from_json

    manifest, tensors = read_artifact(folder)
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    spec = Spec.from_json(manifest["spec"])
    domain = {name: region_from_json(region) for name, region in manifest["domain"].items()}
    pairs = [("surrogate", manifest["surrogate"]), ("distribution", manifest["distribution"])]
    print_pairs([*pairs, ("folder", str(folder)), ("bytes", str(n_bytes)), ("batch dimension", spec.batch_dim)])
    click.echo()
    rows = [
        [kind, field.name, ", ".join(field.dims), field.unit, str(domain.get(field.name) or ""), field.description]
        for kind, fields in (("input", spec.inputs), ("output", spec.outputs))
        for field in fields
    ]
    print_table(("FIELD", "NAME", "DIMS", "UNIT", "TRAINING DOMAIN", "DESCRIPTION"), rows)
    provenance: dict[str, Any] = {**manifest["provenance"]}
    if provenance:
        click.echo()
        print_table(("PROVENANCE", "VALUE"), [[str(key), number(value)] for key, value in provenance.items()])
