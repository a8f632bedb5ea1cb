"""Configurations: frozen dataclasses whose fields carry help text and unit, and overrides by dotted names."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Config = TypeVar("Config")


def setting(default: Any, help: str, unit: str = "") -> Any:
    """Return a dataclass field with a default value, a help text and a unit."""
    metadata = {"help": help, "unit": unit}
    if dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def describe(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, str, str]]:
    """Yield (dotted name, value, unit, help) for every setting of a configuration."""
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from describe(value, f"{name}.")
        else:
            yield name, value, field.metadata.get("unit", ""), field.metadata.get("help", "")


def configure(config: Config, overrides: Mapping[str, Any]) -> Config:
    """Return `config` with the dotted names of `overrides` replaced; text is converted to the type of the setting.

    Raises
    ------
    ValueError
        An unknown name (the nearest known one is suggested) or a value of the wrong kind.
    """
    known = [row[0] for row in describe(config)]
    for name in overrides:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            raise ValueError(f"setting {name!r}: expected a known name; {hint}")
    changed: Config = _replace(config, overrides, "")
    return changed


def _replace(config: Any, overrides: Mapping[str, Any], prefix: str) -> Any:
    kinds, changes = get_type_hints(type(config)), {}
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            changes[field.name] = _replace(value, overrides, f"{name}.")
        elif name in overrides:
            changes[field.name] = _convert(overrides[name], kinds[field.name], name)
    return dataclasses.replace(config, **changes)  # at once: settings may be checked against one another


def _convert(value: Any, kind: Any, name: str) -> Any:
    options = get_args(kind) if get_origin(kind) in (UnionType, Union) else (kind,)
    if type(None) in options and (value is None or value in ("", "none", "None")):
        return None
    for option in options:
        try:
            return _convert_one(value, option)
        except (ValueError, TypeError, StopIteration):
            continue
    wanted = " or ".join(_kind_name(option) for option in options)
    raise ValueError(f"setting {name!r}: expected {wanted}, got {value!r}")


def _kind_name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    return "None" if kind is type(None) else kind.__name__ if isinstance(kind, type) else str(kind)


def _convert_one(value: Any, kind: Any) -> Any:
    if kind is Any:
        return value
    if value is None or kind is type(None):
        raise TypeError
    if get_origin(kind) is Literal:
        return next(choice for choice in get_args(kind) if str(choice) == str(value).strip())
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        parts = (
            [part for part in value.strip("()[] ").split(",") if part.strip()]
            if isinstance(value, str)
            else list(value)
        )
        kinds = kinds[:1] * len(parts) if kinds[-1] is Ellipsis else kinds
        return tuple(_convert_one(part, one) for part, one in zip(parts, kinds, strict=True))
    if kind is bool:
        text = str(value).strip().lower()
        if text not in ("true", "false", "1", "0", "yes", "no"):
            raise ValueError
        return text in ("true", "1", "yes")
    if kind is int and (isinstance(value, bool) or (isinstance(value, float) and value % 1)):
        raise TypeError
    if kind is str:
        return str(value).strip()
    return kind(value)


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read overrides from a TOML file, tables flattened to dotted names."""
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: expected a TOML file with settings, got {error}") from None
    return dict(flatten(data))


def flatten(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) for the leaves of nested mappings."""
    for key, value in data.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
