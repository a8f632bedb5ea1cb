"""Fixtures for authors of plugins; loaded in every pytest run of everybody who installed this, hence light."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sciml.hookspecs import Registration
    from sciml.plugins import Plugins


@pytest.fixture
def sciml_plugins() -> Iterator[Plugins]:
    """Give this process an empty set of plugins for one test; ``sciml_plugins.register(module, name)`` fills it."""
    from sciml.plugins import Plugins, plugins

    current = plugins()
    kept = dict(vars(current))
    vars(current).update(vars(Plugins([])))  # in place: whoever holds the set sees the change
    yield current
    vars(current).update(kept)


@pytest.fixture
def register_plugin(sciml_plugins: Plugins) -> Callable[..., Any]:
    """Give ``register_plugin("toy", surrogates=[Registration(...)])``: it registers a throw-away plugin."""
    from sciml.hookspecs import hookimpl

    def register(name: str, **registrations: list[Registration]) -> Any:
        module = types.ModuleType(f"{name}_hooks")
        for kind, items in registrations.items():
            setattr(module, f"sciml_{kind}", hookimpl(lambda items=items: items))
        return sciml_plugins.register(module, name)

    return register
