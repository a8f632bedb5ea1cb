"""The surrogate: the rod's modes, each as strong as a polynomial in the centre of the bump says."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr

from sciml import Network, Spec
from sciml_heatrod.series import Rod


class Modes(Network):
    """Temperature as a sum of decaying modes with learned strengths.

        u(x, t; c) = sum_(n, d) W_dn T_d(c) sin(k_n x) exp(-alpha k_n^2 t)

    T_d are Chebyshev polynomials on the range of centres. All that is learned is W, by least squares.

    Parameters
    ----------
    n_modes, n_degrees : numbers of modes and of polynomials.
    rod : fields of a :class:`Rod`.
    """

    registered: ClassVar[str] = "heatrod.modes"
    weight: torch.Tensor

    def __init__(self, n_modes: int, n_degrees: int, rod: dict[str, float] | None = None) -> None:
        super().__init__()
        self.rod = Rod(**(rod or {}))
        self._config = {"n_modes": n_modes, "n_degrees": n_degrees, "rod": asdict(self.rod)}
        self.register_buffer("weight", torch.zeros(n_degrees, n_modes, dtype=torch.float64))

    @property
    def spec(self) -> Spec:
        """Centre, positions and times in, temperatures out."""
        return self.rod.spec

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return self._config

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the temperature (batch, time, position)."""
        decay, shape = self.modes(inputs["time"], inputs["position"])
        strength = self.polynomials(inputs["centre"]) @ self.weight.to(inputs["centre"])
        return {"temperature": torch.einsum("btm,xm->btx", strength[:, None] * decay, shape)}

    def polynomials(self, centre: torch.Tensor) -> torch.Tensor:
        """Return the Chebyshev polynomials (batch, degree)."""
        half = self.rod.length / 2.0
        x = (centre - half) / (half - self.rod.padding)
        values = [torch.ones_like(x), x]
        while len(values) < len(self.weight):
            values.append(2.0 * x * values[-1] - values[-2])
        return torch.stack(values[: len(self.weight)], -1)

    def modes(self, time: torch.Tensor, position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the decay (time, mode) and the shape (position, mode) of every mode."""
        k = torch.arange(1, self.weight.shape[1] + 1, dtype=time.dtype, device=time.device) * math.pi / self.rod.length
        return torch.exp(-self.rod.diffusivity * k**2 * time[:, None]), torch.sin(k * position[:, None])


def fit_modes(data: xr.Dataset, n_modes: int, n_degrees: int, rod: Rod) -> Modes:
    """Fit to temperatures of several centres: first the strengths of the modes, then their polynomials."""
    network = Modes(n_modes, n_degrees, asdict(rod))
    centre, position, time, temperature = (
        torch.as_tensor(np.array(data[name].values), dtype=torch.float64)
        for name in ("centre", "position", "time", "temperature")
    )
    decay, shape = network.modes(time, position)
    design = (decay[:, None] * shape).reshape(-1, n_modes)  # (time * position, mode)
    strength = torch.linalg.lstsq(design, temperature.reshape(len(centre), -1).T, driver="gelsd").solution.T
    network.weight.copy_(torch.linalg.lstsq(network.polynomials(centre), strength, driver="gelsd").solution)
    return network
