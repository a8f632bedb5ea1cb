"""Least squares with inverse-power Fourier pair features: velocities without a network, and without an n x n array."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciml_cosmo.cloud import Cloud

Array = NDArray[np.float64]
RIDGES = (0.0, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-3, 1e-2)
N_TILE = 128
REAL, REDSHIFT = ((0, 1, 2),), ((0, 1), (2,))  # axes that share a weight vector


@dataclass(frozen=True)
class Basis:
    """The features f_kp(i) = sum_j sin(2 pi k (x_i - x_j) / L) (L / r_ij)^p with k <= n_wave and p <= n_power.

    Parameters
    ----------
    n_wave, n_power
        K and P.
    shrink
        Factor of the third component of every separation before r_ij is taken: 1 in real space; less in redshift space,
        where clusters are drawn out along the line of sight.
    groups
        Axes that share a weight vector: `REAL` or `REDSHIFT`.

    *Source*: CosmoBench (arXiv 2507.03707), least squares for velocities: K P = 15 x 4, 25 x 3 and 10 x 3 weights for
    its three suites, 0.4 for the factor.

    *Departures*: in redshift space the line of sight has its own weights. Pairs at distance zero, whose features have
    no limit, add nothing; there they became infinite.
    """

    n_wave: int = 25
    n_power: int = 3
    shrink: float = 1.0
    groups: tuple[tuple[int, ...], ...] = REAL

    def __post_init__(self) -> None:
        if self.n_wave < 1 or self.n_power < 1 or not 0 < self.shrink <= 1:
            raise ValueError(f"Basis: expected n_wave, n_power >= 1 and 0 < shrink <= 1, got {self}; correct them")

    @property
    def n_feature(self) -> int:
        """Number of features of a node and axis."""
        return self.n_wave * self.n_power

    def tiles(self, positions: Tensor, box_size: float) -> Iterator[tuple[slice, Tensor]]:
        """Yield the features of a few nodes at a time: (node, axis, n_power * n_wave), the waves fastest.

        The sine of a difference is s_i c_j - c_i s_j, so that a tile of (L / r)^p, (node in tile, node), times the
        sines and cosines of all waves and axes, (node, 2 * 3 * n_wave), is all the work.

        Parameters
        ----------
        positions : (node, axis)
        box_size : the side L, in the unit of the positions.

        *Contract*: never more than a few arrays of 128 x n numbers; exact to rounding.
        """
        wave = torch.arange(1, self.n_wave + 1, dtype=positions.dtype, device=positions.device)
        phase = (2 * math.pi / box_size) * positions[:, :, None] * wave  # (node, axis, wave)
        sine, cosine = phase.sin(), phase.cos()
        columns = torch.cat([cosine.flatten(1), sine.flatten(1)], 1)
        scale = (1.0, 1.0, self.shrink)
        for start in range(0, len(positions), N_TILE):
            nodes = slice(start, min(start + N_TILE, len(positions)))
            inverse = _inverse_distance(positions, nodes, box_size, scale)
            power, features = inverse, []
            for p in range(self.n_power):
                power = power if p == 0 else power * inverse
                by_cosine, by_sine = (power @ columns).unflatten(1, (2, 3, self.n_wave)).unbind(1)
                features.append(sine[nodes] * by_cosine - cosine[nodes] * by_sine)
            yield nodes, torch.cat(features, -1)


def _inverse_distance(positions: Tensor, nodes: slice, box_size: float, scale: Sequence[float]) -> Tensor:
    """Return L / r (node in tile, node) to the nearest images, zero where r is."""
    squared: Tensor | None = None
    for axis, factor in enumerate(scale):
        step = positions[nodes, axis, None] - positions[None, :, axis]
        step.abs_()
        step = torch.minimum(step, box_size - step).mul_(factor / box_size)  # positions lie in [0, L)
        squared = step.square_() if squared is None else squared.addcmul_(step, step)
    assert squared is not None
    return torch.where(squared > 0, squared.rsqrt_(), 0)


@dataclass(frozen=True)
class Equations:
    """The normal equations of one cloud, a set for each group of axes.

    Parameters
    ----------
    gram, moment : (group, feature, feature) and (group, feature)
    energy : (group,), the sum of squared velocities.
    spread : the sum of (velocity - mean)^2 over all axes.
    n_row : (group,), nodes times axes.
    """

    gram: Array
    moment: Array
    energy: Array
    spread: float
    n_row: Array


def normal_equations(basis: Basis, cloud: Cloud) -> Equations:
    """Return the sums of f f^T and f v over the nodes of a cloud, streamed over tiles."""
    positions, velocities = torch.from_numpy(cloud.positions), torch.from_numpy(cloud.velocities)
    n_group, n = len(basis.groups), basis.n_feature
    gram, moment = torch.zeros(n_group, n, n, dtype=torch.float64), torch.zeros(n_group, n, dtype=torch.float64)
    for nodes, features in basis.tiles(positions, cloud.box_size):
        for group, axes in enumerate(basis.groups):
            rows = features[:, axes].flatten(0, 1)
            gram[group].addmm_(rows.T, rows)
            moment[group].addmv_(rows.T, velocities[nodes][:, axes].flatten())
    energy = np.array([(cloud.velocities[:, axes] ** 2).sum() for axes in basis.groups])
    spread = float(((cloud.velocities - cloud.velocities.mean()) ** 2).sum())
    n_row = np.array([len(cloud) * len(axes) for axes in basis.groups], dtype=np.float64)
    return Equations(gram.numpy(), moment.numpy(), energy, spread, n_row)


@dataclass(frozen=True)
class InversePower:
    """A fitted basis: v_a(i) = sum_kp w_kp f_kp(i) along each axis a.

    Parameters
    ----------
    basis
        With the waves and powers that were chosen.
    weights : (group, feature)
        km/s.
    ridge
        That was chosen, relative to the mean square of each feature.
    """

    basis: Basis
    weights: Array
    ridge: float

    def predict(self, cloud: Cloud) -> Array:
        """Return velocities (node, axis), km/s."""
        found = np.empty((len(cloud), 3))
        for nodes, features in self.basis.tiles(torch.from_numpy(cloud.positions), cloud.box_size):
            for axes, weights in zip(self.basis.groups, self.weights, strict=True):
                found[nodes, list(axes)] = (features[:, axes] @ torch.from_numpy(weights)).numpy()
        return found


def fit(basis: Basis, train: Sequence[Equations], validation: Sequence[Equations]) -> InversePower:
    """Fit weights on some clouds; choose K, P and the ridge by the mean R^2 of others.

    A smaller basis is a block of the equations of `basis`, so that no feature is computed again.

    Parameters
    ----------
    basis : of the equations.
    train, validation : equations of the clouds of either split.
    """
    gram, moment = (sum(getattr(one, name) for one in train) for name in ("gram", "moment"))
    best: tuple[float, InversePower] | None = None
    for n_power in range(1, basis.n_power + 1):
        for n_wave in sorted({*range(2, basis.n_wave, 2), basis.n_wave}):
            smaller = Basis(n_wave, n_power, basis.shrink, basis.groups)
            at = np.concatenate([p * basis.n_wave + np.arange(n_wave) for p in range(n_power)])
            groups = [_solutions(g[np.ix_(at, at)], m[at]) for g, m in zip(gram, moment, strict=True)]
            for ridge, *one_each in zip(RIDGES, *groups, strict=True):
                weights = np.stack(one_each)
                score = float(np.mean([_score(one, at, weights) for one in validation]))
                if best is None or score > best[0]:
                    best = score, InversePower(smaller, weights, ridge)
    assert best is not None
    return best[1]


def _solutions(gram: Array, moment: Array) -> list[Array]:
    """Return the weights for each of `RIDGES`, from one decomposition of the equations scaled to a unit diagonal."""
    scale = 1 / np.sqrt(np.diag(gram))
    values, vectors = np.linalg.eigh(gram * scale[:, None] * scale)
    kept = values > 1e-13 * values[-1]
    along = vectors[:, kept].T @ (scale * moment)
    return [scale * (vectors[:, kept] @ (along / (values[kept] + ridge))) for ridge in RIDGES]


def _score(one: Equations, at: NDArray[np.int64], weights: Array) -> float:
    """Return R^2 of one cloud by its equations."""
    residual = sum(
        energy - 2 * w @ moment[at] + w @ gram[np.ix_(at, at)] @ w
        for w, gram, moment, energy in zip(weights, one.gram, one.moment, one.energy, strict=True)
    )
    return float(1 - residual / one.spread)
