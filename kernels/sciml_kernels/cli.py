"""The command group ``sciml kernels``: list, check and time the ops."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sciml_kernels.backend import BACKENDS

if TYPE_CHECKING:
    from sciml_kernels.registry import OpSpec

_device = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to run."
)


@click.group()
def kernels() -> None:
    r"""Kernels behind the surrogates: list them, check them against plain torch, time them.

    \b
    Example:
      sciml kernels check
    """


@kernels.command("list")
def list_() -> None:
    r"""List the ops with their kernels and what they compute.

    \b
    Example:
      sciml kernels list
    """
    from sciml_kernels.registry import ops

    rows = []
    for name, spec in ops().items():
        summary = (spec.op.__doc__ or "").partition("\n")[0].rstrip(".")
        rows.append((name, ", ".join(("reference", *spec.launchers)), summary))
    _table(("op", "kernels", "what it computes"), rows)


@kernels.command()
@click.argument("op", required=False)
@click.option("--backend", type=click.Choice(BACKENDS), default="auto", show_default=True, help="Which kernels.")
@_device
def check(op: str | None, backend: str, device: str) -> None:
    r"""Compare ops (one OP, or all) with plain torch: outputs and all gradients, at awkward sizes, in every type.

    With the Triton backend on a CPU the kernels run in Triton's interpreter.

    \b
    Examples:
      sciml kernels check
      sciml kernels check branch_trunk --backend triton --device cpu
    """
    from sciml_kernels import testing

    specs, device = _select(op), _resolve(device)
    try:
        if backend == "triton" and device == "cpu":
            testing.interpret_triton()
        for spec in specs:
            if op is None and backend == "triton" and "triton" not in spec.launchers:
                click.echo(f"{spec.name}: skipped, it has no Triton kernel")
                continue
            report = testing.check(spec, backend, device)
            click.echo(f"{spec.name}: {len(report.rows)} tensors within tolerance, backend {backend}, device {device}")
            worst = report.worst().values()
            rows = [(row.dtype, f"{row.error:.1e}", f"{row.tolerance:.1e}", row.tensor, row.case) for row in worst]
            _table(("dtype", "largest error", "tolerance", "tensor", "case"), rows)
    except (AssertionError, ImportError, RuntimeError, ValueError) as error:
        raise click.ClickException(str(error)) from error


@kernels.command()
@click.argument("op", required=False)
@_device
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the numbers to this JSON file too.")
def bench(op: str | None, device: str, out: Path | None) -> None:
    r"""Time ops (one OP, or all), forward and backward, beside their references and a plain copy of memory.

    \b
    Example:
      sciml kernels bench branch_trunk --device cpu --out bench.json
    """
    import torch

    from sciml_kernels import bench as timing

    specs, device = _select(op), _resolve(device)
    described = timing.environment(device)
    click.echo(", ".join(f"{key} {value}" for key, value in described.items()))
    records = []
    try:
        for spec in specs:
            rows = list(timing.bench(spec, device))
            records += [timing.record(spec, row, torch.float32) for row in rows]
            click.echo(f"{spec.name}: float32, plain copy {rows[0].copy_bandwidth / 1e9:.1f} GB/s")
            headers = ("case", "pass", *rows[0].figures())
            _table(headers, [(row.case, row.direction, *map(_short, row.figures().values())) for row in rows])
        if out is not None:
            out.write_text(json.dumps({"environment": described, "rows": records}, indent=1) + "\n", encoding="utf-8")
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise click.ClickException(str(error)) from error


def _select(op: str | None) -> list[OpSpec]:
    from sciml_kernels.registry import ops

    known = ops()
    if op is not None and op not in known:
        raise click.UsageError(f"kernels: expected OP as one of {', '.join(known)}, got {op!r}; see sciml kernels list")
    return list(known.values()) if op is None else [known[op]]


def _resolve(device: str) -> str:
    import torch

    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise click.ClickException("kernels: expected a CUDA device, got none that torch can see; use --device cpu")
    return ("cuda" if found else "cpu") if device == "auto" else device


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as their widest entry, at any terminal width, so that lines can be searched."""
    widths = [max(len(row[i]) for row in (headers, *rows)) for i in range(len(headers))]
    for row in (headers, *rows):
        click.echo("  ".join(entry.ljust(width) for entry, width in zip(row, widths, strict=True)).rstrip())
