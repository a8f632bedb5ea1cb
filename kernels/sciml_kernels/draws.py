"""Inputs that several ops are tried on."""

from __future__ import annotations

import torch


def draw_pointer(generator: torch.Generator, n_row: int, n_segment: int) -> torch.Tensor:
    """Cut rows into segments of random length: (segment + 1,); every third segment is empty, the second first."""
    filled = torch.arange(n_segment)[torch.arange(n_segment) % 3 != 1]
    segment = filled[torch.randint(max(len(filled), 1), (n_row,), generator=generator)]
    counts = torch.bincount(segment, minlength=n_segment).cumsum(0)
    return torch.cat([torch.zeros(1, dtype=torch.int64), counts])
