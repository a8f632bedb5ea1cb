"""`sciml export`."""

from __future__ import annotations

import click

from sciml.cli.errors import debug_option


@click.command(epilog="\b\nExample:\n  sciml export runs/acoustics/surrogate --to c --out acoustics")
@click.argument("artifact")
@click.option("--to", "target", required=True, help="Which kind of program is to call it.")
@click.option("--out", required=True, help="Where to write.")
@debug_option
def export(artifact: str, target: str, out: str) -> None:
    """Write the saved surrogate ARTIFACT for another program."""
    raise ValueError(
        f"export to {target!r}: expected the couplings plugin, got a version of sciml-toolkit without it; "
        "it comes with a later version"
    )
