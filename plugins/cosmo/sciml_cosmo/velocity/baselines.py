"""Every baseline of the velocity task that solves linear equations, fitted, chosen and applied to the test boxes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciml.progress import Update
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.metrics import r2
from sciml_cosmo.velocity import inverse_power, linear_theory
from sciml_cosmo.velocity.config import LeastSquaresConfig, LinearConfig
from sciml_cosmo.velocity.data import Split
from sciml_cosmo.velocity.features import Features
from sciml_cosmo.velocity.linear_theory import Flows, Grid
from sciml_cosmo.velocity.mesh_fields import Mesh

Array = NDArray[np.float64]
Kind = Literal["linear", "oracle", "network"]


@dataclass(frozen=True, eq=False)
class Row:
    """One method: what it is called, what it said of the test boxes, and how well it did on the boxes to choose with.

    Parameters
    ----------
    title : for the table.
    kind : "linear" and "network" never saw a test velocity; an "oracle" is fitted to them and predicts nothing.
    predicted : (node, axis) for each test box, km/s.
    validation : mean R^2 per cloud on the validation boxes; NaN for an oracle.
    about : numbers fitted, CPU seconds of the fit, and a note.
    """

    title: str
    kind: Kind
    predicted: Sequence[Array]
    validation: float
    about: dict[str, Any]


def linear_rows(config: LinearConfig, split: Split, redshift: bool, update: Update) -> dict[str, Row]:
    """Return linear theory by number and by mass: honest without and with the true Omega_m, and the oracle."""
    grid = Grid(config.smoothing, config.betas if redshift else (0.0,), Mesh(config.n_mesh))
    flows: list[list[Flows]] = []
    for part in split.parts:
        flows.append([])
        for cloud in part:
            flows[-1].append(grid.flows(cloud))
            update(sum(map(len, flows)))
    train, val, test = flows
    rows: dict[str, Row] = {}
    for weighting, name in enumerate(linear_theory.WEIGHTINGS[: 1 + split.has_mass]):
        for knows in (False, True)[: 1 + all("Omega_m" in c.cosmology for part in split.parts for c in part)]:
            start = time.process_time()
            fitted = linear_theory.fit(train, weighting, knows)
            spent = time.process_time() - start
            smoothing, beta = grid.smoothing[fitted.smoothing], grid.betas[fitted.beta]
            note = f"R = {smoothing:g} Mpc/h" + (f", beta = {beta:g}" if redshift else "")
            given = ", true Omega_m given" if knows else ""
            rows[f"lt_{name}{'_omega' if knows else ''}"] = Row(
                f"linear theory by {name}{given}", "linear", [fitted.predict(one) for one in test],
                _score(val, [fitted.predict(one) for one in val]), {"n_fitted": 1, "cpu_s": spent, "note": note},
            )  # fmt: skip
        oracle = [linear_theory.fit([one], weighting, False).predict(one) for one in test]
        note = "amplitude and R of each test box from its velocities"
        rows[f"lt_{name}_oracle"] = Row(
            f"oracle linear theory by {name}", "oracle", oracle, float("nan"), {"n_fitted": None, "note": note}
        )
    return rows


def _score(clouds: Sequence[Flows], predicted: Sequence[Array]) -> float:
    return r2([one.cloud.velocities for one in clouds], predicted)


def least_squares_row(config: LeastSquaresConfig, split: Split, redshift: bool, update: Update) -> Row:
    """Return least squares with inverse-power pair features."""
    start = time.process_time()
    groups, shrink = (inverse_power.REDSHIFT, config.shrink) if redshift else (inverse_power.REAL, 1.0)
    basis = inverse_power.Basis(config.n_wave, config.n_power, shrink, groups)
    equations: list[inverse_power.Equations] = []
    for cloud in (*split.train, *split.val):
        equations.append(inverse_power.normal_equations(basis, cloud))
        update(len(equations))
    n_train = len(split.train)
    fitted = inverse_power.fit(basis, equations[:n_train], equations[n_train:])
    spent = time.process_time() - start
    predicted = [fitted.predict(cloud) for cloud in split.test]
    validation = r2([cloud.velocities for cloud in split.val], [fitted.predict(cloud) for cloud in split.val])
    note = f"K = {fitted.basis.n_wave}, P = {fitted.basis.n_power}, ridge {fitted.ridge:g}"
    about = {"n_fitted": fitted.weights.size, "cpu_s": spent, "note": note}
    return Row("least squares, inverse-power pairs", "linear", predicted, validation, about)


@dataclass(frozen=True, eq=False)
class Seen:
    """A cloud as the equivariant network sees it, with the velocities."""

    cloud: Cloud
    features: Features
    velocities: Tensor


def fitted_filter(train: Sequence[Seen], n_flow: int) -> Tensor:
    """Return the weights (flow,) of the least mean of 1 - R^2 over training clouds, km/s per Mpc/h, in float64.

    With one weight for each smoothing length and painted mass this is a filter of the painted fields, the same
    everywhere.

    Parameters
    ----------
    train : clouds to fit.
    n_flow : how many vectors of each are flows of linear theory, the first ones.
    """
    gram, moment = torch.zeros(n_flow, n_flow, dtype=torch.float64), torch.zeros(n_flow, dtype=torch.float64)
    for one in train:
        flow, velocities = one.features.vectors[:, :n_flow].double(), one.velocities.double()
        share = 1 / ((velocities - velocities.mean()) ** 2).sum()
        gram += share * torch.einsum("nca,nda->cd", flow, flow)
        moment += share * torch.einsum("nca,na->c", flow, velocities)
    return torch.linalg.lstsq(gram, moment[:, None], driver="gelsd").solution[:, 0]


def filter_row(weights: Tensor, parts: Sequence[Sequence[Seen]]) -> Row:
    """Return the row of linear theory with a fitted filter; `parts` are the clouds to choose and to judge with."""
    flows = [[one.features.vectors[:, : len(weights)].double() for one in part] for part in parts]
    val, test = ([torch.einsum("nca,c->na", flow, weights).numpy() for flow in part] for part in flows)
    validation = r2([one.cloud.velocities for one in parts[0]], val)
    about = {"n_fitted": len(weights), "note": "several smoothing lengths and weights together"}
    return Row("linear theory with a fitted filter", "linear", test, validation, about)
