"""The linear branch: from the pulse, sampled on a sensor grid, to anything that depends on it linearly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sciml import Network, Region, Spec
from sciml_acoustics.data import Medium, room_spec

Array = NDArray[Any]

RIDGES = tuple(10.0**e for e in range(-14, -3))


class SensorBranch(torch.nn.Module):
    """Coefficients of a source: the Gaussian pulse at the sensors times a matrix.

        b_k(s) = sum_m A exp(-|y_m - s|^2 / sigma0^2) W_mk

    The wave equation is linear in its initial condition, so the branch of an operator network may be linear too, and
    then its weights are a least-squares problem: nothing about the source needs to be trained.

    Parameters
    ----------
    sensors : (sensor, axis), m.
    sigma0, amplitude : width (m) and peak (Pa) of the pulse.
    n_outputs : number of coefficients.
    """

    sensors: torch.Tensor
    weight: torch.Tensor

    def __init__(self, sensors: ArrayLike, sigma0: float, amplitude: float, n_outputs: int) -> None:
        super().__init__()
        positions = torch.as_tensor(np.asarray(sensors), dtype=torch.float32)
        self.sigma0, self.amplitude = sigma0, amplitude
        self.register_buffer("sensors", positions)
        self.register_buffer("weight", torch.zeros(len(positions), n_outputs))

    def pulse(self, source_position: torch.Tensor) -> torch.Tensor:
        """Return the initial pressure (source, sensor) in Pa of sources at (source, axis), m."""
        offset = (source_position[:, None, :] - self.sensors.to(source_position)) / self.sigma0
        return self.amplitude * torch.exp(-offset.square().sum(-1))

    def forward(self, source_position: torch.Tensor) -> torch.Tensor:
        """Return the coefficients (source, k)."""
        return self.pulse(source_position) @ self.weight.to(source_position)


class RoomNetwork(Network):
    """A network of one room with a linear branch: keeps constructor arguments and spec; to write: `forward`.

    Parameters
    ----------
    boxes : the room as boxes (low, high), m.
    sensors : (sensor, axis) positions at which the pulse is sampled, m.
    pulse : width sigma0 (m) and peak (Pa).
    n_coefficients : of the branch.
    arguments : the other constructor arguments, plain JSON; with `time` (s) the output times are fixed.
    """

    def __init__(
        self, boxes: Sequence[Any], sensors: ArrayLike, pulse: Sequence[float], n_coefficients: int, **arguments: Any
    ) -> None:
        super().__init__()
        plain = {name: np.asarray(value).tolist() for name, value in arguments.items()}
        places = {
            "boxes": [[list(low), list(high)] for low, high in boxes],
            "sensors": np.asarray(sensors, float).tolist(),
        }
        self._config = {**places, "pulse": list(pulse), **plain}
        self.region = Region(tuple((tuple(low), tuple(high)) for low, high in boxes))
        self._spec = room_spec(self.region.n_dims, self.region, tuple(plain["time"]) if "time" in plain else None)
        self.branch = SensorBranch(sensors, pulse[0], pulse[1], n_coefficients)

    @property
    def spec(self) -> Spec:
        """Positions in, and times where they are not fixed; impulse responses out."""
        return self._spec

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return self._config


def sensor_grid(low: Sequence[float], high: Sequence[float], ppw: float, medium: Medium) -> Array:
    """Return the uniform grid (sensor, axis) over a box with `ppw` points per shortest wavelength."""
    spacing = medium.c / medium.f_max / ppw
    axes = [np.linspace(a, b, math.ceil((b - a) / spacing) + 1) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def fit_ridge(samples: Array, targets: Array, ridges: Sequence[float] = RIDGES) -> tuple[Array, float, float]:
    """Fit targets = samples W with the ridge that predicts each left-out training source best.

    In the dual form ``W = U^T (U U^T + r I)^-1 Z`` the leave-one-out residuals are ``[G^-1 Z]_i / [G^-1]_ii`` with
    ``G = U U^T + r I``, so one eigendecomposition serves every ridge and every left-out source.

    Parameters
    ----------
    samples : U (source, sensor).
    targets : Z (source, column).
    ridges : candidates, relative to the mean eigenvalue of U U^T.

    Returns
    -------
    W (sensor, column), the chosen relative ridge, and its relative leave-one-out error.

    *Source*: PRESS statistic, Allen, Technometrics 16 (1974).
    """
    values, vectors = np.linalg.eigh(samples @ samples.T)
    rotated = vectors.T @ targets
    scale = max(float(values.mean()), np.finfo(float).tiny)
    errors = []
    for ridge in ridges:
        inverse = 1.0 / (np.maximum(values, 0.0) + ridge * scale)
        diagonal = (vectors**2) @ inverse
        errors.append(float(np.linalg.norm(vectors @ (inverse[:, None] * rotated) / diagonal[:, None])))
    best = int(np.argmin(errors))
    inverse = 1.0 / (np.maximum(values, 0.0) + ridges[best] * scale)
    weights = samples.T @ (vectors @ (inverse[:, None] * rotated))
    return weights, ridges[best], errors[best] / float(np.linalg.norm(targets))
