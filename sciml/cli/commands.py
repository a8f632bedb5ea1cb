"""The names of all commands and where they live; nothing is imported until one is asked for."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass

import click

GROUP = "sciml.commands"

CORE: dict[str, tuple[str, str]] = {
    "list": ("sciml.cli.list:list_", "What is installed: experiments, operators, surrogates, datasets, couplings."),
    "show": ("sciml.cli.show:show", "Settings of an experiment, or what a saved surrogate is."),
    "plugins": ("sciml.cli.plugins:plugins", "The plugins found, their state, and why one does not work."),
    "run": ("sciml.cli.run:run", "Run an experiment: data, surrogate, comparison, report."),
    "bench": ("sciml.cli.bench:bench", "Measure an experiment and its peers side by side."),
    "predict": ("sciml.cli.predict:predict", "Predict with a saved surrogate, NetCDF in and out."),
    "check": ("sciml.cli.check:check", "Run the conformance kit on a plugin's part or a saved surrogate."),
    "export": ("sciml.cli.export:export", "Write a surrogate for another program: C, Fortran, ONNX and others."),
    "new-plugin": ("sciml.cli.new_plugin:new_plugin", "Start a plugin: a complete small package to change."),
}


@dataclass(frozen=True)
class PackageCommand:
    """A command from the entry-point group "sciml.commands"; `clash` says why it is not used, if so."""

    name: str
    target: str
    distribution: str
    clash: str = ""


@functools.cache
def package_commands() -> tuple[PackageCommand, ...]:
    """Return the commands that installed packages bring, none of them imported; of equal names the first one wins."""
    from sciml.plugins import discover

    owners = dict.fromkeys(CORE, "the core")
    found = []
    for entry_point in discover(GROUP):
        distribution = entry_point.dist.name if entry_point.dist else "?"
        owner = owners.setdefault(entry_point.name, repr(distribution))
        clash = "" if owner == repr(distribution) else f"the name is taken by {owner}"
        found.append(PackageCommand(entry_point.name, entry_point.value, distribution, clash))
    return tuple(found)


def load_command(name: str) -> click.Command | None:
    """Import and return a command, or None for an unknown name; one that cannot be imported is a PluginError."""
    if name in CORE:
        return _import(CORE[name][0])
    for command in package_commands():
        if command.name == name and not command.clash:
            return _import_of_package(command)
    return None


def _import_of_package(command: PackageCommand) -> click.Command:
    from sciml.plugins import PluginError

    where = f"command {command.name!r}: expected a click command at {command.target} of {command.distribution!r}"
    try:
        found = _import(command.target)
    except (Exception, SystemExit) as error:
        raise PluginError(f"{where}, got {type(error).__name__}: {error}; update or uninstall that package") from error
    if not isinstance(found, click.Command):
        raise PluginError(f"{where}, got {type(found).__name__}; tell the authors of that package")
    return found


def _import(target: str) -> click.Command:
    module, _, attribute = target.partition(":")
    found: click.Command = getattr(importlib.import_module(module), attribute)
    return found
