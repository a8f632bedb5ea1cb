"""The closed-form linear operator: everything by least squares, nothing by gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sciml_kernels.branch_trunk import branch_trunk

from sciml import Region
from sciml_acoustics.branch import RoomNetwork, SensorBranch, fit_ridge, sensor_grid
from sciml_acoustics.data import Waves
from sciml_acoustics.frame import CosineFrame, weighted_fit
from sciml_acoustics.subspace import Subspace


class LinearOperator(RoomNetwork):
    """Impulse responses as a low-rank product of source coefficients and receiver functions.

        p(s, x, t) = sum_k b_k(s) sum_r W[t, k, r] phi_r(x)

    with the linear branch b, and phi_r the leading spatial modes of the training waves, each a combination of cosine
    functions so that a receiver may be anywhere.

    Parameters
    ----------
    boxes : the room as boxes (low, high), m.
    sensors : (sensor, axis) positions at which the pulse is sampled, m.
    pulse : width sigma0 (m) and peak (Pa).
    time : output times, s.
    ranks : numbers of source coefficients and of spatial modes.
    band : largest wave number (rad/m) and margin (m) of the cosine frame.

    *Contract*: linear in the pulse; equal to the training solver's field up to the truncation of its subspace.
    """

    registered: ClassVar[str] = "acoustics.linear"
    core: torch.Tensor
    shapes: torch.Tensor

    def __init__(
        self,
        boxes: Sequence[Any],
        sensors: ArrayLike,
        pulse: Sequence[float],
        time: ArrayLike,
        ranks: Sequence[int],
        band: Sequence[float],
    ) -> None:
        super().__init__(boxes, sensors, pulse, ranks[0], time=time, ranks=ranks, band=band)
        self.frame = CosineFrame(*self.region.bounding_box, band[0], band[1])
        self.register_buffer("shapes", torch.zeros(self.frame.n_features, ranks[1]))
        self.register_buffer("core", torch.zeros(len(self.config["time"]), ranks[0], ranks[1]))

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the pressure (source, receiver, time)."""
        phi = self.frame(inputs["receiver_position"]) @ self.shapes
        return {"pressure": branch_trunk(self.branch(inputs["source_position"]), phi, self.core)}


def source_factors(
    waves: Waves, subspace: Subspace, sensors: np.ndarray, rank: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Split the training amplitudes into source coefficients and responses, and fit the coefficients to the pulse.

    Returns
    -------
    W (sensor, k), the core (time, k, mode), and the leave-one-out error of the coefficients.
    """
    n_source, n_time, n_mode = subspace.amplitude.shape
    left, strength, right = np.linalg.svd(subspace.amplitude.reshape(n_source, -1), full_matrices=False)
    rank = min(rank, len(strength))
    branch = SensorBranch(sensors, waves.medium.sigma0, waves.medium.amplitude, 1).double()
    pulse = branch.pulse(torch.as_tensor(waves.source_position, dtype=torch.float64)).numpy()
    weights, _, error = fit_ridge(pulse, left[:, :rank] * strength[:rank])
    core = right[:rank].reshape(rank, n_time, n_mode).transpose(1, 0, 2)
    return weights, core, error


def fit_linear(
    waves: Waves, subspace: Subspace, room: Region, band: tuple[float, float], ppw: float, rank: int
) -> LinearOperator:
    """Fit the operator to the training waves; the ridge is chosen by leave-one-out over training sources."""
    sensors = sensor_grid(*room.bounding_box, ppw, waves.medium)
    weights, core, _ = source_factors(waves, subspace, sensors, rank)
    medium = waves.medium
    ranks = (weights.shape[1], subspace.shapes.shape[1])
    network = LinearOperator(room.boxes, sensors, (medium.sigma0, medium.amplitude), waves.time, ranks, band)
    features = network.frame(torch.as_tensor(waves.node_position, dtype=torch.float64)).numpy()
    network.branch.weight.copy_(torch.as_tensor(weights))
    network.core.copy_(torch.as_tensor(core.copy()))
    network.shapes.copy_(torch.as_tensor(weighted_fit(features, subspace.shapes, waves.node_weight)))
    return network
