"""The small surrogates are registered once, as a plugin would be."""

from __future__ import annotations

import pytest
from small_surrogates import Hooks

from sciml.plugins import plugins


@pytest.fixture(autouse=True, scope="session")
def registered_surrogates():
    if "small.spring" not in plugins().entries["surrogates"]:
        plugins().register(Hooks(), "small")
