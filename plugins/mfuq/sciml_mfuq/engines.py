"""The engines by name: one table, from which models are fitted and rebuilt."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sciml_mfuq.model import Predictor
from sciml_mfuq.samples import Samples

DECISIVE = 5.0
"""Log of the odds from which a jump is believed in: very strong evidence by Kass and Raftery, JASA 90 (1995)."""


@dataclass(frozen=True)
class Engine:
    """One way to fit a model.

    Parameters
    ----------
    label : for tables and legends.
    module : where it stands.
    fit : function of (samples, *, seed) in the module.
    predictor : class that it returns.
    is_stacked : whether it fits the levels one upon the other, so that the cheap ones can be taken over.
    log_odds : in its favour before any run of the truth is held out, since it is there only where the cheap runs have
        already decided for what it is made for.
    """

    label: str
    module: str
    fit: str
    predictor: str
    is_stacked: bool = False
    log_odds: float = 0.0


ENGINES: dict[str, Engine] = {
    "gp": Engine("kriging of the truth alone", "sciml_mfuq.kriging.gp", "fit_gp", "GPPredictor"),
    "cokriging": Engine("co-kriging, AR(1)", "sciml_mfuq.kriging.cokriging", "fit_cokriging", "CoKriging", True),
    "nargp": Engine("nonlinear auto-regressive GP", "sciml_mfuq.kriging.nargp", "fit_nargp", "NARGP", True),
    "pieces": Engine("co-kriging in two pieces", "sciml_mfuq.kriging.pieces", "fit_pieces", "Pieces", True, DECISIVE),
    "composite": Engine("composite network", "sciml_mfuq.networks.composite", "fit_composite", "Composite"),
    "residual": Engine("network and GP of the rest", "sciml_mfuq.networks.residual", "fit_residual", "Residual", True),
    "deep_ensemble": Engine(
        "networks of the truth alone", "sciml_mfuq.networks.ensembles", "fit_deep_ensemble", "DeepEnsemble"
    ),
    "dropout": Engine("dropout, truth alone", "sciml_mfuq.networks.ensembles", "fit_dropout", "Dropout"),
}
CANDIDATES = ("gp", "cokriging", "nargp", "residual", "pieces")
"""Engines among which the automatic choice is made by default."""


class Unsuited(ValueError):
    """Said by an engine that is made for what the runs do not show; no fault of the runs or of the engine."""


def fit_engine(name: str, samples: Samples, seed: int, lower: Predictor | None = None) -> Predictor:
    """Fit the engine `name` to samples of one output.

    Parameters
    ----------
    name : of `ENGINES`.
    samples, seed : as every engine takes them.
    lower : a model by the same engine of the same cheap runs and other runs of the truth: engines that fit the levels
        one upon the other take its cheap levels over, the others do not look at it.
    """
    if name not in ENGINES:
        raise ValueError(f"fit_engine: expected one of {', '.join(ENGINES)}, got {name!r}; choose one of these")
    engine = ENGINES[name]
    fit = getattr(importlib.import_module(engine.module), engine.fit)
    fitted: Predictor = fit(samples, seed=seed, lower=lower) if lower and engine.is_stacked else fit(samples, seed=seed)
    return fitted


def predictor_from(name: str, config: Mapping[str, Any]) -> Predictor:
    """Return the model of the engine `name` that a configuration describes, its numbers still to be loaded."""
    if name not in ENGINES:
        raise ValueError(f"predictor: expected one of {', '.join(ENGINES)}, got {name!r}; update the package")
    engine = ENGINES[name]
    made: Predictor = getattr(importlib.import_module(engine.module), engine.predictor)(**config)
    return made
