"""Mergers that a coarse tree has lost: neighbours of every kind, and message passing over virtual nodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sciml import Results, Run
from sciml.threads import one_core
from sciml.training import count_parameters, seeded
from sciml_cosmo.forest import Forest
from sciml_cosmo.trees.batch import Edges
from sciml_cosmo.trees.classifier import MergerClassifier
from sciml_cosmo.trees.config import InfillTaskConfig, TrainingConfig
from sciml_cosmo.trees.data import Splits, open_forest, uneven
from sciml_cosmo.trees.fitting import Curve, descend
from sciml_cosmo.trees.infill import Infilled, infill
from sciml_cosmo.trees.nearest import choose_neighbours, vote

Array = NDArray[np.float64]
NEIGHBOURS = {"mass": (0,), "c": (1,), "vmax": (2,), "time": (3,), "all": (0, 1, 2, 3)}
N_DRAW = 200


@dataclass(frozen=True)
class Graph:
    """The infilled trees as tensors.

    Parameters
    ----------
    features : (node, feature).
    source, target : (edge,).
    label : (node,), -1 where nothing is asked.
    tree : (node,).
    """

    features: Tensor
    source: Tensor
    target: Tensor
    label: Tensor
    tree: Tensor

    def take(self, chosen: Tensor) -> Graph:
        """Return the part of the trees that are `chosen`, (tree,) bool."""
        kept = chosen[self.tree]
        place = kept.cumsum(0) - 1
        edge = kept[self.source]
        source, target = (place[end[edge]] for end in (self.source, self.target))
        return Graph(self.features[kept], source, target, self.label[kept], self.tree[kept])

    def logits(self, model: MergerClassifier) -> tuple[Tensor, Tensor]:
        """Return the logits (virtual, 2) and labels (virtual,) of the virtual nodes."""
        asked = self.label >= 0
        edges = Edges.of(self.source, self.target, len(self.features))
        return model(self.features, edges)[asked], self.label[asked]


@dataclass(frozen=True)
class Row:
    """One classifier and what it says.

    Parameters
    ----------
    title : in words.
    validation, test : (virtual,) labels said of the virtual nodes of those splits.
    n_number : numbers that were fitted.
    cpu_s : CPU seconds of the fit.
    curve : (step, training loss, validation loss or NaN).
    """

    title: str
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    n_number: int = 0
    cpu_s: float = 0.0
    curve: Curve = ()


@dataclass(frozen=True)
class InfillStudy:
    """Everything that the report tells.

    Parameters
    ----------
    coarse : the trees with every second snapshot.
    samples : places among the virtual nodes by split.
    rows : classifiers by name.
    best : name of the message passing that the validation trees chose.
    times : scale factor, share of lost mergers, and that expected from the lengths of the intervals.
    metrics : numbers by name.
    """

    coarse: Forest
    samples: Mapping[str, NDArray[np.int64]]
    rows: Mapping[str, Row]
    best: str
    times: tuple[Array, Array, Array]
    metrics: Mapping[str, float]


def run_task(config: InfillTaskConfig, run: Run) -> Results:
    """Grow or read trees, drop every second snapshot, classify; there is no surrogate: the answer is for nodes."""
    from sciml_cosmo.trees.story import tell_infill

    study = explore(config, run)
    return Results(study.metrics, tell_infill(study))


def explore(config: InfillTaskConfig, run: Run) -> InfillStudy:
    """Fit and judge every classifier."""
    forest, splits = open_forest(config.files, config.forest, run)
    if not config.files:
        forest = uneven(forest, config.n_output, run.seed)
    filled = infill(forest)
    tree = filled.tree[filled.is_virtual]
    samples = {part: np.flatnonzero(np.isin(tree, trees)) for part, trees in splits.items()}
    with one_core():
        rows = {**guesses(filled, samples), **trained(config, run, filled, splits, samples)}
    label = filled.label[filled.is_virtual]
    candidates = ("mpnn", "mpnn_told")
    best = max(candidates, key=lambda name: float(np.mean(rows[name].validation == label[samples["val"]])))
    metrics = summarise(filled, samples, rows, best)
    return InfillStudy(filled.coarse, samples, rows, best, by_time(filled, forest, samples["train"]), metrics)


def guesses(filled: Infilled, samples: Mapping[str, NDArray[np.int64]]) -> dict[str, Row]:
    """Return the majority and the votes of neighbours; their numbers are chosen on the validation trees."""
    x, label = filled.features[filled.is_virtual], filled.label[filled.is_virtual]
    known, val, test = (samples[part] for part in ("train", "val", "test"))
    often = int(label[known].mean() > 0.5)
    rows = {"majority": Row("majority", np.full(len(val), often), np.full(len(test), often))}
    for name, columns in NEIGHBOURS.items():
        for scaled in (False, True) if len(columns) > 1 else (False,):
            began, z = time.process_time(), x[:, list(columns)]
            k = choose_neighbours(z[known], label[known], z[val], label[val], scaled=scaled)
            told_val, told_test = (vote(z[known], label[known], z[part], k, scaled) for part in (val, test))
            spent = time.process_time() - began
            words = f"{k} nearest in {'all features' if name == 'all' else name}{', scaled' if scaled else ''}"
            rows[f"{name}{'_scaled' if scaled else ''}"] = Row(words, told_val, told_test, cpu_s=spent)
    return rows


def told(filled: Infilled, known: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (node, 9): the features, and for virtual nodes five that sums of logarithms hardly give.

    The share of lost mergers of the training trees at the snapshot of the merger node (of a training tree without that
    node itself), as log odds; what is missing of the descendant's mass in its two progenitors, over it and over the
    lighter of them; the log10 ratio of the two, and log10 of the lighter. Zeros for the nodes of the trees.

    Parameters
    ----------
    known : places of the training trees' nodes among the virtual ones.
    """
    label = filled.label[filled.is_virtual].astype(np.float64)
    _, place = np.unique(filled.features[filled.trio[:, 0], 3], return_inverse=True)
    n_time = int(place.max()) + 1
    count, lost = (np.bincount(place[known], w, n_time) for w in (None, label[known]))
    own = np.zeros(len(label))
    own[known] = 1
    share = (lost[place] - own * label + 1) / (count[place] - own + 2)
    log_mass = filled.features[filled.trio, 0].astype(np.float64)
    ratio = 10 ** (log_mass[:, 1:] - log_mass[:, :1])
    missing, step = 1 - ratio.sum(1), log_mass[:, 2] - log_mass[:, 1]
    over_lighter = (missing / ratio[:, 1]).clip(-5, 5)
    further = np.stack([np.log(share / (1 - share)), missing, over_lighter, step, log_mass[:, 2]], 1)
    at_virtual = np.zeros((len(filled.features), further.shape[1]))
    at_virtual[filled.is_virtual] = further
    return np.concatenate([filled.features, at_virtual], 1).astype(np.float32)


