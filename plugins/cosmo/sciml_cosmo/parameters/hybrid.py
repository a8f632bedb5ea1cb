"""Everything that is fitted with one seed: baselines, networks, and the recommended weighted mean of networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from sciml_cosmo.parameters.config import ParametersConfig
from sciml_cosmo.parameters.features import FORMS, PRIOR, Features, scaled, shaped
from sciml_cosmo.parameters.linear import Array, greedy, ridge
from sciml_cosmo.parameters.nets import GraphNet
from sciml_cosmo.parameters.train import Split, Trained, train_features, train_graphs, widening

MEMBERS = ("2pcf", "gnn", "joint")
HIDDEN = ((64, 64, 16), (128, 64, 16), (64, 64, 32), (32, 16))
TENTHS = 10


@dataclass(frozen=True)
class Chosen:
    """What the validation boxes of one seed chose.

    Parameters
    ----------
    weights : (member, target)
        Of the weighted mean.
    form
        Of the correlation function.
    cuts
        Cut-offs of the least squares, as indices of the candidates, in the order in which they were taken.
    """

    weights: Array
    form: str
    cuts: list[int]


@dataclass(frozen=True)
class Fitted:
    """What one seed gives.

    Parameters
    ----------
    linear
        Predicted parameters (batch, target) of all boxes by the linear baselines.
    networks
        Trained networks by name; see `MEMBERS`, and "gnn_plain" without messages between edges.
    hybrid
        Mean and standard deviation (batch, target) of all boxes by the weighted mean, scaled.
    factor : (target,)
        Calibration of the hybrid's standard deviation, already in it.
    chosen
        What the validation boxes chose.
    """

    linear: Mapping[str, Array]
    networks: Mapping[str, Trained]
    hybrid: tuple[Array, Array]
    factor: Array
    chosen: Chosen

    def predictions(self) -> dict[str, Array]:
        """Return Omega_m and sigma_8 (batch, target) of all boxes by every model, clipped to the prior."""
        means = {name: one.mean for name, one in self.networks.items()} | {"hybrid": self.hybrid[0]}
        return {**self.linear, **{name: unscaled(np.clip(mean, -1, 1)) for name, mean in means.items()}}


def unscaled(values: Array) -> Array:
    """Return parameters from the scale on which the prior is [-1, 1]."""
    low, high = PRIOR
    return np.asarray((low + high) / 2 + values * (high - low) / 2)


def fit_all(data: Features, split: Split, config: ParametersConfig, seed: int, folder: Callable[[str], Path],
            update: Callable[[str], None]) -> Fitted:  # fmt: skip
    """Fit every model of the task to the training boxes, choosing on the validation boxes.

    Parameters
    ----------
    data
        Features of all boxes; those of test boxes are only predicted from.
    split, config, seed
        Parts, settings and the seed of weights and batches.
    folder
        Checkpoint of a name.
    update
        Called with the name of each model before it is fitted.
    """
    update("linear baselines")
    linear, cuts = fit_linear(data, split, config.n_cut)
    networks = {}
    update("2PCF + MLP")
    networks["2pcf"], form = search(data, split, config, seed)
    build = partial(
        GraphNet, data.graphs[0].radial.shape[1], config.graph.width, config.graph.n_layer,
        dropout=config.graph.train.dropout,
    )  # fmt: skip
    variants = {"gnn_plain": (None, False), "gnn": (None, True), "joint": (form, True)}
    for name, (seen, edge_edge) in variants.items():
        update(f"graph network, {name}")
        make = partial(build, edge_edge=edge_edge)
        networks[name] = train_graphs(data, seen, split, config.graph.train, seed, make, folder(f"{name}-{seed}"))
    weights = mixing_weights([networks[name].mean[split.val] for name in MEMBERS], scaled(data.targets[split.val]))
    mean, std = mixed([(networks[name].mean, networks[name].std) for name in MEMBERS], weights)
    factor = widening(scaled(data.targets[split.val]), mean[split.val], std[split.val])
    return Fitted(linear, networks, (mean, std * factor), factor, Chosen(weights, form, cuts))


def fit_linear(data: Features, split: Split, n_cut: int) -> tuple[dict[str, Array], list[int]]:
    """Return the predictions (batch, target) of the linear baselines for all boxes, and the chosen cut-offs."""
    train, val = split.train, split.val
    features = {"2pcf_ridge": shaped(data.xi, FORMS[1]), "multipoles": shaped(data.seen, FORMS[1])}
    found = {}
    for name, x in features.items():
        model = ridge(x[train], data.targets[train], (x[val], data.targets[val]), PRIOR)
        found[name] = model.predict(x)
    held_out = (data.moments[val], data.targets[val])
    cuts, model = greedy(data.moments[train], data.targets[train], held_out, PRIOR, n_cut)
    found["lls"] = model.predict(data.moments.reshape(len(data.moments), -1))
    return found, cuts


def search(data: Features, split: Split, config: ParametersConfig, seed: int) -> tuple[Trained, str]:
    """Return the perceptron on the correlation function, of a few, that is best on the validation boxes, and its form.

    The first tried is the default; the others vary form, layers, learning rate and dropout.
    """
    generator = np.random.default_rng(seed)
    tried: list[tuple[float, Trained, str]] = []
    for number in range(config.n_search):
        form, train = FORMS[1], config.perceptron
        hidden: tuple[int, ...] = HIDDEN[0]
        if number:
            form, hidden = FORMS[generator.integers(2)], HIDDEN[generator.integers(len(HIDDEN))]
            rate, dropout = 10 ** generator.uniform(-3, -2), float(generator.choice([0.0, 0.1, 0.3]))
            train = replace(train, learning_rate=float(rate), dropout=dropout)
        one = train_features(shaped(data.xi, form), data.targets, split, train, seed, hidden)
        error = float(((one.mean - scaled(data.targets))[split.val] ** 2).mean())
        tried.append((error, one, form))
    _, best, form = min(tried, key=lambda row: row[0])
    return best, form


def mixing_weights(means: list[Array], truth: Array) -> Array:
    """Return the weights (member, target), tenths that sum to 1, with the least squared error.

    Parameters
    ----------
    means
        Of every member, (batch, target), for validation boxes.
    truth : (batch, target)
        Of the same boxes.

    Examples
    --------
    >>> truth = np.array([[1.0], [-1.0]])
    >>> mixing_weights([truth + 0.3, truth - 0.2], truth).tolist()
    [[0.4], [0.6]]
    """
    stack = np.stack(means)
    ways = (way for way in itertools.product(range(TENTHS + 1), repeat=len(stack)) if sum(way) == TENTHS)
    choices = np.array(list(ways)) / TENTHS
    errors = ((np.einsum("wm,mbt->wbt", choices, stack) - truth) ** 2).mean(1)
    return np.asarray(choices[errors.argmin(0)].T)


def mixed(answers: list[tuple[Array, Array]], weights: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation (batch, target) of the mixture of members with `weights` (member, target)."""
    mean = sum(w * m for w, (m, _) in zip(weights, answers, strict=True))
    second = sum(w * (s**2 + m**2) for w, (m, s) in zip(weights, answers, strict=True))
    return np.asarray(mean), np.sqrt(np.maximum(second - np.asarray(mean) ** 2, 1e-12))
