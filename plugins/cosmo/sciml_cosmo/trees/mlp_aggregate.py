"""The plainest network of a tree: a perceptron of the mean features of its nodes."""

from __future__ import annotations

from torch import Tensor

from sciml_cosmo.trees.batch import TreeBatch
from sciml_cosmo.trees.model import TreeModel, perceptron


class MlpAggregate(TreeModel):
    """A perceptron 4-h-h-n_out of the mean of the features.

    Parameters
    ----------
    width : h.
    n_out : outputs, see `TreeModel`.

    *Source*: the aggregate baseline of CosmoBench (arXiv 2507.03707). *Departures*: scaled as in `DeepSets`.

    Examples
    --------
    >>> from sciml.training import count_parameters
    >>> count_parameters(MlpAggregate())
    386
    """

    def __init__(self, width: int = 16, n_out: int = 2) -> None:
        super().__init__(width=width, n_out=n_out)
        self.body = perceptron(4, width, width, n_out)

    def outputs(self, batch: TreeBatch) -> Tensor:
        """Return scaled outputs (tree, n_out)."""
        return self.body(batch.mean_nodes(self.scaled(batch.features)))
