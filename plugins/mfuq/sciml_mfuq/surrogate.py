"""The surrogate of a multi-fidelity model: named inputs with units to outputs and their standard errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sciml.fields import FieldSpec, Region, Spec
from sciml.surrogate import Network
from sciml_mfuq.engines import predictor_from
from sciml_mfuq.model import Predictor


@dataclass(frozen=True)
class Input:
    """An input of the truth: its name, unit and range; `size` numbers in one vector, or one number where it is None.

    Models see the logarithm of an input that is `logarithmic`, such as a Reynolds number.
    """

    name: str
    unit: str = "1"
    low: float = 0.0
    high: float = 1.0
    size: int | None = None
    description: str = ""
    logarithmic: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.logarithmic and not self.low > 0):
            got = f"[{self.low}, {self.high}]"
            raise ValueError(
                f"Input {self.name!r}: expected low < high, positive if logarithmic, got {got}; correct it"
            )

    @property
    def range(self) -> tuple[float, float]:
        """Both ends as models see them."""
        return (math.log(self.low), math.log(self.high)) if self.logarithmic else (self.low, self.high)

    @property
    def field(self) -> FieldSpec:
        """The input in the words of the core."""
        dims = ("batch",) if self.size is None else ("batch", "feature")
        return FieldSpec(self.name, dims, self.unit, Region.interval(self.low, self.high), self.description)


@dataclass(frozen=True)
class Output:
    """An output of the truth: its name and unit; a field on `n_node` nodes, or one number where that is None."""

    name: str
    unit: str = "1"
    n_node: int | None = None
    description: str = ""

    @property
    def fields(self) -> tuple[FieldSpec, FieldSpec]:
        """The output and its standard error in the words of the core."""
        dims = ("batch",) if self.n_node is None else ("batch", "node")
        about = self.description or self.name
        error = f"Standard error of what the model does not know about {self.name}, without the noise of single runs"
        return FieldSpec(self.name, dims, self.unit, None, about), FieldSpec(
            f"{self.name}_std", dims, self.unit, None, error
        )


class Decoder(nn.Module):
    """A field as the mean of the training runs and a few orthonormal modes, with what the modes leave out.

    ``field = offset + sum_k a_k mode_k``, ``variance = sum_k std_k^2 mode_k^2 + rest^2``.
    """

    offset: Tensor
    modes: Tensor
    rest: Tensor

    def __init__(self, n_mode: int, n_node: int) -> None:
        super().__init__()
        for name, shape in (("offset", (n_node,)), ("modes", (n_mode, n_node)), ("rest", (n_node,))):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    def forward(self, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """Map amplitudes (batch, mode) and their standard deviations to the field's, (batch, node)."""
        variance = std.square() @ self.modes.square() + self.rest.square()
        return self.offset + mean @ self.modes, variance.clamp_min(1e-300).sqrt()


class MultiFidelity(Network):
    """A fitted model of every output, behind named inputs.

    Parameters
    ----------
    inputs : as `Input`, in the order in which they form the features of the models.
    outputs : as `Output`.
    models : for each output its models, one of a number and one for each mode of a field: engine and configuration.

    *Contract*: the standard errors are those of the models times `widening`, a factor for each output that calibration
    on held-out runs may set; 1 where it did not.
    """

    registered: ClassVar[str] = "mfuq.model"
    widening: Tensor

    def __init__(
        self,
        inputs: Sequence[Mapping[str, Any]],
        outputs: Sequence[Mapping[str, Any]],
        models: Sequence[Sequence[Mapping[str, Any]]],
    ) -> None:
        super().__init__()
        self.inputs, self.outputs = [Input(**one) for one in inputs], [Output(**one) for one in outputs]
        if len(models) != len(self.outputs):
            raise ValueError(
                f"MultiFidelity: expected models for {len(self.outputs)} outputs, got {len(models)}; give "
                "a list for each"
            )
        made = [[predictor_from(one["engine"], one["config"]) for one in group] for group in models]
        self.models = nn.ModuleList(nn.ModuleList(group) for group in made)
        self.decoders = nn.ModuleDict()
        for output, group in zip(self.outputs, made, strict=True):
            if output.n_node is not None:
                self.decoders[output.name] = Decoder(len(group), output.n_node)
            elif len(group) != 1:
                raise ValueError(f"MultiFidelity: expected one model of {output.name!r}, got {len(group)}; give one")
        self.register_buffer("widening", torch.ones(len(self.outputs), dtype=torch.float64))

    @classmethod
    def of(
        cls, inputs: Sequence[Input], outputs: Sequence[Output], models: Sequence[Sequence[Predictor]]
    ) -> MultiFidelity:
        """Return the network of models that are already fitted; decoders and widening are still to be set."""
        described = [[{"engine": one.engine, "config": one.config} for one in group] for group in models]
        network = cls([asdict(one) for one in inputs], [asdict(one) for one in outputs], described)
        for place, group in zip(network.models, models, strict=True):
            assert isinstance(place, nn.ModuleList)
            for number, one in enumerate(group):
                place[number] = one
        return network

    @property
    def groups(self) -> list[list[Predictor]]:
        """The models of each output."""
        return [[one for one in group.children() if isinstance(one, Predictor)] for group in self.models]

    @property
    def spec(self) -> Spec:
        """The inputs, and each output with its standard error."""
        return Spec(tuple(one.field for one in self.inputs), sum((one.fields for one in self.outputs), ()))

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""
        models = [[{"engine": one.engine, "config": one.config} for one in group] for group in self.groups]
        return {
            "inputs": [asdict(one) for one in self.inputs],
            "outputs": [asdict(one) for one in self.outputs],
            "models": models,
        }

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Map inputs (batch,) or (batch, feature) to outputs and standard errors, (batch,) or (batch, node)."""
        x = torch.cat([_feature(one, inputs[one.name]) for one in self.inputs], 1)
        found: dict[str, Tensor] = {}
        for number, output in enumerate(self.outputs):
            parts = [model(x) for model in self.groups[number]]
            mean, std = (torch.stack([part[i] for part in parts], 1) for i in (0, 1))
            if output.n_node is None:
                mean, std = mean[:, 0], std[:, 0]
            else:
                mean, std = self.decoders[output.name](mean, std)
            found[output.name] = mean
            found[f"{output.name}_std"] = std * self.widening[number]
        return found


def _feature(one: Input, values: Tensor) -> Tensor:
    seen = values.log() if one.logarithmic else values
    return seen if one.size is not None else seen[:, None]


def n_bytes(network: nn.Module) -> int:
    """Return the bytes of all parameters and buffers of a module."""
    return sum(math.prod(t.shape) * t.element_size() for t in network.state_dict().values())
