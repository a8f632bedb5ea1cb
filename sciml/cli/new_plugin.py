"""`sciml new-plugin`."""

from __future__ import annotations

import click

from sciml.cli.errors import debug_option


@click.command(name="new-plugin", epilog="\b\nExample:\n  sciml new-plugin glacier")
@click.argument("name")
@debug_option
def new_plugin(name: str) -> None:
    """Write a package that is a complete small plugin, ready to be filled in."""
    raise ValueError(
        f"new-plugin {name!r}: expected the plugin template, got a version of sciml-toolkit without it; "
        "it comes with a later version"
    )
