"""The tree scan: one linear recurrence from the leaves to the root, through which a node sees its whole history.

    s_v = b_v + sum over progenitors u of v: a_u * s_u                                            (elementwise)

As every node has one descendant, s_root = sum_u (prod of a along the path from u to the root) b_u: the sum over paths
(I - A)^-1 b with A nilpotent. Levels of equal depth are done at once for all trees of a batch, the deepest first; the
gradient is the same recurrence from the root to the leaves.

Source: Pöppel et al., pLSTM (arXiv 2506.11997), sections 3 and 4. Departures: the transition is diagonal, and with one
descendant for every node no normalisation over outgoing edges is needed: |a| <= 1 is enough for stability. Network: the
weighted mean of linear attention in place of the output gate.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sciml_cosmo.trees.batch import TreeBatch
from sciml_cosmo.trees.model import TreeModel


class Levels:
    """The order of a scan: nodes sorted by depth, so that each level is a slice.

    Parameters
    ----------
    batch : the trees.

    *Contract*: `order` sorts the nodes; ``edge[k]`` is the level k and ``parent`` the place of each sorted node's
    descendant within the level before.
    """

    def __init__(self, batch: TreeBatch) -> None:
        self.order = batch.depth.argsort(stable=True)
        counts = torch.bincount(batch.depth)
        self.edges: list[int] = [0, *counts.cumsum(0).tolist()]
        place = torch.empty_like(self.order)
        place[self.order] = torch.arange(len(place), device=place.device)
        before = torch.tensor([0, *self.edges[:-2]], device=place.device).repeat_interleave(counts)
        self.parent = place[batch.descendant[self.order].clamp(min=0)] - before

    def __iter__(self) -> Any:
        """Yield (level before, level, place of the descendants in the level before), the shallowest first."""
        for low, middle, high in zip(self.edges, self.edges[1:], self.edges[2:], strict=False):
            yield slice(low, middle), slice(middle, high), self.parent[middle:high]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, decay: Tensor, source: Tensor, levels: Levels) -> Tensor:
        state = source.clone()
        for before, level, parent in reversed(list(levels)):
            state[before].index_add_(0, parent, decay[level] * state[level])
        ctx.save_for_backward(decay, state)
        ctx.levels = levels
        return state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        decay, state = ctx.saved_tensors
        total, of_decay = grad.clone(), torch.zeros_like(decay)
        for before, level, parent in ctx.levels:
            from_descendant = total[before].index_select(0, parent)
            torch.mul(state[level], from_descendant, out=of_decay[level])
            total[level].addcmul_(decay[level], from_descendant)
        return of_decay, total, None


def tree_scan(decay: Tensor, source: Tensor, levels: Levels) -> Tensor:
    """Return the states s_v = b_v + sum_u a_u s_u over the progenitors u of v.

    Parameters
    ----------
    decay : (node, channel), a; that of a root has no effect.
    source : (node, channel), b.
    levels : of the batch that the nodes belong to.

    Returns
    -------
    (node, channel), in the order of the nodes. Differentiable once.

    Examples
    --------
    >>> batch = TreeBatch(torch.ones(3, 4), torch.tensor([-1, 0, 1]), torch.tensor([0, 3]))
    >>> tree_scan(torch.full((3, 1), 0.5), torch.ones(3, 1), Levels(batch))[:, 0].tolist()
    [1.75, 1.5, 1.0]
    """
    states = _Scan.apply(decay[levels.order], source[levels.order], levels)
    return torch.zeros_like(states).index_copy(0, levels.order, states)


class ScanLayer(nn.Module):
    """What every node remembers of its history: a weighted mean with learned decays, mixed back into the node.

    m_v = S(a, w x') / S(a, w) with S the tree scan, a = sigmoid(A x) and w = exp(W x) > 0;
    x <- x + MLP(x, m, log S(a, w)).

    Parameters
    ----------
    width : channels of the nodes.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gates, self.value = nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.mix = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(), nn.Linear(width, width))
        with torch.no_grad():  # memories from a tenth of the tree to all of it
            self.gates.bias[:width] = torch.linspace(0.0, 6.0, width)

    def forward(self, x: Tensor, levels: Levels) -> Tensor:
        """Map node states (node, width) to node states."""
        decay, weight = self.gates(x).chunk(2, -1)
        decay, weight = torch.sigmoid(decay), torch.exp(weight.clamp(-8, 8))
        both = tree_scan(decay.repeat(1, 2), torch.cat([weight * self.value(x), weight], -1), levels)
        total, norm = both.chunk(2, -1)
        return x + self.mix(torch.cat([x, total / norm, norm.log()], -1))


class TreeScan(TreeModel):
    """Parameters from the root of a tree after a few scans, each of which reaches every progenitor.

    Parameters
    ----------
    width, n_layer : channels and scans.
    n_out : outputs; twice the parameters for a Gaussian head.
    """

    def __init__(self, width: int = 16, n_layer: int = 2, n_out: int = 4) -> None:
        super().__init__(width=width, n_layer=n_layer, n_out=n_out)
        self.encode = nn.Linear(4, width)
        self.layers = nn.ModuleList(ScanLayer(width) for _ in range(n_layer))
        self.head = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, n_out))

    def outputs(self, batch: TreeBatch) -> Tensor:
        """Return scaled outputs (tree, n_out)."""
        x, levels = self.encode(self.scaled(batch.features)), Levels(batch)
        for layer in self.layers:
            x = layer(x, levels)
        return self.head(torch.cat([x[batch.start[:-1]], batch.mean_nodes(x)], -1))
