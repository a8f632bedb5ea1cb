"""Conformance of surrogates: the operator's contract through `predict`, the saved folder, the domain, the gradient."""

from __future__ import annotations

import copy
import functools
import json
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from sciml.artifact import read_json, write_json
from sciml.surrogate import Surrogate, load, training_domain
from sciml.testing.checks import Check, require, require_close, require_refusal, verify
from sciml.testing.inputs import example_inputs
from sciml.testing.operators import Statements, check_operator
from sciml.testing.resolution import Apply

# Of central differences, relative to the magnitude of the input: where the algebra is ill-conditioned, as in kriging,
# the smallest step drowns in rounding; where the function is curved, the largest one is off by its second order.
STEPS = (1e-6, 1e-5, 1e-4)
GRADIENT_TOLERANCE = 1e-5  # relative; truncation and rounding at the best of these steps stay below 1e-6


def check_surrogate(
    surrogate: Surrogate, inputs: xr.Dataset | None = None, *, resolution: Apply | None = None
) -> list[Check]:
    """Try every sentence of the surrogate's contract; its plugin must be registered.

    Parameters
    ----------
    surrogate : trained or not.
    inputs : at least two samples inside the training domain; drawn from spec and domain where omitted.
    resolution : see :func:`check_operator`.
    """
    given = example_inputs(surrogate.spec, 3, 2011, surrogate.domain) if inputs is None else inputs.copy(deep=True)
    checks = check_operator(surrogate, given, resolution=resolution)
    if not all(check.passed for check in checks[:2]):
        return checks
    given = surrogate.spec.check_inputs(given)
    return checks + verify(
        {
            "the configuration is JSON and rebuilds an equal network": lambda: _config_rebuilds(surrogate),
            **_folder_statements(surrogate, given),
            "inputs outside the training domain raise, warn or pass as asked": lambda: _policy(surrogate, given),
            "the fast path gives what predict gives": lambda: _fast_path(surrogate, given),
            "the gradient agrees with central differences": lambda: _gradient(surrogate, given),
            "standard errors are not negative": lambda: _standard_errors(surrogate, given),
        }
    )


def _config_rebuilds(surrogate: Surrogate) -> None:
    network = surrogate.network
    text = json.dumps(network.config)
    again = type(network)(**json.loads(text))
    require(again.spec == network.spec, "expected an equal spec from the stored configuration, got another")
    found = {name: tensor.shape for name, tensor in again.state_dict().items()}
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
    require(found == wanted, f"expected weights of shapes {wanted}, got {found}")


