"""`sciml export`."""

from __future__ import annotations

from pathlib import Path

import click

from sciml.cli.artifacts import require_artifact
from sciml.cli.errors import debug_option


@click.command(epilog="\b\nExample:\n  sciml export runs/acoustics/surrogate --to c --out acoustics")
@click.argument("artifact")
@click.option("--to", "target", required=True, help="Which kind of program is to call it; see sciml list couplings.")
@click.option("--out", required=True, help="Where to write; must not exist.")
@click.option(
    "--size", "sizes", type=(str, int), multiple=True, help="Length of a dimension that a trace must fix: --size x 64."
)
@debug_option
def export(artifact: str, target: str, out: str, sizes: tuple[tuple[str, int], ...]) -> None:
    """Write the saved surrogate ARTIFACT for another program."""
    from sciml.plugins import plugins
    from sciml.surrogate import load

    known = [name for name in plugins().entries["couplings"] if not name.endswith(".check")]
    names = {name.rpartition(".")[2]: name for name in known}
    if target not in names and target not in names.values():
        raise ValueError(f"export: expected a target of {', '.join(sorted(names))}, got {target!r}; choose one")
    path = Path(out)
    if path.exists():
        raise FileExistsError(f"export: expected a new place, got {out!r}, which exists; choose another or remove it")
    write = plugins().resolve("couplings", names.get(target, target))
    write(load(require_artifact(artifact)), path, sizes=dict(sizes) or None)
    click.echo(f"written: {path}")
