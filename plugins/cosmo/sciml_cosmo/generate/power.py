"""Flat universes of matter and a cosmological constant: linear power spectrum, expansion and growth."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import hyp2f1

Array = NDArray[np.float64]
CRITICAL_DENSITY = 2.77536627e11  # h^2 Msun / Mpc^3


@dataclass(frozen=True)
class Universe:
    """A flat universe without radiation; the last three are those of Quijote and CAMELS.

    Parameters
    ----------
    omega_m
        Density parameter of matter today.
    sigma_8
        Standard deviation of the linear density in spheres of 8 Mpc/h today.
    omega_b
        Density parameter of baryons today.
    h
        Hubble constant in 100 km/s/Mpc.
    n_s
        Slope of the primordial spectrum.

    Examples
    --------
    >>> flat = Universe(0.3, 0.8)
    >>> round(float(flat.growth(1.0)), 6), round(float(flat.growth(0.01) / flat.growth(0.005)), 3)
    (1.0, 2.0)
    """

    omega_m: float
    sigma_8: float
    omega_b: float = 0.049
    h: float = 0.6711
    n_s: float = 0.9624

    def __post_init__(self) -> None:
        if not (0 < self.omega_b < self.omega_m < 1 and self.sigma_8 > 0 and self.h > 0):
            wanted = "0 < omega_b < omega_m < 1, sigma_8 > 0 and h > 0"
            raise ValueError(f"Universe: expected {wanted}, got {self}; correct them")

    def expansion(self, a: ArrayLike) -> Array:
        """Return E = H / H0 at the scale factor a: sqrt(Omega_m / a^3 + 1 - Omega_m)."""
        return np.sqrt(self.omega_m / np.asarray(a, np.float64) ** 3 + 1 - self.omega_m)

    def growth(self, a: ArrayLike) -> Array:
        """Return the linear growth D(a), D(1) = 1: a 2F1(1/3, 1; 11/6; -a^3 (1 - Omega_m) / Omega_m), scaled.

        *Source*: Eisenstein 1997 (astro-ph/9709054), flat case.
        """
        return _growing(a, self.omega_m) / _growing(1.0, self.omega_m)

    def growth_rate(self, a: ArrayLike) -> Array:
        """Return f = d ln D / d ln a, by the derivative of the hypergeometric function."""
        a = np.asarray(a, np.float64)
        z = -(a**3) * (1 - self.omega_m) / self.omega_m
        inner = hyp2f1(1 / 3, 1, 11 / 6, z)
        return 1 + 3 * z * (2 / 11) * hyp2f1(4 / 3, 2, 17 / 6, z) / inner

    def power(self, k: ArrayLike) -> Array:
        """Return the linear power spectrum today, (Mpc/h)^3, at wave numbers in h/Mpc; zero at k = 0.

        *Source*: Eisenstein and Hu 1998 (ApJ 496, 605), with baryon oscillations, as in colossus; within 4 % of CAMB.
        """
        k = np.asarray(k, np.float64)
        theory = colossus().Cosmology(
            "one", flat=True, Om0=self.omega_m, Ob0=self.omega_b, H0=100 * self.h, sigma8=self.sigma_8, ns=self.n_s,
            relspecies=False, persistence="",
        )  # fmt: skip
        # colossus takes no zero and no empty array
        found = theory.matterPowerSpectrum(np.where(k > 0, k, 1.0), model="eisenstein98") if k.size else k
        return np.where(k > 0, found, 0.0)


def _growing(a: ArrayLike, omega_m: float) -> Array:
    a = np.asarray(a, np.float64)
    return a * hyp2f1(1 / 3, 1, 11 / 6, -(a**3) * (1 - omega_m) / omega_m)


def colossus() -> Any:
    """Return the module `colossus.cosmology.cosmology`, or say how to get it."""
    try:
        return importlib.import_module("colossus.cosmology.cosmology")
    except ImportError:
        wanted = "power spectrum: expected the package colossus, got none"
        raise RuntimeError(f"{wanted}; install it with: pip install 'sciml-toolkit[cosmo]'") from None
