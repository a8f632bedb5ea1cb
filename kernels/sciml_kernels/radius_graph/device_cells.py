"""Points sorted into the cells of a grid over a periodic box by torch, for searches on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sciml_kernels.radius_graph.cells import Integers
from sciml_kernels.radius_graph.points import cloud_of_nodes


def sort_on_device(
    wrapped: Tensor, sides: Sequence[float], pointer: Tensor, shape: Integers
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return positions (3, node), order, cell and start as `sciml_kernels.radius_graph.cells.Cells` describes them."""
    cell = cloud_of_nodes(pointer, len(wrapped))
    for axis, (side, n) in enumerate(zip(sides, shape.tolist(), strict=True)):
        cell = cell * n + (wrapped[:, axis] / side * n).long().clamp(max=n - 1)
    cell, order = cell.sort(stable=True)
    n_cell = (len(pointer) - 1) * int(shape.prod())
    start = torch.searchsorted(cell, torch.arange(n_cell + 1, device=cell.device))
    return wrapped[order].t().contiguous(), order, cell, start
