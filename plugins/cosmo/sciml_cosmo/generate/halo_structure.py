"""What a halo looks like inside, from how it came together: concentration and largest circular speed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sciml_cosmo.generate.branching import Tables, lookup
from sciml_cosmo.generate.power import Array, Universe
from sciml_cosmo.loops import loop

G = 4.30091e-9  # Mpc km^2 / (s^2 Msun)
EARLY = 0.04  # of its mass: what a halo had at the time that sets its concentration


def concentration(omega_m: float, scale_factor: Array, formed: Array) -> Array:
    """Return the concentration r_vir / r_s of haloes that had 4 % of their mass at the scale factor `formed`.

    c = 4 (1 + (t / (3.75 t_0.04))^8.4)^(1/8).

    Parameters
    ----------
    omega_m
        Of a flat universe.
    scale_factor, formed : (node,)
        At the time t of the halo, and at t_0.04.

    *Source*: Zhao, Jing, Mo and Boerner 2009 (ApJ 707, 354), eq. 22.
    """
    ratio = age(omega_m, scale_factor) / age(omega_m, formed)
    return 4 * (1 + (ratio / 3.75) ** 8.4) ** 0.125


def age(omega_m: float, scale_factor: Array) -> Array:
    """Return the age of a flat universe without radiation, in units of 2 / (3 H0 (1 - Omega_m)^(1/2)), Omega_m < 1."""
    return np.arcsinh(np.sqrt((1 - omega_m) / omega_m) * scale_factor**1.5)


def fastest(universe: Universe, scale_factor: Array, mass: Array, concentration: Array) -> Array:
    """Return the largest circular speed (km/s) of haloes with the profile of Navarro, Frenk and White.

    vmax^2 = 0.2162 V^2 c / (ln(1 + c) - c / (1 + c)), where V^3 = (Delta / 2)^(1/2) G M H is the speed at the virial
    radius and Delta = 18 pi^2 + 82 x - 39 x^2 with x = Omega_m(a) - 1 the virial overdensity over the critical density.

    Parameters
    ----------
    universe
        The cosmology.
    scale_factor, mass, concentration : (node,)
        Mass in Msun/h.

    *Source*: Navarro, Frenk and White 1997 (ApJ 490, 493); Bryan and Norman 1998 (ApJ 495, 80), eq. 6.
    """
    expansion = universe.expansion(scale_factor)
    x = universe.omega_m / (scale_factor**3 * expansion**2) - 1
    delta = 18 * math.pi**2 + 82 * x - 39 * x**2
    virial = np.cbrt(np.sqrt(delta / 2) * G * mass * 100 * expansion)  # the h of M cancels that of H
    c = concentration
    return virial * np.sqrt(0.2162 * c / (np.log1p(c) - c / (1 + c)))


@loop
def formation(mass: Array, first: NDArray[np.int64], omega: Array, rank: Array, tables: Tables) -> Array:
    """Return omega at the time when the main progenitor of each node had `EARLY` of its mass.

    Where the tree does not reach that far, the branch goes on from its last node as in Giocoli, Tormen and Sheth 2012
    (MNRAS 422, 185): w = (omega_f - omega) / (S(f M) - S(M))^(1/2), f being the wanted share of the mass M of the
    last node and S = sigma^2, exceeds (2 ln(1 + b / p - b))^(1/2) with probability p, b = 0.815 e^(-2 f^3) f^(-0.707).

    Parameters
    ----------
    mass, omega : (node,)
        Msun/h; of the node's snapshot.
    first : (node,)
        Heaviest progenitor, -1 where there is none.
    rank : (node,)
        In (0, 1]; that of the last node of a branch places its further history among those of like haloes.
    tables
        As of `grow`.
    """
    log_sigma, log_first, step = tables[0], tables[3], tables[4]
    found = np.empty(len(mass))
    for i in range(len(mass)):
        target, j = EARLY * mass[i], i
        while first[j] >= 0 and mass[first[j]] >= target:
            j = first[j]
        k = first[j]
        if k >= 0:
            share = math.log(mass[j] / target) / math.log(mass[j] / mass[k])
            found[i] = omega[j] + share * (omega[k] - omega[j])
        else:
            f = target / mass[j]
            sigma = math.exp(lookup(log_sigma, (math.log(mass[j]) - log_first) / step))
            sigma_f = math.exp(lookup(log_sigma, (math.log(target) - log_first) / step))
            b = 0.815 * math.exp(-2.0 * f**3) / f**0.707
            w = math.sqrt(2.0 * math.log(1.0 + b / rank[j] - b))
            found[i] = omega[j] + w * math.sqrt(sigma_f * sigma_f - sigma * sigma)
    return found
