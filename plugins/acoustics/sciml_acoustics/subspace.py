"""The subspace that the wave fields live in: proper orthogonal decomposition in space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciml_acoustics.data import Waves

Array = NDArray[Any]


@dataclass(frozen=True)
class Subspace:
    """Orthonormal fields under the room's quadrature, and the training waves expressed in them.

    Parameters
    ----------
    shapes : (node, mode); ``sum_n w_n shapes[n, i] shapes[n, j] = delta_ij``.
    strength : (mode,), root of the energy each mode carries.
    amplitude : (source, time, mode), coordinates of the training waves.
    lost : relative L2 norm of what the subspace leaves out of the training waves.
    """

    shapes: Array
    strength: Array
    amplitude: Array
    lost: float


def proper_orthogonal(waves: Waves, tolerance: float, max_rank: int) -> Subspace:
    """Return the leading modes of all training waves, as many as leave out `tolerance` of their norm.

    The node-by-node covariance is accumulated source by source in float64: memory N^2, not S T N.
    """
    root = np.sqrt(waves.node_weight)
    covariance = np.zeros((len(root), len(root)))
    for field in waves.pressure:
        scaled = field.astype(np.float64) * root
        covariance += scaled.T @ scaled
    energy, vectors = np.linalg.eigh(covariance)
    energy, vectors = np.maximum(energy[::-1], 0.0), vectors[:, ::-1]
    n_above_rounding = int((energy > len(root) * np.finfo(float).eps * energy[0]).sum())
    tail = np.sqrt(np.maximum(energy.sum() - np.cumsum(energy), 0.0) / energy.sum())
    rank = min(int(np.searchsorted(-tail, -tolerance)) + 1, max_rank, n_above_rounding)
    shapes = vectors[:, :rank] / root[:, None]
    projector = shapes * waves.node_weight[:, None]
    amplitude = np.stack([field.astype(np.float64) @ projector for field in waves.pressure])
    return Subspace(shapes, np.sqrt(energy[:rank]), amplitude, float(tail[rank - 1]))
