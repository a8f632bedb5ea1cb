"""The parameter task: Omega_m and sigma_8 of a box from where its haloes are, every baseline side by side."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sciml import Calibration, Region, Results, Run, Surrogate, calibration
from sciml.experiment import content_hash
from sciml.progress import Update
from sciml.threads import one_core
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.clustering.two_point import binning
from sciml_cosmo.metrics import bootstrap
from sciml_cosmo.parameters.config import ParametersConfig
from sciml_cosmo.parameters.data import load
from sciml_cosmo.parameters.features import PRIOR, Features, prepare
from sciml_cosmo.parameters.graphs import Surroundings
from sciml_cosmo.parameters.hybrid import Fitted, fit_all, unscaled
from sciml_cosmo.parameters.leak import TARGETS, Leak, fixed_number, leak_report
from sciml_cosmo.parameters.linear import Array
from sciml_cosmo.parameters.story import tell
from sciml_cosmo.parameters.surrogate import CosmologyNet
from sciml_cosmo.parameters.train import Split

N_MODEL = 5  # stages of fit_all
SHORT = {"Omega_m": "om", "sigma_8": "s8"}


@dataclass(frozen=True)
class Boxes:
    """The boxes of one run.

    Parameters
    ----------
    clouds
        Of a fixed number of nodes.
    edges : (edge,)
        Bins of separation, Mpc/h.
    around
        What a node sees.
    features
        What the models see.
    splits
        One for each seed, with the same test boxes.
    leaks
        What counts and masses say, of all haloes and of the fixed number.
    """

    clouds: Sequence[Cloud]
    edges: Array
    around: Surroundings
    features: Features
    splits: Sequence[Split]
    leaks: Sequence[Leak]


@dataclass(frozen=True)
class Findings:
    """Everything that the report tells.

    Parameters
    ----------
    config, boxes
        Settings and data.
    fitted
        Models of each seed.
    metrics
        Numbers by name.
    calibrated
        Scores of the hybrid's standard errors for each parameter, of all seeds.
    """

    config: ParametersConfig
    boxes: Boxes
    fitted: Sequence[Fitted]
    metrics: dict[str, float]
    calibrated: dict[str, Calibration]

    @property
    def test(self) -> np.ndarray:
        """Indices of the test boxes."""
        return self.boxes.splits[0].test

    def predicted(self, name: str) -> Array:
        """Return what a model says of the test boxes with each seed, (seed, batch, target)."""
        return np.stack([one.predictions()[name][self.test] for one in self.fitted])


def run_task(config: ParametersConfig, run: Run) -> Results:
    """Make or read boxes, fit every baseline and network, judge them on the test boxes, report.

    `config` holds the settings, `run` the place. The recommended surrogate is the weighted mean of networks.
    """
    findings = explore(config, run)
    return Results(findings.metrics, tell(findings), recommended(findings, run))


def explore(config: ParametersConfig, run: Run) -> Findings:
    """Fit every model with every seed and measure it on the test boxes, which no choice has seen."""
    with one_core():
        boxes = gather(config, run)
        fitted = []
        with run.progress.track(N_MODEL * config.n_seed, "training") as update:
            for number, split in enumerate(boxes.splits):
                say = _counted(update, N_MODEL * number)
                fitted.append(fit_all(boxes.features, split, config, run.seed + number, run.checkpoint, say))
    findings = Findings(config, boxes, fitted, {}, _calibrated(boxes, fitted))
    findings.metrics.update(summarise(findings))
    return findings


def _counted(update: Update, first: int) -> Callable[[str], None]:
    steps = itertools.count(first)
    return lambda name: update(next(steps), name)


def gather(config: ParametersConfig, run: Run) -> Boxes:
    """Load the boxes, keep the same number of haloes of each, and compute what the models see."""
    everything, splits = load(config, run)
    if len({len(cloud) for cloud in everything}) == 1 and len(everything[0]) == config.n_node:
        clouds = everything
    else:
        clouds = fixed_number(everything, config.n_node, None if config.sample == "heaviest" else run.seed)
    leaks = leak_report(everything, sample="all haloes")
    leaks += leak_report(clouds, sample=f"{config.n_node} haloes of each, {config.sample}")
    edges = binning(config.suite, config.binning)
    around = Surroundings(farthest=config.graph.farthest, linked=config.graph.linked)
    features = prepare(clouds, edges, around, run.progress)
    run.record(data_hash=content_hash(features.targets, features.xi))
    return Boxes(clouds, edges, around, features, splits, leaks)


def _calibrated(boxes: Boxes, fitted: Sequence[Fitted]) -> dict[str, Calibration]:
    test = boxes.splits[0].test
    scale = (PRIOR[1] - PRIOR[0]) / 2
    found = {}
    for i, name in enumerate(TARGETS):
        truth = np.tile(boxes.features.targets[test, i], len(fitted))
        mean = np.concatenate([unscaled(one.hybrid[0])[test, i] for one in fitted])
        std = np.concatenate([one.hybrid[1][test, i] * scale[i] for one in fitted])
        found[name] = calibration(truth, mean, std)
    return found


def summarise(findings: Findings) -> dict[str, float]:
    """Return R^2 of every model: the mean over seeds, of both parameters and of each, with bootstrap errors over boxes.

    R^2 = 1 - sum (truth - prediction)^2 / sum (truth - mean)^2 over the test boxes, for each parameter and seed.
    """
    truth = findings.boxes.features.targets[findings.test]
    metrics = {"param_n_box": float(len(findings.boxes.clouds)), "param_n_test": float(len(truth))}
    for name in findings.fitted[0].predictions():
        predicted = findings.predicted(name)
        for suffix, columns in {"": [0, 1], "_om": [0], "_s8": [1]}.items():
            # one column for each seed and parameter: their mean is the mean over seeds
            guess = np.hstack([one[:, columns] for one in predicted])
            value, error = bootstrap(np.tile(truth[:, columns], (1, len(predicted))), guess, "per_axis")
            metrics |= {f"param_r2_{name}{suffix}": value, f"param_r2_{name}{suffix}_error": error}
    best = max(metrics["param_r2_2pcf"], metrics["param_r2_gnn"])
    metrics["param_hybrid_over_best"] = metrics["param_r2_hybrid"] - best
    for leak in findings.boxes.leaks:
        sample = "all" if leak.sample.startswith("all") else "fixed"
        for target, value in leak.r2.items():
            metrics[f"param_leak_{sample}_{leak.probe.split()[0]}_{SHORT[target]}"] = value
    for target, scores in findings.calibrated.items():
        metrics[f"param_coverage_90_{SHORT[target]}"] = scores.coverage[0.9]
        metrics[f"param_calibration_gap_{SHORT[target]}"] = scores.gap
    return metrics


def recommended(findings: Findings, run: Run) -> Surrogate:
    """Return the weighted mean of networks of the first seed as a surrogate whose domain is the box."""
    boxes, config = findings.boxes, findings.config
    side = boxes.clouds[0].box_size
    network = CosmologyNet.of(findings.fitted[0], side, config.n_node, boxes.edges, boxes.around)
    inside = Region((((0.0,) * config.n_node, (side,) * config.n_node),))
    scores = {key: findings.metrics[key] for key in ("param_r2_hybrid", "param_r2_hybrid_om", "param_r2_hybrid_s8")}
    provenance = {"seed": run.seed, "n_box": len(boxes.clouds), "sample": config.sample, **scores}
    return Surrogate(network, domain=dict.fromkeys("xyz", inside), provenance=provenance)
