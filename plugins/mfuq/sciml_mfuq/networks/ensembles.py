"""Baselines: networks of the truth alone, as an ensemble or with dropout, and the plain ensemble of several levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sciml.config import setting
from sciml.training import seeded
from sciml_mfuq.model import Predictor
from sciml_mfuq.networks.composite import Composite, CompositeOptions, fit_composite
from sciml_mfuq.networks.net_fit import Data, fit_ensemble, minimise, noise_variance
from sciml_mfuq.networks.nets import ROOT3, Ensemble, NetOptions, Nets
from sciml_mfuq.samples import Samples

N_CHUNK = 1024
"""Points that are predicted at a time."""


class DeepEnsemble(Predictor):
    """Networks of the truth alone from different initial weights; mean and standard deviation of what they say.

    Parameters
    ----------
    ensemble : configuration of an `Ensemble`.

    *Source*: Lakshminarayanan, Pritzel and Blundell, NeurIPS 2017. *Departures*: no variance output and no adversarial
    runs, as the simulators are deterministic or their noise is known.
    """

    engine: ClassVar[str] = "deep_ensemble"

    def __init__(self, ensemble: Mapping[str, Any]) -> None:
        super().__init__()
        self.ensemble = Ensemble.build(**ensemble)

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""
        return {"ensemble": self.ensemble.config}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (batch, feature), raw units, to mean and standard deviation (batch,)."""
        mean, variance = self.ensemble(x)
        return mean, variance.clamp_min(1e-24 * self.ensemble.scale.square()).sqrt()


@dataclass(frozen=True)
class DeepEnsembleOptions:
    """Networks of the truth alone; one member gives the network of the truth, which knows no error."""

    net: NetOptions | None = setting(None, "networks; none: what suits the number of runs, without a trend")


def fit_deep_ensemble(samples: Samples, *, seed: int,
                      options: DeepEnsembleOptions = DeepEnsembleOptions()) -> DeepEnsemble:  # fmt: skip
    """Fit an ensemble of networks to the runs of the truth; the cheap levels are not looked at.

    Parameters
    ----------
    samples : of one output.
    seed : of weights and batches.
    options : of the networks.
    """
    net = options.net or replace(NetOptions.suited(*samples.truth.x.shape), trend="none")
    ensemble = fit_ensemble(truth_data(samples), net, seed)
    model = DeepEnsemble(ensemble.config)
    model.ensemble = ensemble
    model.noise_std = noise_variance(samples.truth).mean().sqrt()
    return model


def fit_plain_ensemble(samples: Samples, *, seed: int) -> Composite:
    """Fit the plain ensemble of several levels: member k of each level sees what member k says of the level below.

    Parameters
    ----------
    samples : of one output.
    seed : of weights and batches.
    """
    return fit_composite(samples, seed=seed, options=CompositeOptions(transfer="network", staged=True))


def truth_data(samples: Samples) -> Data:
    """Return the runs of the truth as tensors."""
    truth = samples.truth
    x, y, box = (torch.as_tensor(array) for array in (truth.x, truth.y, samples.bounds))
    return Data(x, y, box, noise_variance(truth))


@dataclass(frozen=True)
class DropoutOptions:
    """A network with dropout."""

    rate: float = setting(0.1, "probability that a hidden unit is dropped")
    n_mask: int = setting(50, "masks that a prediction averages over")
    net: NetOptions = setting(NetOptions(n_member=1, width=64, n_adam=2000, n_lbfgs=0, trend="none"), "the network")

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1 or self.n_mask < 2 or self.net.n_member != 1:
            raise ValueError(
                f"DropoutOptions: expected 0 < rate < 1, n_mask >= 2 and one network, got {self}; change them"
            )


class Dropout(Predictor):
    r"""A network whose hidden units are dropped by fixed random masks; mean and standard deviation over the masks.

    A mask multiplies a unit by 0 with probability p, else by 1 / (1 - p). For one hidden layer h and last weights w the
    variance over masks is, exactly, ``p / (1 - p) sum_j w_j^2 h_j^2``.

    Parameters
    ----------
    n_feature : inputs.
    options : as `DropoutOptions`, or a mapping with its fields.
    generator : of weights and masks; zeros where it is left out.

    *Source*: Gal and Ghahramani, ICML 2016. *Departures*: the masks are drawn once and saved, so that predictions are
    deterministic and smooth; the precision of the noise, which is known here, is not added.
    """

    engine: ClassVar[str] = "dropout"
    box: Tensor
    centre: Tensor
    scale: Tensor
    masks: Tensor

    def __init__(self, n_feature: int, options: DropoutOptions | Mapping[str, Any],
                 generator: torch.Generator | None = None) -> None:  # fmt: skip
        super().__init__()
        if isinstance(options, Mapping):
            options = DropoutOptions(**{**options, "net": NetOptions(**options["net"])})
        self.options, self.n_feature = options, n_feature
        self.nets = Nets(n_feature, options.net, generator)
        shape = (options.net.n_layer, options.n_mask, 1, options.net.width)
        masks = torch.zeros(shape, dtype=self.nets.dtype)
        if generator is not None:
            masks.bernoulli_(1 - options.rate, generator=generator).div_(1 - options.rate)
        self.register_buffer("masks", masks)
        self.register_buffer("box", torch.zeros(n_feature, 2, dtype=torch.float64))
        self.register_buffer("centre", torch.zeros((), dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""
        return {"n_feature": self.n_feature, "options": asdict(self.options)}

    def standard(self, x: Tensor, masks: Tensor) -> Tensor:
        """Map points (batch, feature), raw units, to standardized outputs (mask, batch).

        Parameters
        ----------
        x : points.
        masks : (layer, mask, batch or 1, unit).
        """
        low, high = self.box.T
        h = (ROOT3 * (2 * (x - low) / (high - low) - 1)).to(masks.dtype).expand(masks.shape[1], *x.shape)
        layers = list(zip(self.nets.weights, self.nets.biases, strict=True))
        for mask, (weight, bias) in zip(masks, layers, strict=False):
            h = self.nets.activation(h @ weight[0] + bias[0]) * mask
        return (h @ layers[-1][0][0] + layers[-1][1][0])[..., 0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (batch, feature), raw units, to mean and standard deviation (batch,) over the masks."""
        said = torch.cat([self.standard(part, self.masks) for part in x.split(N_CHUNK)], 1).to(torch.float64)
        std = said.var(0).clamp_min(1e-24).sqrt()
        return self.centre + self.scale * said.mean(0), self.scale * std


def fit_dropout(samples: Samples, *, seed: int, options: DropoutOptions = DropoutOptions()) -> Dropout:
    """Fit a network with dropout to the runs of the truth, with new masks in every step.

    Parameters
    ----------
    samples : of one output.
    seed : of weights and masks.
    options : network and dropout.
    """
    data, net = truth_data(samples), options.net
    model = Dropout(samples.n_feature, options, seeded(seed, "weights"))
    model.box, model.centre = data.box, data.y.mean()
    model.scale = torch.tensor(float(data.y.std()) or 1.0, dtype=torch.float64)
    model.noise_std = data.noise.mean().sqrt()
    target = ((data.y - model.centre) / model.scale).to(model.nets.dtype)
    shape = (net.n_layer, 1, len(target), net.width)

    def loss(module: nn.Module, generator: torch.Generator) -> Tensor:
        kept = torch.rand(shape, generator=generator, dtype=target.dtype) >= options.rate
        error = model.standard(data.x, kept.to(target.dtype) / (1 - options.rate)) - target
        return error.square().mean() + net.decay * model.nets.decay()

    minimise(model, loss, net, seed)
    return model
