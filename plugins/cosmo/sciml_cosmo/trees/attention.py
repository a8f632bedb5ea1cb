"""Message passing from progenitors to descendants, and linear attention among all nodes of a tree."""

from __future__ import annotations

import torch
from sciml_kernels.linear_attention import linear_attention
from torch import Tensor, nn
from torch.nn.functional import elu

from sciml_cosmo.trees.batch import TreeBatch
from sciml_cosmo.trees.model import TreeModel, perceptron


class TreeAttention(nn.Module):
    """What every node hears from all nodes of its tree: one round of linear attention.

    o_v = phi(q_v) . sum_u phi(k_u) y_u^T / (phi(q_v) . sum_u phi(k_u)) for each head, phi(x) = elu(x) + 1 > 0, the
    sums over all nodes u of the tree of v.

    Parameters
    ----------
    width : channels, shared among the heads.
    n_head : heads.

    *Source*: Katharopoulos et al., "Transformers are RNNs", ICML 2020, without the mask: nodes have no order here.
    """

    def __init__(self, width: int, n_head: int) -> None:
        super().__init__()
        if width % n_head:
            raise ValueError(f"TreeAttention: expected a width that {n_head} heads share, got {width}; change one")
        self.n_head, self.ask = n_head, nn.Linear(width, 3 * width)

    def forward(self, x: Tensor, batch: TreeBatch) -> Tensor:
        """Map node states (node, width) to what each node hears (node, width)."""
        query, key, value = self.ask(x).unflatten(-1, (3, self.n_head, -1)).unbind(1)
        heard = linear_attention(elu(query) + 1, elu(key) + 1, value, x.new_ones(len(x)), batch.start)
        return heard.flatten(1)


class AttentionMpnn(TreeModel):
    """Tree convolutions with attention in place of the virtual node, and a Gaussian head on root and mean.

    x <- x + MLP(x, mean over progenitors of x, attention of x over the tree).

    Parameters
    ----------
    width, n_layer : channels and rounds.
    n_out : outputs, see `TreeModel`.

    *Source*: Cai et al., arXiv 2301.11956: a virtual node that keeps keys times values is linear attention. The rest is
    as in `VirtualNodeMpnn`, so that the two can be compared. *Departures*: every node asks for itself; the root answers
    with the mean, as in `TreeScan`, for there is no node beside the tree.

    Examples
    --------
    >>> batch = TreeBatch(torch.ones(3, 4), torch.tensor([-1, 0, 0]), torch.tensor([0, 3]))
    >>> AttentionMpnn().outputs(batch).shape
    torch.Size([1, 4])
    """

    def __init__(self, width: int = 16, n_layer: int = 2, n_out: int = 4) -> None:
        super().__init__(width=width, n_layer=n_layer, n_out=n_out)
        self.encode = perceptron(4, width, width)
        n_head = 2 if width % 2 == 0 else 1
        self.attention = nn.ModuleList(TreeAttention(width, n_head) for _ in range(n_layer))
        self.nodes = nn.ModuleList(perceptron(3 * width, width, width) for _ in range(n_layer))
        self.head = perceptron(2 * width, width, n_out)

    def outputs(self, batch: TreeBatch) -> Tensor:
        """Return scaled outputs (tree, n_out)."""
        x = self.encode(self.scaled(batch.features))
        for attention, node in zip(self.attention, self.nodes, strict=True):
            x = x + node(torch.cat([x, batch.edges.mean(x), attention(x, batch)], -1))
        return self.head(torch.cat([x[batch.start[:-1]], batch.mean_nodes(x)], -1))
