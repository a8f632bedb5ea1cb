"""Summaries of a tree, and the ridge of their products: the least squares that a network of trees has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sciml_cosmo.trees.batch import TreeBatch
from sciml_cosmo.trees.model import TreeModel

TIMES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)  # scale factors at which the main branch is read
MASS_AND_TIME, ALL = (0, 3), (0, 1, 2, 3)
PENALTIES = tuple(10.0**k for k in range(-3, 7))


def set_moments(batch: TreeBatch, columns: Sequence[int] = ALL) -> Tensor:
    """Return root, size and moments of the nodes of each tree, (tree, summary), float64.

    The root's features but time, log10 of the number of nodes, mean, upper triangle of the covariance and third central
    moments of the features.

    Parameters
    ----------
    columns : of the features.
    """
    x = batch.features[:, list(columns)].double()
    mean = batch.mean_nodes(x)
    centred = x - mean.index_select(0, batch.tree)
    upper = torch.triu_indices(len(columns), len(columns))
    covariance = batch.mean_nodes(centred[:, upper[0]] * centred[:, upper[1]])
    third = batch.mean_nodes(centred**3)
    root = x[batch.start[:-1], :-1]
    return torch.cat([root, batch.size.double().log10()[:, None], mean, covariance, third], 1)


def main_branch_history(batch: TreeBatch, columns: Sequence[int] = ALL) -> Tensor:
    """Return the features but time of the main branch at `TIMES`, less those of the root, (tree, summary), float64.

    Linear in the scale factor between nodes; before the first node, its value.

    Parameters
    ----------
    columns : of the features.

    Examples
    --------
    >>> nodes = torch.tensor([[3.0, 0, 0, 1.0], [1.0, 0, 0, 0.5]])
    >>> history = main_branch_history(TreeBatch(nodes, torch.tensor([-1, 0]), torch.tensor([0, 2])), (0, 3))
    >>> [round(change, 2) for change in history[0].tolist()]
    [-0.4, -0.8, -1.2, -1.6, -2.0, -2.0, -2.0, -2.0]
    """
    x = batch.features.double()
    main = batch.is_main.nonzero()[:, 0]  # by tree, and from the root back in time
    tree, time = batch.tree[main], x[main, 3]
    asked = torch.tensor(TIMES, dtype=torch.float64, device=x.device)
    first = torch.searchsorted(tree, torch.arange(batch.n_tree + 1, device=x.device))
    ahead = torch.searchsorted(2 * tree - time, 2 * torch.arange(batch.n_tree, device=x.device)[:, None] - asked)
    late = ahead.clamp(first[:-1, None] + 1, first[1:, None] - 1).minimum(first[1:, None] - 1)
    early = (late - 1).maximum(first[:-1, None])
    gap = time[early] - time[late]
    share = torch.where(gap > 0, (time[early] - asked) / gap.clamp(min=1e-12), 0.0).clamp(0, 1)[..., None]
    values = x[main][:, list(columns)[:-1]]
    history = (1 - share) * values[early] + share * values[late]
    return (history - x[batch.start[:-1]][:, None, list(columns)[:-1]]).flatten(1)


class QuadraticRidge(TreeModel):
    """Ridge regression on the summaries of a tree, standardised, and on all their products.

    Parameters
    ----------
    columns : of the features that are seen, time last.
    history : whether the main branch is read too.
    quadratic : whether products are taken.
    n_out : 2, the means.

    *Contract*: `fit` chooses the penalty that is best on validation trees, for each parameter.

    *Source*: Hoerl & Kennard, Technometrics 12 (1970).
    """

    weight: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, columns: Sequence[int] = ALL, history: bool = True, quadratic: bool = True,
                 n_out: int = 2) -> None:  # fmt: skip
        super().__init__(columns=list(columns), history=history, quadratic=quadratic, n_out=n_out)
        self.columns, self.history, self.quadratic = tuple(columns), history, quadratic
        k = len(columns)
        n = (k - 1) * (1 + len(TIMES) * history) + 1 + 2 * k + k * (k + 1) // 2
        n_term = 1 + n + (n * (n + 1) // 2 if quadratic else 0)
        for name, shape in (("mean", (n,)), ("deviation", (n,)), ("weight", (n_term, 2))):
            self.register_buffer(name, torch.ones(shape, dtype=torch.float64))

    def summaries(self, batch: TreeBatch) -> Tensor:
        """Return (tree, summary) as seen."""
        seen = [set_moments(batch, self.columns)]
        if self.history:
            seen.append(main_branch_history(batch, self.columns))
        return torch.cat(seen, 1)

    def terms(self, summaries: Tensor) -> Tensor:
        """Return (tree, term): one, the standardised summaries, and their products."""
        # beyond what was seen a square runs away: five deviations are far enough
        z = ((summaries - self.mean) / self.deviation).clamp(-5, 5)
        parts = [torch.ones_like(z[:, :1]), z]
        if self.quadratic:
            i, j = torch.triu_indices(z.shape[1], z.shape[1], device=z.device)
            parts.append(z[:, i] * z[:, j])
        return torch.cat(parts, 1)

    def outputs(self, batch: TreeBatch) -> Tensor:
        """Return scaled means (tree, 2)."""
        return (self.terms(self.summaries(batch)) @ self.weight).to(self.target_centre.dtype)

    def fit(self, train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]) -> list[float]:
        """Set the weights from (summaries, targets) and return the penalty of each parameter."""
        spread, centre = torch.std_mean(train[0], 0, correction=0)
        self.mean.copy_(centre)
        self.deviation.copy_(torch.where(spread > 1e-9 * centre.abs(), spread, 1.0))
        goal, wanted = (((y - self.target_centre) / self.target_spread).double() for _, y in (train, validation))
        x, held_out = self.terms(train[0]), self.terms(validation[0])
        gram, right = x.T @ x, x.T @ goal
        error = torch.full((len(PENALTIES), 2), torch.inf, dtype=torch.float64)
        weights = []
        for k, penalty in enumerate(PENALTIES):
            ridge = torch.full((len(gram),), penalty, dtype=torch.float64)
            ridge[0] = 1e-9  # the constant is free
            weights.append(torch.linalg.solve(gram + torch.diag(ridge), right))
            error[k] = (held_out @ weights[-1] - wanted).square().mean(0)
        best = error.argmin(0).tolist()
        for column, k in enumerate(best):
            self.weight[:, column] = weights[k][:, column]
        return [PENALTIES[k] for k in best]