def _folder_statements(surrogate: Surrogate, given: xr.Dataset) -> Statements:
    spoils: dict[str, Callable[[Path], None]] = {
        "another version": functools.partial(_edit_manifest, key="version", value=999),
        "an unknown key": functools.partial(_edit_manifest, key="surprise", value=1),
        "a flipped byte in the weights": functools.partial(_edit_weights, edit=_flip_last_byte),
        "truncated weights": functools.partial(_edit_weights, edit=lambda data: data[: len(data) // 2]),
    }
    return {
        "saved then loaded is equal to the bit": lambda: _round_trip(surrogate, given),
        **{
            f"a folder with {what} is refused": functools.partial(_spoiled, surrogate, how)
            for what, how in spoils.items()
        },
    }


def _round_trip(surrogate: Surrogate, given: xr.Dataset) -> None:
    device = next((tensor.device.type for tensor in surrogate.network.state_dict().values()), "cpu")
    with tempfile.TemporaryDirectory() as folder:
        surrogate.save(Path(folder) / "surrogate")
        again = load(Path(folder) / "surrogate", device=device)
    require_close(again.predict(given, outside="allow"), surrogate.predict(given, outside="allow"), 0.0)
    require(again.domain == surrogate.domain, f"expected the domain {surrogate.domain}, got {again.domain}")
    require(again.supports == surrogate.supports, f"expected it to support {surrogate.supports}, got {again.supports}")


def _spoiled(surrogate: Surrogate, spoil: Callable[[Path], None]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "surrogate"
        surrogate.save(path)
        spoil(path)
        return require_refusal(lambda: load(path), str(path)).replace(folder, "...")


def _edit_manifest(path: Path, key: str, value: Any) -> None:
    write_json(path / "manifest.json", {**read_json(path / "manifest.json"), key: value})


def _edit_weights(path: Path, edit: Callable[[bytes], bytes]) -> None:
    weights = path / "weights.safetensors"
    weights.write_bytes(edit(weights.read_bytes()))


def _flip_last_byte(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def _policy(surrogate: Surrogate, given: xr.Dataset) -> str:
    first = given.isel({surrogate.spec.batch_dim: [0]})
    narrow = Surrogate(surrogate.network, domain=training_domain(surrogate.spec, first))
    leaving = sorted(narrow.complaints(given))
    if not leaving:
        return "all samples are equal: nothing lies outside the domain of the first"
    require_refusal(lambda: narrow.predict(given), *map(repr, leaving))
    with warnings.catch_warnings(record=True, action="always") as caught:
        warned = narrow.predict(given, outside="warn")
        n_warnings = len(caught)
        allowed = narrow.predict(given, outside="allow")
    texts = [str(warning.message) for warning in caught]
    require(
        any(leaving[0] in text for text in texts[:n_warnings]), f"expected a warning naming {leaving[0]!r}, got {texts}"
    )
    require(not any("training domain" in text for text in texts[n_warnings:]), f"expected no warning, got {texts}")
    require_close(warned, allowed, 0.0)
    found = allowed.attrs["outside_training_domain"]
    require(found == leaving, f"expected outside_training_domain {leaving}, got {found}")
    inside = surrogate.complaints(given)
    return f"{len(inside)} inputs of the check lie outside the surrogate's own domain" if inside else ""


def _tensors(surrogate: Surrogate, given: xr.Dataset, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    state = surrogate.network.state_dict().values()
    reference = next((tensor for tensor in state if tensor.is_floating_point()), torch.zeros(1))
    return {
        field.name: torch.as_tensor(
            np.array(given[field.name].values, dtype=float), dtype=dtype or reference.dtype, device=reference.device
        )
        for field in surrogate.spec.inputs
    }


def _fast_path(surrogate: Surrogate, given: xr.Dataset) -> None:
    tensors = _tensors(surrogate, given)
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    with torch.no_grad():
        outputs = surrogate(**tensors)
    wanted = surrogate.predict(given, outside="allow")
    for field in surrogate.spec.outputs:
        array = outputs[field.name].cpu().numpy()
        require(
            np.array_equal(array, wanted[field.name].values),
            f"{field.name!r}: expected what predict gives, got another",
        )
    changed = [name for name, tensor in tensors.items() if not torch.equal(tensor, before[name])]
    require(not changed, f"expected input tensors left unchanged, got other {', '.join(changed)}")


def _gradient(surrogate: Surrogate, given: xr.Dataset) -> str:
    """Compare v . (J^T w) by autograd with w . (f(x + h v) - f(x - h v)) / 2h for random v, w, input by input."""
    if "gradient" not in surrogate.supports:
        return "not supported, not claimed"
    network = copy.deepcopy(surrogate.network).double()
    tensors = _tensors(surrogate, given, torch.float64)
    generator = torch.Generator().manual_seed(2011)

    def draw(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.device)

    with torch.no_grad():
        weights = {name: draw(tensor) for name, tensor in network(**tensors).items()}

    def pairing(**values: torch.Tensor) -> torch.Tensor:
        return torch.stack([(weights[name] * tensor).sum() for name, tensor in network(**values).items()]).sum()

    worst = 0.0
    for name, x in tensors.items():
        worst = max(worst, _gradient_gap(pairing, tensors, name, draw(x)))
    return f"largest relative difference {worst:.1e}"


def _gradient_gap(
    pairing: Callable[..., torch.Tensor], tensors: Mapping[str, torch.Tensor], name: str, direction: torch.Tensor
) -> float:
    x = tensors[name].clone().requires_grad_()
    value = pairing(**{**tensors, name: x})
    require(value.requires_grad, f"input {name!r}: expected a differentiable output, got a constant")
    slope = torch.autograd.grad(value, x, allow_unused=True)[0]
    analytic = 0.0 if slope is None else float((slope * direction).sum())
    numeric, rounding = min(_slopes(pairing, tensors, name, direction), key=lambda found: abs(found[0] - analytic))
    size = max(abs(analytic), abs(numeric))
    gap = abs(analytic - numeric)
    require(
        gap <= GRADIENT_TOLERANCE * size + rounding,
        f"input {name!r}: expected the directional derivative {numeric:.9g}, got {analytic:.9g} by autograd",
    )
    return gap / size if size else 0.0


def _slopes(
    pairing: Callable[..., torch.Tensor], tensors: Mapping[str, torch.Tensor], name: str, direction: torch.Tensor
) -> list[tuple[float, float]]:
    """Return the central difference and its rounding for each step; a wrong gradient is wrong at all of them."""
    found: list[tuple[float, float]] = []
    for relative in STEPS:
        step = relative * max(float(tensors[name].abs().max()), 1e-3)
        with torch.no_grad():
            ahead, behind = (float(pairing(**{**tensors, name: tensors[name] + s * direction})) for s in (step, -step))
        rounding = 8 * float(np.finfo(float).eps) * max(abs(ahead), abs(behind)) / step
        found.append(((ahead - behind) / (2 * step), rounding))
    return found


def _standard_errors(surrogate: Surrogate, given: xr.Dataset) -> str:
    if "uncertainty" not in surrogate.supports:
        return "not quantified, not claimed"
    answer = surrogate.predict(given, outside="allow")
    fields = {field.name: field for field in surrogate.spec.outputs}
    for name in (name for name in fields if name.endswith("_std")):
        least = float(answer[name].min())
        require(least >= 0, f"{name!r}: expected values >= 0, got {least:.3g}")
        mean = fields[name.removesuffix("_std")]
        same = (fields[name].dims, fields[name].unit) == (mean.dims, mean.unit)
        require(same, f"{name!r}: expected dims and unit of {mean.name!r}: {mean.dims} {mean.unit}, got others")
    return ""
