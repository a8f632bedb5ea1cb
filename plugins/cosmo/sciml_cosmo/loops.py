"""Loops over nodes, compiled for one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sciml_kernels.numba_tools import compiled


def loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function for one thread, at its first call."""
    return compiled(function)[0]
