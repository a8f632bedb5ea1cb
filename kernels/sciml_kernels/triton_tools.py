"""What every Triton launcher needs: configurations, the accumulator type, and a check that the kernel can run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from triton.runtime.interpreter import InterpretedFunction

from sciml_kernels.precision import accumulation_dtype


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


def compile_ahead(kernel: Any, types: Mapping[str, str], constants: Mapping[str, Any], capability: int = 90) -> int:
    """Compile `kernel` for an NVIDIA GPU that need not be there and return the bytes of machine code.

    What the interpreter accepts the compiler may still refuse; this shows it on a machine without a GPU.

    Parameters
    ----------
    kernel
        A decorated kernel that was not loaded for the interpreter.
    types
        Triton's type of each pointer argument, such as ``{"out": "*fp32"}``; other arguments are taken as ``i32``.
    constants
        Values of the compile-time arguments.
    capability
        Compute capability times ten.
    """
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    while not isinstance(kernel, triton.JITFunction):
        kernel = kernel.fn
    names = [parameter.name for parameter in kernel.params]
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    source = ASTSource(kernel, signature=signature, constexprs=dict(constants))
    return len(triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"])
