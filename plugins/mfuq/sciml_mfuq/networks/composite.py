"""The composite network: a network of the cheap level, and a linear and a nonlinear map of it to the costly one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sciml.config import setting
from sciml.training import Loss, seeded
from sciml_mfuq.model import Predictor
from sciml_mfuq.networks.graph import columns_of, padded, parents_of
from sciml_mfuq.networks.net_fit import draw_rows, minimise, noise_variance
from sciml_mfuq.networks.nets import ROOT3, NetOptions, Nets
from sciml_mfuq.samples import Samples

N_CHUNK = 1024
"""Points that are predicted at a time."""
TRANSFERS = ("blend", "sum", "network")
FEATURES = ("value", "slopes", "delays")


@dataclass(frozen=True)
class CompositeOptions:
    """The form of the map from one level to the next, and how it is trained."""

    transfer: str = setting("blend", "blend: alpha F_nl + (1 - alpha) F_lin, sum: F_nl + F_lin, network: F_nl alone")
    features: str = setting("value", "what F sees of the level below: value, slopes too, or values at delays too")
    delay: float = setting(0.05, "of the delayed values, as a part of the width of each input")
    staged: bool = setting(True, "each level after the ones below it, instead of all together")
    net: NetOptions | None = setting(None, "networks; none: what suits the number of runs")
    decay: float = setting(
        1e-3, "lambda of the squared weights of F_nl; that of the cheap level's network is net.decay"
    )

    def __post_init__(self) -> None:
        if self.transfer not in TRANSFERS or self.features not in FEATURES or not self.delay > 0:
            raise ValueError(
                f"CompositeOptions: expected transfer among {', '.join(TRANSFERS)}, features among "
                f"{', '.join(FEATURES)} and delay > 0, got {self}; choose among these"
            )


class Stage(nn.Module):
    """One level: ``alpha F_nl(z) + (1 - alpha) F_lin(z)``, z its inputs and what it sees of the levels below.

    Parameters
    ----------
    n_input : columns of z.
    is_lowest : a network of its inputs alone, without the linear part.
    options : of the composite network, `net` set.
    generator : of initial weights; zeros where it is left out.
    """

    def __init__(self, n_input: int, is_lowest: bool, options: CompositeOptions,
                 generator: torch.Generator | None = None) -> None:  # fmt: skip
        super().__init__()
        assert options.net is not None
        self.transfer = "network" if is_lowest else options.transfer
        self.nets = Nets(n_input, options.net, generator)
        if self.transfer != "network":
            n_member, dtype = options.net.n_member, self.nets.dtype
            self.slope = nn.Parameter(torch.zeros(n_member, n_input, 1, dtype=dtype))
            self.offset = nn.Parameter(torch.zeros(n_member, 1, 1, dtype=dtype))
        if self.transfer == "blend":
            self.alpha = nn.Parameter(torch.full((n_member, 1), 0.5, dtype=dtype))

    def forward(self, z: Tensor) -> Tensor:
        """Map (member, batch, column) to (member, batch)."""
        nonlinear: Tensor = self.nets(z)
        if self.transfer == "network":
            return nonlinear
        linear = torch.baddbmm(self.offset, z, self.slope)[..., 0]
        return nonlinear + linear if self.transfer == "sum" else self.alpha * nonlinear + (1 - self.alpha) * linear


class Composite(Predictor):
    """An ensemble of composite networks; the mean and the standard deviation are those of its members.

        y_t = F_t(x, y_{t-1}),   F = alpha F_nl + (1 - alpha) F_lin,   alpha trained,
        loss = sum_t MSE_t + lambda sum W^2 over the networks of the lowest level and all F_nl

    Parameters
    ----------
    columns : of each level, the inputs of the truth that it sees.
    options : as `CompositeOptions`, or a mapping with its fields.
    generator : of initial weights; zeros where it is left out.

    *Source*: Meng and Karniadakis, J. Comput. Phys. 401 (2020) 109020, section 2; the blend: arXiv 2410.14764.
    *Departures*: an ensemble from different initial weights; inputs and outputs standardized; lambda smaller as the
    losses are relative; slopes and delays along every input; any number of levels. The published form is
    ``CompositeOptions(transfer="sum", net=NetOptions(n_member=1))``.
    """

    engine: ClassVar[str] = "composite"
    box: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, columns: Sequence[Sequence[int]], options: CompositeOptions | Mapping[str, Any],
                 generator: torch.Generator | None = None) -> None:  # fmt: skip
        super().__init__()
        if isinstance(options, Mapping):
            options = CompositeOptions(**{**options, "net": NetOptions(**options["net"])})
        self.options, self.columns = options, [tuple(one) for one in columns]
        self.parents = parents_of(self.columns)
        self.stages = nn.ModuleList()
        for seen, parents in zip(self.columns, self.parents, strict=True):
            n_input = len(seen) + sum(self._n_column(parent) for parent in parents)
            self.stages.append(Stage(n_input, not parents, options, generator))
        self.register_buffer("box", torch.zeros(len(self.columns[-1]), 2, dtype=torch.float64))
        self.register_buffer("centre", torch.zeros(len(self.columns), dtype=torch.float64))
        self.register_buffer("scale", torch.ones(len(self.columns), dtype=torch.float64))

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""
        return {"columns": [list(one) for one in self.columns], "options": asdict(self.options)}

    def _n_column(self, level: int) -> int:
        return 1 + {"value": 0, "slopes": 1, "delays": 2}[self.options.features] * len(self.columns[level])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (batch, feature), raw units, to mean and standard deviation (batch,) of the members."""
        said = torch.cat([self.members(part) for part in x.split(N_CHUNK)], 1)
        mean = said.mean(0)
        variance = (said - mean).square().sum(0) / max(1, len(said) - 1)
        return mean, variance.clamp_min(1e-24 * self.scale[-1].square()).sqrt()

    def members(self, x: Tensor) -> Tensor:
        """Map points (batch, feature), raw units, to what each member says of the truth, (member, batch)."""
        said = self.standard(self.points(x), len(self.stages) - 1)
        return self.centre[-1] + self.scale[-1] * said.to(torch.float64)

    def points(self, x: Tensor) -> Tensor:
        """Return points (batch, feature) as the networks see them, (member, batch, feature)."""
        low, high = self.box.T
        u = ROOT3 * (2 * (x - low) / (high - low) - 1)
        nets = self.stages[0].nets
        assert isinstance(nets, Nets)
        return u.to(nets.dtype).expand(len(nets.weights[0]), *u.shape)

    def standard(self, u: Tensor, level: int) -> Tensor:
        """Return the standardized output (member, batch) of a level at points (member, batch, feature)."""
        return self.stages[level](self.inputs(u, level))

    def inputs(self, u: Tensor, level: int) -> Tensor:
        """Return what a level sees, (member, batch, column): its inputs, and the levels below as `features` says."""
        parts = [u[..., list(self.columns[level])]]
        for parent in self.parents[level]:
            parts.append(self.standard(u, parent)[..., None])
            if self.options.features == "slopes":
                parts.append(self._slopes(u, parent))
            elif self.options.features == "delays":
                parts += self._delayed(u, parent)
        return torch.cat(parts, -1)

    def _slopes(self, u: Tensor, level: int) -> Tensor:
        keeps = torch.is_grad_enabled()
        with torch.enable_grad():
            point = u if u.requires_grad else u.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.standard(point, level).sum(), point, create_graph=keeps)
        return slope[..., list(self.columns[level])]

    def _delayed(self, u: Tensor, level: int) -> list[Tensor]:
        found = []
        for column in self.columns[level]:
            step = torch.zeros_like(u[0, 0])
            step[column] = 2 * ROOT3 * self.options.delay
            found += [self.standard(u - step, level)[..., None], self.standard(u + step, level)[..., None]]
        return found


