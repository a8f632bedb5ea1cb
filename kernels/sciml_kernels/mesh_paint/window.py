"""The windows by which particles and mesh points see each other, in plain torch: cloud-in-cell and triangular."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Cells that a window covers along an axis.
WIDTHS = {"cic": 2, "tsc": 3}


def check_window(where: str, window: str) -> None:
    """Raise unless the window is known."""
    if window not in WIDTHS:
        raise ValueError(f"{where}: expected window {' or '.join(WIDTHS)}, got {window!r}; choose one of them")


def axis_terms(x: Tensor, n_cell: int, window: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return cells, weights and the derivatives of the weights along one axis, each (node, width).

    Cloud-in-cell: ``1 - t, t`` with t the distance from the cell below. Triangular-shaped cloud:
    ``(1/2 - d)^2 / 2, 3/4 - d^2, (1/2 + d)^2 / 2`` with d the distance from the nearest cell.

    Parameters
    ----------
    x : (node,)
        Coordinates in cells; cell i has its centre at i.
    n_cell
        Cells along the axis, which is periodic.
    window
        "cic" or "tsc".

    *Source*: Hockney and Eastwood, Computer Simulation Using Particles, section 5-3.
    """
    if window == "cic":
        first = x.floor()
        t = x - first
        weights, slopes = [1 - t, t], [-torch.ones_like(t), torch.ones_like(t)]
    else:
        nearest = (x + 0.5).floor()
        d, first = x - nearest, nearest - 1
        weights = [0.5 * (0.5 - d) ** 2, 0.75 - d**2, 0.5 * (0.5 + d) ** 2]
        slopes = [d - 0.5, -2 * d, d + 0.5]
    steps = torch.arange(len(weights), device=x.device)
    cells = (first.detach().long()[:, None] + steps) % n_cell
    return cells, torch.stack(weights, 1), torch.stack(slopes, 1)


def flat_cells(cells: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """Return the places (node, width^3) in the flattened mesh of the cells (node, width) of the three axes."""
    x, y, z = cells
    _, n_y, n_z = shape
    return ((x[:, :, None, None] * n_y + y[:, None, :, None]) * n_z + z[:, None, None, :]).flatten(1)


def outer(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return the products (node, width^3) of the weights (node, width) of the three axes."""
    return (x[:, :, None, None] * y[:, None, :, None] * z[:, None, None, :]).flatten(1)