def trained(config: InfillTaskConfig, run: Run, filled: Infilled, splits: Splits,
            samples: Mapping[str, NDArray[np.int64]]) -> dict[str, Row]:  # fmt: skip
    """Train the published classifier, and the same on what `told` adds."""
    ends = (torch.from_numpy(np.ascontiguousarray(end)) for end in filled.edges)
    rest = (*ends, torch.from_numpy(filled.label), torch.from_numpy(filled.tree))
    plans = {
        "mpnn": ("MPNN", filled.features),
        "mpnn_told": ("MPNN, told of intervals and masses", told(filled, samples["train"])),
    }
    rows = {}
    for name, (title, features) in plans.items():
        graph = Graph(torch.from_numpy(features), *rest)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeded(run.seed).initial_seed())
            model = MergerClassifier(config.width, config.n_layer, features.shape[1])
        place = run.checkpoint(f"infill-{name}")
        with run.progress.track(config.training.n_steps, f"training {title}") as update:
            began = time.process_time()
            curve = train(model, graph, splits, config.training, run.seed, place, update)
            val, test = (classify(model, graph, splits[part]) for part in ("val", "test"))
        spent = time.process_time() - began
        rows[name] = Row(title, val, test, count_parameters(model), spent, curve)
        run.log(f"{title}: {spent:.0f} CPU s")
    return rows


