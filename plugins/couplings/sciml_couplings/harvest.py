"""A harvest rule known as a formula, and the small surrogate of it that the couplings are tried with."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sciml import FieldSpec, Network, Region, Spec, Surrogate

LARGEST_STOCK, N_YEAR, PERIOD = 2.0, 40.0, 10.0
N_SPECIES, N_FISHERY = 3, 2


def true_fraction(stock: np.ndarray, year: np.ndarray) -> np.ndarray:
    """Return the fraction to fish: more of a larger stock, less where the predator is strong, in a cycle of ten years.

    ``f_i = 0.3 (2 + cos(2 pi t / 10)) / 2 * x_i^2 / (x_i^2 + 1/4) / (1 + s / 2)``

    Parameters
    ----------
    stock : (batch, species), of which the first two are fished; the last is the predator's, s.
    year : (batch,), t.

    Returns
    -------
    (batch, fishery), without unit, in [0, 0.45].
    """
    fished, predator = stock[:, :N_FISHERY], stock[:, -1:]
    season = 0.15 * (2 + np.cos(2 * np.pi * year / PERIOD))[:, None]
    return season * fished**2 / (fished**2 + 0.25) / (1 + predator / 2)


def draw(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw n samples of the inputs, uniformly in the training domain: stock (batch, species) and year (batch,)."""
    return {"stock": rng.uniform(0, LARGEST_STOCK, (n, N_SPECIES)), "year": rng.uniform(0, N_YEAR, n)}


class HarvestNet(Network):
    """A layer of random neurons and a linear one: ``f = clip(V tanh(W z + b), 0, 1)``, z stocks and a clock's hand.

    Parameters
    ----------
    n_neuron : of the layer.
    """

    registered: ClassVar[str] = "couplings.harvest"
    inner: Tensor
    shift: Tensor

    def __init__(self, n_neuron: int) -> None:
        super().__init__()
        self._n_neuron = n_neuron
        self.register_buffer("inner", torch.zeros(N_SPECIES + 2, n_neuron))
        self.register_buffer("shift", torch.zeros(n_neuron))
        self.outer = torch.nn.Parameter(torch.zeros(n_neuron, N_FISHERY))

    @property
    def spec(self) -> Spec:
        """Stock, year and fraction, as the example programs in C, C++ and Fortran have them."""
        stocks = Region((((0.0,) * N_SPECIES, (float("inf"),) * N_SPECIES),))
        return Spec(
            (
                FieldSpec("stock", ("batch", "species"), "1", stocks, "two fished stocks and their predator"),
                FieldSpec("year", ("batch",), "1", Region.interval(0.0, float("inf")), "years since the start"),
            ),
            (FieldSpec("fraction", ("batch", "fishery"), "1", Region.interval(0.0, 1.0), "fraction to fish"),),
        )

    @property
    def config(self) -> dict[str, Any]:
        """The number of neurons."""
        return {"n_neuron": self._n_neuron}

    def hidden(self, stock: Tensor, year: Tensor) -> Tensor:
        """Return the neurons' values (batch, neuron)."""
        angle = (2 * torch.pi / PERIOD) * year[:, None]
        return torch.tanh(torch.cat([stock, torch.cos(angle), torch.sin(angle)], 1) @ self.inner + self.shift)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the fraction (batch, fishery) for stock (batch, species) and year (batch,)."""
        return {"fraction": (self.hidden(inputs["stock"], inputs["year"]) @ self.outer).clamp(0, 1)}


def fit_harvest(n_neuron: int, n_train: int, seed: int) -> Surrogate:
    """Fit the outer weights to the rule by regularised least squares; the inner ones are drawn.

    Parameters
    ----------
    n_neuron, n_train : neurons, and samples of the rule.
    seed : of the neurons and the samples.

    *Contract*: the same arguments give the same weights.
    """
    rng = np.random.default_rng(seed)
    data, network = draw(n_train, rng), HarvestNet(n_neuron).double()
    network.inner.copy_(torch.as_tensor(rng.normal(size=network.inner.shape)))
    network.shift.copy_(torch.as_tensor(rng.normal(size=n_neuron)))
    with torch.no_grad():
        hidden = network.hidden(**{name: torch.as_tensor(array) for name, array in data.items()}).numpy()
        normal = hidden.T @ hidden + 1e-5 * n_train * np.eye(n_neuron)
        network.outer.copy_(torch.as_tensor(np.linalg.solve(normal, hidden.T @ true_fraction(**data))))
    domain = {
        "stock": Region((((0.0,) * N_SPECIES, (LARGEST_STOCK,) * N_SPECIES),)),
        "year": Region.interval(0.0, N_YEAR),
    }
    return Surrogate(network.float(), domain=domain, provenance={"seed": seed, "n_train": n_train})


def errors(surrogate: Surrogate, n_train: int, seed: int) -> dict[str, float]:
    """Return the relative L2 errors of the surrogate and of linear least squares, on samples that neither has seen.

    Parameters
    ----------
    surrogate : of the rule.
    n_train, seed : samples of the linear fit, and seed of all.
    """
    rng = np.random.default_rng([seed, 1])
    seen, unseen = draw(n_train, rng), draw(2000, rng)
    wanted = true_fraction(**unseen)
    weights, *_ = np.linalg.lstsq(_linear_terms(**seen), true_fraction(**seen), rcond=None)
    with torch.no_grad():
        tensors = {name: torch.as_tensor(array).float() for name, array in unseen.items()}
        found = {"surrogate": surrogate(**tensors)["fraction"].numpy(), "linear": _linear_terms(**unseen) @ weights}
    size = np.linalg.norm(wanted)
    return {f"coupling_{name}_rel_l2": float(np.linalg.norm(f - wanted) / size) for name, f in found.items()}


def _linear_terms(stock: np.ndarray, year: np.ndarray) -> np.ndarray:
    angle = 2 * np.pi * year[:, None] / PERIOD
    return np.concatenate([np.ones_like(angle), stock, np.cos(angle), np.sin(angle)], 1)
