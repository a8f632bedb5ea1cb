"""Ensembles of small networks as batched tensors, with a sparse polynomial trend."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from sciml.config import setting
from sciml_mfuq.networks.polynomials import N_BLOCK, products

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "silu": nn.functional.silu,
}
ROOT3 = math.sqrt(3.0)


@dataclass(frozen=True)
class NetOptions:
    """Members of an ensemble, and how they are trained: Adam with a cosine, then L-BFGS with all runs."""

    n_member: int = setting(5, "networks of the ensemble")
    n_layer: int = setting(2, "hidden layers")
    width: int = setting(32, "units of a hidden layer")
    activation: str = setting("tanh", "tanh, sin or silu")
    frequency: float = setting(1.0, "factor of the first layer's initial weights")
    single: bool = setting(False, "float32 inside, as large sets of runs need no more")
    trend: str = setting("auto", "sparse polynomial below the networks: auto (if it predicts left-out runs), none")
    n_adam: int = setting(500, "steps of Adam")
    learning_rate: float = setting(5e-3, "of Adam's first step")
    n_lbfgs: int = setting(300, "steps of L-BFGS")
    decay: float = setting(1e-6, "factor of the sum of squared weights in the loss")
    n_batch: int = setting(0, "runs of a step of Adam; 0 for all")
    held_out: float = setting(0.0, "part of the runs that stops the training and scales the spread")
    bootstrap: bool = setting(False, "whether each member sees its own resampled runs")

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS or self.trend not in ("auto", "none"):
            raise ValueError(
                f"NetOptions: expected activation among {', '.join(ACTIVATIONS)} and trend auto or none, got "
                f"{self.activation!r} and {self.trend!r}; choose among these"
            )
        if min(self.n_member, self.n_layer, self.width, self.n_adam) < 1 or not 0 <= self.held_out < 1:
            raise ValueError(
                f"NetOptions: expected counts of at least 1 and 0 <= held_out < 1, got {self}; change them"
            )

    @staticmethod
    def suited(n_run: int, n_feature: int) -> NetOptions:
        """Return what suits so many runs and inputs: few runs, all at once, else SiLU networks and minibatches."""
        if n_run < 500 or (n_feature <= 4 and n_run <= 2000):
            return NetOptions()
        n_adam = min(2000, max(800, n_run // 3))
        return NetOptions(width=64, activation="silu", single=True, n_adam=n_adam, learning_rate=3e-3, n_lbfgs=0,
                          decay=1e-5, n_batch=256, held_out=0.1)  # fmt: skip


class Nets(nn.Module):
    """K multilayer perceptrons of one output as batched matrix products, ``h <- a(h W_k + b_k)``; the last is linear.

    Parameters
    ----------
    n_input : features of a point.
    options : layers, width, activation, members, precision.
    generator : of the initial weights, normal of variance one over the number of inputs; zeros where it is left out.
    """

    def __init__(self, n_input: int, options: NetOptions, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[options.activation]
        dtype = torch.float32 if options.single else torch.float64
        sizes = [n_input] + [options.width] * options.n_layer + [1]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for number, (a, b) in enumerate(pairwise(sizes)):
            weight = torch.zeros(options.n_member, a, b, dtype=dtype)
            bias = torch.zeros(options.n_member, 1, b, dtype=dtype)
            if generator is not None:
                scale = options.frequency if number == 0 else 1.0
                weight.normal_(0, scale / math.sqrt(a), generator=generator)
                if number < options.n_layer:
                    bias.uniform_(-1, 1, generator=generator)
            self.weights.append(weight)
            self.biases.append(bias)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.weights[0].dtype

    def forward(self, x: Tensor) -> Tensor:
        """Map points (batch, input), or (member, batch, input), to (member, batch)."""
        h = x.to(self.dtype).expand(len(self.weights[0]), *x.shape[-2:])
        layers = list(zip(self.weights, self.biases, strict=True))
        for weight, bias in layers[:-1]:
            h = self.activation(torch.baddbmm(bias, h, weight))
        return torch.baddbmm(layers[-1][1], h, layers[-1][0])[..., 0]

    def decay(self) -> Tensor:
        """Return the sum of the squared weights."""
        return torch.stack([weight.square().sum() for weight in self.weights]).sum()


class Ensemble(nn.Module):
    """Networks with a trend: ``y_k(x) = offset + trend(u) + scale net_k(sqrt(3) u)``, u the inputs in [-1, 1].

    Parameters
    ----------
    n_input : features of a point.
    options : of the networks, as `NetOptions` or a mapping.
    n_term : of the polynomial trend.

    *Contract*: `box`, `scale` and `spread` are buffers; `spread` is the factor by which the members' standard deviation
    is to be multiplied to agree with held-out runs, one where none were held out.
    """

    box: Tensor
    terms: Tensor
    coefficient: Tensor
    scale: Tensor
    spread: Tensor

    def __init__(self, n_input: int, options: NetOptions, n_term: int = 0,
                 generator: torch.Generator | None = None) -> None:  # fmt: skip
        super().__init__()
        self.n_input, self.options = n_input, options
        self.nets = Nets(n_input, options, generator)
        self.register_buffer("box", torch.tensor([[0.0, 1.0]], dtype=torch.float64).repeat(n_input, 1))
        self.register_buffer("terms", torch.zeros(n_term, 4, dtype=torch.long))
        self.register_buffer("coefficient", torch.zeros(1 + n_term, dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("spread", torch.ones((), dtype=torch.float64))

    @property
    def config(self) -> dict[str, Any]:
        """What `build` makes an equal module from, plain JSON values."""
        return {"n_input": self.n_input, "options": asdict(self.options), "n_term": len(self.terms)}

    @staticmethod
    def build(n_input: int, options: dict[str, Any], n_term: int) -> Ensemble:
        """Return an ensemble that awaits its numbers; the arguments are those of `config`."""
        return Ensemble(n_input, NetOptions(**options), n_term)

    def unit(self, x: Tensor) -> Tensor:
        """Map points (batch, input) from the box to [-1, 1]."""
        low, high = self.box.T
        return 2 * (x - low) / (high - low) - 1

    def trend(self, u: Tensor) -> Tensor:
        """Return offset and polynomial (batch,) at points of [-1, 1]."""
        parts = [products(part, self.terms) @ self.coefficient[1:] for part in u.split(N_BLOCK)]
        return self.coefficient[0] + torch.cat(parts)

    def members(self, x: Tensor) -> Tensor:
        """Map points (batch, input), raw units, to what each member says, (member, batch), float64."""
        parts = []
        for part in x.split(N_BLOCK):
            u = self.unit(part)
            parts.append(self.trend(u) + self.scale * self.nets(ROOT3 * u).to(torch.float64))
        return torch.cat(parts, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (batch, input) to the mean and the scaled variance (batch,) of the members."""
        said = self.members(x)
        mean = said.mean(0)
        variance = (said - mean).square().sum(0) / max(1, len(said) - 1)
        return mean, self.spread.square() * variance
