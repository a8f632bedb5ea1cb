"""Kernels of the toolkit: plain torch references with Triton kernels, and a registry that tests and times them.

Ops are imported from their folder, ``from sciml_kernels.branch_trunk import branch_trunk``, or taken from `ops`. The
names below are imported when first used, so that the command line can print its help without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciml_kernels.backend import backend, use_backend
    from sciml_kernels.registry import OpSpec, decompositions, ops
    from sciml_kernels.testing import check

_HOME = {
    "OpSpec": "registry",
    "backend": "backend",
    "check": "testing",
    "decompositions": "registry",
    "ops": "registry",
    "use_backend": "backend",
}

__all__ = ["OpSpec", "backend", "check", "decompositions", "ops", "use_backend"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
