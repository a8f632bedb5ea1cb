"""What the equivariant network sees of a cloud: scalars, vectors and a graph, all without a place or a direction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from sciml_cosmo.graph import Neighbours, periodic_radius_graph
from sciml_cosmo.velocity.mesh_fields import Mesh, fields_at

CELLS = 1.25  # mesh points along the least smoothing length
UNIT = 10.0  # Mpc/h, of the number density


@dataclass(frozen=True, eq=False)
class Features:
    """The inputs of the network.

    Parameters
    ----------
    scalars : (node, scalar)
        Unchanged by rotations.
    vectors : (node, vector, axis)
        Rotated with the box; the first are the linear flow in Mpc/h.
    graph : Neighbours
        Pairs closer than the radius.
    """

    scalars: Tensor
    vectors: Tensor
    graph: Neighbours


@dataclass(frozen=True)
class View:
    """What is looked at.

    Parameters
    ----------
    radius
        Of the graph, Mpc/h.
    smoothing
        Lengths of the painted fields, Mpc/h.
    powers
        Powers of the mass that the nodes are painted with; ``(0.0,)`` leaves masses unseen.
    betas
        Of Kaiser's factor: ``(0.0,)`` in real space, several in redshift space, where the line of sight is seen too.
    """

    radius: float = 10.0
    smoothing: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0)
    powers: tuple[float, ...] = (0.0, 1.0)
    betas: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        for name in ("smoothing", "powers", "betas"):
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))

    @property
    def sees_mass(self) -> bool:
        """Whether masses are looked at."""
        return any(self.powers)

    @property
    def in_redshift_space(self) -> bool:
        """Whether the line of sight is looked at."""
        return any(self.betas)

    @property
    def n_scalar(self) -> int:
        """Scalars of a node: contrasts and tides, mass over mean mass, and last the number density of the cloud."""
        return 2 * len(self.powers) * len(self.smoothing) + self.sees_mass + 1

    @property
    def n_flow(self) -> int:
        """Vectors that are flows of linear theory, the first of all."""
        return len(self.powers) * len(self.smoothing) * len(self.betas)

    @property
    def n_vector(self) -> int:
        """Vectors of a node: flows, flows times tides, the line of sight."""
        return self.n_flow + len(self.powers) * len(self.smoothing) + self.in_redshift_space

    def look(self, positions: Tensor, masses: Tensor | None, box_size: float, line: Tensor | None = None) -> Features:
        """Return the features of a cloud.

        Parameters
        ----------
        positions : (node, axis), Mpc/h, in [0, box_size).
        masses : (node,), in any unit, as only their ratios count; None where they are not seen.
        box_size : Mpc/h.
        line : (axis,), unit vector of the line of sight; by default the third axis.
        """
        line = positions.new_tensor([0.0, 0.0, 1.0]) if line is None else line
        relative = torch.ones_like(positions[:, 0]) if masses is None else masses / masses.mean()
        weights = torch.stack([relative**power for power in self.powers])
        mesh = Mesh(next_fast_len(int(-(-CELLS * box_size // min(self.smoothing))), real=True))
        found = fields_at(
            positions, weights, box_size, self.smoothing, mesh=mesh, betas=self.betas,
            line=line if self.in_redshift_space else None, tide=True,
        )  # fmt: skip
        flow, tide = found.flow, found.tide
        strength = torch.linalg.matrix_norm(tide)
        second = torch.einsum("csnab,csnb->csna", tide, flow[:, :, 0]) / (1 + strength)[..., None]
        vectors = [flow.flatten(0, 2), second.flatten(0, 1)]
        if self.in_redshift_space:
            vectors.append(line.expand(1, len(positions), 3))
        scalars = [*torch.asinh(found.contrast).flatten(0, 1), *torch.asinh(strength).flatten(0, 1)]
        if self.sees_mass:
            scalars.append(relative.log())
        scalars.append(torch.full_like(relative, math.log(len(positions) / (box_size / UNIT) ** 3)))
        graph = periodic_radius_graph(positions, box_size, self.radius)
        return Features(torch.stack(scalars, -1), torch.cat(vectors).transpose(0, 1), graph)