def fit_composite(samples: Samples, *, seed: int, options: CompositeOptions = CompositeOptions()) -> Composite:
    """Fit an ensemble of composite networks.

    Parameters
    ----------
    samples : of one output.
    seed : of weights and batches.
    options : form and training.
    """
    net = options.net or NetOptions.suited(len(samples.levels[0].x), samples.n_feature)
    options = replace(options, net=replace(net, held_out=0.0, trend="none"))
    model = Composite(columns_of(samples), options, seeded(seed, "weights"))
    model.box = torch.as_tensor(samples.bounds)
    model.centre = torch.tensor([float(level.y.mean()) for level in samples.levels], dtype=torch.float64)
    spread = [float(level.y.std()) or 1.0 for level in samples.levels]
    model.scale = torch.tensor(spread, dtype=torch.float64)
    losses = [_level_loss(model, samples, number, net) for number in range(len(samples.levels))]
    if options.staged:
        for stage in model.stages:
            stage.requires_grad_(False)
        for number, stage in enumerate(model.stages):
            stage.requires_grad_(True)
            minimise(model, losses[number], net, seed)
            stage.requires_grad_(False)
        model.requires_grad_(True)
    else:
        minimise(
            model, lambda module, generator: torch.stack([one(module, generator) for one in losses]).sum(), net, seed
        )
    model.noise_std = noise_variance(samples.truth).mean().sqrt()
    return model


def _level_loss(model: Composite, samples: Samples, number: int, net: NetOptions) -> Loss:
    """Return the loss of one level: weighted mean squares, and lambda times the squared weights of its network."""
    level = samples.levels[number]
    u = model.points(torch.as_tensor(padded(level, samples.n_feature)))
    target = ((torch.as_tensor(level.y) - model.centre[number]) / model.scale[number]).to(u.dtype)
    relative = noise_variance(level) / model.scale[number].square()
    weight = (1 / (relative + 0.01)).to(u.dtype)
    weight = weight / weight.mean()
    n_run, stage = len(target), model.stages[number]
    wanted = model.options.decay if model.parents[number] else net.decay
    decay = max(wanted, float(relative.mean()) / n_run)
    assert isinstance(stage, Stage)

    def loss(module: nn.Module, generator: torch.Generator) -> Tensor:
        rows = draw_rows(n_run, net, generator)
        points = u if rows is None else u.gather(1, rows[..., None].expand(-1, -1, u.shape[2]))
        chosen = slice(None) if rows is None else rows
        error = (model.standard(points, number) - target[chosen]).square() * weight[chosen]
        return error.mean(-1).sum() + decay * stage.nets.decay()

    return loss
