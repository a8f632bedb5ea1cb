"""Velocities by linear theory from the painted haloes: honest fits, and the oracle of each test box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sciml_cosmo.cloud import Cloud
from sciml_cosmo.velocity.mesh_fields import DEFAULT, Mesh, fields_at

Array = NDArray[np.float64]
WEIGHTINGS = ("number", "mass")


def flow_rate(omega_m: float, redshift: float = 0.0) -> float:
    """Return f H a in km/s per Mpc/h: linear theory moves matter with f H a u where -div u is the contrast.

    ``100 E(z) / (1 + z) Omega_m(z)^0.55`` in a flat universe, ``E^2 = Omega_m (1 + z)^3 + 1 - Omega_m``.

    Parameters
    ----------
    omega_m : matter density today.
    redshift : of the snapshot.

    *Source*: Peebles (1980), section 14; the exponent of Linder, Phys. Rev. D 72 (2005).

    Examples
    --------
    >>> flow_rate(1.0), round(flow_rate(0.3), 2)
    (100.0, 51.57)
    """
    cubed = omega_m * (1 + redshift) ** 3
    expansion = cubed + 1 - omega_m
    return float(100 * expansion**0.5 / (1 + redshift) * (cubed / expansion) ** 0.55)


@dataclass(frozen=True, eq=False)
class Flows:
    """The linear flows of one cloud under every choice of weighting, smoothing and Kaiser's beta.

    Parameters
    ----------
    flow : (weighting, smoothing, beta, node, axis)
        u in Mpc/h.
    cloud : Cloud
        Whose nodes they are at.
    """

    flow: Array
    cloud: Cloud

    @property
    def rate(self) -> float:
        """The factor f H a of the true cosmology."""
        return flow_rate(self.cloud.cosmology["Omega_m"], self.cloud.redshift)


@dataclass(frozen=True)
class Grid:
    """The choices among which linear theory is fitted.

    Parameters
    ----------
    smoothing : lengths in Mpc/h.
    betas : of Kaiser's factor 1 / (1 + beta mu^2); 0 in real space.
    mesh : where it is computed.
    """

    smoothing: tuple[float, ...] = (2.0, 3.0, 4.0, 6.0, 8.0)
    betas: tuple[float, ...] = (0.0,)
    mesh: Mesh = DEFAULT

    def flows(self, cloud: Cloud) -> Flows:
        """Return the flows of a cloud, computed in float32; without masses, those by number only."""
        relative = [np.ones(len(cloud))] + ([] if cloud.masses is None else [cloud.masses / cloud.masses.mean()])
        line = torch.tensor([0.0, 0.0, 1.0])
        positions, weights = (torch.as_tensor(a, dtype=torch.float32) for a in (cloud.positions, np.stack(relative)))
        found = fields_at(
            positions, weights, cloud.box_size, self.smoothing, mesh=self.mesh, betas=self.betas, line=line
        )
        return Flows(found.flow.double().numpy(), cloud)


@dataclass(frozen=True)
class LinearTheory:
    """v = amplitude u, or amplitude f H a u where the cosmology is known.

    Parameters
    ----------
    weighting, smoothing, beta : places in the axes of `Flows.flow`.
    amplitude
        Of the flow: one over the bias where the cosmology is known, else f H a over the bias.
    knows_cosmology
        Whether the true Omega_m of every box is used.
    """

    weighting: int
    smoothing: int
    beta: int
    amplitude: float
    knows_cosmology: bool

    def predict(self, flows: Flows) -> Array:
        """Return velocities (node, axis), km/s."""
        rate = flows.rate if self.knows_cosmology else 1.0
        return self.amplitude * rate * flows.flow[self.weighting, self.smoothing, self.beta]


def fit(clouds: Sequence[Flows], weighting: int, knows_cosmology: bool) -> LinearTheory:
    """Return the amplitude, smoothing and beta of the least mean of 1 - R^2 over some clouds.

    The oracle of a box is the fit to that box alone; with many boxes the fit is honest for others.

    Parameters
    ----------
    clouds : flows and, within, the velocities that are fitted.
    weighting : 0 by number, 1 by mass.
    knows_cosmology : whether f H a of every box is given.
    """
    cross, square = 0.0, 0.0
    for one in clouds:
        velocities = one.cloud.velocities
        flow = one.flow[weighting] * (one.rate if knows_cosmology else 1.0)
        total = ((velocities - velocities.mean()) ** 2).sum()
        cross = cross + (flow * velocities).sum((-2, -1)) / total
        square = square + (flow**2).sum((-2, -1)) / total
    gain = np.asarray(cross**2 / square)
    smoothing, beta = np.unravel_index(int(gain.argmax()), gain.shape)
    amplitude = float(np.asarray(cross / square)[smoothing, beta])
    return LinearTheory(weighting, int(smoothing), int(beta), amplitude, knows_cosmology)
