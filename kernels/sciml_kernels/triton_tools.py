"""What every Triton launcher needs: configurations, the accumulator type, and a check that the kernel can run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from triton.runtime.interpreter import InterpretedFunction

from sciml_kernels.precision import accumulation_dtype

# Annotations of kernel arguments. Triton reads annotations as types; these two names mean nothing to it, so it
# infers the type itself.
Pointer = Any
Scalar = Any


def configurations(names: Sequence[str], choices: Sequence[tuple[Sequence[int], int]]) -> list[triton.Config]:
    """Return tuning configurations: all on a machine with a GPU, else the first alone.

    The interpreter has no timer, and autotuning between two or more configurations fails in it.

    Parameters
    ----------
    names
        Names of the block sizes.
    choices
        Block sizes and number of warps of each configuration.
    """
    every = [triton.Config(dict(zip(names, blocks, strict=True)), num_warps=warps) for blocks, warps in choices]
    return every if torch.cuda.is_available() else every[:1]


def accumulator(dtype: torch.dtype) -> Any:
    """Return Triton's name of the type that sums are kept in."""
    return tl.float64 if accumulation_dtype(dtype) == torch.float64 else tl.float32


def require_launchable(where: str, kernel: Any, tensor: torch.Tensor) -> None:
    """Raise unless `kernel` runs on the device of `tensor`: on a CPU it does in Triton's interpreter only.

    Whether a kernel is interpreted is settled when its module is imported, by ``TRITON_INTERPRET``.
    """
    while not isinstance(kernel, InterpretedFunction) and hasattr(kernel, "fn"):
        kernel = kernel.fn
    if tensor.device.type == "cpu" and not isinstance(kernel, InterpretedFunction):
        raise RuntimeError(
            f"{where}: expected TRITON_INTERPRET=1 at the first use of Triton on CPU tensors, got it unset; "
            "set it before Python starts, or use SCIML_KERNELS=auto"
        )
