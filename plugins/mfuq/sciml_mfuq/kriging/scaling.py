"""Runs of one level in standard units: inputs in the unit box, outputs of mean zero and deviation one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sciml_mfuq.samples import Samples


@dataclass(frozen=True)
class Scaled:
    """Runs of one level in standard units.

    Parameters
    ----------
    u : (run, feature) in the unit box; inputs that the level does not see are zero.
    y, noise : (run,), outputs and the known variance of their noise.
    centre, scale : (), of the outputs in raw units.
    columns : the inputs that the level sees.
    """

    u: Tensor
    y: Tensor
    noise: Tensor
    centre: Tensor
    scale: Tensor
    columns: tuple[int, ...]

    @property
    def seen(self) -> Tensor:
        """The inputs (run, column) that the level sees."""
        return self.u[:, list(self.columns)]

    def some(self, rows: Tensor) -> Scaled:
        """Return the runs of given numbers."""
        return replace(self, u=self.u[rows], y=self.y[rows], noise=self.noise[rows])


def scaled(samples: Samples, number: int) -> Scaled:
    """Return the runs of a level in standard units.

    Raises
    ------
    ValueError
        A level that does not see all inputs of the level below: what it makes of them would be unknown.
    """
    level = samples.levels[number]
    if level.y.ndim != 1:
        raise ValueError(f"level {level.name!r}: expected one output, got {level.y.shape[1]}; choose one by `output`")
    columns = level.columns if level.columns is not None else tuple(range(samples.n_feature))
    if number:
        below = samples.levels[number - 1]
        unseen = set(below.columns if below.columns is not None else range(samples.n_feature)) - set(columns)
        if unseen:
            raise ValueError(
                f"level {level.name!r}: expected it to see every input that level {below.name!r} sees, got none of "
                f"inputs {sorted(unseen)}; order the levels so, or leave one out"
            )
    box = samples.bounds[list(columns)]
    u = np.zeros((len(level.x), samples.n_feature))
    u[:, list(columns)] = (level.x - box[:, 0]) / (box[:, 1] - box[:, 0])
    centre = level.y.mean()
    scale = float(level.y.std()) or abs(float(centre)) or 1.0
    noise = np.zeros(len(u)) if level.noise is None else np.broadcast_to(np.square(level.noise), len(u)) / scale**2
    inputs, outputs, variances = (
        torch.as_tensor(np.array(part, dtype=np.float64)) for part in (u, (level.y - centre) / scale, noise)
    )
    one = torch.ones((), dtype=torch.float64)
    return Scaled(inputs, outputs, variances, one * float(centre), one * scale, columns)


def unit_box(samples: Samples) -> tuple[Tensor, Tensor]:
    """Return low ends and widths (feature,) of the bounds."""
    bounds = torch.as_tensor(samples.bounds)
    return bounds[:, 0].clone(), bounds[:, 1] - bounds[:, 0]
