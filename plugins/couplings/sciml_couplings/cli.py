"""`sciml serve`."""

from __future__ import annotations

import click

from sciml.cli.artifacts import require_artifact
from sciml.cli.errors import debug_option


@click.command(epilog="\b\nExample:\n  sciml serve runs/acoustics/surrogate --port 4242")
@click.argument("artifact")
@click.option("--port", type=click.IntRange(1, 65535), default=4242, show_default=True, help="TCP port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; the default is loopback.")
@click.option("--name", default="forward", show_default=True, help="Name of the model on the server.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Requests computed at a time.")
@click.option("--size", "sizes", type=(str, int), multiple=True, help="Length of a free dimension: --size sensor 64.")
@debug_option
def serve(artifact: str, port: int, host: str, name: str, threads: int, sizes: tuple[tuple[str, int], ...]) -> None:
    """Answer UM-Bridge requests for the saved surrogate ARTIFACT until interrupted."""
    import torch

    from sciml.surrogate import load
    from sciml_couplings.umbridge_model import SurrogateModel
    from sciml_couplings.umbridge_server import serve as answer

    model = SurrogateModel(load(require_artifact(artifact)), dict(sizes))
    torch.set_num_threads(1)  # the requests are the parallel work
    click.echo(f"{artifact}: UM-Bridge model {name!r} at http://{host}:{port}, until interrupted")
    answer({name: model}, host=host, port=port, n_thread=threads)
