"""Small surrogates with known mathematics, and the hooks that register them."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from sciml import FieldSpec, Network, Operator, Region, Registration, Spec, Surrogate, hookimpl

PLANE = Region((((-10.0, -10.0), (10.0, 10.0)),))


class Spring(Network):
    """A hardening spring: energy = k |x|^2 / 2 + |x|^4 / 4, force = -(k + |x|^2) x, force_std = 1 % of |force|."""

    registered = "small.spring"

    def __init__(self, hardening=1.0):
        super().__init__()
        self._hardening = hardening
        self.register_buffer("hardening", torch.tensor(hardening, dtype=torch.float64))

    @property
    def spec(self):
        return Spec(
            inputs=(
                FieldSpec("position", ("batch", "axis"), "m", PLANE),
                FieldSpec("stiffness", ("batch",), "N m-1", Region.interval(0.0, 100.0)),
            ),
            outputs=(
                FieldSpec("energy", ("batch",), "J"),
                FieldSpec("force", ("batch", "axis"), "N"),
                FieldSpec("force_std", ("batch", "axis"), "N"),
            ),
        )

    @property
    def config(self):
        return {"hardening": self._hardening}

    def forward(self, position, stiffness):
        square = (position**2).sum(-1)
        force = -(stiffness + self.hardening * square)[:, None] * position
        energy = stiffness * square / 2 + self.hardening * square**2 / 4
        return {"energy": energy, "force": force, "force_std": 0.01 * force.abs()}


class Stubborn(Spring):
    registered = "small.stubborn"
    not_exportable = "its number of iterations depends on the values"


class Membrane(Network):
    """A linear map: deflection = (L + I)^-1 load on a chain of nodes; symmetric and positive definite."""

    registered = "small.membrane"

    def __init__(self, n_node=8):
        super().__init__()
        self._n_node = n_node
        chain = 3 * torch.eye(n_node) - torch.diag(torch.ones(n_node - 1), 1) - torch.diag(torch.ones(n_node - 1), -1)
        self.inverse = torch.nn.Parameter(torch.linalg.inv(chain.double()))

    @property
    def spec(self):
        return Spec((FieldSpec("load", ("batch", "node"), "N"),), (FieldSpec("deflection", ("batch", "node"), "m"),))

    @property
    def config(self):
        return {"n_node": self._n_node}

    def forward(self, load):
        return {"deflection": load @ self.inverse.T}


class Perceptron(Network):
    """Two layers in single precision: value = V tanh(W x + b), at as many queries as asked for."""

    registered = "small.perceptron"

    def __init__(self, n_hidden=16, seed=5):
        super().__init__()
        self._config = {"n_hidden": n_hidden, "seed": seed}
        generator = torch.Generator().manual_seed(seed)
        self.first = torch.nn.Parameter(torch.randn(2, n_hidden, generator=generator))
        self.second = torch.nn.Parameter(torch.randn(n_hidden, n_hidden, generator=generator) / n_hidden**0.5)

    @property
    def spec(self):
        return Spec(
            inputs=(
                FieldSpec("position", ("batch", "axis"), "m", PLANE),
                FieldSpec("query", ("query",), "s", Region.interval(0.0, 5.0)),
            ),
            outputs=(FieldSpec("value", ("batch", "query"), "Pa"),),
        )

    @property
    def config(self):
        return self._config

    def forward(self, position, query):
        hidden = torch.tanh(position @ self.first) @ self.second
        phases = torch.arange(1, hidden.shape[1] + 1, dtype=query.dtype, device=query.device)
        return {"value": hidden @ torch.sin(phases[:, None] * query[None, :])}


class TrueSpring(Operator):
    """The same spring as its own solver, which counts the samples that it was asked for."""

    def __init__(self):
        self.n_samples = 0

    @property
    def spec(self):
        spec = Spring().spec
        return Spec(spec.inputs, spec.outputs[:2])

    def _apply(self, inputs):
        self.n_samples += inputs.sizes["batch"]
        x, k = inputs["position"].values, inputs["stiffness"].values
        square = (x**2).sum(-1)
        return xr.Dataset(
            {
                "energy": ("batch", k * square / 2 + square**2 / 4, {"units": "J"}),
                "force": (("batch", "axis"), -(k + square)[:, None] * x, {"units": "N"}),
            }
        )


class Hooks:
    """Stands in for the hook module of a plugin."""

    __name__ = "small_surrogates"

    @hookimpl
    def sciml_surrogates(self):
        kinds = (Spring, Stubborn, Membrane, Perceptron)
        return [Registration(k.registered, f"small_surrogates:{k.__name__}", k.__doc__ or "") for k in kinds]


def spring(**config):
    """Return the spring, trained as it were on |x| <= 1 in either direction and stiffness from 1 to 10."""
    domain = {"position": Region((((-1.0, -1.0), (1.0, 1.0)),)), "stiffness": Region.interval(1.0, 10.0)}
    return Surrogate(Spring(**config), domain=domain)


def spring_inputs(n=6, seed=31, scale=1.0):
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {
            "position": (("batch", "axis"), scale * rng.uniform(-1, 1, (n, 2)), {"units": "m"}),
            "stiffness": ("batch", rng.uniform(1, 10, n), {"units": "N m-1"}),
        }
    )


def membrane():
    return Surrogate(Membrane(), domain={"load": Region.interval(-5.0, 5.0)})


def perceptron():
    domain = {"position": Region((((-1.0, -1.0), (1.0, 1.0)),)), "query": Region.interval(0.0, 2.0)}
    return Surrogate(Perceptron(), domain=domain)
