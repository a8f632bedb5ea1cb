"""`sciml predict`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from sciml.cli.errors import debug_option

if TYPE_CHECKING:
    import xarray as xr


@click.command(epilog="\b\nExample:\n  sciml predict runs/acoustics rooms.nc pressure.nc --outside warn")
@click.argument("artifact")
@click.argument("source", metavar="IN.nc")
@click.argument("target", metavar="OUT.nc")
@click.option(
    "--outside",
    type=click.Choice(["raise", "warn", "allow"]),
    default="raise",
    show_default=True,
    help="What to do with inputs outside the training domain.",
)
@click.option("--force", is_flag=True, help="Overwrite OUT.nc.")
@debug_option
def predict(artifact: str, source: str, target: str, outside: Literal["raise", "warn", "allow"], force: bool) -> None:
    """Predict with the saved surrogate ARTIFACT: read the inputs from IN.nc, write the outputs to OUT.nc."""
    from sciml.cli.artifacts import require_artifact

    folder = require_artifact(artifact)
    if Path(target).exists() and not force:
        raise ValueError(f"{target}: expected a new file, got an existing one; choose another or add --force")
    from sciml.surrogate import load

    surrogate = load(folder)
    inputs = read_netcdf(source)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        outputs = surrogate.predict(inputs, outside=outside)
    for warning in (w for w in caught if issubclass(w.category, UserWarning)):
        click.echo(f"warning: {warning.message}", err=True)
    write_netcdf(outputs, target)


def read_netcdf(path: str | Path) -> xr.Dataset:
    """Read a NetCDF-4 file whole; numbers stay numbers whatever their unit, so that the spec checks the unit."""
    import xarray as xr

    try:
        return xr.load_dataset(path, engine="h5netcdf", decode_times=False, decode_timedelta=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path}: expected a readable NetCDF-4 file, got {error}; write it with xarray's to_netcdf"
        ) from error


def write_netcdf(data: xr.Dataset, path: str | Path) -> None:
    """Write a NetCDF-4 file, whole or not at all."""
    from sciml.artifact import atomic_file

    # NetCDF has no empty lists and no lists of strings in attributes that all readers take
    attrs = {key: ", ".join(value) if isinstance(value, list) else value for key, value in data.attrs.items()}
    with atomic_file(path) as temporary:
        data.assign_attrs(attrs).to_netcdf(temporary, engine="h5netcdf")
