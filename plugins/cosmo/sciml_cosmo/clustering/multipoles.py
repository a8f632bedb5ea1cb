"""Redshift space: where haloes seem to be, and the monopole and quadrupole of their correlation function."""

from __future__ import annotations

import numpy as np

from sciml_cosmo.cloud import Cloud
from sciml_cosmo.clustering.pair_moments import Array, separations
from sciml_cosmo.clustering.two_point import pair_counts, random_pairs

LEGENDRE = {0: (1.0, 0.0, 0.0), 2: (-0.5, 1.5, 0.0), 4: (3 / 8, -30 / 8, 35 / 8)}  # in 1, mu^2, mu^4


def redshift_space(cloud: Cloud, axis: int = 2) -> Cloud:
    """Return the cloud as it is seen along one `axis` from far away: a new one, the given `cloud` stays as it is.

    s = x + v (1 + z) / (100 E(z)) modulo L, in Mpc/h with v in km/s; E^2 = Omega_m (1 + z)^3 + 1 - Omega_m.

    *Contract*: positions along the other axes and the velocities stay; zero velocities change nothing.

    *Source*: Kaiser, Mon. Not. R. Astron. Soc. 227 (1987); CosmoBench, task 2.1.

    *Departures*: the published script leaves E(z) out and changes its input; at z = 0 both give the same positions.

    Examples
    --------
    >>> cloud = Cloud(np.array([[1.0, 1, 9]]), np.array([[0.0, 0, 300]]), 10.0, cosmology={"Omega_m": 0.3})
    >>> redshift_space(cloud).positions.tolist(), cloud.positions.tolist()
    ([[1.0, 1.0, 2.0]], [[1.0, 1.0, 9.0]])
    """
    if axis not in (0, 1, 2):
        raise ValueError(f"redshift_space: expected the axis 0, 1 or 2, got {axis}; choose one")
    growth = 1 + cloud.redshift
    rate = 1.0
    if cloud.redshift:
        if "Omega_m" not in cloud.cosmology:
            wanted = f"cosmology['Omega_m'] at redshift {cloud.redshift:g}"
            raise ValueError(f"redshift_space: expected {wanted}, got none; set it")
        omega_m = cloud.cosmology["Omega_m"]
        rate = float(np.sqrt(omega_m * growth**3 + 1 - omega_m))
    positions = cloud.positions.copy()
    positions[:, axis] += cloud.velocities[:, axis] * growth / (100 * rate)
    return Cloud(
        positions, cloud.velocities, cloud.box_size, cloud.masses,
        dict(cloud.cosmology), cloud.redshift, cloud.simulation,
    )  # fmt: skip


def multipoles(positions: Array, box_size: float, edges: Array, orders: tuple[int, ...] = (0, 2),
               axis: int = 2) -> Array:  # fmt: skip
    """Return the multipoles of xi(s, mu) in bins of separation, lines of sight parallel to one axis.

    xi_l = (2 l + 1) sum_pairs P_l(mu) / RR - delta_l0, with mu the cosine of separation and line of sight, all ordered
    pairs, and the analytic RR, which does not depend on mu: no bins of mu are needed.

    Parameters
    ----------
    positions : (node, axis)
        In redshift space, Mpc/h; see :func:`redshift_space`.
    box_size
        L, Mpc/h.
    edges : (edge,)
        Mpc/h, up to L / 2.
    orders
        Even l up to 4.
    axis
        The line of sight.

    Returns
    -------
    (order, bin), no unit.

    *Contract*: xi_0 is :func:`~sciml_cosmo.clustering.two_point.correlation` of the same nodes.

    *Source*: Hamilton, Astrophys. J. 385 (1992), equations 5-8.

    Examples
    --------
    >>> nodes = np.random.default_rng(7).uniform(0, 50, (500, 3))
    >>> multipoles(nodes, 50.0, np.array([5.0, 10.0, 20.0])).shape
    (2, 2)
    """
    if not set(orders) <= set(LEGENDRE) or axis not in (0, 1, 2):
        wanted = f"orders among {sorted(LEGENDRE)} and the axis 0, 1 or 2"
        raise ValueError(f"multipoles: expected {wanted}, got {orders} and {axis}; choose from these")
    edges = np.asarray(edges, dtype=np.float64)
    counts = pair_counts(positions, box_size, edges)
    sums = np.zeros((2, len(edges) - 1))  # of mu^2 and mu^4; the zeroth power is the exact count
    for delta in separations(positions, box_size):
        squared = np.einsum("pa,pa->p", delta, delta)
        inside = (squared > edges[0] ** 2) & (squared <= edges[-1] ** 2)
        cosine2 = delta[inside, axis] ** 2 / squared[inside]
        place = np.searchsorted(edges**2, squared[inside], side="left") - 1
        for power in (0, 1):
            sums[power] += 2 * np.bincount(place, cosine2 ** (power + 1), len(edges) - 1)
    powers = np.stack([counts, *sums])
    expected = random_pairs(len(positions), box_size, edges)
    return np.stack([(2 * l + 1) * (np.array(LEGENDRE[l]) @ powers) / expected - (l == 0) for l in orders])
