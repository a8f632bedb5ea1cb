"""Extended Press-Schechter theory of one universe: tables of sigma(M) and the barrier, progenitor mass functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from sciml_cosmo.generate.power import CRITICAL_DENSITY, Universe

Array = NDArray[np.float64]
COLLAPSE = 1.686  # linear overdensity at which a sphere collapses
N_MASS, N_TIME, EARLIEST = 2048, 512, 100.0  # of the tables; their highest redshift
N_KNOT, N_WAVE, RANGE = 64, 1024, (1e-4, 1e3)  # of sigma; wave numbers in h/Mpc


@dataclass(frozen=True)
class Modifier:
    """The factor G = G0 (sigma1 / sigma2)^gamma1 (omega / sigma2)^gamma2 on the rate of progenitors.

    *Source*: Parkinson, Cole and Helly 2008 (MNRAS 383, 557), eq. 5 and section 3, fitted to the Millennium simulation.
    """

    amplitude: float = 0.57
    gamma1: float = 0.38
    gamma2: float = -0.01


FITTED, PLAIN = Modifier(), Modifier(1.0, 0.0, 0.0)
"""The modifier of the paper, and none: extended Press-Schechter theory itself."""


@dataclass(frozen=True)
class Theory:
    """Tables of one universe.

    Parameters
    ----------
    universe
        The cosmology.
    log_mass : (mass,)
        Natural logarithms of masses in Msun/h, evenly spaced.
    log_sigma, slope : (mass,)
        ln sigma(M) at z = 0, and alpha = -d ln sigma / d ln M.
    scale_factor, barrier : (time,)
        a, falling from 1, and omega(a) = 1.686 / D(a) with the growth factor D(1) = 1.
    """

    universe: Universe
    log_mass: Array
    log_sigma: Array
    slope: Array
    scale_factor: Array
    barrier: Array

    def sigma(self, mass: Array) -> Array:
        """Return sigma(M) for masses in Msun/h."""
        return np.exp(np.interp(np.log(mass), self.log_mass, self.log_sigma))

    def barrier_at(self, scale_factor: Array) -> Array:
        """Return omega(a)."""
        return np.interp(-np.log(scale_factor), -np.log(self.scale_factor), self.barrier)

    def scale_factor_at(self, barrier: Array) -> Array:
        """Return the scale factor a at which omega(a) is `barrier`."""
        return np.exp(np.interp(barrier, self.barrier, np.log(self.scale_factor)))

    def progenitors(self, parent: float, mass: Array, start: float, end: float) -> Array:
        """Return the conditional mass function dN / d ln M1 of extended Press-Schechter theory.

        dN / d ln M1 = (2 / pi)^(1/2) (M2 / M1) alpha1 sigma1^2 dw / ds^3 exp(-dw^2 / (2 ds^2)) with
        ds^2 = sigma1^2 - sigma2^2 and dw = omega1 - omega2.

        Parameters
        ----------
        parent
            M2, Msun/h.
        mass : (mass,)
            M1 < M2, Msun/h.
        start, end
            omega2 of the parent and omega1 > omega2 of the progenitors.

        *Source*: Lacey and Cole 1993 (MNRAS 262, 627), eq. 2.15.
        """
        step = end - start
        spread = self._spread(parent, mass)
        return step * self.rate(parent, mass, start, PLAIN) * np.exp(-(step**2) / (2 * spread))

    def rate(self, parent: float, mass: Array, start: float, modifier: Modifier = FITTED) -> Array:
        """Return the rate d^2 N / (d ln M1 d omega) of progenitors for a small step: the modified expectation.

        Parameters
        ----------
        parent, mass, start
            As of `progenitors`.
        modifier
            The factor on the rate of extended Press-Schechter theory.

        *Source*: Parkinson, Cole and Helly 2008, eq. 1 to 5.
        """
        first, second = self.sigma(mass), self.sigma(np.array(parent))
        alpha = np.interp(np.log(mass), self.log_mass, self.slope)
        plain = np.sqrt(2 / np.pi) * (parent / mass) * alpha * first**2 / self._spread(parent, mass) ** 1.5
        factor = (first / second) ** modifier.gamma1 * (start / second) ** modifier.gamma2
        return modifier.amplitude * factor * plain

    def _spread(self, parent: float, mass: Array) -> Array:
        return self.sigma(mass) ** 2 - self.sigma(np.array(parent)) ** 2


def tabulate(universe: Universe, least: float, greatest: float) -> Theory:
    """Return the tables of a universe, from its linear power spectrum and growth.

    sigma^2(M) is the integral of P(k) k^3 W^2(k R) / (2 pi^2) over ln k with the top hat W of radius R around the mass
    M, scaled to sigma_8.

    Parameters
    ----------
    universe
        The cosmology.
    least, greatest
        Masses between which sigma is tabulated, Msun/h.
    """
    knots = np.linspace(np.log(least), np.log(greatest), N_KNOT)
    radius = np.cbrt(3 * np.exp(knots) / (4 * np.pi * CRITICAL_DENSITY * universe.omega_m))
    k = np.geomspace(*RANGE, N_WAVE)
    x = np.append(radius, 8.0)[:, None] * k
    top_hat = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    sigma = np.sqrt(np.trapezoid(universe.power(k) * k**3 * top_hat**2, np.log(k), axis=1))
    spline = CubicSpline(knots, np.log(universe.sigma_8 * sigma[:-1] / sigma[-1]))
    log_mass = np.linspace(knots[0], knots[-1], N_MASS)
    scale_factor = np.geomspace(1, 1 / (1 + EARLIEST), N_TIME)
    barrier = COLLAPSE / universe.growth(scale_factor)
    return Theory(universe, log_mass, spline(log_mass), -spline(log_mass, 1), scale_factor, barrier)
