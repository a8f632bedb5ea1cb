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


def centre(x: Tensor, window: str) -> tuple[Tensor, Tensor]:
    """Return the cell that a window at `x` is centred on, the nearest or for "cic" the one below, and the distance."""
    whole = x.floor() if window == "cic" else (x + 0.5).floor()
    return whole, x - whole


def transform(cycles: Tensor, window: str) -> Tensor:
    """Return the Fourier transform of a window along one axis, sinc^2 or sinc^3, of wave numbers in cycles a cell."""
    return torch.sinc(cycles) ** WIDTHS[window]


def axis_terms(x: Tensor, n_cell: int, window: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return cells, weights and the derivatives of the weights along one axis, each (node, width).

    Cloud-in-cell: ``1 - t, t`` with t the distance from the cell below. Triangular-shaped cloud:
    ``(1/2 - t)^2 / 2, 3/4 - t^2, (1/2 + t)^2 / 2`` with t the distance from the nearest cell.

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
    whole, t = centre(x, window)
    if window == "cic":
        weights, slopes = [1 - t, t], [-torch.ones_like(t), torch.ones_like(t)]
    else:
        weights = [0.5 * (0.5 - t) ** 2, 0.75 - t**2, 0.5 * (0.5 + t) ** 2]
        slopes = [t - 0.5, -2 * t, t + 0.5]
    steps = torch.arange(len(weights), device=x.device) - (len(weights) - 2)
    cells = (whole.detach().long()[:, None] + steps) % n_cell
    return cells, torch.stack(weights, 1), torch.stack(slopes, 1)


def flat_cells(cells: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """Return the places (node, width^3) in the flattened mesh of the cells (node, width) of the three axes."""
    x, y, z = cells
    _, n_y, n_z = shape
    return ((x[:, :, None, None] * n_y + y[:, None, :, None]) * n_z + z[:, None, None, :]).flatten(1)


def outer(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return the products (node, width^3) of the weights (node, width) of the three axes."""
    return (x[:, :, None, None] * y[:, None, :, None] * z[:, None, None, :]).flatten(1)
