"""Surrogates that stand in for expensive solvers: `run`, `load`, `catalogue`, and the interfaces that plugins write."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sciml.hookspecs import Registration, hookimpl

if TYPE_CHECKING:
    from sciml.config import setting
    from sciml.executor import Outcome, sweep
    from sciml.experiment import Experiment, Results, Run, run
    from sciml.fields import FieldSpec, Region, Spec
    from sciml.operator import Operator
    from sciml.plugins import catalogue
    from sciml.report import Report
    from sciml.surrogate import Network, Surrogate, load, training_domain
    from sciml.training import fit
    from sciml.uncertainty import Calibration, Conformal, calibration

__all__ = [
    "Calibration", "Conformal", "Experiment", "FieldSpec", "Network", "Operator", "Outcome", "Region", "Registration",
    "Report", "Results", "Run", "Spec", "Surrogate", "calibration", "catalogue", "fit", "hookimpl", "load", "run",
    "setting", "sweep", "training_domain",
]  # fmt: skip
_HOMES = {
    "config": ["setting"],
    "executor": ["Outcome", "sweep"],
    "experiment": ["Experiment", "Results", "Run", "run"],
    "fields": ["FieldSpec", "Region", "Spec"],
    "operator": ["Operator"],
    "plugins": ["catalogue"],
    "report": ["Report"],
    "surrogate": ["Network", "Surrogate", "load", "training_domain"],
    "training": ["fit"],
    "uncertainty": ["Calibration", "Conformal", "calibration"],
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `sciml --help` imports no torch."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"sciml.{module}"), name)
    raise AttributeError(f"module 'sciml' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
