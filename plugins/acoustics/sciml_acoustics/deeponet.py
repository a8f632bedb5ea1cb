"""The published DeepONet for room acoustics, with each of its defects behind a named option.

``p(x, t; x_s) = sum_k b_k(u) t_k(x, t) + b_0``: the branch b takes the initial pulse u sampled on a uniform grid, the
trunk t takes position and time.

*Source*: Borrel-Jensen, Goswami, Engsig-Karup, Karniadakis and Jeong, PNAS 121 (2024), doi 10.1073/pnas.2312159120;
their code is dtu-act/deeponet-acoustic-wave-prop (MIT). With ``fixes=()`` here and in `deeponet_fit.DeepONetFit` this
is that method. What is wrong or wasteful there, and what to do about it:

- Time is scaled by ``c / (2 L)`` but space by ``2 / L``, so the trunk sees waves four times slower in time than in
  space. Fix ``"isotropic_time"``: ``2 c / L`` for both.
- Hidden weights start as for a SIREN, 30 times smaller than usual, but hidden layers lack the factor 30 that makes up
  for it. Fix ``"siren_hidden"``.
- The pressure depends linearly on the pulse, which the branch has to learn. Fix ``"linear_branch"``: one linear layer
  without bias, and no b_0, so that the network is linear in the pulse exactly.
- Each source of a step draws coordinates of its own, so the trunk is evaluated for each loss term anew. Fix
  ``"shared_coordinates"`` of the fit.
- The target keeps its size, a few hundredths of the peak. Fix ``"unit_variance"`` of the fit.
- Gradients are clipped to a global norm of 0.01, which AdamW undoes except for its eps = 1e-8: at the start the norm
  is near 1 and the first layers' entries near 1e-8 (width 2048), so clipped they are far below eps and those layers
  hardly move. Fix ``"no_clip"`` of the fit; ``"siren_hidden"`` makes these gradients 30 times larger.
- The rate still is 0.9^(n/2000) of the first one at the end. Fix ``"cosine"`` of the fit.
- The branch input is scaled by a fixed range in training and by an estimated one in inference; inference from a source
  position makes pulses of amplitude 1 for data of amplitude 2; the key `optimizer` is read and ignored. Mended for
  good: range and amplitude are part of the configuration, the optimizer is the one asked for.

The fixes are offered to be compared: which of them pay depends on the budget.

*Departures*. Rooms are unions of boxes; coordinates are scaled by the lowest and highest coordinate of all axes, as
published. Positional features apply f in hertz to *scaled* coordinates, as published: in metres they have the
frequency 2 f / L, which is f for a span L of 2 m only. Weights are drawn from torch's generator. Sampling: see
`deeponet_fit`. *Not implemented*: the convolutional (ResNet) branch, self-adaptive loss weights (the published ones
multiply the prediction instead of the residual and are indexed out of range), and transfer of trained layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from sciml_kernels.branch_trunk import branch_trunk
from torch import Tensor, nn

from sciml import Network, Region, Spec
from sciml.config import setting
from sciml.training import seeded
from sciml_acoustics.data import Medium, room_spec
from sciml_acoustics.deeponet_nets import Hidden, Mlp, ModMlp, linear, positional_features

NETS = {"mlp": Mlp, "mod-mlp": ModMlp}
FIXES = ("isotropic_time", "siren_hidden", "linear_branch")
CHUNK = 2**22  # numbers of one trunk layer evaluated at once, 16 MB in single precision


def check_fixes(where: str, fixes: Sequence[str], known: Sequence[str]) -> None:
    """Raise a ValueError that names the first of `fixes` that is not `known`."""
    for name in fixes:
        if name not in known:
            raise ValueError(f"{where}: expected fixes among {', '.join(known)}, got {name!r}; correct or remove it")


@dataclass(frozen=True)
class DeepONetOptions:
    """The networks and their inputs; the defaults are the published 2-D ones (rect.json)."""

    architecture: str = setting("mod-mlp", "net of branch and trunk: mod-mlp or mlp")
    activation: str = setting("sin", "activation: sin, tanh or relu")
    n_layers: int = setting(2, "hidden layers of branch and of trunk")
    width: int = setting(2048, "units of a hidden layer")
    n_outputs: int = setting(100, "basis functions")
    features_hz: tuple[float, ...] = setting((500.0, 250.0, 167.0), "positional features", unit="Hz")
    sensors_per_wavelength: float = setting(2.0, "branch samples per shortest wavelength")
    pulse_range: tuple[float, float] = setting((-2.0, 2.0), "pressure that is scaled to [-1, 1]", unit="Pa")
    fixes: tuple[str, ...] = setting((), "departures from the paper: isotropic_time, siren_hidden, linear_branch")

    def __post_init__(self) -> None:
        for name in ("features_hz", "pulse_range", "fixes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        where = "DeepONetOptions"
        check_fixes(where, self.fixes, FIXES)
        if self.architecture not in NETS:
            raise ValueError(f"{where}: expected architecture {', '.join(NETS)}, got {self.architecture!r}")
        if self.n_outputs < 1 or not self.sensors_per_wavelength > 0.0:
            raise ValueError(f"{where}: expected n_outputs >= 1 and sensors_per_wavelength > 0, got {self}")
        if len(self.pulse_range) != 2 or not self.pulse_range[0] < self.pulse_range[1]:
            raise ValueError(f"{where}: expected pulse_range (low, high) with low < high, got {self.pulse_range}")
        if "linear_branch" in self.fixes and self.pulse_range[0] != -self.pulse_range[1]:
            raise ValueError(
                f"{where}: expected a pulse_range (-a, a) with linear_branch, got {self.pulse_range}; make it symmetric"
            )
        self.hidden  # noqa: B018  # its own checks, now rather than when the network is built

    @property
    def hidden(self) -> Hidden:
        """Hidden layers of the nets."""
        return Hidden(self.n_layers, self.width, self.activation, "siren_hidden" in self.fixes)


def sensor_grid(low: Sequence[float], high: Sequence[float], spacing: float) -> np.ndarray:
    """Return a uniform grid (sensor, axis) in metres over the box from `low` to `high`, its faces included.

    An axis of length l has ``ceil(l / spacing)`` points, so their distance is slightly above `spacing`, as published.
    """
    counts = [max(2, math.ceil((b - a) / spacing - 1e-9)) for a, b in zip(low, high, strict=True)]
    axes = [np.linspace(a, b, n) for a, b, n in zip(low, high, counts, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(counts))


class DeepONet(Network):
    """Pressure of a Gaussian pulse at receivers and times: ``p(x, t) = s (sum_k b_k(u) t_k(x, t) + b_0)``.

    Parameters
    ----------
    boxes : the room, pairs (low, high) of corners in metres, 1-D to 3-D.
    medium : air and pulse, or its fields as a mapping.
    options : the nets, or their fields as a mapping.
    seed : of the initial weights.

    *Contract*: with the fix "linear_branch", linear in the initial pressure. The scale s (`pressure_scale`, Pa) is 1
    unless the fit sets it.
    """

    registered: ClassVar[str] = "acoustics.deeponet"
    sensor_position: Tensor
    wavenumbers: Tensor
    pressure_scale: Tensor

    def __init__(
        self,
        boxes: Sequence[Sequence[Sequence[float]]],
        medium: Medium | Mapping[str, Any] | None = None,
        options: DeepONetOptions | Mapping[str, Any] | None = None,
        seed: int = 1,
    ) -> None:
        super().__init__()
        self.medium = medium if isinstance(medium, Medium) else Medium(**(medium or {}))
        self.options = options if isinstance(options, DeepONetOptions) else DeepONetOptions(**(options or {}))
        self.region = Region(tuple((tuple(low), tuple(high)) for low, high in boxes))
        self.seed = int(seed)
        corners = np.array(self.region.boxes)
        self._low, self._span = float(corners.min()), float(corners.max() - corners.min())
        if not self._span > 0.0:
            raise ValueError(f"DeepONet: expected a room of positive size, got boxes {self.region}; check the corners")
        spacing = self.medium.c / (self.medium.f_max * self.options.sensors_per_wavelength)
        sensors = sensor_grid(corners[:, 0].min(axis=0), corners[:, 1].max(axis=0), spacing)
        wavenumbers = 2.0 * np.pi * np.array(self.options.features_hz) / self.medium.c
        self.register_buffer("sensor_position", torch.tensor(sensors, dtype=torch.float32))
        self.register_buffer("wavenumbers", torch.tensor(wavenumbers, dtype=torch.float32))
        self.register_buffer("pressure_scale", torch.tensor(1.0, dtype=torch.float32))
        self.branch, self.trunk = self._nets(len(sensors))
        self.offset = (
            None if "linear_branch" in self.options.fixes else nn.Parameter(torch.zeros(1, dtype=torch.float32))
        )

    def _nets(self, n_sensors: int) -> tuple[nn.Module, nn.Module]:
        options, n_points = self.options, self.region.n_dims + 1
        net, generators = NETS[options.architecture], (seeded(self.seed, "branch"), seeded(self.seed, "trunk"))
        trunk = net(n_points * (1 + 2 * len(options.features_hz)), options.n_outputs, options.hidden, generators[1])
        if "linear_branch" in options.fixes:
            bound = math.sqrt(6.0 / n_sensors)
            return linear(n_sensors, options.n_outputs, bound, generators[0], bias=False), trunk
        return net(n_sensors, options.n_outputs, options.hidden, generators[0]), trunk

    @property
    def spec(self) -> Spec:
        """Source and receiver positions and times in, pressure out."""
        return room_spec(self.region.n_dims, self.region)

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""
        options = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self.options).items()}
        boxes = [[list(low), list(high)] for low, high in self.region.boxes]
        return {"boxes": boxes, "medium": asdict(self.medium), "options": options, "seed": self.seed}

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Map source_position (source, axis), receiver_position (receiver, axis), m, and time (time,), s, to pressure.

        Returns
        -------
        pressure : (source, receiver, time), Pa.
        """
        receiver, time = inputs["receiver_position"], inputs["time"]
        shape = (receiver.shape[0], time.shape[0])
        points = self.scaled(receiver[:, None].expand(*shape, -1), time.expand(shape)).flatten(0, 1)
        n_chunk = points.shape[0] if torch.compiler.is_exporting() else max(1, CHUNK // self.options.width)
        pieces = [self.trunk_functions(part) for part in points.split(n_chunk)]
        coefficients = self.coefficients(self.pulses(inputs["source_position"]))
        out = branch_trunk(coefficients, torch.cat(pieces), offset=self.offset)
        return {"pressure": self.pressure_scale * out.reshape(coefficients.shape[0], *shape)}

    def pulses(self, source_position: Tensor) -> Tensor:
        """Return the initial pressure (source, sensor) in Pa of sources (source, axis) in m."""
        squares = (source_position[:, None] - self.sensor_position).square().sum(-1)
        return self.medium.amplitude * torch.exp(-squares / self.medium.sigma0**2)

    def coefficients(self, initial_pressure: Tensor) -> Tensor:
        """Return the branch's coefficients (source, basis) of initial pressures (source, sensor) in Pa."""
        low, high = self.options.pulse_range
        coefficients: Tensor = self.branch(2.0 / (high - low) * initial_pressure - (high + low) / (high - low))
        return coefficients

    def scaled(self, position: Tensor, time: Tensor) -> Tensor:
        """Return positions (..., axis) in m and times (...) in s as scaled coordinates (..., axis + 1)."""
        space = 2.0 * (position - self._low) / self._span - 1.0
        factor = (2.0 if "isotropic_time" in self.options.fixes else 0.5) * self.medium.c / self._span
        return torch.cat([space, factor * time[..., None]], dim=-1)

    def trunk_functions(self, points: Tensor) -> Tensor:
        """Return the basis functions (..., basis) at scaled coordinates (..., axis + 1)."""
        functions: Tensor = self.trunk(positional_features(points, self.wavenumbers))
        return functions
