"""The two-step operator: a closed-form linear branch, then a neural trunk that sees the receiver only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sciml_kernels.branch_trunk import branch_trunk

from sciml import Region
from sciml.training import FitOptions, FitState, cosine, fit, seeded
from sciml_acoustics.branch import RoomNetwork, sensor_grid
from sciml_acoustics.data import Waves
from sciml_acoustics.linear import source_factors
from sciml_acoustics.subspace import Subspace


class SineTrunk(torch.nn.Module):
    """Neurons sin(k_j . x + phase_j): plane waves whose wave vectors and phases are trained, then mixed linearly.

    Parameters
    ----------
    centre : middle of the room (axis,), m.
    n_neurons, n_outputs : widths of the hidden and the output layer.
    """

    centre: torch.Tensor
    output: torch.Tensor

    def __init__(self, centre: Sequence[float], n_neurons: int, n_outputs: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32), persistent=False)
        self.register_buffer("output", torch.zeros(n_neurons, n_outputs))
        self.wave_vector = torch.nn.Parameter(torch.zeros(len(centre), n_neurons))
        self.phase = torch.nn.Parameter(torch.zeros(n_neurons))

    def initialise(self, k_max: float, generator: torch.Generator) -> None:
        """Draw wave vectors uniformly from the ball |k| <= k_max (rad/m), the band of the data, and any phase."""
        n_axis, n_neurons = self.wave_vector.shape
        direction = torch.randn(n_axis, n_neurons, generator=generator)
        radius = k_max * torch.rand(n_neurons, generator=generator) ** (1.0 / n_axis)
        with torch.no_grad():
            self.wave_vector.copy_(direction / direction.norm(dim=0) * radius)
            self.phase.copy_(2.0 * math.pi * torch.rand(n_neurons, generator=generator))

    def hidden(self, position: torch.Tensor) -> torch.Tensor:
        """Return the neurons (receiver, neuron) at positions (receiver, axis), m."""
        return torch.sin(
            (position - self.centre.to(position)) @ self.wave_vector.to(position) + self.phase.to(position)
        )

    def forward(self, position: torch.Tensor) -> torch.Tensor:
        """Return the outputs (receiver, output)."""
        return self.hidden(position) @ self.output.to(position)


class TwoStep(RoomNetwork):
    """Impulse responses from a linear branch and a trunk that emits the whole time vector of a receiver.

        p(s, x, t) = sum_k b_k(s) sum_r W[t, k, r] phi_r(x),   phi = trunk(x)

    Step one is closed-form: the singular value decomposition of the training responses and a ridge regression of their
    source coefficients on the sampled pulse. Step two trains the trunk alone, on functions of position.

    Parameters
    ----------
    boxes : the room as boxes (low, high), m.
    sensors : (sensor, axis) positions at which the pulse is sampled, m.
    pulse : width sigma0 (m) and peak (Pa).
    time : output times, s.
    ranks : numbers of source coefficients and of trunk outputs.
    n_neurons : width of the trunk.

    *Source*: two-step training, Lee and Shin, SIAM J. Sci. Comput. 46 (2024).
    *Departures*: the branch is linear, as the wave equation is in its initial condition; the trunk sees no time, its
    output layer is solved for instead of trained (variable projection, Golub and Pereyra 1973).
    """

    registered: ClassVar[str] = "acoustics.two_step"
    core: torch.Tensor

    def __init__(
        self,
        boxes: Sequence[Any],
        sensors: ArrayLike,
        pulse: Sequence[float],
        time: ArrayLike,
        ranks: Sequence[int],
        n_neurons: int,
    ) -> None:
        super().__init__(boxes, sensors, pulse, ranks[0], time=time, ranks=ranks, n_neurons=n_neurons)
        centre = [(a + b) / 2 for a, b in zip(*self.region.bounding_box, strict=True)]
        self.trunk = SineTrunk(centre, n_neurons, ranks[1])
        self.register_buffer("core", torch.zeros(len(self.config["time"]), ranks[0], ranks[1]))

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the pressure (source, receiver, time)."""
        phi = self.trunk(inputs["receiver_position"])
        branch = self.branch(inputs["source_position"])
        return {"pressure": branch_trunk(branch, phi, self.core.to(phi))}


