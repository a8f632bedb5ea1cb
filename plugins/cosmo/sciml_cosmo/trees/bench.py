"""Steps of the tree networks against plain loops and torch-geometric, on a tree of the largest published size."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sciml import Report, Run
from sciml_cosmo.trees.attention import AttentionMpnn
from sciml_cosmo.trees.batch import TreeBatch
from sciml_cosmo.trees.fitting import fresh
from sciml_cosmo.trees.model import TreeModel
from sciml_cosmo.trees.mpnn import TreeMpnn, VirtualNodeMpnn
from sciml_cosmo.trees.scan import Levels, TreeScan, tree_scan

N_NODE = 37_865  # of the largest tree of CosmoBench
N_REPEAT = 3


def large_tree(seed: int, n_node: int = N_NODE, n_back: int = 600) -> TreeBatch:
    """Return one random tree, each node on one of the `n_back` nodes before it."""
    generator = np.random.default_rng(seed)
    at = np.arange(1, n_node)
    descendant = np.append(-1, at - 1 - generator.integers(0, np.minimum(at, n_back)))
    features = torch.from_numpy(generator.standard_normal((n_node, 4)).astype(np.float32))
    return TreeBatch(features, torch.from_numpy(descendant), torch.tensor([0, n_node]))


def cpu_seconds(function: Callable[[], object]) -> float:
    """Return the least CPU seconds of a few calls, after one to warm up."""
    function()
    spent = []
    for _ in range(N_REPEAT):
        began = time.process_time()
        function()
        spent.append(time.process_time() - began)
    return min(spent)


def measure_steps(run: Run, report: Report) -> dict[str, float]:
    """Time a forward and backward pass over the largest tree, and add a table to the report."""
    tree, target = large_tree(run.seed), torch.zeros(1, 2)
    metrics, rows = {}, []
    networks: dict[str, TreeModel] = {
        "mpnn": fresh(TreeMpnn, run.seed),
        "virtual_node": fresh(VirtualNodeMpnn, run.seed),
        "attention": fresh(AttentionMpnn, run.seed),
        "scan": fresh(TreeScan, run.seed),
    }
    for name, model in networks.items():

        def step(network: TreeModel = model) -> None:
            again = TreeBatch(tree.features, tree.descendant, tree.start)  # without what the last step found out
            network.loss(again, target).backward()

        metrics[f"tree_{name}_step_cpu_s"] = cpu_seconds(step)
        rows.append((type(model).__name__, metrics[f"tree_{name}_step_cpu_s"]))
    peer, difference = _geometric(tree, run.seed)
    metrics |= {"tree_mpnn_step_vs_pyg": metrics["tree_mpnn_step_cpu_s"] / peer, "tree_mpnn_vs_pyg_error": difference}
    loop, error = _loop(tree)
    metrics |= {"tree_scan_vs_loop": loop[0] / loop[1], "tree_scan_vs_loop_error": error}
    rows += [("torch-geometric GINConv, 5 layers", peer), ("one scan of 16 channels, forward", loop[0]),
             ("the same, node by node", loop[1])]  # fmt: skip
    report.section("Steps on the largest tree", f"A random tree of {N_NODE:,} nodes, one thread.")
    report.table(("forward and backward", "CPU (s)"), rows, f"Least of {N_REPEAT}.")
    return metrics


def _geometric(tree: TreeBatch, seed: int) -> tuple[float, float]:
    """Return CPU seconds of the MPNN of torch-geometric's layers with our weights, and the largest difference."""
    from torch_geometric.nn import GINConv, global_mean_pool

    ours = fresh(TreeMpnn, seed)
    layers = [GINConv(layer.get_submodule("body")) for layer in ours.layers]
    edges = torch.stack([tree.progenitor, tree.merged])

    def forward() -> Tensor:
        x = ours.scaled(tree.features)
        for layer in layers:
            x = layer(x, edges)
        found: Tensor = ours.head(global_mean_pool(x, tree.tree))
        return found

    difference = float((forward() - ours.outputs(tree)).abs().max().detach())
    return cpu_seconds(lambda: forward().square().mean().backward()), difference


def _loop(tree: TreeBatch) -> tuple[tuple[float, float], float]:
    """Return CPU seconds of one scan, by levels and node by node, and the largest difference."""
    generator = torch.Generator().manual_seed(7)
    decay, source = (torch.rand(N_NODE, 16, generator=generator, dtype=torch.float64) for _ in range(2))
    descendant = tree.descendant.tolist()
    levels = Levels(tree)

    def nodes() -> Tensor:
        state, a = source.numpy().copy(), decay.numpy()
        for v in range(N_NODE - 1, 0, -1):
            state[descendant[v]] += a[v] * state[v]
        return torch.from_numpy(state)

    found, wanted = tree_scan(decay, source, levels), nodes()
    error = float(((found - wanted).abs() / wanted.abs().clamp(min=1)).max())
    return (cpu_seconds(lambda: tree_scan(decay, source, levels)), cpu_seconds(nodes)), error
