"""A network that turns with the box: linear theory, what smoothing and tide add, messages between neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from sciml_kernels.segment_reduce import segment_reduce
from torch import Tensor, nn

from sciml import FieldSpec, Network, Region, Spec
from sciml_cosmo.velocity.features import Features, View

UNIT = 100.0  # km/s, of what the readout returns
TYPICAL_DEGREE = 8.0
N_RADIAL = 8


def perceptron(n_in: int, n_hidden: int, n_out: int) -> nn.Sequential:
    """Return two linear layers with a smooth rectifier between them."""
    return nn.Sequential(nn.Linear(n_in, n_hidden), nn.SiLU(), nn.Linear(n_hidden, n_out))


class Exchange(nn.Module):
    """One round of messages: scalars and vectors of the neighbours, weighted by the distance and by themselves.

        h_i += sum_j a_ij,   V_i += sum_j (b_ij V_j + c_ij r_ij / |r_ij|),   (a, b, c)_ij = psi(h_j) * phi(|r_ij|),

    followed by h += xi(h, |P V|, P V . Q V) and V += gate(h) Q V at each node; a perceptron takes normalised h, and
    lengths and products through asinh, so that a rare fast node cannot make the next round overflow.

    *Source*: Schütt, Unke, Gastegger, ICML 2021 (PaiNN).

    *Departures*: what depends on the neighbour alone is computed once for each node; sums are over a typical number of
    neighbours, so that denser places weigh more.
    """

    def __init__(self, n_hidden: int) -> None:
        super().__init__()
        self.of_node = perceptron(n_hidden, n_hidden, 3 * n_hidden)
        self.of_distance = nn.Linear(N_RADIAL, 3 * n_hidden, bias=False)
        self.first, self.second = (nn.Linear(n_hidden, n_hidden, bias=False) for _ in range(2))
        self.update = perceptron(3 * n_hidden, n_hidden, 2 * n_hidden)
        self.before, self.after = nn.LayerNorm(n_hidden), nn.LayerNorm(n_hidden)

    def forward(self, h: Tensor, v: Tensor, edges: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return scalars (node, n_hidden) and vectors (node, axis, n_hidden) after the round."""
        source, pointer, radial, unit = edges
        a, b, c = (self.of_node(self.before(h)).index_select(0, source) * self.of_distance(radial)).chunk(3, -1)
        moved = b[:, None] * v.index_select(0, source) + c[:, None] * unit[:, :, None]
        arrived = segment_reduce(torch.cat([a, moved.flatten(1)], -1), pointer, "sum") / TYPICAL_DEGREE
        h = h + arrived[:, : a.shape[1]]
        v = v + arrived[:, a.shape[1] :].unflatten(1, v.shape[1:])
        p, q = self.first(v), self.second(v)
        length = (p.square().sum(1) + 1e-6).sqrt()
        seen = torch.cat([self.after(h), length.asinh(), (p * q).sum(1).asinh()], -1)
        change, gate = self.update(seen).chunk(2, -1)
        return h + change, v + gate[:, None] * q


def radial_basis(distance: Tensor, radius: float) -> Tensor:
    """Return sin(n pi r / R) / r with a smooth end at R: (edge, N_RADIAL).

    *Source*: Gasteiger, Gross, Günnemann, ICLR 2020, eq. 7, with the factor (1 + cos(pi r / R)) / 2.
    """
    n = torch.arange(1, N_RADIAL + 1, device=distance.device, dtype=distance.dtype)
    share = (distance / radius)[:, None]
    return torch.sin(math.pi * n * share) / (share + 1e-3) * (0.5 + 0.5 * torch.cos(math.pi * share)) / n.sqrt()


