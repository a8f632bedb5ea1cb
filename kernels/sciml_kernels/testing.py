"""Parity of an op with its reference: outputs and all gradients, on inputs chosen to break kernels."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sciml_kernels.backend import use_backend
from sciml_kernels.pattern import resolve
from sciml_kernels.precision import DTYPES, dtype_name
from sciml_kernels.registry import Inputs, OpSpec, ops


@dataclass(frozen=True)
class CheckRow:
    """One compared tensor: the error relative to the largest entry of the reference."""

    case: str
    dtype: str
    tensor: str
    error: float
    tolerance: float


@dataclass(frozen=True)
class CheckReport:
    """All tensors compared for one op; every error is within its tolerance, or `check` would have raised."""

    op: str
    backend: str
    device: str
    rows: tuple[CheckRow, ...]

    def worst(self) -> dict[str, CheckRow]:
        """Return the row with the largest error of each type."""
        found: dict[str, CheckRow] = {}
        for row in self.rows:
            if row.dtype not in found or row.error > found[row.dtype].error:
                found[row.dtype] = row
        return found


@contextlib.contextmanager
def nan_scratch() -> Iterator[None]:
    """Fill memory that torch allocates without initializing it with NaN while the block runs.

    This is what PyTorch's deterministic mode does with ``fill_uninitialized_memory``; both switches are put back
    afterwards. A kernel that reads scratch memory, or leaves a part of its output unwritten, then shows.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = True
    try:
        yield
    finally:
        memory.fill_uninitialized_memory = fill
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def interpret_triton() -> None:
    """Load every Triton kernel for Triton's interpreter, so that it takes CPU tensors in this process (and no others).

    Has no effect on kernels already loaded. The environment is left as it was.
    """
    # Triton's own library is loaded as it would be otherwise: parts of it that load later refuse a mixture of the
    # two modes.
    importlib.import_module("triton")
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        for spec in ops().values():
            if "triton" in spec.launchers:
                resolve(spec.launchers["triton"])
    finally:
        os.environ.pop("TRITON_INTERPRET")
        if before is not None:
            os.environ["TRITON_INTERPRET"] = before


def check(
    spec: OpSpec, backend: str = "auto", device: str = "cpu", dtypes: Sequence[torch.dtype] = DTYPES, seed: int = 20
) -> CheckReport:
    """Compare an op with the autograd of its reference and raise at the first tensor outside the tolerance.

    Every test case of the op (odd sizes, one element, empty axes), and every case with data once more
    non-contiguous, in every type, with scratch memory full of NaN.

    Parameters
    ----------
    backend
        ``"auto"``, ``"reference"`` or ``"triton"``.
    device
        ``"cpu"`` or ``"cuda"``.

    *Contract*: raises AssertionError with a sentence that names op, tensor, error and tolerance.
    """
    rows = []
    for dtype in dtypes:
        for case in spec.cases.test:
            contiguous = spec.inputs(case, seed, dtype, device)
            rows += _compare(spec, backend, case.name, contiguous, seed)
            if "odd" in case.name:
                strided = {name: _strided(value) for name, value in contiguous.items()}
                rows += _compare(spec, backend, f"{case.name}, non-contiguous", strided, seed)
    return CheckReport(spec.name, backend, device, tuple(rows))


def differentiable(inputs: Inputs) -> list[str]:
    """Return the names of the floating-point tensors among an op's inputs."""
    return [name for name, value in inputs.items() if isinstance(value, torch.Tensor) and value.is_floating_point()]


def outputs_of(result: Any) -> tuple[torch.Tensor, ...]:
    """Return what an op returned as a tuple, of one tensor or more."""
    return tuple(result) if isinstance(result, tuple) else (result,)


def relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest difference divided by the largest entry of `wanted`, or by one if that is zero."""
    if wanted.numel() == 0:
        return 0.0
    found, wanted = found.detach().double(), wanted.detach().double()
    return float((found - wanted).abs().max() / (wanted.abs().max() or 1.0))


def _compare(spec: OpSpec, backend: str, case: str, inputs: Inputs, seed: int) -> list[CheckRow]:
    with use_backend(backend), nan_scratch():
        found = _evaluate(spec.op, inputs, seed)
    wanted = _evaluate(spec.reference, inputs, seed)
    rows = []
    for tensor, value in wanted.items():
        tolerance = spec.tolerances[value.dtype] if value.is_floating_point() else 0.0
        if found[tensor].shape != value.shape or found[tensor].dtype != value.dtype:
            want = f"{dtype_name(value.dtype)} {tuple(value.shape)}"
            got = f"{dtype_name(found[tensor].dtype)} {tuple(found[tensor].shape)}"
            raise AssertionError(f"{spec.name} ({case}): expected {tensor} of type and shape {want}, got {got}")
        error = relative_error(found[tensor], value)
        if not error <= tolerance:
            raise AssertionError(
                f"{spec.name} ({case}, {dtype_name(value.dtype)}, backend {backend}): expected {tensor} within "
                f"{tolerance:.1e} of the reference, got an error of {error:.1e}; compare the kernel with reference.py"
            )
        rows.append(CheckRow(case, dtype_name(value.dtype), tensor, error, tolerance))
    return rows


def _evaluate(function: object, inputs: Inputs, seed: int) -> dict[str, torch.Tensor]:
    """Return outputs and gradients by name; integers, and what is declared without gradient, have none."""
    assert callable(function)
    names = differentiable(inputs)
    leaves = {name: inputs[name].detach().requires_grad_() for name in names}
    outputs = outputs_of(function(*{**inputs, **leaves}.values()))
    smooth = [out for out in outputs if out.requires_grad]
    generator = torch.Generator().manual_seed(seed + 1)
    grads = [torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out) for out in smooth]
    # An input that a size leaves without effect, such as the faces of a single cell, has the gradient zero.
    sources = [leaves[name] for name in names] if smooth else []
    found = torch.autograd.grad(smooth, sources, grads, allow_unused=True, materialize_grads=True) if smooth else ()
    return {
        **{f"output {i}" if len(outputs) > 1 else "output": out for i, out in enumerate(outputs)},
        **{f"gradient of {name}": tensor for name, tensor in zip(names, found, strict=bool(smooth))},
    }


def _strided(value: object) -> object:
    """Return an equal tensor whose axes are reversed in memory and whose entries lie two apart."""
    if not isinstance(value, torch.Tensor):
        return value
    between = float("nan") if value.is_floating_point() else -1
    wide = torch.full((*reversed(value.shape), 2), between, dtype=value.dtype, device=value.device)
    view = wide[..., 0].permute(*reversed(range(value.ndim)))
    return view.copy_(value)
