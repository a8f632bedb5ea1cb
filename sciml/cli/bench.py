"""`sciml bench`."""

from __future__ import annotations

from typing import Any

import click

from sciml.cli.run import execute, run_options


@click.command(epilog="\b\nExample:\n  sciml bench acoustics --preset quick --out runs/peers")
@run_options
def bench(**options: Any) -> None:
    """Measure the experiment NAME and its peers side by side; the folder is like that of a run."""
    execute(bench=True, **options)
