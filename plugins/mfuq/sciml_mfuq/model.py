"""What every engine gives back: a fitted model of one output of the truth, with a standard deviation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sciml_mfuq.samples import Array


class Predictor(nn.Module, ABC):
    """A fitted model of one scalar output of the truth, in float64; to write: `config` and `forward`.

    ``type(self)(**config)`` builds an equal model but for its parameters and buffers, which hold all that was learned,
    scalings too. What can be computed from these (a Cholesky factor) is computed when first needed and not saved.

    *Contract*: deterministic; a batch gives what its points give one by one, to rounding; differentiable in x.
    """

    engine: ClassVar[str]
    noise_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("noise_std", torch.zeros((), dtype=torch.float64))

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (batch, feature), raw units, to the mean (batch,) and the standard deviation (batch,).

        The standard deviation is that of what is not known about the truth without its noise (epistemic); the noise of
        one run of the truth is `noise_std` (aleatory).
        """


def relative_error(value: Array, truth: Array) -> float:
    """Return the norm of the error over the norm of the truth."""
    return float(np.linalg.norm(value - truth) / np.linalg.norm(truth))


def evaluate(predictor: Predictor, x: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation (n,) of a model at points (n, feature), without gradients."""
    with torch.no_grad():
        mean, std = predictor(torch.as_tensor(np.asarray(x, dtype=np.float64)))
    return mean.numpy(), std.numpy()
