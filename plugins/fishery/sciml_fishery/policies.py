"""Harvest policies of every family under one contract: what is seen and the year in, the fractions to fish out.

Each is a network of the toolkit: it saves with all it needs, scaling included, and loads to the same answers. Its
numbers are in the units of the stock; the observation is never scaled outside.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from sciml_kernels.rollout.reference import escapement
from torch import Tensor, nn

from sciml import FieldSpec, Network, Region, Spec

TINY = 1e-6


class Policy(Network):
    """A map from observation (episode, seen) and year (episode,) to fractions (episode, fishery) in [0, 1].

    To write: `fraction`. `sees` and `fisheries` are names; further constructor arguments go to `config` as they are.
    """

    def __init__(self, sees: Sequence[str], fisheries: Sequence[str], **rest: Any) -> None:
        super().__init__()
        self._config = {"sees": list(sees), "fisheries": list(fisheries), **rest}

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain values."""
        return self._config

    @property
    def sees(self) -> list[str]:
        """Names of what the policy sees."""
        return list(self._config["sees"])

    @property
    def fisheries(self) -> list[str]:
        """Names of the species that are fished."""
        return list(self._config["fisheries"])

    @property
    def spec(self) -> Spec:
        """Observation, year and fraction."""
        n = len(self.sees)
        stocks = Region((((0.0,) * n, (float("inf"),) * n),))
        years = Region.interval(0.0, float("inf"))
        return Spec(
            (
                FieldSpec("stock", ("batch", "species"), "1", stocks, f"{', '.join(self.sees)}, before harvest"),
                FieldSpec("year", ("batch",), "1", years, "years since the start"),
            ),
            (FieldSpec("fraction", ("batch", "fishery"), "1", Region.interval(0.0, 1.0), "fraction to fish"),),
        )

    @property
    def at(self) -> list[int]:
        """Columns of the observation that are fished."""
        return [self.sees.index(name) for name in self.fisheries]

    @abstractmethod
    def fraction(self, stock: Tensor, year: Tensor) -> Tensor:
        """Return the fractions to fish."""

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the fractions by name, as every network of the toolkit."""
        return {"fraction": self.fraction(inputs["stock"], inputs["year"])}


def parameter(values: Sequence[Any] | None, shape: tuple[int, ...], default: float) -> nn.Parameter:
    """Return numbers of a policy of the given shape, the default where omitted; other shapes are a ValueError."""
    given = torch.full(shape, default) if values is None else torch.as_tensor(values, dtype=torch.float32)
    if given.shape != shape or not bool(torch.isfinite(given).all()):
        raise ValueError(f"policy: expected finite numbers of shape {shape}, got {given.tolist()}; give one each")
    return nn.Parameter(given.clone())


class ConstantMortality(Policy):
    """The same fraction of each stock every year: f = M."""

    registered: ClassVar[str] = "fishery.constant_mortality"

    def __init__(self, sees: Sequence[str], fisheries: Sequence[str], levels: Sequence[float] | None = None) -> None:
        super().__init__(sees, fisheries)
        self.level = parameter(levels, (len(fisheries),), 0.2)

    def fraction(self, stock: Tensor, year: Tensor) -> Tensor:
        """Return the levels."""
        return self.level.clamp(0, 1).expand(stock.shape[0], -1)


class ConstantEscapement(Policy):
    """All that exceeds a level, and nothing below it: f = max(0, 1 - S / N)."""

    registered: ClassVar[str] = "fishery.constant_escapement"

    def __init__(self, sees: Sequence[str], fisheries: Sequence[str], levels: Sequence[float] | None = None) -> None:
        super().__init__(sees, fisheries)
        self.level = parameter(levels, (len(fisheries),), 0.4)

    def fraction(self, stock: Tensor, year: Tensor) -> Tensor:
        """Return what exceeds the levels, as a fraction."""
        return (1 - self.level / stock[:, self.at].clamp(min=TINY)).clamp(0, 1)


class HockeyStick(Policy):
    """A fraction that rises from zero at a lower stock to its top at an upper one, for each fishery.

    f = top min(1, max(0, (N - lower) / (upper - lower))), with N the first column seen where a fishery is not seen
    under its own name. Source: the precautionary rule of Punt et al. and its use in arXiv 2412.12400.
    """

    registered: ClassVar[str] = "fishery.hockey_stick"

    def __init__(self, sees: Sequence[str], fisheries: Sequence[str], corners: Sequence[Any] | None = None) -> None:
        super().__init__(sees, fisheries)
        default = [[0.1, 0.5, 0.3]] * len(fisheries)
        self.corners = parameter(default if corners is None else corners, (len(fisheries), 3), 0.0)

    def fraction(self, stock: Tensor, year: Tensor) -> Tensor:
        """Return the height of the stick."""
        columns = [self.sees.index(name) if name in self.sees else 0 for name in self.fisheries]
        lower, upper, top = self.corners.unbind(-1)
        return top.clamp(0, 1) * ((stock[:, columns] - lower) / (upper - lower).clamp(min=TINY)).clamp(0, 1)


class PredatorEscapement(Policy):
    """An escapement that depends on the predator, and a gain: f_i = min(1, g_i max(0, 1 - S_i(Z) / N_i)).

    S_i is linear in log Z between knots and constant beyond: for two fisheries and five knots, twelve numbers that can
    be read, five levels and a gain for each. "When the predator is scarce, fish less."

    Parameters
    ----------
    knots : predator stocks, ascending; the predator is the last species seen.
    levels, gains : (fishery, knot) and (fishery,) starting values.
    """

    registered: ClassVar[str] = "fishery.predator_escapement"
    log_knots: Tensor

    def __init__(self, sees: Sequence[str], fisheries: Sequence[str],
                 knots: Sequence[float] = (0.05, 0.11, 0.24, 0.54, 1.2), levels: Sequence[Any] | None = None,
                 gains: Sequence[float] | None = None) -> None:  # fmt: skip
        super().__init__(sees, fisheries, knots=list(knots))
        if sorted(set(knots)) != list(knots) or knots[0] <= 0:
            raise ValueError(f"predator_escapement: expected ascending knots > 0, got {knots}; sort them")
        self.register_buffer("log_knots", torch.log(torch.tensor(knots)))
        self.level = parameter(levels, (len(fisheries), len(knots)), 0.4)
        self.gain = parameter(gains, (len(fisheries),), 0.8)

    def levels_at(self, predator: Tensor) -> Tensor:
        """Return the escapements (..., fishery) at predator stocks (...)."""
        log_z = predator.clamp(min=TINY).log()
        return torch.stack([escapement(log_z, self.log_knots, level) for level in self.level], -1)

    def fraction(self, stock: Tensor, year: Tensor) -> Tensor:
        """Return the fractions."""
        return self.taking(self.levels_at(stock[:, -1]), stock[:, self.at])

    def taking(self, levels: Tensor, fished: Tensor) -> Tensor:
        """Return the fractions (episode, fishery) that take the shares of what exceeds the levels."""
        return (self.gain * (1 - levels / fished.clamp(min=TINY)).clamp(min=0)).clamp(0, 1)


class NeuralPolicy(Policy):
    """A perceptron of log stocks that sets the escapement and gain of each fishery, or the fraction itself.

    f_i = sigmoid(b_i) max(0, 1 - exp(a_i) / N_i) with the outputs (a, b) for the head "escapement", f_i = sigmoid(a_i)
    for the head "fraction". The first holds the zero that the optimum has and a sigmoid never reaches.

    Parameters
    ----------
    width : neurons in each of the two hidden layers.
    head : "escapement" or "fraction".
    clock : years that the input year is divided by; 0 hides the year.
    scale : centre and spread of the logarithms of what is seen; they are saved with the network.
    """

    registered: ClassVar[str] = "fishery.network"

    def __init__(self, sees: Sequence[str], fisheries: Sequence[str], width: int = 64, head: str = "escapement",
                 clock: float = 0.0, scale: Sequence[float] = (-0.7, 0.7)) -> None:  # fmt: skip
        super().__init__(sees, fisheries, width=width, head=head, clock=clock, scale=list(scale))
        if head not in ("escapement", "fraction"):
            raise ValueError(f"network: expected the head 'escapement' or 'fraction', got {head!r}; choose one")
        self.head, self.clock, (self.centre, self.spread) = head, clock, scale
        layers = nn.Linear(len(sees) + (clock > 0), width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()
        self.body = nn.Sequential(*layers, nn.Linear(width, len(fisheries) * (1 + (head == "escapement"))))

    def fraction(self, stock: Tensor, year: Tensor) -> Tensor:
        """Return the fractions."""
        features = (stock.clamp(min=1e-3).log() - self.centre) / self.spread
        if self.clock:
            features = torch.cat([features, (2 * year / self.clock - 1)[:, None]], -1)
        out = self.body(features)
        if self.head == "fraction":
            return torch.sigmoid(out - 1)  # a fresh network fishes about a quarter
        level, gain = out.chunk(2, -1)
        share = 1 - torch.exp(level - 1) / stock[:, self.at].clamp(min=TINY)
        return torch.sigmoid(gain + 1) * share.clamp(min=0)


def neural(sees: Sequence[str], fisheries: Sequence[str], seed: int, **options: Any) -> NeuralPolicy:
    """Return a fresh network whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NeuralPolicy(sees, fisheries, **options)


