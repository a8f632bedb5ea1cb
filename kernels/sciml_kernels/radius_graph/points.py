"""Points of clouds in one periodic box, for the ops that look for pairs: checks, wrapping and distances."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sciml_kernels.checks import check_alike, check_shape

# Distances in one chunk of the plain torch references.
CHUNK = 2**22


def check_points(
    where: str, positions: Tensor, box: float | Sequence[float], pointer: Tensor | None
) -> tuple[tuple[float, float, float], Tensor]:
    """Return the three sides of the box and the pointer to the clouds, or raise.

    Values are looked at when the op runs eagerly; a compiled or exported program takes them as checked.

    Parameters
    ----------
    where
        The op's name, the first words of the message.
    positions : (node, 3)
        Anywhere: they are wrapped into the box later.
    box
        Side, or three sides.
    pointer : (batch + 1,), optional
        Cloud b holds the nodes ``pointer[b]`` up to ``pointer[b + 1]``; one cloud without it.
    """
    check_alike(where, {"positions": positions})
    check_shape(where, "positions", positions, {"node": len(positions) if positions.ndim else 0, "axis": 3})
    sides = _sides(where, box)
    n_node = len(positions)
    if pointer is None:
        pointer = torch.tensor([0, n_node], device=positions.device)
    if not isinstance(pointer, Tensor) or pointer.dtype != torch.int64 or pointer.ndim != 1 or not len(pointer):
        got = f"{pointer.dtype} {tuple(pointer.shape)}" if isinstance(pointer, Tensor) else type(pointer).__name__
        raise TypeError(f"{where}: expected pointer as int64 of shape (batch + 1,), got {got}; convert it first")
    if pointer.device != positions.device:
        raise ValueError(
            f"{where}: expected pointer on {positions.device} as positions are, got {pointer.device}; move one of them"
        )
    if not torch.compiler.is_compiling():
        _check_values(where, positions, pointer)
    return sides, pointer


def check_radius(where: str, name: str, radius: float, sides: Sequence[float]) -> float:
    """Return a length above zero and at most half the shortest side, or raise: beyond it a pair has two images."""
    radius, most = float(radius), min(sides) / 2
    if not 0 < radius <= most:
        raise ValueError(
            f"{where}: expected {name} above 0 and at most {most:g}, half the shortest side, got {radius:g}; "
            "choose a smaller one or repeat the box"
        )
    return radius


def wrap(positions: Tensor, sides: Sequence[float]) -> Tensor:
    """Return the positions in [0, side) in float64; differentiable."""
    columns = [torch.remainder(x, side) for x, side in zip(positions.double().unbind(1), sides, strict=True)]
    # the remainder of -1e-20 rounds to the side itself
    return torch.stack([torch.where(x >= side, 0, x) for x, side in zip(columns, sides, strict=True)], 1)


def nearest_image(difference: Tensor, sides: Sequence[float]) -> Tensor:
    """Return differences (..., 3) of wrapped positions to the nearest periodic image; differentiable."""
    columns = zip(difference.unbind(-1), sides, strict=True)
    return torch.stack([x - side * ((x > side / 2).double() - (x < -side / 2).double()) for x, side in columns], -1)


def squared_distances(first: Tensor, second: Tensor, sides: Sequence[float]) -> Tensor:
    """Return squared distances (node, node) of wrapped positions (node, 3); the kernels sum in the same order."""
    total = torch.zeros((), dtype=torch.float64, device=first.device)
    for axis, side in enumerate(sides):
        apart = (second[None, :, axis] - first[:, None, axis]).abs()
        apart = torch.minimum(apart, side - apart)
        total = total + apart * apart
    return total


def cloud_of_nodes(pointer: Tensor, n_node: int) -> Tensor:
    """Return the number of the cloud that each node belongs to, (node,)."""
    return torch.bucketize(torch.arange(n_node, device=pointer.device), pointer[1:].contiguous(), right=True)


def _sides(where: str, box: float | Sequence[float]) -> tuple[float, float, float]:
    sides = tuple(float(side) for side in box) if isinstance(box, Sequence) else (float(box),) * 3
    if len(sides) != 3 or not all(math.isfinite(side) and side > 0 for side in sides):
        raise ValueError(f"{where}: expected box as one or three sides above 0, got {box}; give the sides of the box")
    return sides[0], sides[1], sides[2]


def _check_values(where: str, positions: Tensor, pointer: Tensor) -> None:
    n_node = len(positions)
    if not positions.isfinite().all():
        n_bad = int((~positions.isfinite()).any(1).sum())
        raise ValueError(
            f"{where}: expected finite positions, got {n_bad} of {n_node} nodes with NaN or infinity; remove them"
        )
    if pointer[0] != 0 or pointer[-1] != n_node or (pointer[1:] < pointer[:-1]).any():
        text = pointer.tolist() if len(pointer) < 9 else f"{pointer[:4].tolist()} ... {pointer[-4:].tolist()}"
        raise ValueError(f"{where}: expected pointer rising from 0 to {n_node} nodes, got {text}; count the nodes")
