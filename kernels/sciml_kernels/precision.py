"""The floating-point types that the ops take, the type they compute in, and the one table of tolerances."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch

# Largest error of an output or gradient, divided by the largest entry of the reference. Half types: a few units in
# the last place of the stored result, since both sides compute in float32. Float32: the order of a sum of some
# hundred terms.
TOLERANCES: Mapping[torch.dtype, float] = MappingProxyType(
    {torch.float64: 1e-12, torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
)
DTYPES = tuple(TOLERANCES)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type that sums are kept in: float32 for the half types, otherwise `dtype` itself."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def dtype_name(dtype: torch.dtype) -> str:
    """Return the short name of a type, ``"float32"`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")
