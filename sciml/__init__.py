"""Surrogates that stand in for expensive solvers: `run`, `load`, `catalogue`, and the interfaces that plugins write."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sciml.hookspecs import Registration, hookimpl

if TYPE_CHECKING:
    from sciml.config import setting
    from sciml.experiment import Experiment, Results, Run, run
    from sciml.fields import FieldSpec, Region, Spec
    from sciml.operator import Operator
    from sciml.plugins import catalogue
    from sciml.report import Report
    from sciml.surrogate import Network, Surrogate, load, training_domain
    from sciml.training import fit

_HOME = {
    "setting": "config",
    "Experiment": "experiment",
    "Results": "experiment",
    "Run": "experiment",
    "run": "experiment",
    "FieldSpec": "fields",
    "Region": "fields",
    "Spec": "fields",
    "Operator": "operator",
    "catalogue": "plugins",
    "Report": "report",
    "Network": "surrogate",
    "Surrogate": "surrogate",
    "load": "surrogate",
    "training_domain": "surrogate",
    "fit": "training",
}

__all__ = ["Registration", "hookimpl", *_HOME]  # noqa: PLE0604  the lazy names below


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"sciml.{_HOME[name]}"), name)
    raise AttributeError(f"module 'sciml' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
