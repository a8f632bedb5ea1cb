"""The recommended model as a surrogate: positions of a fixed number of haloes in, parameters with their errors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sciml import FieldSpec, Network, Region, Spec
from sciml_cosmo.clustering.two_point import correlation
from sciml_cosmo.parameters.features import PRIOR, shaped
from sciml_cosmo.parameters.graphs import Surroundings, join, make_graph
from sciml_cosmo.parameters.hybrid import MEMBERS, Fitted
from sciml_cosmo.parameters.leak import TARGETS
from sciml_cosmo.parameters.linear import Array
from sciml_cosmo.parameters.nets import FeatureNet, GraphNet

MEANING = {
    "Omega_m": "matter over critical density today",
    "sigma_8": "deviation of the linear density in spheres of 8 Mpc/h",
}


class CosmologyNet(Network):
    """The weighted mean of a perceptron on the correlation function, a graph network, and one that sees both.

    m = sum_k w_k m_k, s^2 = f^2 (sum_k w_k (s_k^2 + m_k^2) - m^2), weights w for each parameter.

    Parameters
    ----------
    box
        Side, Mpc/h, and number of nodes: ``{"side": 100.0, "n_node": 512}``. Other numbers of nodes are refused: the
        same cosmology has another correlation function at another number density.
    edges : (edge,)
        Bins of separation, Mpc/h.
    form
        Of the correlation function, "log" or "signed".
    around
        Of :class:`~sciml_cosmo.parameters.graphs.Surroundings`, by name.
    members
        Constructor arguments of the three networks, by name.

    *Contract*: invariant under shifts on the torus, permutations and reflections of axes, and permutations of nodes.
    """

    registered: ClassVar[str] = "cosmo.parameters"
    supports: ClassVar[frozenset[str]] = frozenset()  # counts of pairs have no gradient
    not_exportable: ClassVar[str] = "pairs are counted and neighbours found outside torch, as many as there are"
    weights: Tensor
    factor: Tensor

    def __init__(self, box: Mapping[str, Any], edges: Sequence[float], form: str, around: Mapping[str, Any],
                 members: Mapping[str, Mapping[str, Any]]) -> None:  # fmt: skip
        super().__init__()
        self._config: dict[str, Any] = {
            "box": dict(box), "edges": [float(edge) for edge in edges], "form": form, "around": dict(around),
            "members": {name: dict(members[name]) for name in MEMBERS},
        }  # fmt: skip
        self.side, self.n_node = float(box["side"]), int(box["n_node"])
        self.features = FeatureNet(**members[MEMBERS[0]])
        self.graph, self.joint = (GraphNet(**members[name]) for name in MEMBERS[1:])
        self.register_buffer("weights", torch.full((len(MEMBERS), len(TARGETS)), 1 / len(MEMBERS)))
        self.register_buffer("factor", torch.ones(len(TARGETS)))

    @classmethod
    def of(cls, fitted: Fitted, side: float, n_node: int, edges: Array, around: Surroundings) -> CosmologyNet:
        """Return the network of fitted members for `n_node` nodes in a box of this `side`."""
        nets = {name: fitted.networks[name].network for name in MEMBERS}
        members: dict[str, Any] = {name: net.settings for name, net in nets.items()}
        box = {"side": side, "n_node": n_node}
        network = cls(box, edges.tolist(), fitted.chosen.form, asdict(around), members)
        for place, net in zip((network.features, network.graph, network.joint), nets.values(), strict=True):
            place.load_state_dict(net.state_dict())
        network.weights.copy_(torch.as_tensor(fitted.chosen.weights))
        network.factor.copy_(torch.as_tensor(fitted.factor))
        return network

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain values."""
        return self._config

    @property
    def spec(self) -> Spec:
        """Positions along three axes; both parameters with their standard errors."""
        inside = Region((((0.0,) * self.n_node, (self.side,) * self.n_node),))
        about = f"comoving position along this axis, of {self.n_node} haloes, with lengths in Mpc/h taken as Mpc"
        outputs = []
        for name in TARGETS:
            outputs.append(FieldSpec(name, ("batch",), "1", None, MEANING[name]))
            outputs.append(FieldSpec(f"{name}_std", ("batch",), "1", None, f"Standard error of {name}"))
        return Spec(tuple(FieldSpec(axis, ("batch", "node"), "Mpc", inside, about) for axis in "xyz"), tuple(outputs))

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Map positions x, y, z (batch, node) to parameters and their standard errors (batch,)."""
        positions = torch.stack([inputs[axis] for axis in "xyz"], -1).detach().double().cpu().numpy() % self.side
        positions[positions >= self.side] = 0.0
        if positions.shape[1] != self.n_node:
            got = f"{positions.shape[1]}; keep the heaviest {self.n_node}"
            raise ValueError(f"CosmologyNet: expected {self.n_node} nodes, got {got}")
        edges, around = np.array(self._config["edges"]), Surroundings(**self._config["around"])
        xi = np.array([correlation(cloud, self.side, edges) for cloud in positions])
        seen = torch.as_tensor(shaped(xi, self._config["form"])).to(self.factor)
        graph = join([make_graph(cloud, self.side, around) for cloud in positions]).to(self.factor)
        answers = self.features(seen), self.graph(graph), self.joint(graph, seen)
        mean, second = torch.zeros_like(answers[0][0]), torch.zeros_like(answers[0][0])
        for weight, (m, s) in zip(self.weights, answers, strict=True):
            mean, second = mean + weight * m, second + weight * (s**2 + m**2)
        std = self.factor * (second - mean**2).clamp(min=1e-12).sqrt()
        low, high = torch.as_tensor(PRIOR).to(self.factor)
        mean, std = (low + high) / 2 + mean.clamp(-1, 1) * (high - low) / 2, std * (high - low) / 2
        found = {name: mean[:, i] for i, name in enumerate(TARGETS)}
        return found | {f"{name}_std": std[:, i] for i, name in enumerate(TARGETS)}
