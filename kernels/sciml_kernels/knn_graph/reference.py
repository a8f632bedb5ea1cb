"""The k nearest points of every point, in plain torch: every distance is looked at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sciml_kernels.radius_graph.points import CHUNK, cloud_of_nodes, nearest_image, squared_distances, wrap


def reference(positions: Tensor, box: Sequence[float], k: int, pointer: Tensor) -> tuple[Tensor, Tensor]:
    """Return vectors and edges; parameters and shapes are those of `knn_graph` in the parent module."""
    x = wrap(positions, box)
    n_node = len(x)
    node, cloud = torch.arange(n_node, device=x.device), cloud_of_nodes(pointer, n_node)
    sources = [node[:0]]
    step = max(1, CHUNK // max(1, n_node))
    for first in range(0, n_node, step):
        rows = slice(first, first + step)
        other = (cloud[rows, None] == cloud) & (node[rows, None] != node)
        square = torch.where(other, squared_distances(x[rows].detach(), x.detach(), box), torch.inf)
        # stable: of equal distances the smaller number stays in front
        sources.append(square.sort(dim=1, stable=True).indices[:, :k].flatten())
    source, target = torch.cat(sources), node.repeat_interleave(k)
    vectors = nearest_image(x[source] - x[target], box)
    return vectors.to(positions.dtype), torch.stack([source, target])
