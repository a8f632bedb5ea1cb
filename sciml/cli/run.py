"""`sciml run`, and the options it shares with `sciml bench`."""

from __future__ import annotations

import os
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sciml.cli.errors import Interrupted, debug_option
from sciml.cli.output import number, print_pairs, print_table

if TYPE_CHECKING:
    from sciml.experiment import Results

_OPTIONS = (
    click.argument("name", required=False),
    click.option("--preset", help="Which set of values to start from; sciml show NAME lists them.  [default: default]"),
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one setting; may be repeated."),
    click.option("--config", metavar="FILE.toml", help="Read settings from a file; --set goes over them."),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to compute.  [default: auto]"),
    click.option("--seed", type=click.IntRange(0), help="Seed of everything random.  [default: 7]"),
    click.option("--out", metavar="DIR", help="Folder of the run, new or empty.  [default: runs/NAME-PRESET-TIME]"),
    click.option("--resume", metavar="DIR", help="Continue an unfinished run with the settings it was started with."),
    click.option(
        "--threads", type=click.IntRange(1), help="CPU threads.  [default: OMP_NUM_THREADS or the cores available]"
    ),
    debug_option,
)


def run_options(function: Any) -> Any:
    """Give a command the argument and the options of `sciml run`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command(
    epilog="\b\nExample:\n  sciml run acoustics --preset quick --out runs/first\n  sciml run --resume runs/first"
)
@run_options
def run(**options: Any) -> None:
    """Run the experiment NAME and leave a folder with report, metrics and surrogate."""
    execute(bench=False, **options)


def execute(name: str | None, resume: str | None, threads: int | None, *, bench: bool, **options: Any) -> None:
    """Start or continue a run, then say where the report is and print the metrics."""
    if resume is not None:
        given = [key for key, value in options.items() if value not in (None, ())]
        if given:
            key = {"settings": "set"}.get(given[0], given[0])
            raise click.UsageError(
                f"--resume takes its settings from the folder, got --{key} too", click.get_current_context()
            )
        show_results(_resume(Path(resume), name, threads))
        return
    if name is None:
        raise click.UsageError(
            "expected an experiment's NAME or --resume DIR, got neither", click.get_current_context()
        )
    show_results(_start(name, threads, bench=bench, **options))


def _start(
    name: str, threads: int | None, *, bench: bool, preset: str | None, out: str | None, **options: Any
) -> Results:
    from sciml.plugins import plugins

    plugins().entry("experiments", name)  # an unknown name fails before anything heavy is imported
    overrides = read_toml(options["config"]) if options["config"] is not None else {}
    overrides.update(_parse(options["settings"]))
    means = {key: options[key] for key in ("seed", "device") if options[key] is not None}
    preset = preset or "default"
    folder = Path(out) if out is not None else Path("runs") / f"{name}-{preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    mine = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    set_threads(threads)
    from sciml.experiment import run as run_experiment
    from sciml.progress import Progress

    try:
        return run_experiment(
            name, preset=preset, out=folder, overrides=overrides, bench=bench, progress=Progress(), **means
        )
    except (Exception, KeyboardInterrupt) as error:
        if mine and (folder / "config.json").exists() and not (folder / "metrics.json").exists():
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted(folder) from error
            error.add_note(f"what was done is kept; continue with sciml run --resume {folder}")
        raise


def _resume(folder: Path, name: str | None, threads: int | None) -> Results:
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder}: expected the folder of an unfinished run, got none; check the path or start a new run"
        )
    set_threads(threads)
    from sciml.artifact import read_json
    from sciml.experiment import resume
    from sciml.progress import Progress

    stored = read_json(folder / "config.json")
    other = stored.get("experiment") if isinstance(stored, dict) else None
    if name is not None and other != name:
        raise ValueError(
            f"{folder}: expected a run of {name!r}, got one of {other!r}; leave the name out or change the folder"
        )
    try:
        return resume(folder, progress=Progress())
    except KeyboardInterrupt as error:
        raise Interrupted(folder) from error


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read overrides from a TOML file; its tables are those of the configuration."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: expected a TOML file with settings, got {error}") from None


def _parse(settings: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(
                f"expected KEY=VALUE, got {text!r}", click.get_current_context(), param_hint="--set"
            )
        pairs[key.strip()] = value.strip()
    return pairs


def set_threads(threads: int | None) -> None:
    """Let torch use `threads`, else what OMP_NUM_THREADS says, else every core that this process may run on."""
    import torch

    if threads is None and os.environ.get("OMP_NUM_THREADS"):
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or cores)


def show_results(results: Results) -> None:
    """Print where the report is and the metrics."""
    folder = results.folder
    pairs = [("report", f"{folder}/report.html")]
    print_pairs([*pairs, ("surrogate", f"{folder}/surrogate")] if results.surrogate is not None else pairs)
    click.echo()
    print_table(("METRIC", "VALUE"), [[key, number(value)] for key, value in results.metrics.items()])
