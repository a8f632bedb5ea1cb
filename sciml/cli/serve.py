"""`sciml serve`."""

from __future__ import annotations

import click

from sciml.cli.errors import debug_option


@click.command(epilog="\b\nExample:\n  sciml serve runs/acoustics/surrogate --port 4242")
@click.argument("artifact")
@click.option("--port", type=click.IntRange(1, 65535), default=4242, show_default=True, help="Port on loopback.")
@debug_option
def serve(artifact: str, port: int) -> None:
    """Answer requests for predictions of the saved surrogate ARTIFACT over HTTP."""
    raise ValueError(
        f"serve on port {port}: expected the couplings plugin, got a version of sciml-toolkit without it; "
        "it comes with a later version"
    )
