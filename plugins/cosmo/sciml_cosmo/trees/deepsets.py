"""DeepSets: a tree as the set of its nodes, without its edges."""

from __future__ import annotations

from torch import Tensor

from sciml_cosmo.trees.batch import TreeBatch
from sciml_cosmo.trees.model import TreeModel, perceptron


class DeepSets(TreeModel):
    """rho(mean over the nodes of phi(x)), with perceptrons phi: 4-h-h and rho: h-h-n_out.

    Parameters
    ----------
    width : h.
    n_out : outputs, see `TreeModel`.

    *Source*: Zaheer et al., NeurIPS 2017, with the mean for the sum; the set baseline of CosmoBench (arXiv 2507.03707),
    658 parameters. *Departures*: features and targets are scaled by the training set.

    Examples
    --------
    >>> from sciml.training import count_parameters
    >>> count_parameters(DeepSets())
    658
    """

    def __init__(self, width: int = 16, n_out: int = 2) -> None:
        super().__init__(width=width, n_out=n_out)
        self.phi, self.rho = perceptron(4, width, width), perceptron(width, width, n_out)

    def outputs(self, batch: TreeBatch) -> Tensor:
        """Return scaled outputs (tree, n_out)."""
        return self.rho(batch.mean_nodes(self.phi(self.scaled(batch.features))))
