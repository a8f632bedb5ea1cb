"""NeuralFoil as an operator: networks that were trained on XFOIL, the cheapest viscous level."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr

from sciml import FieldSpec, Operator, Region, Spec
from sciml_mfuq.simulators.airfoil import COEFFICIENTS, Airfoil, coefficient_fields, input_fields, naca4

BOUNDS = {"angle_of_attack": (-25.0, 25.0), "reynolds": (1e3, 1e8), "n_crit": (1.0, 15.0)}
NAMES = dict(zip((*COEFFICIENTS, "analysis_confidence"), ("CL", "CD", "CM", "analysis_confidence"), strict=True))


@dataclass(frozen=True, eq=False)
class NeuralFoil(Operator):
    """Lift, drag and moment of an aerofoil by NeuralFoil, and how sure it is of them.

    `analysis_confidence` is NeuralFoil's own estimate of the probability that its answer can be trusted: it falls where
    XFOIL would not converge. The flow is incompressible: there is no Mach number.

    Parameters
    ----------
    airfoil : NACA 0012 with a blunt trailing edge by default.
    inputs : names: angle_of_attack, and reynolds, n_crit or both.
    model_size : of the network.
    reynolds, n_crit : values of what is no input, 1.

    *Source*: Sharpe, Hansman, "NeuralFoil: an airfoil aerodynamics analysis tool using physics-informed machine
    learning", arXiv 2503.16323.
    """

    airfoil: Airfoil = field(default_factory=lambda: naca4("0012"))
    inputs: tuple[str, ...] = ("angle_of_attack", "reynolds")
    model_size: Literal["medium", "large", "xlarge", "xxlarge", "xxxlarge"] = "xxxlarge"
    reynolds: float = 1e6
    n_crit: float = 9.0

    def __post_init__(self) -> None:
        if "angle_of_attack" not in self.inputs:
            raise ValueError(f"neuralfoil: expected the input 'angle_of_attack', got {list(self.inputs)}; add it")
        _ = self.spec

    @property
    def spec(self) -> Spec:
        """Conditions in; coefficients and confidence out."""
        sure = FieldSpec("analysis_confidence", ("batch",), "1", Region.interval(0.0, 1.0), "trust in the answer")
        return Spec(input_fields(self.inputs, BOUNDS), (*coefficient_fields(), sure))

    def _apply(self, inputs: xr.Dataset) -> xr.Dataset:
        given = {name: np.array(inputs[name].values, dtype=np.float64) for name in self.inputs}
        shape = given["angle_of_attack"].shape
        at = {"reynolds": np.full(shape, self.reynolds), "n_crit": np.full(shape, self.n_crit), **given}
        answer = _library().get_aero_from_coordinates(
            np.array(self.airfoil.coordinates),
            alpha=at["angle_of_attack"],
            Re=at["reynolds"],
            n_crit=at["n_crit"],
            model_size=self.model_size,
        )
        data = {name: ("batch", np.reshape(answer[key], shape), {"units": "1"}) for name, key in NAMES.items()}
        texts = {"program": f"NeuralFoil {_library().__version__}", "airfoil": self.airfoil.name}
        return xr.Dataset(data, coords=inputs.variables, attrs={**texts, "model_size": self.model_size})


def _library() -> Any:
    try:
        import neuralfoil
    except ImportError:
        raise ImportError(
            "neuralfoil: expected the package NeuralFoil, got none; pip install 'sciml-toolkit[airfoil]'"
        ) from None
    return neuralfoil
