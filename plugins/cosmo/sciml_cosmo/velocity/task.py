"""The velocity task: make or read clouds, fit every method, judge, report, recommend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sciml import Region, Results, Run, Surrogate
from sciml_cosmo.velocity.compare import Findings, explore, summarise
from sciml_cosmo.velocity.config import VelocityConfig
from sciml_cosmo.velocity.story import tell


def run_task(config: VelocityConfig, run: Run) -> Results:
    """Make or read clouds, fit every method, judge, report; the surrogate is the equivariant network.

    Parameters
    ----------
    config : settings of the task.
    run : place, seed and progress.
    """
    return results_of(explore(config, run), run)


def results_of(findings: Findings, run: Run) -> Results:
    """Return numbers, report and surrogate of what the methods found."""
    metrics = summarise(findings)
    return Results(metrics, tell(findings, metrics), recommended(findings, metrics, run))


def recommended(findings: Findings, metrics: Mapping[str, float], run: Run) -> Surrogate:
    """Return the equivariant network as a surrogate whose domain is the boxes and masses that it was trained on."""
    train = findings.split.train
    sides = [cloud.box_size for cloud in train]
    domain = {
        "position": Region((((0.0,) * 3, (max(sides),) * 3),)),
        "box_size": Region.interval(min(sides), max(sides)),
    }
    if findings.networks.recommended.view.sees_mass:
        masses = [
            mass for cloud in train if cloud.masses is not None for mass in (cloud.masses.min(), cloud.masses.max())
        ]
        domain["mass"] = Region.interval(float(min(masses)), float(max(masses)))
    provenance: dict[str, Any] = {
        "seed": run.seed, "data_hash": run.records.get("data_hash"), "n_train": len(train),
        "n_node": [min(map(len, train)), max(map(len, train))],
        **{key: metrics[key] for key in ("velocity_r2_best", "velocity_r2_oracle_lt", "velocity_r2_honest_lt")},
    }  # fmt: skip
    return Surrogate(findings.networks.recommended, domain=domain, provenance=provenance)
