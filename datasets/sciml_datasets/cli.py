"""`sciml data`: list, make, check, convert and show data sets. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sciml.cli.errors import debug_option
from sciml.cli.output import print_table

if TYPE_CHECKING:
    import xarray as xr

    from sciml_datasets.store import Precision


def _one_sentence(command: Callable[..., None]) -> Callable[..., None]:
    """Turn errors about content into one sentence on standard error and exit status 1."""

    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> None:
        from sciml.plugins import PluginError

        try:
            command(*args, **options)
        except (ValueError, TypeError, PluginError) as error:
            if getattr(click.get_current_context().find_root().obj, "debug", False):
                raise
            raise click.ClickException(str(error)) from error

    return wrapped


@click.group()
def data() -> None:
    """Make, check, convert and look at data sets.

    Example: sciml data show room.nc
    """


@data.command("list")
def list_() -> None:
    """List the registered data sets.

    Example: sciml data list
    """
    from sciml.plugins import catalogue

    entries = [entry for entry in catalogue() if entry.kind == "datasets"]
    rows = [(e.name, e.plugin.name, e.missing or "available", e.registration.summary) for e in entries]
    if not rows:
        click.echo("no data set is registered; see `sciml plugins`")
    else:
        print_table(("name", "plugin", "availability", "summary"), rows)


@data.command()
@click.argument("name")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New or empty folder for card and files.")
@click.option("--seed", default=1, show_default=True, help="Fixes what is random in the data.")
@debug_option
@_one_sentence
def make(name: str, out: Path, seed: int) -> None:
    """Generate the registered data set NAME with its card, and check it.

    Example: sciml data make acoustics.square --out rooms --seed 3
    """
    from sciml.artifact import atomic_folder
    from sciml.plugins import plugins
    from sciml.progress import Progress
    from sciml_datasets.card import write_card

    source = plugins().resolve("datasets", name)
    source = source() if callable(source) else source
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: expected a new or empty folder, got one with content; choose another")
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(out) as folder:
        source.make(folder, seed=seed, progress=Progress())
        write_card(folder, source.card)
    _report(out, _problems(out))


@data.command()
@click.argument("path", type=click.Path(path_type=Path))
@debug_option
@_one_sentence
def check(path: Path) -> None:
    """Compare card and files of the data set at PATH, read every number, and list what is wrong.

    Example: sciml data check rooms
    """
    if not path.exists():
        raise ValueError(f"{path}: expected a file or folder, got nothing there; check the path")
    _report(path, _problems(path))


@data.command()
@click.argument("base")
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for the files and their SHA256SUMS."
)
@click.option("--sums", type=click.Path(path_type=Path), help="Known sums, as sha256sum writes them.")
@debug_option
@_one_sentence
def fetch(base: str, names: tuple[str, ...], out: Path, sums: Path | None) -> None:
    """Download the files NAMES below the address BASE; a call that was cut off goes on where it was.

    Example: sciml data fetch https://example.org/CosmoBench/CAMELS ALL_galaxies_val.hdf5 --out camels
    """
    from sciml.progress import Progress
    from sciml_datasets.fetch import fetch_all, read_sums

    known = read_sums(sums) if sums else {}
    for name, digest in fetch_all(base, {name: known.get(name) for name in names}, out, progress=Progress()).items():
        click.echo(f"{out / name}: {digest}")


@data.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "format_name",
    required=True,
    help="Format of OUT: one of netcdf, deeponet_acoustics, cosmobench_clouds, cosmobench_trees.",
)
@click.option("--dtype", type=click.Choice(["float16", "float32"]), help="Stored precision; as read if not given.")
@debug_option
@_one_sentence
def convert(source: Path, target: Path, format_name: str, dtype: Precision | None) -> None:
    """Convert the data at IN into another format at OUT, block by block.

    Example: sciml data convert cube_2m cube_store --to netcdf
    """
    from sciml.progress import Progress
    from sciml_datasets.formats import FORMATS, find_format
    from sciml_datasets.watch import watched

    if format_name not in FORMATS:
        raise click.BadParameter(f"expected one of {', '.join(FORMATS)}, got {format_name!r}", param_hint="--to")
    if target.exists():
        raise ValueError(f"{target}: expected a new path, got one that exists; choose another")
    splits = FORMATS[find_format(source)].read(source)
    with watched(splits, Progress(), f"convert {source}") as followed:
        FORMATS[format_name].write(followed, target, dtype=dtype)
    counts = ", ".join(f"{split} {dict(dataset.sizes)}" for split, dataset in splits.items())
    click.echo(f"{target}: {counts}")


@data.command()
@click.argument("path", type=click.Path(path_type=Path))
@debug_option
@_one_sentence
def show(path: Path) -> None:
    """Show the variables of the data at PATH with dims, units and sizes.

    Example: sciml data show rooms
    """
    from sciml_datasets.formats import FORMATS, find_format

    name = find_format(path)
    for split, dataset in FORMATS[name].read(path).items():
        click.echo(
            f"{path} ({name}) split {split}: {', '.join(f'{dim} {size}' for dim, size in dataset.sizes.items())}"
        )
        print_table(
            ("variable", "dims", "unit", "type", "size"), [_describe(dataset, str(n)) for n in dataset.variables]
        )
        for key, value in dataset.attrs.items():
            click.echo(f"  {key} = {value}")
        dataset.close()


def _describe(dataset: xr.Dataset, name: str) -> tuple[str, ...]:
    variable = dataset.variables[name]
    size = float(variable.nbytes)
    for prefix in ("B", "kB", "MB", "GB"):
        if size < 1000 or prefix == "GB":
            break
        size /= 1000
    unit = str(variable.attrs.get("units", "-"))
    return name, ", ".join(map(str, variable.dims)), unit, str(variable.dtype), f"{size:.3g} {prefix}"


def _problems(path: Path) -> list[str]:
    from sciml.progress import Progress
    from sciml_datasets.card import check_card
    from sciml_datasets.formats import check_data

    card = path / "README.md"
    has_card = card.is_file() and card.read_text(encoding="utf-8", errors="replace").startswith("+++")
    return check_card(path, Progress()) if has_card else check_data(path, Progress())


def _report(path: Path, problems: list[str]) -> None:
    for problem in problems:
        click.echo(problem)
    if problems:
        raise click.ClickException(f"{path}: expected no problem, got {len(problems)}; correct what is listed")
    click.echo(f"{path}: no problem found")
