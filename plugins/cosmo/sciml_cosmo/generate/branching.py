"""The loop that grows a merger tree: the binary splits of Parkinson, Cole and Helly, from one snapshot to the next."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import hyp2f1

from sciml_cosmo.generate.power import Array
from sciml_cosmo.generate.press_schechter import Modifier, Theory
from sciml_cosmo.loops import loop

Tables: TypeAlias = tuple[Any, ...]
SMALL = 0.1  # of a step: expected splits, and the barrier's rise in units of 2^(1/2) times the spread at half the mass
LOG_LOWEST, LOG_STEP, N_J = math.log(1e-3), 0.04, 512  # of the table of ln J over ln u


def tables_of(theory: Theory, modifier: Modifier, resolution: float) -> Tables:
    """Return what `grow` reads beside the arguments of the tree itself; masses below `resolution` are not followed."""
    first, step = float(theory.log_mass[0]), float(theory.log_mass[1] - theory.log_mass[0])
    log_j = np.log(unresolved(np.exp(LOG_LOWEST + LOG_STEP * np.arange(N_J)), modifier.gamma1))
    factor = (modifier.amplitude, modifier.gamma1, modifier.gamma2)
    sigma = float(theory.sigma(np.array(resolution)))
    return (theory.log_sigma, theory.slope, log_j, first, step, resolution, sigma, *factor)


def unresolved(u: Array, gamma1: float) -> Array:
    """Return J(u), the integral of (1 + 1 / v^2)^(gamma1 / 2) over v from 0 to u, for gamma1 < 1.

    In closed form J = u^(1 - g) / (1 - g) F(-g / 2, (1 - g) / 2; (3 - g) / 2; -u^2), F being Gauss's function.

    *Source*: Parkinson, Cole and Helly 2008 (MNRAS 383, 557), appendix A.
    """
    g = gamma1
    return u ** (1 - g) / (1 - g) * hyp2f1(-g / 2, (1 - g) / 2, (3 - g) / 2, -(u**2))


@loop
def lookup(table: Array, place: float) -> float:
    """Interpolate a table linearly at a place counted in its steps; its ends go on straight."""
    i = min(max(int(place), 0), len(table) - 2)
    return table[i] + (place - i) * (table[i + 1] - table[i])


# long: one step of the paper's appendix A, term by term
@loop
def split(mass: float, omega: float, most: float, tables: Tables, rng: np.random.Generator) -> tuple[float, ...]:
    """Take one step in omega, of at most `most`: return its size and the masses of the two progenitors.

    With q = M1 / M2, V(q) = sigma1^2 / (sigma1^2 - sigma2^2)^(3/2) and h for q = 1/2, the rate of splits
    dN / dq = (2 / pi)^(1/2) alpha(q) V(q) q^-2 G is S(q) R(q): S = S_h (2 q)^(eta - 1) is drawn from, R <= 1 accepts.
    What falls in below the resolution is smooth: the share (2 / pi)^(1/2) G0 (omega / sigma2)^gamma2 J(u) / sigma2
    of the mass in one unit of omega, u = sigma2 / (sigma_res^2 - sigma2^2)^(1/2).
    """
    log_sigma, slope, log_j, first, step, resolution, sigma_res, amplitude, gamma1, gamma2 = tables
    place = (math.log(mass) - first) / step
    place_h = place - math.log(2.0) / step
    sigma, sigma_h = math.exp(lookup(log_sigma, place)), math.exp(lookup(log_sigma, place_h))
    spread_h = sigma_h * sigma_h - sigma * sigma
    taken = min(most, SMALL * math.sqrt(2.0 * spread_h))
    common = math.sqrt(2.0 / math.pi) * amplitude * (omega / sigma) ** gamma2
    log_2q = math.log(2.0 * resolution / mass)
    alpha_h, v_h, beta, mu, eta, number = lookup(slope, place_h), sigma_h * sigma_h / spread_h**1.5, 0.0, 0.0, 1.0, 0.0
    if log_2q < 0.0:
        v_res = sigma_res * sigma_res / (sigma_res * sigma_res - sigma * sigma) ** 1.5
        beta = math.log(v_res / v_h) / log_2q
        mu = alpha_h if gamma1 >= 0.0 else -math.log(sigma_res / sigma_h) / log_2q
        eta = beta - 1.0 - gamma1 * mu
        eta = eta if abs(eta) > 1e-6 else 1e-6
        rate = -2.0 * common * alpha_h * v_h * (sigma_h / sigma) ** gamma1 * math.expm1(eta * log_2q) / eta
        taken = min(taken, SMALL / rate)
        number = rate * taken
    u = sigma / math.sqrt(max(sigma_res * sigma_res - sigma * sigma, 1e-12))
    j = math.exp(lookup(log_j, (math.log(u) - LOG_LOWEST) / LOG_STEP))
    kept = 1.0 - min(common * j / sigma * taken, 1.0)
    if rng.random() >= number:
        return taken, mass * kept, 0.0
    log_2q = math.log1p(rng.random() * math.expm1(eta * log_2q)) / eta
    place_q = place_h + log_2q / step
    sigma_q = math.exp(lookup(log_sigma, place_q))
    v_q = sigma_q * sigma_q / (sigma_q * sigma_q - sigma * sigma) ** 1.5
    accept = lookup(slope, place_q) / alpha_h * v_q / v_h * math.exp((gamma1 * mu - beta) * log_2q)
    if rng.random() >= accept * (sigma_q / sigma_h) ** gamma1:
        return taken, mass * kept, 0.0
    share = 0.5 * math.exp(log_2q)
    return taken, mass * (kept - share), mass * share


@loop
def progenitors(mass: float, start: float, end: float, tables: Tables, stack: Array, found: Array,
                rng: np.random.Generator) -> int:  # fmt: skip
    """Write the progenitors at omega = `end` of a halo at `start` to `found`, heaviest first; return their number."""
    resolution, n_stack, n_found = tables[5], 1, 0
    stack[0, 0], stack[0, 1] = mass, start
    while n_stack > 0:
        n_stack -= 1
        one, omega = stack[n_stack]
        while one >= resolution and omega < end:
            taken, one, other = split(one, omega, end - omega, tables, rng)
            omega = end if end - omega - taken < 1e-12 else omega + taken
            if other >= resolution:
                stack[n_stack, 0], stack[n_stack, 1] = other, omega
                n_stack += 1
        if one >= resolution:
            i = n_found
            while i > 0 and found[i - 1] < one:
                found[i] = found[i - 1]
                i -= 1
            found[i] = one
            n_found += 1
    return n_found


@loop
def grow(mass: float, barrier: Array, tables: Tables, rng: np.random.Generator) -> tuple[NDArray, ...]:
    """Grow one tree from its root: return masses, descendants (-1: the root) and snapshots of its nodes.

    Parameters
    ----------
    mass
        Of the root, Msun/h.
    barrier : (snapshot,)
        omega of the snapshots, rising from the root's.
    tables
        From `tables_of`.
    rng
        The only source of chance.

    *Contract*: snapshots one after the other, the progenitors of a node together, heaviest first; their masses sum to
    at most that of the node.
    """
    most = int(mass / tables[5]) + 2  # haloes above the resolution at one time, as no mass is made
    n_snapshot, i, n_node = len(barrier), 0, 1
    n_room = most * n_snapshot  # memory is taken where it is written only
    stack, found = np.empty((most, 2)), np.empty(most)
    masses, descendant, snapshot = np.empty(n_room), np.empty(n_room, np.int64), np.empty(n_room, np.int64)
    masses[0], descendant[0], snapshot[0] = mass, -1, 0
    while i < n_node:
        level = snapshot[i]
        if level + 1 < n_snapshot:
            n = progenitors(masses[i], barrier[level], barrier[level + 1], tables, stack, found, rng)
            for k in range(n):
                masses[n_node + k], descendant[n_node + k], snapshot[n_node + k] = found[k], i, level + 1
            n_node += n
        i += 1
    return masses[:n_node].copy(), descendant[:n_node].copy(), snapshot[:n_node].copy()
