"""Configurations: frozen dataclasses whose fields carry help text and unit, and overrides by dotted names."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Config = TypeVar("Config")
WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def setting(default: Any, help: str, unit: str = "") -> Any:
    """Return a dataclass field with a default value, a help text and a unit; a nested default is a frozen dataclass."""
    return dataclasses.field(default=default, metadata={"help": help, "unit": unit})


def describe(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, str, str]]:
    """Yield (dotted name, value, unit, help) for every setting of a configuration."""
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from describe(value, f"{name}.")
        else:
            yield name, value, field.metadata.get("unit", ""), field.metadata.get("help", "")


def configure(config: Config, overrides: Mapping[str, Any]) -> Config:
    """Return `config` with the settings in `overrides` replaced; text is converted to the type of the setting.

    Names are dotted, or mappings are nested as the configuration is; of two values for one setting the last one counts.

    Raises
    ------
    ValueError
        An unknown name (the nearest known one is suggested) or a value of the wrong kind.
    """
    known = [row[0] for row in describe(config)]
    values = dict(_flat(overrides, known))
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            groups = sorted({known_name.split(".")[0] for known_name in known})
            hint = f"did you mean {close[0]!r}?" if close else f"see `sciml show`; they begin with {', '.join(groups)}"
            raise ValueError(f"setting {name!r}: expected a known name; {hint}")
    return _replace(config, values, "")


def _flat(data: Mapping[str, Any], known: Collection[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and f"{prefix}{key}" not in known:
            yield from _flat(value, known, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _replace(config: Any, values: Mapping[str, Any], prefix: str) -> Any:
    kinds, changes = get_type_hints(type(config)), {}
    for field in dataclasses.fields(config):
        value, name, kind = getattr(config, field.name), f"{prefix}{field.name}", kinds[field.name]
        if dataclasses.is_dataclass(value):
            changes[field.name] = _replace(value, values, f"{name}.")
        elif name in values:
            try:
                changes[field.name] = _convert(values[name], kind)
            except (ValueError, TypeError, LookupError):
                raise ValueError(f"setting {name!r}: expected {_name(kind)}, got {values[name]!r}") from None
    return dataclasses.replace(config, **changes)  # at once: settings may be checked against one another


def _convert(value: Any, kind: Any) -> Any:
    """Return `value`, or what a text means, as a member of the type `kind`; what is none raises."""
    origin, options = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        for option in sorted(options, key=lambda option: option is not NoneType):  # None is also a text
            with suppress(ValueError, TypeError, LookupError):
                return _convert(value, option)
        raise ValueError
    if kind is Any:
        return value
    if kind is NoneType:
        return {"": None, "none": None, "None": None}[str(value).strip()]
    if origin is Literal:
        return {str(choice): choice for choice in options}[str(value).strip()]
    if origin is tuple:
        parts = [p for p in value.strip("()[] ").split(",") if p.strip()] if isinstance(value, str) else list(value)
        options = options[:1] * len(parts) if options[-1] is Ellipsis else options
        return tuple(_convert(part, option) for part, option in zip(parts, options, strict=True))
    if value is None or (kind is int and (isinstance(value, bool) or (isinstance(value, float) and value % 1))):
        raise TypeError
    text = str(value).strip()
    return WORDS[text.lower()] if kind is bool else text if kind is str else kind(value)


def _name(kind: Any) -> str:
    if get_origin(kind) in (UnionType, Union, Literal):
        return " or ".join(map(_name, get_args(kind)))
    return "None" if kind is NoneType else kind.__name__ if isinstance(kind, type) else repr(kind)