def train(model: MergerClassifier, graph: Graph, splits: Splits, config: TrainingConfig, seed: int,
          checkpoint: Path | None = None, update: Callable[..., None] | None = None) -> Curve:  # fmt: skip
    """Fit a classifier in place by AdamW on the cross entropy of the virtual nodes; return its curve.

    *Source*: as CosmoBench (arXiv 2507.03707). *Departures*: a step sees some of the trees, and a cosine takes the
    learning rate to zero.
    """
    n_tree, known = int(graph.tree.max()) + 1, torch.from_numpy(splits["train"])
    held_out = graph.take(_mask(n_tree, splits["val"]))
    inside = _mask(n_tree, splits["train"])[graph.tree]
    model.fit_scale(graph.features[inside])

    def loss(module: nn.Module, generator: torch.Generator) -> Tensor:
        assert isinstance(module, MergerClassifier)
        chosen = torch.zeros(n_tree, dtype=torch.bool)
        chosen[known[torch.randint(len(known), (config.n_tree,), generator=generator)]] = True
        return nn.functional.cross_entropy(*graph.take(chosen).logits(module))

    def validate(module: nn.Module) -> float:
        assert isinstance(module, MergerClassifier)
        return float(nn.functional.cross_entropy(*held_out.logits(module)))

    return descend(model, loss, validate, config, seed, checkpoint, update)


def _mask(n_tree: int, trees: NDArray[np.int64]) -> Tensor:
    mask = torch.zeros(n_tree, dtype=torch.bool)
    mask[torch.from_numpy(trees)] = True
    return mask


def classify(model: MergerClassifier, graph: Graph, trees: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the labels of the virtual nodes of some of the trees."""
    model.eval()
    with torch.no_grad():
        logits, _ = graph.take(_mask(int(graph.tree.max()) + 1, trees)).logits(model)
    return np.asarray(logits.argmax(1).numpy())


def accuracy(right: NDArray[np.bool_], simulation: NDArray[np.int64]) -> tuple[float, float]:
    """Return the share that is right and its bootstrap error over draws of simulations."""
    _, place = np.unique(simulation, return_inverse=True)
    count, found = np.bincount(place), np.bincount(place, right)
    draws = np.random.default_rng(7).integers(len(count), size=(N_DRAW, len(count)))
    return float(right.mean()), float(np.std(found[draws].sum(1) / count[draws].sum(1), ddof=1))


def summarise(filled: Infilled, samples: Mapping[str, NDArray[np.int64]], rows: Mapping[str, Row],
              best: str) -> dict[str, float]:  # fmt: skip
    """Return accuracy and error of every row, and the gain of message passing over the nearest in time."""
    test = samples["test"]
    label = filled.label[filled.is_virtual][test]
    simulation = filled.coarse.simulation[filled.tree[filled.is_virtual]][test]
    metrics: dict[str, float] = {}
    for name, row in rows.items():
        value, error = accuracy(row.test == label, simulation)
        metrics |= {f"infill_{name}_accuracy": value, f"infill_{name}_accuracy_error": error}
    metrics["infill_mpnn_best_accuracy"] = metrics[f"infill_{best}_accuracy"]
    metrics["infill_gain_over_time"] = metrics["infill_mpnn_best_accuracy"] - metrics["infill_time_accuracy"]
    metrics["infill_n_virtual"] = float(filled.n_virtual)
    return metrics


def by_time(filled: Infilled, forest: Forest, known: NDArray[np.int64]) -> tuple[Array, Array, Array]:
    """Return scale factors of merger nodes, the share of lost mergers, and the earlier interval over both in log a."""
    label = filled.label[filled.is_virtual][known]
    a = filled.features[filled.trio[known, 0], 3]
    times, place = np.unique(a, return_inverse=True)
    share = np.bincount(place, label) / np.bincount(place)
    all_times = np.unique(forest.features[:, 3])
    at = np.searchsorted(all_times, times)
    inside = at >= 2
    log_a = np.log(all_times)
    early, late = (log_a[at[inside] - k] - log_a[at[inside] - k - 1] for k in (1, 0))
    return times[inside].astype(np.float64), share[inside], early / (early + late)
