"""The nets inside the DeepONet: a plain and a gated multilayer perceptron, and positional features."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"sin": torch.sin, "tanh": torch.tanh, "relu": torch.relu}
OMEGA = 30.0  # angular frequency of sinusoidal layers


@dataclass(frozen=True)
class Hidden:
    """Hidden layers of a net: how many, how wide, which activation (sin, tanh, relu).

    `siren_hidden` gives hidden layers of sines the frequency their initial weights are made for, ``sin(30 (W h + b))``;
    without it they are ``sin(W h + b)``, as published.
    """

    n_layers: int
    width: int
    activation: str = "sin"
    siren_hidden: bool = False

    def __post_init__(self) -> None:
        if self.n_layers < 1 or self.width < 1:
            raise ValueError(f"Hidden: expected at least one layer of at least one unit, got {self}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"Hidden: expected activation {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        if self.siren_hidden and self.activation != "sin":
            raise ValueError(f"Hidden: expected activation 'sin' with siren_hidden, got {self.activation!r}; drop one")

    @property
    def first_frequency(self) -> float:
        """Factor of the first layer's product W x."""
        return OMEGA if self.activation == "sin" else 1.0

    @property
    def hidden_frequency(self) -> float:
        """Factor of the further layers' W h + b."""
        return OMEGA if self.siren_hidden else 1.0


def weight_bound(n_inputs: int, n_outputs: int, activation: str, first: bool) -> float:
    """Half-width of the uniform initial weights; biases start at zero.

    sin: ``1 / d`` in the first layer, ``sqrt(6 / d) / 30`` in the others; tanh: ``sqrt(6 / (d + m))``;
    relu: ``sqrt(6 / d)``, for d inputs and m outputs.

    *Source*: Sitzmann et al., NeurIPS 2020, section 3.2; Glorot and Bengio, AISTATS 2010; He et al., ICCV 2015.
    """
    if activation == "sin":
        return 1.0 / n_inputs if first else math.sqrt(6.0 / n_inputs) / OMEGA
    return math.sqrt(6.0 / (n_inputs + n_outputs if activation == "tanh" else n_inputs))


def linear(n_inputs: int, n_outputs: int, bound: float, generator: torch.Generator, bias: bool = True) -> nn.Linear:
    """Return a layer with weights uniform in [-bound, bound] and zero bias, drawn from `generator` alone."""
    layer = nn.utils.skip_init(
        nn.Linear, n_inputs, n_outputs, bias=bias, dtype=torch.float32
    )  # its own start would draw from global state
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        if bias:
            layer.bias.zero_()
    return layer


def _layer(n_inputs: int, n_outputs: int, hidden: Hidden, first: bool, generator: torch.Generator) -> nn.Linear:
    return linear(n_inputs, n_outputs, weight_bound(n_inputs, n_outputs, hidden.activation, first), generator)


class Mlp(nn.Module):
    """Multilayer perceptron ``h_0 = a(w0 W_0 x + b_0)``, ``h_i = a(w (W_i h + b_i))``, and a linear last layer.

    Parameters
    ----------
    n_inputs, n_outputs : features of a sample in and out.
    hidden : the hidden layers; w0 = 30 for sines and 1 else, w = 30 with `siren_hidden` and 1 else.
    generator : source of the initial weights.
    """

    def __init__(self, n_inputs: int, n_outputs: int, hidden: Hidden, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = hidden
        sizes = [n_inputs] + [hidden.width] * hidden.n_layers + [n_outputs]
        self.layers = nn.ModuleList(_layer(a, b, hidden, i == 0, generator) for i, (a, b) in enumerate(pairwise(sizes)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., n_inputs) to (..., n_outputs)."""
        activation = ACTIVATIONS[self.hidden.activation]
        first, *others = self.layers[:-1]
        h = activation(first(self.hidden.first_frequency * x))
        for layer in others:
            h = activation(_scaled(layer(h), self.hidden.hidden_frequency))
        out: Tensor = self.layers[-1](h)
        return out


class ModMlp(nn.Module):
    """Perceptron whose hidden layers are gated by two encoders of the input: ``h <- h U + (1 - h) V``.

    ``U = a(W_U x + b_U)``, ``V = a(W_V x + b_V)``, ``h_0 = a(w0 W_0 x + b_0)``, ``h_i = a(w (W_i h + b_i))``; the gate
    follows every hidden layer, and the last layer is linear.

    *Source*: Wang, Teng and Perdikaris, SIAM J. Sci. Comput. 43 (2021), equations 43 to 47; as implemented in
    dtu-act/deeponet-acoustic-wave-prop (MIT), `models/networks_flax.py`, where the angular frequency w0 = 30 multiplies
    the first layer's product only, not its bias, and neither U nor V has it. *Departures*: w = 30 with `siren_hidden`.

    Parameters are those of `Mlp`.
    """

    def __init__(self, n_inputs: int, n_outputs: int, hidden: Hidden, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder_u = _layer(n_inputs, hidden.width, hidden, True, generator)
        self.encoder_v = _layer(n_inputs, hidden.width, hidden, True, generator)
        self.hidden = hidden
        sizes = [n_inputs] + [hidden.width] * hidden.n_layers + [n_outputs]
        self.layers = nn.ModuleList(_layer(a, b, hidden, i == 0, generator) for i, (a, b) in enumerate(pairwise(sizes)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., n_inputs) to (..., n_outputs)."""
        activation = ACTIVATIONS[self.hidden.activation]
        v = activation(self.encoder_v(x))
        difference = activation(self.encoder_u(x)) - v
        first, *others = self.layers[:-1]
        h = torch.addcmul(v, activation(first(self.hidden.first_frequency * x)), difference)  # h U + (1 - h) V
        for layer in others:
            h = torch.addcmul(v, activation(_scaled(layer(h), self.hidden.hidden_frequency)), difference)
        out: Tensor = self.layers[-1](h)
        return out


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1.0 else factor * x


def positional_features(points: Tensor, wavenumbers: Tensor) -> Tensor:
    """Append ``cos(k y)`` for every k, then ``sin(k y)`` for every k, to the coordinates y.

    Parameters
    ----------
    points : (..., axis), scaled coordinates y.
    wavenumbers : (wavenumber,), k = 2 pi f / c.

    Returns
    -------
    features : (..., axis (1 + 2 n_wavenumbers)).
    """
    phase = (wavenumbers[:, None] * points[..., None, :]).flatten(-2)
    return torch.cat([points, torch.cos(phase), torch.sin(phase)], dim=-1)
