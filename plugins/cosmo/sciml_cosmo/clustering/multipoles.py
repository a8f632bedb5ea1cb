"""Redshift space: where haloes seem to be, and the monopole and quadrupole of their correlation function."""

from __future__ import annotations

import numpy as np
import torch
from sciml_kernels.pair_histogram import pair_histogram

from sciml_cosmo.cloud import Cloud
from sciml_cosmo.clustering.two_point import Array, random_pairs

LEGENDRE = {0: (1.0, 0.0, 0.0), 2: (-0.5, 1.5, 0.0), 4: (3 / 8, -30 / 8, 35 / 8)}  # in 1, mu^2, mu^4
N_MU = 120  # bins of mu, each with the means of the polynomials in it


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
    pairs, and the analytic RR, which does not depend on mu. The sum is over bins of mu, each with its mean P_l.

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

    *Source*: Hamilton, Astrophys. J. 385 (1992).

    Examples
    --------
    >>> nodes = np.random.default_rng(7).uniform(0, 50, (500, 3))
    >>> multipoles(nodes, 50.0, np.array([5.0, 10.0, 20.0])).shape
    (2, 2)
    """
    if not set(orders) <= set(LEGENDRE) or axis not in (0, 1, 2):
        wanted = f"orders among {sorted(LEGENDRE)} and the axis 0, 1 or 2"
        raise ValueError(f"multipoles: expected {wanted}, got {orders} and {axis}; choose from these")
    turned = torch.as_tensor(np.roll(positions, 2 - axis, axis=1), dtype=torch.float64)  # the line of sight comes last
    counts, _ = pair_histogram(turned, box_size, np.asarray(edges).tolist(), n_mu=N_MU)
    mu = np.linspace(0, 1, N_MU + 1)
    powers = np.stack([N_MU * np.diff(mu ** (n + 1)) / (n + 1) for n in (0, 2, 4)])  # means in each bin
    sums = 2 * counts.numpy() @ powers.T  # (bin, power)
    expected = random_pairs(len(positions), box_size, edges)
    return np.stack([(2 * l + 1) * (sums @ LEGENDRE[l]) / expected - (l == 0) for l in orders])
