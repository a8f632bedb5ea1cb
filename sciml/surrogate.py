"""The surrogate: a trained operator that knows its units and the domain it was trained on."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
import xarray as xr

from sciml import artifact
from sciml.fields import Region, Spec, region_from_json
from sciml.operator import Operator
from sciml.plugins import plugins

Outside = Literal["raise", "warn", "allow"]


class Network(torch.nn.Module, ABC):
    """The trainable part of a surrogate, written by a plugin: `spec`, `config` and `forward`.

    `forward(**inputs)` takes one tensor per input of the spec, dimensions in the spec's order, and returns a dict with
    one tensor per output; torch in, torch out, differentiable. ``type(self)(**config)`` builds an equal network but
    for the weights, which are its parameters and buffers. `registered` is the name in the plugin's registration.
    `not_exportable` says in one sentence why `torch.export` cannot trace it, where it cannot.
    """

    registered: ClassVar[str]
    supports: ClassVar[frozenset[str]] = frozenset({"gradient"})
    not_exportable: ClassVar[str] = ""

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """Names, dimensions, units and bounds of the tensors."""

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""

    @abstractmethod
    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map input tensors to output tensors."""


class Surrogate(Operator):
    """A network with the domain it was trained on and the record of how it came to be.

    Parameters
    ----------
    network : the trained map.
    domain : training range of the inputs, name -> region, in the units of the spec; see :func:`training_domain`.
    provenance : how it was trained: data hash, seed, metrics, versions.

    Contract: `predict` on a batch = `predict` one by one; saved then loaded = equal to the bit on the same device.
    """

    def __init__(
        self,
        network: Network,
        *,
        domain: Mapping[str, Region] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = network.eval()
        self.domain = dict(domain or {})
        self.provenance = dict(provenance or {})
        unknown = set(self.domain) - {field.name for field in network.spec.inputs}
        if unknown:
            raise ValueError(f"Surrogate domain: expected names of inputs, got {sorted(unknown)}")

    @property
    def spec(self) -> Spec:
        """Names, dimensions, units and bounds of inputs and outputs."""
        return self.network.spec

    @property
    def supports(self) -> frozenset[str]:
        """Capabilities the network declares, such as "gradient", and "uncertainty" where an output NAME_std exists."""
        std = {"uncertainty"} if any(field.name.endswith("_std") for field in self.spec.outputs) else set()
        return self.network.supports | std

    @property
    def n_bytes(self) -> int:
        """Bytes of all parameters and buffers."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.network.state_dict().values())

    def __call__(self, inputs: xr.Dataset | None = None, /, **tensors: torch.Tensor) -> Any:
        """Fast path: tensors in, dict of tensors out, differentiable, unchecked; a dataset goes through `predict`."""
        return self.predict(inputs) if inputs is not None else self.network(**tensors)

    def predict(self, inputs: xr.Dataset, *, outside: Outside = "raise") -> xr.Dataset:
        """Predict labelled outputs with units from labelled inputs with units.

        Parameters
        ----------
        inputs : variables of `spec.inputs`, each with attrs["units"]; converted where the unit differs.
        outside : what to do with inputs outside the training domain: raise a ValueError, warn, or allow.

        Returns
        -------
        The outputs; ``NAME_std`` is a standard error where the network quantifies it. The attribute
        ``outside_training_domain`` lists the inputs that were outside.
        """
        if outside not in get_args(Outside):
            raise ValueError(f"predict: expected outside= one of {', '.join(get_args(Outside))}, got {outside!r}")
        checked = self.spec.check_inputs(inputs)
        complaints = self.complaints(checked)
        if complaints and outside == "raise":
            raise ValueError("; ".join(complaints.values()) + "; retrain on a wider domain or pass outside='allow'")
        if complaints and outside == "warn":
            warnings.warn("; ".join(complaints.values()), stacklevel=2)
        result = self.spec.check_outputs(self._apply(checked))
        return result.assign_attrs(outside_training_domain=sorted(complaints))

    def complaints(self, checked: xr.Dataset) -> dict[str, str]:
        """Return a sentence for each checked input that leaves the training domain."""
        fields, kind = self.spec.inputs, "the training domain "
        found = {f.name: f.complaint(checked[f.name].values, self.domain.get(f.name), kind) for f in fields}
        return {name: f"input {name!r}: {complaint}" for name, complaint in found.items() if complaint}

    def _apply(self, inputs: xr.Dataset) -> xr.Dataset:
        weights = self.network.state_dict().values()
        like = next((tensor for tensor in weights if tensor.is_floating_point()), torch.zeros(1))
        arrays = {field.name: np.array(inputs[field.name].values, dtype=float) for field in self.spec.inputs}
        with torch.no_grad():
            outputs = self.network(**{name: torch.as_tensor(array).to(like) for name, array in arrays.items()})
        if absent := {field.name for field in self.spec.outputs} - set(outputs):
            raise ValueError(f"{type(self.network).__name__}.forward: expected outputs {sorted(absent)} too, got none")
        variables = {}
        for field in self.spec.outputs:
            attrs = {"units": field.unit, "long_name": field.description or field.name}
            if field.name.endswith("_std"):
                attrs["standard_name_modifier"] = "standard_error"
            variables[field.name] = (field.dims, outputs[field.name].numpy(force=True).copy(), attrs)
        dims = {dim for field in self.spec.outputs for dim in field.dims}
        coords: dict[Any, Any] = {name: coord for name, coord in inputs.coords.items() if set(coord.dims) <= dims}
        for name, (unit, values) in self.spec.coords.items():
            coords[name] = (name, np.array(values), {"units": unit})
        return xr.Dataset(variables, coords)

    def to(self, device: str | torch.device) -> Surrogate:
        """Move the network to a device and return the surrogate."""
        self.network.to(device)
        return self

    def save(self, path: str | Path) -> None:
        """Write the surrogate into the folder `path`: manifest.json and weights.safetensors, whole or not at all."""
        manifest = {
            "surrogate": self.network.registered,
            "distribution": plugins().distribution_of("surrogates", self.network.registered),
            "config": self.network.config,
            "spec": self.spec.to_json(),
            "domain": {name: asdict(region) for name, region in self.domain.items()},
            "provenance": self.provenance,
        }
        artifact.write_artifact(path, manifest, self.network.state_dict())


def load(path: str | Path, *, device: str = "cpu") -> Surrogate:
    """Load the surrogate saved in the folder `path` to a device; the plugin that registered its name must be installed.

    Raises
    ------
    ValueError
        The folder is no artifact, is damaged, of an unknown version, or its plugin is missing (the message names the
        package to install).
    """
    manifest, tensors = artifact.read_artifact(path, device)
    name = str(manifest["surrogate"])
    try:
        kind = plugins().resolve("surrogates", name)
    except LookupError as error:
        package = manifest["distribution"]
        raise ValueError(f"{path}: needs the surrogate {name!r} of the package {package!r}: {error}") from error
    try:
        network = kind(**manifest["config"])
        floating = (tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
        network.to(next(floating, None)).load_state_dict(tensors, assign=True)  # in the precision that was saved
        spec = Spec.from_json(manifest["spec"])
        domain = {key: region for key, value in manifest["domain"].items() if (region := region_from_json(value))}
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        wanted = f"a configuration and weights of {name!r}"
        raise ValueError(f"{path}: expected {wanted}, got a mismatch: {error}") from error
    if network.spec != spec:
        wanted = f"the spec that {name!r} has in the installed version"
        raise ValueError(f"{path}: expected {wanted}, got another; retrain or update")
    return Surrogate(network.to(device), domain=domain, provenance=manifest["provenance"])


def training_domain(spec: Spec, data: xr.Dataset) -> dict[str, Region]:
    """Return the smallest box around each input of the spec in `data`.

    Per component for vectors with bounds, else one interval.
    """
    values = {name: array.values for name, array in spec.check_inputs(data).variables.items()}
    vectors = {field.name for field in spec.inputs if field.bounds is not None and field.bounds.n_dims > 1}
    names = [field.name for field in spec.inputs]
    return {name: Region.around(values[name] if name in vectors else values[name][..., None]) for name in names}
