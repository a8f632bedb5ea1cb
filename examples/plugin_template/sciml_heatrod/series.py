"""The truth: heat conduction in a rod with cold ends, solved by a sine series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from sciml import FieldSpec, Operator, Region, Spec


@dataclass(frozen=True)
class Rod:
    """Length (m), thermal diffusivity alpha (m^2/s), width of the bump w (m) and its least distance from an end (m)."""

    length: float = 1.0
    diffusivity: float = 1e-4
    width: float = 0.06
    padding: float = 0.25

    @property
    def spec(self) -> Spec:
        """Return what truth and surrogate share: where the bump is, where and when the temperature is wanted."""
        centre = Region.interval(self.padding, self.length - self.padding)
        inputs = (
            FieldSpec("centre", ("batch",), "m", centre, "centre of the initial bump"),
            FieldSpec("position", ("position",), "m", Region.interval(0.0, self.length), "where along the rod"),
            FieldSpec("time", ("time",), "s", Region.interval(0.0, np.inf), "time after the bump"),
        )
        output = FieldSpec("temperature", ("batch", "time", "position"), "K", None, "temperature above the ends'")
        return Spec(inputs, (output,))


class Series(Operator):
    """Temperature after a Gaussian bump of 1 K in a rod whose ends are kept at 0 K.

        u(x, t) = sum_n b_n sin(k_n x) exp(-alpha k_n^2 t),  k_n = n pi / L
        b_n     = (2 sqrt(pi) w / L) exp(-(k_n w / 2)^2) sin(k_n c)

    These b_n belong to u(x, 0) = exp(-(x - c)^2 / w^2) plus its mirror images of alternating sign at the ends, which is
    the Gaussian itself up to exp(-(padding / w)^2), 3e-8 for the default rod.
    """

    def __init__(self, rod: Rod = Rod()) -> None:
        self.rod = rod
        n_terms = int(np.ceil(12.0 * rod.length / (np.pi * rod.width))) + 1  # exp(-36) is below double precision
        self._k = np.arange(1, n_terms + 1) * np.pi / rod.length

    @property
    def spec(self) -> Spec:
        """Centre, positions and times in, temperatures out."""
        return self.rod.spec

    def _apply(self, inputs: xr.Dataset) -> xr.Dataset:
        rod, k = self.rod, self._k
        centre, position, time = (inputs[name].values for name in ("centre", "position", "time"))
        strength = 2.0 * np.sqrt(np.pi) * rod.width / rod.length * np.exp(-((k * rod.width / 2.0) ** 2))
        bump = strength * np.sin(np.outer(centre, k))  # (batch, mode)
        decay = np.exp(-rod.diffusivity * np.outer(time, k**2))  # (time, mode)
        temperature = np.einsum("bm,tm,xm->btx", bump, decay, np.sin(np.outer(position, k)))
        return xr.Dataset({"temperature": (("batch", "time", "position"), temperature, {"units": "K"})}, inputs.coords)