def neuron_count(room: Region, k_max: float, margin: float, surplus: float = 1.15) -> int:
    """Return how many plane waves the band needs: Weyl's count of modes in the widened box, times `surplus`."""
    low, high = room.bounding_box
    volume = math.prod(b - a + 2.0 * margin for a, b in zip(low, high, strict=True))
    ball = math.pi ** (room.n_dims / 2) / math.gamma(room.n_dims / 2 + 1)
    return math.ceil(surplus * ball * volume * (k_max / (2.0 * math.pi)) ** room.n_dims)


class _TrunkLoss:
    """Share of the weighted targets that the best output layer cannot reach: the variable-projection functional."""

    def __init__(self, waves: Waves, subspace: Subspace) -> None:
        self.position = torch.as_tensor(waves.node_position, dtype=torch.float64)
        self.root = torch.as_tensor(np.sqrt(waves.node_weight / waves.node_weight.mean()))[:, None]
        targets = torch.as_tensor(subspace.shapes * subspace.strength) * self.root
        self.targets = targets / targets.square().sum().sqrt()
        self.unscale = torch.as_tensor(subspace.strength)
        self.norm = (torch.as_tensor(subspace.shapes * subspace.strength) * self.root).square().sum().sqrt()

    def solve(self, trunk: SineTrunk) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the output layer (neuron, output) for the scaled targets, and the residual."""
        hidden = trunk.hidden(self.position) * self.root
        gram = hidden.T @ hidden
        ridge = 1e-9 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        output = torch.linalg.solve(gram + ridge, hidden.T @ self.targets)
        return output, hidden @ output - self.targets

    def __call__(self, module: torch.nn.Module, generator: torch.Generator) -> torch.Tensor:
        assert isinstance(module, SineTrunk)
        return self.solve(module)[1].square().sum()

    def finish(self, trunk: SineTrunk) -> None:
        """Write the solved output layer, in the units of the shapes, into the trunk."""
        with torch.no_grad():
            trunk.output.copy_(self.solve(trunk)[0] * self.norm / self.unscale)


def prepare_two_step(
    waves: Waves, subspace: Subspace, room: Region, band: tuple[float, float], ppw: float, rank: int, seed: int
) -> TwoStep:
    """Return the operator with its closed-form branch and an untrained trunk whose output layer is solved for."""
    sensors = sensor_grid(*room.bounding_box, ppw, waves.medium)
    weights, core, _ = source_factors(waves, subspace, sensors, rank)
    medium = waves.medium
    ranks = (weights.shape[1], subspace.shapes.shape[1])
    n_neurons = neuron_count(room, band[0], band[1])
    network = TwoStep(room.boxes, sensors, (medium.sigma0, medium.amplitude), waves.time, ranks, n_neurons)
    network.branch.weight.copy_(torch.as_tensor(weights))
    network.core.copy_(torch.as_tensor(core.copy()))
    network.trunk.initialise(band[0], seeded(seed, "two-step trunk"))
    _TrunkLoss(waves, subspace).finish(network.trunk)
    return network


def train_trunk(
    network: TwoStep,
    waves: Waves,
    subspace: Subspace,
    *,
    n_steps: int,
    budget_cpu_s: float | None = None,
    seed: int = 1,
    checkpoint: Path | None = None,
    on_state: Callable[[FitState], None] | None = None,
) -> list[FitState]:
    """Train wave vectors and phases by Adam on all nodes at once; solve for the output layer at the end."""
    loss = _TrunkLoss(waves, subspace)
    trunk = network.trunk
    optimizer = torch.optim.Adam(
        [{"params": [trunk.wave_vector], "lr": 2e-2}, {"params": [trunk.phase], "lr": 2e-3}], betas=(0.9, 0.99)
    )
    options = FitOptions(schedule=cosine(n_steps, warmup=10), checkpoint=checkpoint, every=25)
    states = []
    for state in fit(trunk, loss, optimizer, n_steps=n_steps, seed=seed, budget_cpu_s=budget_cpu_s, options=options):
        states.append(state)
        if on_state is not None:
            on_state(state)
    loss.finish(trunk)
    return states
