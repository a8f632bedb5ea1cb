"""Every method of the velocity task in real space and in redshift space, judged on the same boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from sciml import Run
from sciml_cosmo.metrics import MODES, bootstrap, r2
from sciml_cosmo.velocity.baselines import Row, Seen, filter_row, fitted_filter, least_squares_row, linear_rows
from sciml_cosmo.velocity.config import VelocityConfig
from sciml_cosmo.velocity.data import Split, load
from sciml_cosmo.velocity.equivariant import EquivariantVelocity
from sciml_cosmo.velocity.features import View
from sciml_cosmo.velocity.published import VelocityGNN
from sciml_cosmo.velocity.training import equivariant, published, see

BETAS = (0.0, 1.0)  # the shapes of filter that the network combines in redshift space
BEST, BLIND = "equivariant_mass", "equivariant_number"


@dataclass(frozen=True, eq=False)
class Networks:
    """What was trained in real space.

    Parameters
    ----------
    recommended : the equivariant network that sees all there is.
    gnn : the published network.
    hidden : R^2 per cloud of the first when it is not told how many nodes a cloud has.
    """

    recommended: EquivariantVelocity
    gnn: VelocityGNN
    hidden: float


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that the report tells.

    Parameters
    ----------
    config, split : settings and clouds.
    rows, shifted : the methods by name, in real space and in redshift space.
    networks : the trained ones.
    """

    config: VelocityConfig
    split: Split
    rows: Mapping[str, Row]
    shifted: Mapping[str, Row]
    networks: Networks

    @property
    def best(self) -> str:
        """Name of the recommended network's row."""
        return BEST if BEST in self.rows else BLIND

    @property
    def oracle(self) -> str:
        """Name of the strongest oracle of linear theory."""
        names = [name for name, row in self.rows.items() if row.kind == "oracle"]
        return max(names, key=lambda name: r2(self.split.truth, self.rows[name].predicted))

    @property
    def honest(self) -> str:
        """Name of the linear theory, fitted on the training boxes, that is best on the validation boxes."""
        names = [name for name, row in self.rows.items() if name.startswith("lt_") and row.kind == "linear"]
        return max(names, key=lambda name: self.rows[name].validation)


@dataclass(frozen=True, eq=False)
class _Fits:
    rows: dict[str, Row]
    network: EquivariantVelocity
    gnn: VelocityGNN
    seen: Sequence[Seen]


def explore(config: VelocityConfig, run: Run) -> Findings:
    """Fit every method on the training boxes and apply it to the test boxes."""
    split = load(config, run)
    real = _fit_all(config, split, False, run)
    shifted = _fit_all(config, split.in_redshift_space(), True, run).rows if config.redshift_space else {}
    hidden = _without_count(real.network, real.seen)
    return Findings(config, split, real.rows, shifted, Networks(real.network, real.gnn, hidden))


def _fit_all(config: VelocityConfig, split: Split, redshift: bool, run: Run) -> _Fits:
    where, n_fit = " in redshift space" if redshift else "", len(split.train) + len(split.val)
    with run.progress.track(n_fit + len(split.test), f"linear theory{where}") as update:
        rows = linear_rows(config.linear, split, redshift, update)
    with run.progress.track(n_fit, f"pair features{where}") as update:
        rows["lls"] = least_squares_row(config.least_squares, split, redshift, update)
    gnn, rows["gnn"] = published(config.published, split, f"published network{where}", run)
    base = config.equivariant
    view = View(base.radius, base.smoothing, (0.0, 1.0), BETAS if redshift else (0.0,))
    views = {BEST: view} if split.has_mass else {}
    if not (redshift and views):  # positions alone, in real space or where there are no masses
        views = {BLIND: replace(view, powers=(0.0,)), **views}
    for name, chosen in views.items():  # the recommended one is the last
        key = name.removeprefix("equivariant_")
        parts = _see_all(chosen, split, f"fields by {key}{where}", run)
        weights = fitted_filter(parts[0], chosen.n_flow)
        rows[f"filter_{key}"] = filter_row(weights, parts[1:])
        title = f"equivariant network by {key}{where}"
        network, rows[name] = equivariant(base, parts, chosen, weights, title, run)
    return _Fits(rows, network, gnn, parts[2])


def _see_all(view: View, split: Split, title: str, run: Run) -> list[list[Seen]]:
    parts: list[list[Seen]] = []
    with run.progress.track(sum(map(len, split.parts)), title) as update:
        for part in split.parts:
            parts.append([])
            for cloud in part:
                parts[-1].append(see(view, cloud))
                update(sum(map(len, parts)))
    return parts


def _without_count(network: EquivariantVelocity, seen: Sequence[Seen]) -> float:
    """Return R^2 when the number density, the last scalar, is that of the average training node everywhere."""
    found = []
    with torch.no_grad():
        for one in seen:
            scalars = one.features.scalars.clone()
            scalars[:, -1] = network.centre[-1]
            found.append(network.velocities(replace(one.features, scalars=scalars)).double().numpy())
    return r2([one.cloud.velocities for one in seen], found)


def summarise(findings: Findings) -> dict[str, float]:
    """Return R^2 of every method, in real and in redshift space, and the keys of the table of bars.

    `velocity_r2_NAME` is R^2 per cloud, with its bootstrap error; other definitions are named.
    """
    truth, metrics = findings.split.truth, dict[str, float]()
    for prefix, rows in (("velocity_r2", findings.rows), ("velocity_redshift_r2", findings.shifted)):
        for name, row in rows.items():
            value, error = bootstrap(truth, row.predicted)
            metrics |= {f"{prefix}_{name}": value, f"{prefix}_{name}_error": error}
            metrics |= {f"{prefix}_{name}_{mode}": r2(truth, row.predicted, mode) for mode in MODES[1:]}  # type: ignore[arg-type]
    for key, name in (("honest_lt", findings.honest), ("oracle_lt", findings.oracle), ("best", findings.best)):
        metrics[f"velocity_r2_{key}"] = metrics[f"velocity_r2_{name}"]
    metrics["velocity_r2_best_over_oracle"] = metrics["velocity_r2_best"] - metrics["velocity_r2_oracle_lt"]
    metrics["velocity_r2_best_count_hidden"] = findings.networks.hidden
    return metrics
