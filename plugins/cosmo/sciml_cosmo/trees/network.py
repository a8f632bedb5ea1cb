"""The saved surrogate of merger trees: padded arrays of a batch of trees in, parameters and their errors out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from sciml import FieldSpec, Network, Region, Spec
from sciml_cosmo.forest import FEATURES, TARGETS, Forest
from sciml_cosmo.trees.attention import AttentionMpnn
from sciml_cosmo.trees.batch import TreeBatch, along_path
from sciml_cosmo.trees.deepsets import DeepSets
from sciml_cosmo.trees.mlp_aggregate import MlpAggregate
from sciml_cosmo.trees.model import TreeModel
from sciml_cosmo.trees.moments import QuadraticRidge
from sciml_cosmo.trees.mpnn import TreeMpnn, VirtualNodeMpnn
from sciml_cosmo.trees.scan import TreeScan

MODELS: Mapping[str, type[TreeModel]] = {
    "moments": QuadraticRidge,
    "deepsets": DeepSets,
    "mlp_aggregate": MlpAggregate,
    "mpnn": TreeMpnn,
    "virtual_node": VirtualNodeMpnn,
    "attention": AttentionMpnn,
    "scan": TreeScan,
}
ABOUT = "log10 mass (Msun/h), log10 concentration, log10 largest circular speed (km/s), scale factor; the root first"
PLACE = "place of the descendant along the node axis; what is not the place of an earlier node marks a filler"


class TreeParameters(Network):
    """Parameters of the universe that a merger tree grew in.

    Trees are ragged, the fields of a Spec are not: shorter trees are filled up with nodes that hang on nothing; see
    `padded` and `unpadded`.

    Parameters
    ----------
    model : a key of `MODELS`.
    settings : constructor arguments of that model.
    """

    registered: ClassVar[str] = "cosmo.trees"
    supports: ClassVar[frozenset[str]] = frozenset()
    not_exportable: ClassVar[str] = "how many nodes a padded tree has, and how deep it is, depends on its numbers"

    def __init__(self, model: str, settings: Mapping[str, Any]) -> None:
        super().__init__()
        if model not in MODELS:
            raise ValueError(f"TreeParameters: expected a model of {', '.join(MODELS)}, got {model!r}; choose one")
        self.name, self.model = model, MODELS[model](**settings)

    @classmethod
    def around(cls, model: TreeModel) -> TreeParameters:
        """Return the network of a fitted model."""
        name = next(name for name, kind in MODELS.items() if type(model) is kind)
        network = cls(name, model.config)
        network.model.load_state_dict(model.state_dict())
        return network

    @property
    def spec(self) -> Spec:
        """Nodes in, parameters out."""
        outputs = [FieldSpec(name, ("batch",), "1", None, name) for name in TARGETS]
        errors = [FieldSpec(f"{name}_std", ("batch",), "1", None, f"Standard error of {name}") for name in TARGETS]
        nodes = FieldSpec("node_features", ("batch", "node", "feature"), "1", None, ABOUT)
        return Spec((nodes, FieldSpec("descendant", ("batch", "node"), "1", None, PLACE)), (*outputs, *errors))

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain values."""
        return {"model": self.name, "settings": self.model.config}

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Map padded trees to parameters (batch,) and their standard errors."""
        mean, std = self.model(unpadded(inputs["node_features"], inputs["descendant"]))
        both = zip((*TARGETS, *(f"{name}_std" for name in TARGETS)), torch.cat([mean, std], 1).T, strict=True)
        return dict(both)


def unpadded(features: Tensor, descendant: Tensor) -> TreeBatch:
    """Return the ragged batch of padded trees.

    Parameters
    ----------
    features : (batch, node, 4).
    descendant : (batch, node), rounded to whole numbers.

    *Contract*: the first node is the root, whatever its descendant; a node is left out, with all its progenitors,
    unless its descendant is the place of an earlier node.
    """
    if features.shape[-1] != len(FEATURES) or features.shape[:-1] != descendant.shape or not descendant.numel():
        got = f"{tuple(features.shape)} and {tuple(descendant.shape)}"
        raise ValueError(f"trees: expected node_features (batch, node, 4) and descendant (batch, node), got {got}")
    n_tree, n_node = descendant.shape
    at = torch.arange(n_node, device=descendant.device).expand(n_tree, -1)
    place = descendant.round().long()
    hangs = (place >= 0) & (place < at)
    flat = torch.where(hangs, place + n_node * torch.arange(n_tree, device=at.device)[:, None], -1).flatten()
    kept = along_path(flat, (hangs | (at == 0)).flatten(), torch.logical_and)
    size = kept.view(n_tree, n_node).sum(1)
    index = kept.cumsum(0) - 1
    local = torch.where(flat >= 0, index[flat.clamp(min=0)], -1)[kept]
    return TreeBatch(features.flatten(0, 1)[kept], local, torch.cat([size.new_zeros(1), size.cumsum(0)]))


def padded(forest: Forest) -> xr.Dataset:
    """Return the trees of a forest as the surrogate takes them, filled up with copies of the root on nothing.

    Examples
    --------
    >>> forest = Forest(np.ones((3, 4)), np.array([-1, 0, -1]), np.array([0, 2, 3]), np.ones((2, 2)), np.arange(2))
    >>> padded(forest)["descendant"].values.tolist()
    [[-1.0, 0.0], [-1.0, -1.0]]
    """
    n_node = int(np.diff(forest.start).max())
    features = np.repeat(forest.features[forest.start[:-1], None], n_node, axis=1)
    descendant = np.full((forest.n_tree, n_node), -1.0)
    first = forest.start[:-1][forest.tree]
    at = forest.tree, np.arange(len(first)) - first
    features[at] = forest.features
    descendant[at] = np.where(forest.descendant < 0, -1, forest.descendant - first)
    nodes = (("batch", "node", "feature"), features, {"units": "1"})
    return xr.Dataset({"node_features": nodes, "descendant": (("batch", "node"), descendant, {"units": "1"})})


def domain_of(forest: Forest) -> dict[str, Region]:
    """Return the range of the inputs in training trees."""
    low, high = forest.features.min(0).tolist(), forest.features.max(0).tolist()
    deepest = float(np.diff(forest.start).max())
    return {"node_features": Region(((tuple(low), tuple(high)),)), "descendant": Region.interval(-1.0, deepest)}