class TablePolicy(Policy):
    """Fractions on a grid of log stocks, multilinear in between and constant beyond.

    Parameters
    ----------
    axes : for each species seen, ascending stocks > 0.
    """

    registered: ClassVar[str] = "fishery.table"
    values: Tensor

    def __init__(self, sees: Sequence[str], fisheries: Sequence[str], axes: Sequence[Sequence[float]]) -> None:
        super().__init__(sees, fisheries, axes=[list(map(float, axis)) for axis in axes])
        if len(axes) != len(sees) or any(sorted(set(axis)) != list(axis) or axis[0] <= 0 for axis in axes):
            raise ValueError(f"table: expected an ascending axis > 0 for each of {sees}, got {axes}; sort them")
        self.values = nn.Parameter(torch.zeros(*map(len, axes), len(fisheries)))
        for i, axis in enumerate(axes):
            self.register_buffer(f"axis_{i}", torch.log(torch.tensor(axis)))

    def fraction(self, stock: Tensor, year: Tensor) -> Tensor:
        """Return the interpolated fractions."""
        value = self.values
        for i in range(stock.shape[-1]):  # over the axes of the table
            axis = getattr(self, f"axis_{i}")
            position = stock[:, i].clamp(min=TINY).log()
            cell = (torch.searchsorted(axis, position.detach().contiguous(), right=True) - 1).clamp(0, len(axis) - 2)
            part = ((position - axis[cell]) / (axis[cell + 1] - axis[cell])).clamp(0, 1)
            part = part.reshape(-1, *[1] * (value.dim() - (1 if i == 0 else 2)))
            rows = torch.arange(stock.shape[0], device=stock.device)
            low, high = (value[cell], value[cell + 1]) if i == 0 else (value[rows, cell], value[rows, cell + 1])
            value = low + part * (high - low)
        return value.clamp(0, 1)


def tabulate(policy: Policy, axes: Sequence[Sequence[float]]) -> TablePolicy:
    """Return the table of a policy on a grid, in the year 0."""
    table = TablePolicy(policy.sees, policy.fisheries, axes)
    grid = torch.cartesian_prod(*(torch.tensor(axis, dtype=torch.float32) for axis in axes))
    grid = grid.reshape(-1, len(axes))
    with torch.no_grad():
        values = policy.fraction(grid, torch.zeros(len(grid)))
        table.values.copy_(values.reshape(table.values.shape))
    return table
