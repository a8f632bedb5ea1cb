"""All pairs of points closer than a radius, in plain torch: every distance is looked at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sciml_kernels.radius_graph.points import CHUNK, cloud_of_nodes, nearest_image, squared_distances, wrap


def reference(
    positions: Tensor, box: Sequence[float], radius: float, pointer: Tensor, loop: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return vectors, edges and pointer; parameters and shapes are those of `radius_graph` in the parent module."""
    x = wrap(positions, box)
    n_node = len(x)
    node, cloud = torch.arange(n_node, device=x.device), cloud_of_nodes(pointer, n_node)
    edges, degrees = [], []
    step = max(1, CHUNK // max(1, n_node))
    for first in range(0, n_node, step):
        rows = slice(first, first + step)
        near = squared_distances(x[rows], x, box) <= radius * radius
        near = near & (cloud[rows, None] == cloud)
        if not loop:
            near = near & (node[rows, None] != node)
        target, source = near.nonzero().unbind(1)
        edges.append(torch.stack([source, target + first]))
        degrees.append(near.sum(1))
    found = torch.cat([torch.zeros(2, 0, dtype=torch.int64, device=x.device), *edges], 1)
    degree = torch.cat([torch.zeros(1, dtype=torch.int64, device=x.device), *degrees])
    vectors = nearest_image(x[found[0]] - x[found[1]], box)
    return vectors.to(positions.dtype), found, degree.cumsum(0)
