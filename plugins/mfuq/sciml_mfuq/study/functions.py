"""Test functions of several fidelities with known answers, from their formulas, and how they are sampled.

Sources: Forrester, Sobester and Keane 2007 (linear case); Meng and Karniadakis, JCP 401 (2020) 109020 (discontinuous,
Meng-dD); Perdikaris et al. 2017 (nonlinear, phase-shifted); Xiong, Qian and Wu 2013 (Currin, Park); Morris, Mitchell
and Ylvisaker 1993 and Xiong et al. 2013 (borehole). The nonlinear d-dimensional pair is ours: 30 % of the truth's
standard deviation is explained by no cubic polynomial of the cheap level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from sciml_mfuq.samples import Array, Level, Samples

Function = Callable[[Array], Array]
N_DRAWN = 32
"""Of so many Latin hypercubes the one of least centred discrepancy is the design."""
N_CHOSEN = 500
"""Larger designs are the first hypercube drawn: their discrepancies differ little and cost more."""


@dataclass(frozen=True)
class Case:
    """A test function at several fidelities.

    Parameters
    ----------
    name : as in tables.
    levels : functions of points (n, feature), raw units, from the cheapest to the truth.
    bounds : (feature, 2).
    counts : runs of each level that are usual for the function.
    costs : of one run of each level.
    truth_at : points of the truth where the literature fixes them, (run, feature).
    """

    name: str
    levels: tuple[Function, ...]
    bounds: Array
    counts: tuple[int, ...]
    costs: tuple[float, ...]
    truth_at: Array | None = None

    @property
    def n_feature(self) -> int:
        """How many inputs there are."""
        return len(self.bounds)

    def sample(self, seed: int, counts: tuple[int, ...] | None = None) -> Samples:
        """Return runs of every level; levels are not nested, and the same seed gives the same runs.

        Cheap levels of one input are run on an even grid, all others on Latin hypercubes.
        """
        counts = counts or self.counts
        levels = []
        for number, (function, n, cost) in enumerate(zip(self.levels, counts, self.costs, strict=True)):
            is_truth = number == len(self.levels) - 1
            if is_truth and self.truth_at is not None and n == len(self.truth_at):
                x = self.truth_at
            elif self.n_feature == 1 and not is_truth:
                x = self.scaled(np.linspace(0.0, 1.0, n)[:, None])
            else:
                x = self.spread(n, np.random.default_rng([seed, number]))
            levels.append(Level(f"level {number}" if not is_truth else "truth", x, function(x), cost))
        return Samples(tuple(levels), self.bounds)

    def spread(self, n: int, generator: np.random.Generator) -> Array:
        """Return a Latin hypercube of n points in the bounds, (n, feature)."""
        sampler = qmc.LatinHypercube(self.n_feature, rng=generator)
        drawn = [sampler.random(n) for _ in range(N_DRAWN if self.n_feature > 1 and n <= N_CHOSEN else 1)]
        return self.scaled(min(drawn, key=qmc.discrepancy) if len(drawn) > 1 else drawn[0])

    def test_points(self, n: int, seed: int) -> Array:
        """Return uniform random points that no design uses, (n, feature)."""
        return self.scaled(np.random.default_rng([seed, 99]).random((n, self.n_feature)))

    def scaled(self, u: Array) -> Array:
        """Map points of the unit box to the bounds."""
        return self.bounds[:, 0] + u * (self.bounds[:, 1] - self.bounds[:, 0])


def forrester(x: Array) -> Array:
    """Return (6x - 2)^2 sin(12x - 4)."""
    t = x[:, 0]
    return (6 * t - 2) ** 2 * np.sin(12 * t - 4)


def forrester_low(x: Array) -> Array:
    """Return f / 2 + 10 (x - 0.5) - 5."""
    return 0.5 * forrester(x) + 10 * (x[:, 0] - 0.5) - 5


def jump_low(x: Array) -> Array:
    """Return the low Forrester function, 3 higher beyond x = 0.5."""
    return forrester_low(x) + 3 * (x[:, 0] > 0.5)


def jump(x: Array) -> Array:
    """Return 2 f_L - 20 x + 20, 4 higher beyond x = 0.5."""
    return 2 * jump_low(x) - 20 * x[:, 0] + 20 + 4 * (x[:, 0] > 0.5)


def wave_low(x: Array) -> Array:
    """Return sin 8 pi x."""
    return np.sin(8 * np.pi * x[:, 0])


def squared_wave(x: Array) -> Array:
    """Return (x - sqrt 2) f_L^2."""
    return (x[:, 0] - np.sqrt(2)) * wave_low(x) ** 2


def shifted_wave(x: Array) -> Array:
    """Return x^2 + sin^2(8 pi x + pi / 10)."""
    return x[:, 0] ** 2 + np.sin(8 * np.pi * x[:, 0] + np.pi / 10) ** 2


def currin(x: Array) -> Array:
    """Return (1 - exp(-1 / 2 x2)) times a rational function of x1; the first factor is 1 at x2 = 0."""
    a, b = x[:, 0], x[:, 1]
    factor = np.where(b > 0, 1 - np.exp(-0.5 / np.where(b > 0, b, 1)), 1.0)
    return factor * (2300 * a**3 + 1900 * a**2 + 2092 * a + 60) / (100 * a**3 + 500 * a**2 + 4 * a + 20)


def currin_low(x: Array) -> Array:
    """Return the mean of the truth at the corners (x1 +- 0.05, max(0, x2 +- 0.05))."""
    steps = [(a, b) for a in (0.05, -0.05) for b in (0.05, -0.05)]
    return np.mean([currin(np.stack([x[:, 0] + a, np.maximum(x[:, 1] + b, 0)], 1)) for a, b in steps], axis=0)


def park(x: Array) -> Array:
    """Return Park's first function; with x2 + x3^2, as in the formula."""
    a, b, c, d = x.T
    a = np.maximum(a, 1e-12)  # the limit at x1 = 0 is sqrt((x2 + x3^2) x4) / 2
    return 0.5 * (np.sqrt(a**2 + (b + c**2) * d) - a) + (a + 3 * d) * np.exp(1 + np.sin(c))


