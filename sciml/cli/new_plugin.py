"""`sciml new-plugin`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from sciml.cli.errors import debug_option

KINDS = (".py", ".toml", ".md")


@click.command(name="new-plugin", epilog="\b\nExample:\n  sciml new-plugin glacier")
@click.argument("name")
@click.option("--out", help="Folder to write; must not exist. Default: sciml-NAME.")
@debug_option
def new_plugin(name: str, out: str | None) -> None:
    """Write a package that is a complete small plugin: heat in a rod, under the NAME given, ready to be changed."""
    if not re.fullmatch(r"[a-z][a-z0-9]*", name):
        raise ValueError(f"new-plugin: expected a name of lower-case letters and digits, got {name!r}; choose another")
    folder = Path(out or f"sciml-{name}")
    if folder.exists():
        raise FileExistsError(f"new-plugin: expected a new folder, got {str(folder)!r}, which exists; choose another")
    template = _template()
    for path in sorted(template.rglob("*")):
        if path.suffix in KINDS:
            place = folder / _renamed(path.relative_to(template).as_posix(), name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(_renamed(path.read_text(encoding="utf-8"), name), encoding="utf-8")
    click.echo(f"written: {folder}\nnext: pip install -e {folder} && sciml run {name} && sciml check {name}")


def _renamed(text: str, name: str) -> str:
    text = text.replace("examples/plugin_template", f"sciml-{name}")
    return text.replace("heatrod", name).replace("HeatRod", name.capitalize())


def _template() -> Path:
    """Return the template of an installed package, or that of a checkout."""
    import sciml

    package = Path(sciml.__file__).parent
    inside = package / "plugin_template"
    return inside if inside.is_dir() else package.parent / "examples" / "plugin_template"
