"""A surrogate as UM-Bridge sees a model: lists of numbers in, lists of numbers out, gradients and Jacobian actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from sciml import FieldSpec, Surrogate
from sciml_couplings.derivatives import pull_back, push_forward
from sciml_couplings.sample import Sample, vector

Vectors = Sequence[Sequence[float]]
KNOWN = {"outside": "raise or allow", "uncertainty": "true or false", "sizes": "lengths of free dimensions by name"}


class SurrogateModel:
    """One sample of a surrogate for each request; arrays are flattened in C order, in the units of the spec.

    The config of a request may hold ``outside`` ("raise", the default, or "allow": inputs outside the training domain),
    ``uncertainty`` (true: the standard errors follow the outputs) and ``sizes`` ({"sensor": 64}: lengths of the free
    dimensions).

    Parameters
    ----------
    surrogate : what answers.
    sizes : lengths of the free dimensions where a request gives none.

    *Source*: L. Seelinger et al., "UM-Bridge: uncertainty quantification and modeling bridge", JOSS 8 (2023) 4748.

    *Contract*: `evaluate` equals `surrogate.predict` on the same numbers; asked from several threads at once it answers
    each as it would alone.
    """

    def __init__(self, surrogate: Surrogate, sizes: Mapping[str, int] | None = None) -> None:
        self.surrogate, self.sizes = surrogate, dict(sizes or {})

    @property
    def has_gradient(self) -> bool:
        """Whether gradients and Jacobian actions are offered."""
        return "gradient" in self.surrogate.supports

    def outputs(self, config: Mapping[str, Any]) -> list[FieldSpec]:
        """Return the outputs that a request gets, standard errors last and only where asked for."""
        fields = self.surrogate.spec.outputs
        plain = [field for field in fields if not field.name.endswith("_std")]
        return plain + [f for f in fields if f.name.endswith("_std")] if config.get("uncertainty") else plain

    def input_sizes(self, config: Mapping[str, Any]) -> list[int]:
        """Return how many numbers each input holds."""
        return self._sample(config).input_sizes()

    def output_sizes(self, config: Mapping[str, Any]) -> list[int]:
        """Return how many numbers each output holds."""
        shapes = self._sample(config).output_shapes()
        return [int(torch.Size(shapes[field.name]).numel()) for field in self.outputs(config)]

    def evaluate(self, parameters: Vectors, config: Mapping[str, Any]) -> list[list[float]]:
        """Return the outputs."""
        data = self._sample(config).dataset(self._named(parameters))
        answer = self.surrogate.predict(data, outside=config.get("outside", "raise"))
        return [answer[field.name].values.ravel().tolist() for field in self.outputs(config)]

    def gradient(
        self, out_wrt: int, in_wrt: int, parameters: Vectors, sens: Sequence[float], config: Mapping[str, Any]
    ) -> list[float]:
        """Return ``sens^T (d output / d input)``, one number for each of the input."""
        function, at = self._map(out_wrt, in_wrt, parameters, config)
        with torch.no_grad():
            like = function(at)
        weights = torch.as_tensor(vector("sens", sens, like.numel())).to(like).reshape(like.shape)
        return list(map(float, pull_back(function, at, weights).flatten().tolist()))

    def apply_jacobian(
        self, out_wrt: int, in_wrt: int, parameters: Vectors, vec: Sequence[float], config: Mapping[str, Any]
    ) -> list[float]:
        """Return ``(d output / d input) vec``, one number for each of the output."""
        function, at = self._map(out_wrt, in_wrt, parameters, config)
        along = torch.as_tensor(vector("vec", vec, at.numel())).reshape(at.shape)
        return list(map(float, push_forward(function, at, along).flatten().tolist()))

    def _sample(self, config: Mapping[str, Any]) -> Sample:
        if not isinstance(config, Mapping) or set(config) - set(KNOWN):
            wanted = ", ".join(f"{name} ({what})" for name, what in KNOWN.items())
            raise ValueError(f"config: expected an object with some of {wanted}, got {config!r}; correct it")
        if config.get("outside", "raise") not in ("raise", "allow"):
            raise ValueError(f"config.outside: expected raise or allow, got {config['outside']!r}; choose one")
        sizes = config.get("sizes", {})
        if not isinstance(sizes, Mapping):
            raise ValueError(f"config.sizes: expected an object of lengths by dimension, got {sizes!r}; correct it")
        return Sample(self.surrogate, {**self.sizes, **sizes})

    def _named(self, parameters: Vectors) -> dict[str, Sequence[float]]:
        names = [field.name for field in self.surrogate.spec.inputs]
        if not isinstance(parameters, Sequence) or len(parameters) != len(names):
            got = len(parameters) if isinstance(parameters, Sequence) else type(parameters).__name__
            raise ValueError(f"input: expected {len(names)} lists ({', '.join(names)}), got {got}; send one for each")
        return dict(zip(names, parameters, strict=True))

    def _map(
        self, out_wrt: int, in_wrt: int, parameters: Vectors, config: Mapping[str, Any]
    ) -> tuple[Callable[[torch.Tensor], torch.Tensor], torch.Tensor]:
        """Return the chosen output as a function of the chosen input, and that input."""
        if not self.has_gradient:
            name = self.surrogate.network.registered
            raise ValueError(f"gradient: expected a differentiable surrogate, got {name!r}; ask for evaluate alone")
        sample, outputs = self._sample(config), self.outputs(config)
        names = list(sample.shapes)
        known = isinstance(in_wrt, int) and isinstance(out_wrt, int)
        if not (known and 0 <= in_wrt < len(names) and 0 <= out_wrt < len(outputs)):
            wanted = f"inWrt below {len(names)} and outWrt below {len(outputs)}"
            raise ValueError(f"gradient: expected {wanted}, got {in_wrt} and {out_wrt}; correct them")
        self.evaluate(parameters, config)  # the same complaints about the domain
        tensors = {name: torch.as_tensor(array) for name, array in sample.arrays(self._named(parameters)).items()}
        chosen, wanted_output = names[in_wrt], outputs[out_wrt].name

        def function(x: torch.Tensor) -> torch.Tensor:
            return sample.forward({**tensors, chosen: x})[wanted_output]

        return function, tensors[chosen]
