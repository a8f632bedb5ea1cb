"""Configurations: frozen dataclasses whose fields carry help text and unit, and overrides by dotted names."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

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
    for name, value in overrides.items():
        known = [row[0] for row in describe(config)]
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            raise ValueError(f"setting {name!r}: expected a known name; {hint}")
        config = _replace(config, name.split("."), value, name)
    return config


def _replace(config: Any, path: list[str], value: Any, name: str) -> Any:
    if len(path) > 1:
        value = _replace(getattr(config, path[0]), path[1:], value, name)
    else:
        value = _convert(value, get_type_hints(type(config))[path[0]], name)
    return dataclasses.replace(config, **{path[0]: value})


def _convert(value: Any, kind: Any, name: str) -> Any:
    options = get_args(kind) if get_origin(kind) in (UnionType, Union) else (kind,)
    if value is None or (type(None) in options and value in ("", "none", "None")):
        if type(None) in options:
            return None
    for option in options:
        try:
            return _convert_one(value, option)
        except (ValueError, TypeError):
            continue
    wanted = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise ValueError(f"setting {name!r}: expected {wanted}, got {value!r}")


def _convert_one(value: Any, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        parts = [part for part in value.strip("()[] ").split(",") if part.strip()] if isinstance(value, str) else list(value)
        return tuple(_convert_one(part, get_args(kind)[0]) for part in parts)
    if kind is bool:
        text = str(value).strip().lower()
        if text not in ("true", "false", "1", "0", "yes", "no"):
            raise ValueError
        return text in ("true", "1", "yes")
    if kind is type(None) or (kind is int and (isinstance(value, bool) or (isinstance(value, float) and value % 1))):
        raise TypeError
    if kind is str:
        return str(value).strip()
    return kind(value)


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read overrides from a TOML file, tables flattened to dotted names."""
    try:
        data = tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: expected a TOML file with settings, got {error}") from None
    return dict(_flatten(data))


def _flatten(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
