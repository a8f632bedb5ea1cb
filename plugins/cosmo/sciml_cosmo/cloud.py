"""One periodic box of haloes or galaxies: what every task on point clouds takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cloud:
    """Haloes or galaxies of one cubic periodic box at one time.

    Parameters
    ----------
    positions : (node, axis)
        Comoving, Mpc/h; wrapped into [0, L) at construction.
    velocities : (node, axis)
        Peculiar, km/s.
    box_size
        Side L, Mpc/h.
    masses : (node,), optional
        Msun/h.
    cosmology
        Such as ``{"Omega_m": 0.3, "sigma_8": 0.8}``; empty where unknown.
    redshift
        Of the snapshot.
    simulation
        Number of the simulation; clouds of one simulation never lie on both sides of a split.

    *Contract*: arrays are float64, finite and not shared with the caller's.

    Examples
    --------
    >>> cloud = Cloud(np.array([[12.0, 3.0, -1.0]]), np.zeros((1, 3)), 10.0)
    >>> cloud.positions.tolist(), len(cloud)
    ([[2.0, 3.0, 9.0]], 1)
    """

    positions: Array
    velocities: Array
    box_size: float
    masses: Array | None = None
    cosmology: Mapping[str, float] = field(default_factory=dict)
    redshift: float = 0.0
    simulation: int = 0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.box_size) and self.box_size > 0):
            raise ValueError(f"Cloud.box_size: expected a side above 0 Mpc/h, got {self.box_size}; give the box's side")
        n_node = len(np.atleast_2d(self.positions)) if np.size(self.positions) else 0
        if n_node == 0:
            raise ValueError("Cloud.positions: expected at least one node, got none; leave empty clouds out")
        positions = _checked("positions", self.positions, (n_node, 3)) % self.box_size
        positions[positions >= self.box_size] = 0.0  # the remainder of -1e-20 rounds to the side itself
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "velocities", _checked("velocities", self.velocities, (n_node, 3)))
        if self.masses is not None:
            masses = _checked("masses", self.masses, (n_node,))
            if (masses <= 0).any():
                raise ValueError(f"Cloud.masses: expected masses above 0 Msun/h, got {masses.min()}; remove such nodes")
            object.__setattr__(self, "masses", masses)

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.positions)

    def heaviest(self, n_node: int) -> Cloud:
        """Return the `n_node` most massive nodes, heaviest first; ties keep their order."""
        if self.masses is None or not 1 <= n_node <= len(self):
            got = "no masses" if self.masses is None else f"{n_node} of {len(self)}"
            raise ValueError(f"Cloud.heaviest: expected masses and 1 to {len(self)} nodes, got {got}; choose fewer")
        return self.take(np.argsort(-self.masses, kind="stable")[:n_node])

    def take(self, nodes: NDArray[np.int64]) -> Cloud:
        """Return the cloud of some of the nodes, in the order given."""
        masses = None if self.masses is None else self.masses[nodes]
        return Cloud(
            self.positions[nodes], self.velocities[nodes], self.box_size, masses,
            dict(self.cosmology), self.redshift, self.simulation,
        )  # fmt: skip


def _checked(name: str, values: object, shape: tuple[int, ...]) -> Array:
    array = np.array(values, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"Cloud.{name}: expected shape {shape}, got {array.shape}; give one row for each node")
    if not np.isfinite(array).all():
        n_bad = int((~np.isfinite(array)).sum())
        raise ValueError(f"Cloud.{name}: expected finite numbers, got {n_bad} NaN or infinite; remove those nodes")
    return array
