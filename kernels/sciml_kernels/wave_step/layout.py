"""How rooms made of blocks lie in memory: fields, matrices and values of nodes, one block after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Seam:
    """Nodes that the last column of block `left` and the first column of block `right` share, from their starts on."""

    left: int
    right: int
    left_start: int
    right_start: int
    n_node: int


def block_shapes(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """Return (n_x, n_y) of every block from its flat list."""
    return list(zip(blocks[::2], blocks[1::2], strict=True))


def seam_list(seams: Sequence[int]) -> list[Seam]:
    """Return every seam from its flat list, five entries each."""
    return [Seam(*seams[start : start + 5]) for start in range(0, len(seams), 5)]


def count_nodes(blocks: Sequence[int]) -> int:
    """Return how many nodes all blocks have; those on seams count in each."""
    return sum(n_x * n_y for n_x, n_y in block_shapes(blocks))


def count_entries(blocks: Sequence[int]) -> int:
    """Return how many entries the matrices of all blocks have."""
    return sum(n_x * n_x + n_y * n_y for n_x, n_y in block_shapes(blocks))


def field_views(flat: Tensor, blocks: Sequence[int]) -> list[Tensor]:
    """Return a field (entry,) as one view (n_x, source, n_y) for each block.

    Both products of a block are then single matrix products over all sources.

    Examples
    --------
    >>> import torch
    >>> [tuple(view.shape) for view in field_views(torch.zeros(16), (3, 2, 1, 2))]
    [(3, 2, 2), (1, 2, 2)]
    """
    n_source = flat.shape[0] // count_nodes(blocks)
    shapes = [(n_x, n_source, n_y) for n_x, n_y in block_shapes(blocks)]
    parts = flat.split([n_x * n_source * n_y for n_x, _, n_y in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def node_views(flat: Tensor, blocks: Sequence[int]) -> list[Tensor]:
    """Return values of nodes (node,), or the one that holds for all, as a tensor for each block that fits its field."""
    shapes = block_shapes(blocks)
    if flat.shape[0] == 1:
        return [flat] * len(shapes)
    parts = flat.split([n_x * n_y for n_x, n_y in shapes])
    return [part.view(n_x, 1, n_y) for part, (n_x, n_y) in zip(parts, shapes, strict=True)]


def matrix_views(flat: Tensor, blocks: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Return matrices (matrix entry,) as a pair (n_x, n_x) and (n_y, n_y) for each block."""
    lengths = [n for shape in block_shapes(blocks) for n in shape]
    views = [part.view(n, n) for part, n in zip(flat.split([n * n for n in lengths]), lengths, strict=True)]
    return list(zip(views[::2], views[1::2], strict=True))
