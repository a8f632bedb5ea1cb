"""How ensembles of networks are trained: Adam, then L-BFGS; with the polynomial trend where it helps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sciml.training import FitOptions, Loss, cosine, fit, seeded
from sciml_mfuq.networks.nets import ROOT3, Ensemble, NetOptions, Nets
from sciml_mfuq.networks.polynomials import Trend, sparse_trend
from sciml_mfuq.samples import Level

TREND_FROM = 100
"""Runs from which a polynomial trend is considered."""
N_FOLD = 5
"""Groups of runs, one of which each network of `fold_error` does not see."""


def minimise(module: nn.Module, loss: Loss, options: NetOptions, seed: int, *,
             validate: Callable[[nn.Module], float] | None = None) -> None:  # fmt: skip
    """Minimise `loss` by Adam with a cosine schedule, then by L-BFGS; with `validate` the best weights seen are kept.

    Parameters
    ----------
    module, loss : as for `sciml.training.fit`; parameters that require no gradient stay.
    options : numbers of steps and the learning rate.
    seed : of the random numbers of the loss.
    validate : of the module, smaller is better; Adam stops after ten looks without improvement.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    schedule = cosine(options.n_adam, min(20, options.n_adam - 1))
    patience = 10 if validate else None
    adam = FitOptions(schedule, validate=validate, every=max(1, options.n_adam // 20), patience=patience)
    for _ in fit(module, loss, torch.optim.Adam(parameters, lr=options.learning_rate), n_steps=options.n_adam,
                 seed=seed, options=adam):  # fmt: skip
        pass
    if options.n_lbfgs:
        lbfgs = torch.optim.LBFGS(parameters, max_iter=options.n_lbfgs, history_size=50, line_search_fn="strong_wolfe")
        for _ in fit(module, loss, lbfgs, n_steps=1, seed=seed, options=FitOptions(validate=validate)):
            pass


@dataclass(frozen=True)
class Data:
    """What an ensemble is fitted to: x (run, input), y (run,), box (input, 2), known noise variance (run,)."""

    x: Tensor
    y: Tensor
    box: Tensor
    noise: Tensor

    def some(self, rows: Tensor) -> Data:
        """Return the runs at the given rows."""
        return replace(self, x=self.x[rows], y=self.y[rows], noise=self.noise[rows])


def fit_ensemble(data: Data, options: NetOptions, seed: int) -> Ensemble:
    """Fit an ensemble, with the polynomial trend if that helps.

    A trend that predicts left-out runs to 5 % of their standard deviation is taken. One that explains less, but more
    than half of the standard deviation, is taken if the ensemble on top of it predicts held-out runs better than one
    without: networks may see structure that a sparse polynomial destroys.

    Parameters
    ----------
    data : runs.
    options : networks and training.
    seed : of weights, batches and of what is held out.
    """
    u = 2 * (data.x - data.box[:, 0]) / (data.box[:, 1] - data.box[:, 0]) - 1
    constant = _constant(data.y)
    if options.trend == "none" or len(data.y) < TREND_FROM:
        return _trained(data, constant, options, seed)[0]
    trend = sparse_trend(u, data.y)
    if trend.error < 0.05 or trend.error > 0.5:
        return _trained(data, trend if trend.error < 0.05 else constant, options, seed)[0]
    careful = replace(options, held_out=max(options.held_out, 0.1))
    plain, trended = (_trained(data, one, careful, seed) for one in (constant, trend))
    return min(plain, trended, key=lambda pair: pair[1])[0]


def _constant(y: Tensor) -> Trend:
    return Trend(torch.zeros(0, 4, dtype=torch.long), y.mean()[None], 1.0)


def _started(data: Data, trend: Trend, options: NetOptions, seed: int) -> Ensemble:
    """Return an ensemble with its trend and scales, still to be trained."""
    ensemble = Ensemble(data.x.shape[1], options, len(trend.terms), seeded(seed, "weights"))
    ensemble.box, ensemble.terms, ensemble.coefficient = data.box, trend.terms, trend.coefficient
    rest = data.y - ensemble.trend(ensemble.unit(data.x))
    ensemble.scale = rest.square().mean().sqrt().clamp_min(1e-12 * data.y.abs().max().clamp_min(1e-300))
    return ensemble


def _train(ensemble: Ensemble, data: Data, rows: Tensor, seed: int, out: Tensor | None) -> None:
    """Train on rows (member, n) of the data; runs `out` stop the training."""
    u, dtype = ensemble.unit(data.x), ensemble.nets.dtype
    inputs, target = (ROOT3 * u).to(dtype), ((data.y - ensemble.trend(u)) / ensemble.scale).to(dtype)
    relative = data.noise / ensemble.scale.square()
    weight = 1 / (relative + 0.01)
    noise = float(relative.mean())
    loss = squared_loss(inputs, target, (weight / weight.mean()).to(dtype), rows, ensemble.options, noise)

    def validate(module: nn.Module) -> float:
        return float((module(inputs[out]).mean(0) - target[out]).square().mean())

    minimise(ensemble.nets, loss, ensemble.options, seed, validate=None if out is None else validate)


def _trained(data: Data, trend: Trend, options: NetOptions, seed: int) -> tuple[Ensemble, float]:
    """Return an ensemble and its root mean squared error at the held-out runs."""
    ensemble = _started(data, trend, options, seed)
    order = torch.randperm(len(data.y), generator=seeded(seed, "held out"))
    n_out = round(options.held_out * len(order))
    out, kept = order[:n_out], order[n_out:]
    rows = kept[member_rows(len(kept), options, seed)]
    _train(ensemble, data, rows, seed, out if n_out else None)
    if not n_out:
        return ensemble, math.nan
    with torch.no_grad():
        mean, variance = ensemble(data.x[out])
        error = (mean - data.y[out]).square() - data.noise[out]
        # Errors of the members that have nothing in common average out: the mean errs by less than a member.
        least = 1 / options.n_member
        ensemble.spread = (error.mean() / variance.mean().clamp_min(1e-300)).clamp(least, 100).sqrt()
    return ensemble, float(error.mean().clamp_min(0).sqrt())


def member_rows(n_run: int, options: NetOptions, seed: int) -> Tensor:
    """Return which runs each member sees, (member, n): all of them, or as many drawn with replacement."""
    if not options.bootstrap:
        return torch.arange(n_run).expand(options.n_member, -1)
    return torch.randint(n_run, (options.n_member, n_run), generator=seeded(seed, "bootstrap"))


def squared_loss(x: Tensor, y: Tensor, weight: Tensor, rows: Tensor, options: NetOptions, noise: float = 0.0) -> Loss:
    """Return ``sum_k mean_i w_i (net_k(x_i) - y_i)^2 + lambda sum W^2`` as a loss of `Nets`.

    Parameters
    ----------
    x, y, weight : (run, input), (run,) and (run,); y of about unit variance.
    rows : (member, n), the runs that each member sees.
    options : batches and lambda.
    noise : mean relative noise variance s; lambda is at least s / n, which is a normal prior of unit variance.
    """
    n_run = rows.shape[1]
    decay = max(options.decay, noise / n_run)

    def loss(module: nn.Module, generator: torch.Generator) -> Tensor:
        drawn = draw_rows(n_run, options, generator)
        chosen = rows if drawn is None else rows.gather(1, drawn)
        error = (module(x[chosen]) - y[chosen]).square() * weight[chosen]
        assert isinstance(module, Nets)
        return error.mean(1).sum() + decay * module.decay()

    return loss


def draw_rows(n_run: int, options: NetOptions, generator: torch.Generator) -> Tensor | None:
    """Return the runs (member, batch) of a step, or None where a step takes all of them."""
    if not 0 < options.n_batch < n_run:
        return None
    return torch.randint(n_run, (options.n_member, options.n_batch), generator=generator)


def noise_variance(level: Level) -> Tensor:
    """Return the known noise variance (run,) of a level, zero where none is known."""
    noise = torch.as_tensor(0.0 if level.noise is None else level.noise, dtype=torch.float64)
    return noise.square().expand(len(level.x)).clone()


def fold_error(data: Data, options: NetOptions, seed: int) -> float:
    """Return the root mean squared error of networks at runs that they did not see, a fifth of the runs each.

    Parameters
    ----------
    data : runs.
    options : of the networks; one for each fold is trained, all together.
    seed : of folds and weights.
    """
    n_run = len(data.y)
    groups = torch.randperm(n_run, generator=seeded(seed, "folds")) % N_FOLD
    n_seen = n_run - int(torch.bincount(groups, minlength=N_FOLD).max())
    rows = torch.stack([torch.nonzero(groups != k)[:n_seen, 0] for k in range(N_FOLD)])
    ensemble = _started(data, _constant(data.y), replace(options, n_member=N_FOLD), seed)
    _train(ensemble, data, rows, seed, None)
    with torch.no_grad():
        said = ensemble.members(data.x)
    error = (said[groups, torch.arange(n_run)] - data.y).square() - data.noise
    return float(error.mean().clamp_min(0).sqrt())
