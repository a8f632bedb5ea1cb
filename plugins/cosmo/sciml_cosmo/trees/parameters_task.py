"""Omega_m and sigma_8 from merger trees: every baseline, the networks beyond them, and what leaks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sciml import Report, Results, Run, Surrogate, calibration
from sciml.threads import one_core
from sciml.training import count_parameters
from sciml_cosmo.forest import Forest
from sciml_cosmo.metrics import r2
from sciml_cosmo.trees.attention import AttentionMpnn
from sciml_cosmo.trees.bench import measure_steps
from sciml_cosmo.trees.config import TreesTaskConfig
from sciml_cosmo.trees.data import Splits, mass_and_time, open_forest
from sciml_cosmo.trees.deepsets import DeepSets
from sciml_cosmo.trees.fitting import Fitted, fresh, least_squares, train
from sciml_cosmo.trees.mlp_aggregate import MlpAggregate
from sciml_cosmo.trees.moments import ALL, MASS_AND_TIME, QuadraticRidge
from sciml_cosmo.trees.mpnn import TreeMpnn, VirtualNodeMpnn
from sciml_cosmo.trees.nearest import NearestTrees, distributions, quantile_grid
from sciml_cosmo.trees.network import TreeParameters, domain_of
from sciml_cosmo.trees.scan import TreeScan

Array = NDArray[np.float64]
PARAMETERS = ("om", "s8")
N_DRAW = 200
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True)
class Row:
    """One way to answer: what it sees, and its answers.

    Parameters
    ----------
    title, sees : in words.
    validation, test : (tree, 2) parameters of the trees of those splits.
    n_number : numbers that were fitted.
    cpu_s : CPU seconds of the fit.
    fitted : the model, where it is one.
    """

    title: str
    sees: str
    validation: Array
    test: Array
    n_number: int = 0
    cpu_s: float = 0.0
    fitted: Fitted | None = None


@dataclass(frozen=True)
class Study:
    """Everything that the report tells.

    Parameters
    ----------
    config : the settings.
    forest, splits : the trees.
    rows : ways to answer, by name.
    best : name of the row with the smallest error on the validation trees.
    metrics : numbers by name.
    """

    config: TreesTaskConfig
    forest: Forest
    splits: Splits
    rows: Mapping[str, Row]
    best: str
    metrics: Mapping[str, float]


def run_task(config: TreesTaskConfig, run: Run) -> Results:
    """Grow or read trees, fit everything, judge on held-out simulations; the surrogate is what validation chose."""
    from sciml_cosmo.trees.story import tell_parameters

    study = explore(config, run)
    return Results(study.metrics, tell_parameters(study), recommended(study, run))


def measure(config: TreesTaskConfig, run: Run, report: Report) -> dict[str, float]:
    """Return what `sciml bench cosmo` adds for trees, and write its section: steps of the networks against peers."""
    with one_core():
        return measure_steps(run, report)


def explore(config: TreesTaskConfig, run: Run) -> Study:
    """Fit and judge everything."""
    forest, splits = open_forest(config.files, config.forest, run)
    with one_core():
        rows = {**probes(forest, splits), **neighbours(forest, splits)}
        rows |= regressions(forest, splits) | networks(config, run, forest, splits)
    learned = {name: row for name, row in rows.items() if row.fitted is not None and row.sees == "all"}
    truth = forest.targets[splits["val"]]
    spread = forest.targets[splits["train"]].std(0)
    errors = {name: float((((row.validation - truth) / spread) ** 2).mean()) for name, row in learned.items()}
    best = min(errors, key=lambda name: errors[name])
    return Study(config, forest, splits, rows, best, summarise(config, forest, splits, rows, best))


def probes(forest: Forest, splits: Splits) -> dict[str, Row]:
    """Return what the mean, the number of nodes alone and their masses alone answer."""
    masses = np.split(forest.features[:, 0].astype(np.float64), forest.start[1:-1])
    seen = {
        "mean": ("mean of the training trees", "nothing", np.zeros((forest.n_tree, 0))),
        "count": ("count-only probe", "number of nodes", np.log10(np.diff(forest.start))[:, None]),
        "mass": ("mass-only probe", "quantiles of mass", np.stack([np.quantile(one, QUANTILES) for one in masses])),
    }
    return {name: _probe(title, sees, x, forest, splits) for name, (title, sees, x) in seen.items()}


def _probe(title: str, sees: str, x: Array, forest: Forest, splits: Splits) -> Row:
    """Fit least squares on features and their products."""
    known = splits["train"]
    z = (x - x[known].mean(0)) / x[known].std(0).clip(1e-9)
    i, j = np.triu_indices(z.shape[1])
    terms = np.concatenate([np.ones((len(z), 1)), z, z[:, i] * z[:, j]], 1)
    weights = np.linalg.lstsq(terms[known], forest.targets[known], rcond=1e-6)[0]
    answers = terms @ weights
    return Row(title, sees, answers[splits["val"]], answers[splits["test"]], weights.size)


def neighbours(forest: Forest, splits: Splits) -> dict[str, Row]:
    """Return the answers of the nearest training tree, and of as many as the validation trees want."""
    began = time.process_time()
    known = splits["train"]
    curves = distributions(forest, quantile_grid(forest.take(known.tolist())))
    nearest = NearestTrees(curves[known], forest.targets[known])
    truth = forest.targets[splits["val"]]
    errors = {k: ((nearest.predict(curves[splits["val"]], k) - truth) ** 2).mean() for k in (3, 5, 10, 20)}
    wanted = min(errors, key=lambda k: errors[k])
    rows = {}
    for name, k, title in (("ks", 1, "nearest tree by KS distance"), ("ks_many", wanted, f"{wanted} nearest trees")):
        validation, test = (nearest.predict(curves[splits[part]], k) for part in ("val", "test"))
        rows[name] = Row(title, "all", validation, test, cpu_s=time.process_time() - began)
    return rows


def regressions(forest: Forest, splits: Splits) -> dict[str, Row]:
    """Return the ridges on moments, and on the main branch too, for all features and for mass and time alone."""
    found = {}
    for sees, columns, suffix in (("all", ALL, ""), ("mass, time", MASS_AND_TIME, "_mass_time")):
        for name, title in (("moments", "moments, ridge"), ("history", "moments and branch, ridge")):
            history = name == "history"
            fitted = least_squares(QuadraticRidge(columns, history), forest, splits)
            found[f"{name}{suffix}"] = _row(title, sees, fitted)
    return found


def networks(config: TreesTaskConfig, run: Run, forest: Forest, splits: Splits) -> dict[str, Row]:
    """Train the networks of the paper and those beyond, and the tree scan on mass and time alone."""
    width, blind = config.width, mass_and_time(forest)
    plans = {
        "mlp_aggregate": ("MLPAgg", forest, fresh(MlpAggregate, run.seed, width=width)),
        "deepsets": ("DeepSets", forest, fresh(DeepSets, run.seed, width=width)),
        "mpnn": ("MPNN", forest, fresh(TreeMpnn, run.seed, width=width)),
        "virtual_node": ("MPNN with a virtual node", forest, fresh(VirtualNodeMpnn, run.seed, width=width)),
        "attention": ("MPNN with linear attention", forest, fresh(AttentionMpnn, run.seed, width=width)),
        "scan": ("tree scan", forest, fresh(TreeScan, run.seed, width=width, n_layer=config.n_scan)),
        "scan_mass_time": ("tree scan", blind, fresh(TreeScan, run.seed, width=width, n_layer=config.n_scan)),
    }
    found = {}
    for name, (title, seen, model) in plans.items():
        place = run.checkpoint(f"trees-{name}")
        with run.progress.track(config.training.n_steps, f"training {title}") as update:
            fitted = train(model, seen, splits, config.training, run.seed, place, update)
        found[name] = _row(title, "all" if seen is forest else "mass, time", fitted)
        run.log(f"{title}: {fitted.cpu_s:.0f} CPU s")
    return found


def _row(title: str, sees: str, fitted: Fitted) -> Row:
    validation, test = (part.mean.double().numpy() for part in (fitted.validation, fitted.test))
    model = fitted.model
    n_number = model.weight.numel() if isinstance(model, QuadraticRidge) else count_parameters(model)
    return Row(title, sees, validation, test, n_number, fitted.cpu_s, fitted)


def scores(
    truth: Array, predicted: Array, simulation: NDArray[np.int64], n_mean: int
) -> dict[str, tuple[float, float]]:
    """Return R^2 and its bootstrap error for each parameter, of single trees and of means over trees.

    Over all trees (or all cosmologies) at once, one parameter at a time: 1 - sum (truth - answer)^2 / sum (truth -
    mean)^2. Means are over the first `n_mean` trees of a cosmology. Draws are of whole simulations.

    Parameters
    ----------
    truth, predicted : (tree, 2).
    simulation : (tree,).
    n_mean : trees in a mean.
    """
    groups = [np.flatnonzero(simulation == one) for one in np.unique(simulation)]
    means = [np.stack([values[rows[:n_mean]].mean(0) for rows in groups]) for values in (truth, predicted)]
    generator = np.random.default_rng(7)
    drawn_all = (generator.integers(len(groups), size=len(groups)) for _ in range(N_DRAW))
    draws = [draw for draw in drawn_all if len(np.unique(draw)) > 2]  # of one simulation alone there is no spread
    rows_of = [np.concatenate([groups[i] for i in draw]) for draw in draws]
    found = {}
    for k, name in enumerate(PARAMETERS):
        for key, (y, p), places in (("single", (truth, predicted), rows_of), (f"mean{n_mean}", means, draws)):
            drawn = [r2(y[rows, k], p[rows, k], "pooled") for rows in places]
            found[f"{name}_r2_{key}"] = r2(y[:, k], p[:, k], "pooled"), float(np.std(drawn, ddof=1))
    return found


def summarise(config: TreesTaskConfig, forest: Forest, splits: Splits, rows: Mapping[str, Row],
              best: str) -> dict[str, float]:  # fmt: skip
    """Return the numbers of every row under its name, and those of the best one under the names of the bars."""
    held_out = splits["test"]
    truth, simulation = forest.targets[held_out], forest.simulation[held_out]
    metrics: dict[str, float] = {}
    for name, row in rows.items():
        for key, (value, error) in scores(truth, row.test, simulation, config.n_mean).items():
            metrics |= {f"tree_{name}_{key}": value, f"tree_{name}_{key}_error": error}
            if name == best:
                metrics |= {f"tree_{key}": value, f"tree_{key}_error": error}
        if row.fitted is not None:
            metrics[f"tree_{name}_cpu_s"] = row.cpu_s
            metrics[f"tree_{name}_coverage_gap"] = calibration(
                truth, row.test, row.fitted.test.std.double().numpy()
            ).gap
    return metrics


def recommended(study: Study, run: Run) -> Surrogate:
    """Return the model that the validation trees chose."""
    fitted = study.rows[study.best].fitted
    assert fitted is not None
    keys = ("tree_om_r2_single", "tree_s8_r2_single")
    provenance = {"model": study.best, "seed": run.seed, **{key: study.metrics[key] for key in keys}}
    known = study.forest.take(study.splits["train"].tolist())
    return Surrogate(TreeParameters.around(fitted.model), domain=domain_of(known), provenance=provenance)