class EquivariantVelocity(Network):
    """Velocities of haloes: v = sum_c a_c(h) U_c, with U the flows of linear theory and vectors of the neighbourhood.

    Translating the box translates nothing else, rotating it rotates the velocities; in redshift space the rotations are
    those about the line of sight. The flows are linear theory with several smoothing lengths and weights, so that
    constants a_c are a learned isotropic filter of the painted field, applied by Fourier transforms: the long range.
    Scalars h of each node (contrasts, tides, masses) and messages between neighbours make the a_c local.

    Parameters
    ----------
    n_hidden, n_layer : scalars and vectors of a node, and rounds of messages.
    radius, smoothing, powers, betas : what is looked at; see `sciml_cosmo.velocity.features.View`.

    *Contract*: commutes with the symmetries of the cube and with translations by whole cells of its mesh to rounding;
    with other translations to the aliasing of the mesh, and the messages with every rotation and translation to
    rounding. Permuting the nodes permutes the velocities.
    """

    registered: ClassVar[str] = "cosmo.equivariant_velocity"
    not_exportable: ClassVar[str] = "the mesh and the edges of a cloud depend on its positions and the side of its box"
    supports: ClassVar[frozenset[str]] = frozenset()  # the side of the box shapes the mesh and is not differentiated
    centre: Tensor
    spread: Tensor
    unit: Tensor

    def __init__(self, n_hidden: int = 32, n_layer: int = 2, radius: float = 10.0,
                 smoothing: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0), powers: tuple[float, ...] = (0.0, 1.0),
                 betas: tuple[float, ...] = (0.0,)) -> None:  # fmt: skip
        super().__init__()
        self.view = View(radius, tuple(smoothing), tuple(powers), tuple(betas))
        self.size = (n_hidden, n_layer)
        n_scalar, n_vector = self.view.n_scalar, self.view.n_vector
        self.register_buffer("centre", torch.zeros(n_scalar))
        self.register_buffer("spread", torch.ones(n_scalar))
        self.register_buffer("unit", torch.ones(n_vector))
        self.linear = nn.Linear(n_vector, 1, bias=False)
        self.embed = perceptron(n_scalar + n_vector, 2 * n_hidden, n_hidden)
        self.enter = nn.Linear(n_vector, n_hidden, bias=False)
        self.rounds = nn.ModuleList(Exchange(n_hidden) for _ in range(n_layer))
        self.norm, self.readout = nn.LayerNorm(n_hidden), perceptron(n_hidden, 2 * n_hidden, n_hidden + n_vector)

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        view = self.view
        names = {"smoothing": list(view.smoothing), "powers": list(view.powers), "betas": list(view.betas)}
        return {"n_hidden": self.size[0], "n_layer": self.size[1], "radius": view.radius, **names}

    @property
    def spec(self) -> Spec:
        """Positions, side of the box and, where they are seen, masses in; velocities out."""
        above = Region.interval(0.0, math.inf)
        corner = Region((((0.0,) * 3, (math.inf,) * 3),))
        fields = [
            FieldSpec("position", ("batch", "node", "axis"), "Mpc", corner, "comoving, times h: numbers in Mpc/h"),
            FieldSpec("box_size", ("batch",), "Mpc", above, "side of the periodic box, times h"),
        ]
        if self.view.sees_mass:
            fields.append(FieldSpec("mass", ("batch", "node"), "1", above, "in Msun/h"))
        out = FieldSpec("velocity", ("batch", "node", "axis"), "km/s", None, "peculiar velocity")
        return Spec(tuple(fields), (out,))

    def start_from(self, seen: Sequence[Features], flow_weights: Tensor) -> None:
        """Take the scales of the inputs from training clouds, and begin as linear theory with a fitted filter.

        Parameters
        ----------
        seen : features of the training clouds.
        flow_weights : (flow,), km/s per Mpc/h; the network's velocities are the flows times these until it is trained.
        """
        scalars, vectors = torch.cat([one.scalars for one in seen]), torch.cat([one.vectors for one in seen])
        self.centre.copy_(scalars.mean(0))
        self.spread.copy_(scalars.std(0).clamp(min=1e-2))  # a scalar that is the same for all, as the count may be
        self.unit.copy_(vectors.square().mean((0, 2)).sqrt().clamp(min=1e-6))
        last = self.readout[-1]
        assert isinstance(last, nn.Linear)
        for tensor in (last.weight, last.bias, self.linear.weight):
            nn.init.zeros_(tensor)
        with torch.no_grad():
            self.linear.weight[0, : len(flow_weights)] = flow_weights * self.unit[: len(flow_weights)] / UNIT

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the velocities (batch, node, axis), box by box."""
        masses = inputs.get("mass") if self.view.sees_mass else None
        found = []
        for i, (positions, box_size) in enumerate(zip(inputs["position"], inputs["box_size"], strict=True)):
            side = float(box_size)
            features = self.view.look(positions % side, None if masses is None else masses[i], side)
            found.append(self.velocities(features))
        return {"velocity": torch.stack(found) if found else inputs["position"] * 0}

    def velocities(self, features: Features) -> Tensor:
        """Return the velocities (node, axis) in km/s of a cloud's features."""
        u = features.vectors.transpose(1, 2) / self.unit  # (node, axis, vector): channels are next to each other
        scalars = (features.scalars - self.centre) / self.spread
        length = (u.square().sum(1) + 1e-6).sqrt()
        h, v = self.embed(torch.cat([scalars, length.asinh()], -1)), self.enter(u)
        distance = (features.graph.vectors.square().sum(-1) + 1e-12).sqrt()
        radial = radial_basis(distance, self.view.radius)
        edges = (features.graph.edge_index[0], features.graph.pointer, radial,
                 features.graph.vectors / distance[:, None])  # fmt: skip
        for exchange in self.rounds:
            h, v = exchange(h, v, edges)
        local, shares = self.readout(self.norm(h)).split([self.size[0], self.view.n_vector], -1)
        shares = shares + self.linear.weight
        return UNIT * ((local[:, None] * v).sum(-1) + (shares[:, None] * u).sum(-1))
