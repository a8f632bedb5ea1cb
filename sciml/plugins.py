"""Discovery of plugins: one failing plugin is recorded and reported, and never breaks the host.

Switches: SCIML_PLUGINS=a,b loads only these (empty: none), SCIML_DISABLE_PLUGINS=a,b leaves these out,
SCIML_STRICT_PLUGINS=1 turns a broken plugin into an error.
"""

from __future__ import annotations

import difflib
import functools
import importlib.metadata
import importlib.util
import itertools
import os
import pkgutil
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pluggy

from sciml.hookspecs import GROUP, HOOK_API, KINDS, Hooks, Registration


@dataclass
class Plugin:
    """One entry point of the group, and what became of it: ok, broken, incompatible or disabled."""

    name: str
    module: str
    distribution: str
    version: str
    status: str = "ok"
    reason: str = ""
    details: str = ""


@dataclass(frozen=True)
class Entry:
    """One registered thing: its kind, registration and plugin, and what it still needs."""

    kind: str
    registration: Registration
    plugin: Plugin

    @property
    def name(self) -> str:
        """Name that users type."""
        return self.registration.name

    @property
    def missing(self) -> str:
        """A sentence with the install command when a required module is absent, else an empty string."""
        absent = [name for name in self.registration.requires if importlib.util.find_spec(name.split(".")[0]) is None]
        if not absent:
            return ""
        extra = f"[{self.registration.extra}]" if self.registration.extra else ""
        return f"needs {', '.join(absent)}: pip install '{self.plugin.distribution}{extra}'"


class PluginError(LookupError):
    """An unknown name, or a known one whose plugin or extra is missing."""


class Plugins:
    """All plugins found, loaded tolerantly, and what they register."""

    def __init__(self, entry_points: Iterable[importlib.metadata.EntryPoint]) -> None:
        self.plugins: list[Plugin] = []
        self.entries: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
        for entry_point in sorted(entry_points, key=_precedence):
            self._load(entry_point)

    def _load(self, entry_point: importlib.metadata.EntryPoint) -> None:
        from packaging.specifiers import SpecifierSet

        dist = entry_point.dist
        plugin = Plugin(entry_point.name, entry_point.value, dist.name if dist else "?", dist.version if dist else "?")
        self.plugins.append(plugin)
        if not _enabled(plugin.name):
            plugin.status, plugin.reason = "disabled", "switched off by SCIML_PLUGINS or SCIML_DISABLE_PLUGINS"
            return
        try:
            module = entry_point.load()
            wanted = getattr(module, "SCIML_API", None) or ""
            if HOOK_API in SpecifierSet(wanted):
                self._register(plugin, module)
            else:
                plugin.status = "incompatible"
                plugin.reason = f"wants hook API {wanted}, this is {HOOK_API}; update one of them"
        except (Exception, SystemExit) as error:
            plugin.status, plugin.reason = "broken", f"{type(error).__name__}: {error}"
            plugin.details = traceback.format_exc()
            if os.environ.get("SCIML_STRICT_PLUGINS") == "1":
                text = f"plugin {plugin.name!r} of {plugin.distribution!r}: expected it to load, got {plugin.reason}"
                raise PluginError(f"{text}; repair it or unset SCIML_STRICT_PLUGINS") from error

    def register(self, module: Any, name: str, distribution: str = "(this process)") -> Plugin:
        """Register a hook module without an entry point, as tests and notebooks do; a mistake in it is raised."""
        plugin = Plugin(name, getattr(module, "__name__", name), distribution, "0")
        self._register(plugin, module)
        self.plugins.append(plugin)
        return plugin

    def _register(self, plugin: Plugin, module: Any) -> None:
        manager = pluggy.PluginManager("sciml")
        manager.add_hookspecs(Hooks)
        manager.register(module)
        entries = {kind: dict(known) for kind, known in self.entries.items()}  # a mistake registers nothing at all
        for hook in manager.get_hookcallers(module) or ():
            kind, where = hook.name.removeprefix("sciml_"), f"plugin {plugin.name!r}, hook {hook.name}"
            if kind not in entries:
                known = ", ".join(f"sciml_{kind}" for kind in KINDS)
                raise ValueError(f"{where}: expected one of {known}; correct the name")
            for item in itertools.chain.from_iterable(hook()):
                if not isinstance(item, Registration):
                    raise TypeError(f"{where}: expected Registration objects, got {type(item).__name__} {item!r}")
                if item.target.count(":") != 1:
                    raise ValueError(f"{where}: expected a target 'module:attribute', got {item.target!r}")
                if other := entries[kind].get(item.name):
                    both = f"both {other.plugin.distribution!r} and {plugin.distribution!r} register it"
                    raise ValueError(f"{where}: the name {item.name!r} is taken: {both}; disable one of them")
                entries[kind][item.name] = Entry(kind, item, plugin)
        self.entries = entries

    def entry(self, kind: str, name: str) -> Entry:
        """Return the registered entry, or raise a PluginError that tells an unknown name from a broken plugin."""
        if name in self.entries[kind]:
            return self.entries[kind][name]
        for plugin in self.plugins:
            if plugin.status != "ok" and plugin.name == name.split(".")[0]:
                state = f"{plugin.status} ({plugin.reason})"
                raise PluginError(f"{kind[:-1]} {name!r}: plugin {plugin.name!r} is {state}")
        close = difflib.get_close_matches(name, self.entries[kind], n=2)
        hint = f"did you mean {' or '.join(close)}?" if close else "see `sciml list` and `sciml plugins`"
        raise PluginError(f"{kind[:-1]} {name!r}: expected a registered name, got an unknown one; {hint}")

    def resolve(self, kind: str, name: str) -> Any:
        """Import and return the target of a registered name."""
        entry = self.entry(kind, name)
        target = entry.registration.target
        if entry.missing:
            raise PluginError(f"{kind[:-1]} {name!r} {entry.missing}")
        try:
            return pkgutil.resolve_name(target)
        except (Exception, SystemExit) as error:  # whatever the module does while it is imported
            wanted, got = f"{target!r} of {entry.plugin.distribution!r}", f"{type(error).__name__}: {error}"
            text = f"{kind[:-1]} {name!r}: expected {wanted}, got {got}; reinstall or correct that plugin"
            raise PluginError(text) from error

    def distribution_of(self, kind: str, name: str) -> str:
        """Return the distribution that registers a name."""
        return self.entry(kind, name).plugin.distribution