def park_low(x: Array) -> Array:
    """Return (1 + sin(x1) / 10) f - 2 x1 + x2^2 + x3^2 + 0.5."""
    a, b, c, _ = x.T
    return (1 + np.sin(a) / 10) * park(x) - 2 * a + b**2 + c**2 + 0.5


def park_b(x: Array) -> Array:
    """Return Park's second function."""
    a, b, c, d = x.T
    return 2 / 3 * np.exp(a + b) - d * np.sin(c) + c


def park_b_low(x: Array) -> Array:
    """Return 1.2 f - 1."""
    return 1.2 * park_b(x) - 1


def _borehole(x: Array, factor: float, one: float) -> Array:
    r_w, r, t_u, h_u, t_l, h_l, length, k_w = x.T
    log = np.log(r / r_w)
    return factor * t_u * (h_u - h_l) / (log * (one + 2 * length * t_u / (log * r_w**2 * k_w) + t_u / t_l))


def borehole(x: Array) -> Array:
    """Return the flow through a borehole in m3/yr; inputs r_w, r, T_u, H_u, T_l, H_l, L, K_w."""
    return _borehole(x, 2 * np.pi, 1.0)


def borehole_low(x: Array) -> Array:
    """Return it with 5 in place of 2 pi and 1.5 in place of 1."""
    return _borehole(x, 5.0, 1.5)


def branin(x: Array) -> Array:
    """Return Branin's function less 22.5 x2."""
    return _branin(x) - 22.5 * x[:, 1]


def branin_middle(x: Array) -> Array:
    """Return it with scaled arguments, an offset and a quadratic term."""
    return _branin(0.7 * x) - 15.75 * x[:, 1] + 20 * (0.9 + x[:, 0]) ** 2 - 50


def branin_low(x: Array) -> Array:
    """Return the middle level at points moved by two, and a slope."""
    return branin_middle(1.2 * (x + 2)) - 3 * x[:, 1] + 1


def _branin(x: Array) -> Array:
    a, b = x.T
    valley = b - 5.1 * a**2 / (4 * np.pi**2) + 5 * a / np.pi - 6
    return valley**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(a) + 10


_HARTMANN_A = np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]], dtype=np.float64)
_HARTMANN_P = 1e-4 * np.array([[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]])


def hartmann(steps: int) -> Function:
    """Return Hartmann's three-dimensional function whose weights are `steps` steps off; 0 is the truth."""
    alpha = np.array([1, 1.2, 3, 3.2]) + steps * np.array([0.01, -0.01, -0.1, 0.1])

    def function(x: Array) -> Array:
        distance = (_HARTMANN_A * (x[:, None, :] - _HARTMANN_P) ** 2).sum(-1)
        return -(alpha * np.exp(-distance)).sum(-1)

    return function


