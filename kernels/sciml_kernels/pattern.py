"""The one way an op is made: a custom op whose body is plain torch, with kernels that are chosen at run time."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch

from sciml_kernels.backend import choose
from sciml_kernels.precision import accumulation_dtype

Function = Callable[..., Any]


@functools.cache
def resolve(address: str) -> Any:
    """Import ``"module:attr"`` and return the attribute."""
    module, _, attribute = address.partition(":")
    return getattr(importlib.import_module(module), attribute)


def always(*_arguments: Any) -> bool:
    """Say that the kernel is expected to be faster than plain torch whatever the inputs are."""
    return True


def unless_half_on_cpu(first: torch.Tensor, *_others: Any) -> bool:
    """Say that a kernel pays: numba computes in the types that hold their own sums, Triton in all."""
    return first.is_cuda or accumulation_dtype(first.dtype) == first.dtype


def define(
    signature: str,
    reference: Function,
    fake: Function,
    launchers: Mapping[str, str],
    pays: Callable[..., bool] = always,
) -> torch.library.CustomOpDef:
    """Register ``sciml::<name>`` and return it, ready for ``register_autograd``.

    A custom op, not ``triton_op``: its content stays opaque to export and to the compiler, so the choice of the
    implementation is made when it runs, and the CPU path is never traced through a GPU kernel.

    Parameters
    ----------
    signature
        Name and schema as PyTorch writes them, such as ``"scale(Tensor x, float factor) -> Tensor"``.
    reference
        Plain torch, differentiable, any supported type; the body on every device, and the decomposition for export.
    fake
        Returns outputs of the right shape, type and strides without computing them.
    launchers
        ``{"numba": "module:attr", "triton": "module:attr"}``, or ``"torch"`` for the CPU in place of the first,
        imported at the first call that needs one. Without any, as for gradients that are those of the reference, the
        reference runs whatever is asked for.
    pays
        Called with the op's arguments: whether the kernel is expected to be faster than the reference.

    *Contract*: every launcher returns what `reference` returns, within `sciml_kernels.precision.TOLERANCES`, with
    the strides of `fake`.
    """
    name, _, arguments = signature.partition("(")
    op = torch.library.custom_op(f"sciml::{name}", reference, mutates_args=(), schema=f"({arguments}")
    op.register_fake(fake)

    def run(device_type: str, *inputs: Any) -> Any:
        chosen = choose(launchers, device_type, pays(*inputs)) if launchers else "reference"
        return (reference if chosen == "reference" else resolve(launchers[chosen]))(*inputs)

    for device_type in ("cpu", "cuda"):
        op.register_kernel(device_type, functools.partial(run, device_type))
    return op