def _enabled(name: str) -> bool:
    only, without = os.environ.get("SCIML_PLUGINS", name), os.environ.get("SCIML_DISABLE_PLUGINS", "")
    return name in only.replace(" ", "").split(",") and name not in without.replace(" ", "").split(",")


def _precedence(entry_point: importlib.metadata.EntryPoint) -> tuple[bool, str, str]:
    """Sort the toolkit's own first, so that nobody takes a name of theirs, then by distribution."""
    owner = entry_point.dist.name if entry_point.dist else ""
    return owner != "sciml-toolkit", owner, entry_point.name


@functools.cache
def _scan() -> tuple[list[importlib.metadata.EntryPoint], list[Plugin]]:
    """Return our entry points of all distributions, and a broken plugin for each whose metadata cannot be read.

    ``importlib.metadata.entry_points`` fails as a whole when one distribution's file is damaged.
    """
    found: dict[str, importlib.metadata.EntryPoints] = {}
    damaged = []
    for dist in importlib.metadata.distributions():
        try:
            if "[sciml." in (dist.read_text("entry_points.txt") or ""):
                if not dist.name or not dist.version:
                    raise ValueError("expected METADATA with Name and Version, got none")
                found.setdefault(dist.name, dist.entry_points)  # a second one of that name is shadowed
        except Exception as error:
            path, reason = str(getattr(dist, "_path", dist)), f"{type(error).__name__}: {error}; reinstall or remove it"
            damaged.append(Plugin("?", "?", path, "?", "broken", reason, traceback.format_exc()))
    return sorted(itertools.chain.from_iterable(found.values()), key=_precedence), damaged


def discover(group: str) -> list[importlib.metadata.EntryPoint]:
    """Return the entry points of a group, those of the toolkit first, then by distribution; nothing is imported."""
    return [entry_point for entry_point in _scan()[0] if entry_point.group == group]


@functools.cache
def plugins() -> Plugins:
    """Return the plugins of this process, discovered once."""
    found = Plugins(discover(GROUP))
    found.plugins.extend(_scan()[1])
    return found


def catalogue() -> list[Entry]:
    """Return every registered experiment, operator, surrogate, data set and coupling with plugin and availability."""
    return [entry for kind in KINDS for _, entry in sorted(plugins().entries[kind].items())]
