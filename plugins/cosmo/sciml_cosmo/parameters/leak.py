"""The leak guard: how much of a target can be read off a cloud without looking at where its nodes are.

Numbers of haloes and their masses follow the cosmology by themselves, so that a model fed with every halo above a mass,
a sum over nodes, or masses in physical units may seem to see clustering where it sees a count. Fixed-N sampling takes
the count away; the report says what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sciml_cosmo.cloud import Cloud
from sciml_cosmo.metrics import r2
from sciml_cosmo.parameters.linear import Array, NormalEquations

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
TARGETS = ("Omega_m", "sigma_8")
STRENGTH = 1e-3


@dataclass(frozen=True)
class Leak:
    """What one probe reads off a set of clouds.

    Parameters
    ----------
    sample, probe
        Names of the set of clouds and of what the probe sees of it.
    r2
        Cross-validated R^2 of every target: 1 - sum (truth - prediction)^2 / sum (truth - mean)^2 over all clouds.
    """

    sample: str
    probe: str
    r2: dict[str, float]

    @property
    def mean(self) -> float:
        """Mean over the targets."""
        return float(np.mean(list(self.r2.values())))


def targets_of(clouds: Sequence[Cloud], names: Sequence[str] = TARGETS) -> Array:
    """Return the parameters (batch, target) that the clouds carry, by their `names`."""
    absent = sorted({name for cloud in clouds for name in names if name not in cloud.cosmology})
    if absent or not clouds:
        raise ValueError(f"targets: expected clouds with {', '.join(names)}, got {len(clouds)} without {absent}")
    return np.array([[cloud.cosmology[name] for name in names] for cloud in clouds])


def fixed_number(clouds: Sequence[Cloud], n_node: int, seed: int | None = None) -> list[Cloud]:
    """Return the clouds with the same number of nodes each: the heaviest, or a random subset.

    Parameters
    ----------
    clouds
        With at least `n_node` nodes each.
    n_node
        Nodes to keep.
    seed
        Of a uniform choice; None takes the heaviest. A cloud's choice depends on the seed and its simulation alone.

    *Contract*: the count-only probe of the result has R^2 <= 0.
    """
    small = [(cloud.simulation, len(cloud)) for cloud in clouds if len(cloud) < n_node]
    if small:
        got = f"{small[0][1]} in simulation {small[0][0]} ({len(small)} such clouds)"
        raise ValueError(f"fixed_number: expected at least {n_node} nodes in every cloud, got {got}; lower n_node")
    if seed is None:
        return [cloud.heaviest(n_node) for cloud in clouds]
    generators = (np.random.default_rng((seed, cloud.simulation)) for cloud in clouds)
    chosen = (g.choice(len(cloud), n_node, replace=False) for cloud, g in zip(clouds, generators, strict=True))
    return [cloud.take(np.sort(nodes)) for cloud, nodes in zip(clouds, chosen, strict=True)]


def leak_report(clouds: Sequence[Cloud], targets: Array | None = None, *, sample: str = "clouds",
                names: Sequence[str] = TARGETS, n_fold: int = 5, seed: int = 7) -> list[Leak]:  # fmt: skip
    """Return what the number of nodes alone, and their masses alone, tell about the targets.

    Ridge regression on the features and their products: of the count, log10 N; of the masses, seven quantiles of
    log10 M. Every prediction is of a fold that its fit did not see; clouds of one simulation share a fold.

    Parameters
    ----------
    clouds
        At least `n_fold` simulations; without masses the mass-only row is absent.
    targets : (batch, target), optional
        By default what the clouds carry under `names`.
    sample
        Name of the set in the report.
    names
        Of the targets, in order.
    n_fold
        Parts of the cross-validation.
    seed
        Of the parts.

    *Contract*: an R^2 at or below 0 means that nothing linear or quadratic leaks; one near a model's own says that the
    model may have learned the count. Positions are never read.

    *Source*: the count leak of the CAMELS clouds, R^2 = 0.51 of Omega_m from the number of galaxies alone.

    Examples
    --------
    >>> generator = np.random.default_rng(3)
    >>> def cloud(i):
    ...     n, omega = 50 + 10 * i, 0.1 + 0.01 * i
    ...     return Cloud(generator.uniform(0, 9, (n, 3)), np.zeros((n, 3)), 9.0, simulation=i,
    ...                  cosmology={"Omega_m": omega, "sigma_8": float(generator.uniform())})
    >>> leak, = leak_report([cloud(i) for i in range(40)])
    >>> leak.probe, leak.r2["Omega_m"] > 0.99, leak.r2["sigma_8"] < 0.3
    ('count only', True, True)
    """
    values = targets_of(clouds, names) if targets is None else np.asarray(targets, dtype=np.float64)
    if values.shape != (len(clouds), len(names)):
        wanted = f"one row for each of {len(clouds)} clouds and a column for each of {', '.join(names)}"
        raise ValueError(f"leak_report: expected {wanted}, got shape {values.shape}; align them")
    probes = {"count only": np.array([[np.log10(len(cloud))] for cloud in clouds])}
    weights = [cloud.masses for cloud in clouds if cloud.masses is not None]
    if len(weights) == len(clouds):
        probes["mass only"] = np.array([np.quantile(np.log10(masses), QUANTILES) for masses in weights])
    folds = _folds(np.array([cloud.simulation for cloud in clouds]), n_fold, seed)
    found = {probe: _cross_validated(features, values, folds) for probe, features in probes.items()}
    return [
        Leak(sample, probe, {name: r2(values[:, i], guess[:, i], "pooled") for i, name in enumerate(names)})
        for probe, guess in found.items()
    ]


def _folds(simulations: np.ndarray, n_fold: int, seed: int) -> np.ndarray:
    """Return the fold of each cloud."""
    names, place = np.unique(simulations, return_inverse=True)
    if n_fold < 2 or len(names) < n_fold:
        raise ValueError(f"leak_report: expected at least {max(2, n_fold)} simulations, got {len(names)}; give more")
    order = np.random.default_rng(seed).permutation(len(names))
    return (order % n_fold)[place]


def _cross_validated(features: Array, targets: Array, folds: np.ndarray) -> Array:
    predicted = np.empty_like(targets)
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        centre, spread = features[train].mean(0), features[train].std(0)
        x = _quadratic((features - centre) / np.where(spread > 1e-12, spread, 1.0))
        equations = NormalEquations(x[train], targets[train])
        predicted[test] = equations.standardise(x[test]) @ equations.solve(STRENGTH) + equations.offset
    return predicted


def _quadratic(x: Array) -> Array:
    rows, columns = np.triu_indices(x.shape[1])
    return np.concatenate([x, x[:, rows] * x[:, columns]], axis=1)