def meng(x: Array) -> Array:
    """Return (x1 - 1)^2 + sum (2 x_i^2 - x_{i-1})^2."""
    return (x[:, 0] - 1) ** 2 + ((2 * x[:, 1:] ** 2 - x[:, :-1]) ** 2).sum(1)


def meng_low(x: Array) -> Array:
    """Return 0.8 f - 0.4 sum x_i x_{i+1} - 50."""
    return 0.8 * meng(x) - 0.4 * (x[:, :-1] * x[:, 1:]).sum(1) - 50


def xiong(outer: float, inner: float, mixed: float) -> Function:
    """Return ``outer (x1 - 1)^2 + inner sum i (2 x_i^2 - x_{i-1})^2 - mixed sum x_i x_{i+1}``."""

    def function(x: Array) -> Array:
        number = np.arange(2, x.shape[1] + 1)
        chain = (number * (2 * x[:, 1:] ** 2 - x[:, :-1]) ** 2).sum(1)
        return outer * (x[:, 0] - 1) ** 2 + inner * chain - mixed * (x[:, :-1] * x[:, 1:]).sum(1)

    return function


def _directions(n: int) -> Array:
    i = np.arange(1, n + 1)
    both = np.stack([np.cos(i), np.sin(2 * i)])
    return both / np.sqrt((both**2).sum(1, keepdims=True) / 3)


def ridges_low(x: Array) -> Array:
    """Return u + 0.3 v^2 along two directions of variance one."""
    u, v = _directions(x.shape[1]) @ x.T
    return u + 0.3 * v**2


def ridges(x: Array) -> Array:
    """Return (1 + 0.3 x1) f_L^2 + tanh(3 v) / 2."""
    _, v = _directions(x.shape[1]) @ x.T
    return (1 + 0.3 * x[:, 0]) * ridges_low(x) ** 2 + 0.5 * np.tanh(3 * v)


BOREHOLE_INPUTS = ("r_w", "r", "T_u", "H_u", "T_l", "H_l", "L", "K_w")
_UNIT = np.array([[0.0, 1.0]])
_BOREHOLE_BOX = np.array([
    [0.05, 0.15], [100, 50000], [63070, 115600], [990, 1110], [63.1, 116], [700, 820], [1120, 1680], [9855, 12045]
])  # fmt: skip


def _box(n: int, low: float, high: float) -> Array:
    return np.tile([[low, high]], (n, 1))


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("c1", (forrester_low, forrester), _UNIT, (11, 4), (1, 10), np.array([[0.0], [0.4], [0.6], [1.0]])),
        Case("c2", (jump_low, jump), _UNIT, (38, 5), (1, 10)),
        Case("c3", (wave_low, squared_wave), _UNIT, (51, 14), (1, 10)),
        Case("c4", (wave_low, shifted_wave), _UNIT, (51, 16), (1, 10)),
        Case("currin", (currin_low, currin), _box(2, 0, 1), (24, 10), (1, 10)),
        Case("park", (park_low, park), _box(4, 0, 1), (60, 12), (1, 100)),
        Case("park_b", (park_b_low, park_b), _box(4, 0, 1), (30, 5), (1, 100)),
        Case("borehole", (borehole_low, borehole), _BOREHOLE_BOX, (200, 30), (1, 10)),
        Case("branin", (branin_low, branin_middle, branin), np.array([[-5.0, 10], [0, 15]]),
             (80, 30, 10), (1, 10, 100)),
        Case("hartmann", (hartmann(2), hartmann(1), hartmann(0)), _box(3, 0, 1), (80, 40, 20), (1, 10, 100)),
        Case("xiong", (xiong(0.8, 0.7, 0.2), xiong(0.9, 0.9, 0.1), xiong(1, 1, 0)), _box(15, -3, 3),
             (600, 200, 60), (1, 10, 100)),
        Case("d20", (meng_low, meng), _box(20, -3, 3), (500, 100), (1, 10)),
        Case("d32", (meng_low, meng), _box(32, -3, 3), (10000, 1000), (1, 10)),
        Case("d100", (meng_low, meng), _box(100, -3, 3), (10000, 1000), (1, 10)),
        Case("n32", (ridges_low, ridges), _box(32, -1, 1), (4000, 500), (1, 10)),
        Case("n100", (ridges_low, ridges), _box(100, -1, 1), (10000, 1000), (1, 10)),
    )
}  # fmt: skip
"""By name; the numbers of runs are those that the literature uses."""
