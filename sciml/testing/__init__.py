"""The conformance kit: a new operator, surrogate, experiment or data set proves itself by one call.

Each ``check_...`` returns a list of :class:`Check`, one per sentence of the contract; :func:`assert_all` turns those
that failed into one AssertionError. Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciml.testing.checks import Check as Check
    from sciml.testing.checks import assert_all as assert_all
    from sciml.testing.couplings import check_coupling as check_coupling
    from sciml.testing.data import check_dataset as check_dataset
    from sciml.testing.experiments import check_experiment as check_experiment
    from sciml.testing.hygiene import check_plugin_import_is_light as check_plugin_import_is_light
    from sciml.testing.inputs import example_inputs as example_inputs
    from sciml.testing.operators import check_operator as check_operator
    from sciml.testing.oracles import check_trainer as check_trainer
    from sciml.testing.resolution import ResolutionReport as ResolutionReport
    from sciml.testing.resolution import check_discretization as check_discretization
    from sciml.testing.resolution import function_operator as function_operator
    from sciml.testing.resolution import measure_resolution as measure_resolution
    from sciml.testing.surrogates import check_surrogate as check_surrogate

_HOME = {
    "Check": "checks",
    "assert_all": "checks",
    "check_coupling": "couplings",
    "check_dataset": "data",
    "check_experiment": "experiments",
    "check_plugin_import_is_light": "hygiene",
    "example_inputs": "inputs",
    "check_operator": "operators",
    "check_surrogate": "surrogates",
    "check_trainer": "oracles",
    "ResolutionReport": "resolution",
    "check_discretization": "resolution",
    "function_operator": "resolution",
    "measure_resolution": "resolution",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"sciml.testing.{_HOME[name]}"), name)
    raise AttributeError(f"module 'sciml.testing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
