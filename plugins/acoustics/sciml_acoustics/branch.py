"""The linear branch: from the pulse, sampled on a sensor grid, to anything that depends on it linearly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sciml_acoustics.data import Medium

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
