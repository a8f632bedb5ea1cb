"""Models of merger trees: parameter counts, sums along trees against plain loops, invariances, nearest neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_cosmo.forest import Forest
from sciml_cosmo.trees.attention import AttentionMpnn, TreeAttention
from sciml_cosmo.trees.batch import TreeBatch
from sciml_cosmo.trees.classifier import MergerClassifier
from sciml_cosmo.trees.deepsets import DeepSets
from sciml_cosmo.trees.fitting import fresh
from sciml_cosmo.trees.mlp_aggregate import MlpAggregate
from sciml_cosmo.trees.moments import ALL, MASS_AND_TIME, TIMES, QuadraticRidge, main_branch_history, set_moments
from sciml_cosmo.trees.mpnn import TreeMpnn, VirtualNodeMpnn
from sciml_cosmo.trees.nearest import NearestTrees, choose_neighbours, distributions, ks_distance, quantile_grid, vote
from sciml_cosmo.trees.network import MODELS, TreeParameters, padded, unpadded
from sciml_cosmo.trees.scan import Levels, TreeScan, tree_scan
from scipy.stats import ks_2samp

from sciml.training import count_parameters

NETWORKS = [DeepSets, MlpAggregate, TreeMpnn, VirtualNodeMpnn, AttentionMpnn, TreeScan]


def random_forest(sizes, seed, n_back=6):
    """Return trees whose nodes hang on one of the few nodes before them, at scale factors that fall with depth."""
    generator = np.random.default_rng(seed)
    features, descendant, start = [], [], [0]
    for n_node in sizes:
        local = np.array([-1, *(generator.integers(max(0, v - n_back), v) for v in range(1, n_node))])
        depth = np.zeros(n_node)
        for v in range(1, n_node):
            depth[v] = depth[local[v]] + 1
        x = generator.standard_normal((n_node, 4))
        x[:, 3] = 1 / (1 + 0.07 * depth)
        features.append(x)
        descendant.append(np.where(local < 0, -1, local + start[-1]))
        start.append(start[-1] + n_node)
    targets = generator.uniform(size=(len(sizes), 2))
    return Forest(np.concatenate(features), np.concatenate(descendant), start, targets, np.arange(len(sizes)) // 2)


def double(forest):
    batch = TreeBatch.of(forest)
    return TreeBatch(batch.features.double(), batch.descendant, batch.start)


@pytest.fixture(scope="module")
def forest():
    return random_forest([1, 40, 2, 133, 7], seed=5)


@pytest.mark.parametrize(("model", "wanted"), [(DeepSets, 658), (TreeMpnn, 2834), (MergerClassifier, 2290),
                                               (MlpAggregate, 386)])  # fmt: skip
def test_published_models_have_the_published_number_of_parameters(model, wanted):
    assert count_parameters(model()) == wanted


def test_depth_and_main_branch_agree_with_walks_from_the_root(forest):
    batch = TreeBatch.of(forest)
    progenitors = {v: np.flatnonzero(forest.descendant == v) for v in range(len(forest.features))}
    depth, main = np.zeros(len(forest.features), int), np.zeros(len(forest.features), bool)
    for root in forest.start[:-1]:
        stack, node = [root], root
        while stack:
            v = stack.pop()
            depth[progenitors[v]] = depth[v] + 1
            stack += progenitors[v].tolist()
        while node is not None:
            main[node] = True
            below = progenitors[node]
            node = below[forest.features[below, 0].argmax()] if len(below) else None
    assert batch.depth.tolist() == depth.tolist()
    assert batch.is_main.tolist() == main.tolist()


def recursive_state(v, decay, source, descendant):
    below = np.flatnonzero(descendant == v)
    return source[v] + sum((decay[u] * recursive_state(u, decay, source, descendant) for u in below), 0.0 * source[v])


def test_tree_scan_equals_the_recursion_and_the_dense_resolvent(forest):
    batch, generator = double(forest), np.random.default_rng(11)
    n_node = len(forest.features)
    decay, source = generator.uniform(-1, 1, (n_node, 3)), generator.standard_normal((n_node, 3))
    found = tree_scan(torch.from_numpy(decay), torch.from_numpy(source), Levels(batch)).numpy()
    wanted = [recursive_state(v, decay, source, forest.descendant) for v in range(n_node)]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    for k in range(3):
        along = np.zeros((n_node, n_node))
        u = batch.progenitor.numpy()
        along[batch.merged.numpy(), u] = decay[u, k]
        resolvent = np.linalg.solve(np.eye(n_node) - along, source[:, k])
        np.testing.assert_allclose(found[:, k], resolvent, rtol=0, atol=1e-10)


def test_gradient_of_the_tree_scan_agrees_with_differences():
    batch, generator = double(random_forest([1, 9, 6], seed=3)), torch.Generator().manual_seed(12)
    given = [torch.randn(16, 2, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    levels = Levels(batch)
    assert torch.autograd.gradcheck(lambda a, b: tree_scan(a, b, levels), given)


def test_tree_scan_of_ones_counts_the_nodes_of_every_subtree(forest):
    ones = torch.ones(len(forest.features), 1, dtype=torch.float64)
    found = tree_scan(ones, ones, Levels(double(forest)))[:, 0]
    assert found[forest.start[:-1]].tolist() == np.diff(forest.start).tolist()


def test_tree_mpnn_equals_a_loop_over_the_nodes(forest):
    model = fresh(TreeMpnn, 21).double()
    x = torch.from_numpy(forest.features).double()
    for layer in model.layers:
        rows = [x[v] + sum((x[u] for u in np.flatnonzero(forest.descendant == v)), 0 * x[v]) for v in range(len(x))]
        x = layer.body(torch.stack(rows))
    means = torch.stack([x[a:b].mean(0) for a, b in zip(forest.start, forest.start[1:], strict=False)])
    torch.testing.assert_close(model.outputs(double(forest)), model.head(means), rtol=0, atol=1e-12)


def shuffled(forest, seed):
    """Return the same trees with their nodes in another order that still has descendants first."""
    generator, parts = np.random.default_rng(seed), []
    depth = TreeBatch.of(forest).depth.numpy()
    order = np.lexsort((generator.random(len(depth)), depth, forest.tree))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    descendant = forest.descendant[order]
    parts = np.where(descendant < 0, -1, place[descendant])
    return Forest(forest.features[order], parts, forest.start, forest.targets, forest.simulation)


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_do_not_depend_on_the_order_of_nodes_or_the_company_of_trees(kind, forest):
    model = fresh(kind, 22).double()
    wanted = model.outputs(double(forest))
    torch.testing.assert_close(model.outputs(double(shuffled(forest, 4))), wanted, rtol=0, atol=1e-12)
    alone = torch.cat([model.outputs(double(forest.take([i]))) for i in range(forest.n_tree)])
    torch.testing.assert_close(alone, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [TreeMpnn, TreeScan, VirtualNodeMpnn, AttentionMpnn])
def test_networks_of_trees_see_the_edges_and_sets_do_not(kind, forest):
    flat = np.repeat(forest.start[:-1], np.diff(forest.start))
    flat[forest.start[:-1]] = -1
    star = Forest(forest.features, flat, forest.start, forest.targets, forest.simulation)
    change = [(m.outputs(double(star)) - m.outputs(double(forest))).abs().max() for m in
              (fresh(kind, 23).double(), fresh(DeepSets, 23).double())]  # fmt: skip
    assert change[0] > 1e-4
    assert change[1] == 0


def test_one_scan_reaches_the_deepest_leaf_and_five_convolutions_do_not():
    chain = Forest(np.zeros((80, 4)), np.arange(-1, 79), [0, 80], [[0.3, 0.8]], [0])
    other = Forest(np.eye(80, 4, -76), np.arange(-1, 79), [0, 80], [[0.3, 0.8]], [0])
    scan, passing = fresh(TreeScan, 24, n_layer=1).double(), fresh(TreeMpnn, 24).double()
    states = []
    for trees in (chain, other):
        x, batch = scan.encode(torch.from_numpy(trees.features).double()), double(trees)
        y = torch.from_numpy(trees.features).double()
        for layer in passing.layers:
            y = layer(y, batch.edges)
        states.append((scan.layers[0](x, Levels(batch))[0], y[0]))
    assert (states[0][0] - states[1][0]).abs().max() > 1e-6
    assert (states[0][1] - states[1][1]).abs().max() == 0


def test_one_round_of_attention_takes_every_node_to_every_node_of_its_tree_and_no_further(forest):
    attention, batch = fresh(AttentionMpnn, 25).double().attention[0], double(forest)
    x = torch.randn(len(forest.features), 16, generator=torch.Generator().manual_seed(26), dtype=torch.float64)
    moved = x.clone()
    moved[batch.start[2] - 1] += 1
    change = (attention(moved, batch) - attention(x, batch)).detach().abs().amax(1)
    assert bool((change[batch.tree == 1] > 1e-6).all())
    assert float(change[batch.tree != 1].max()) < 1e-14
    with pytest.raises(ValueError, match="expected a width that 3 heads share, got 16"):
        TreeAttention(16, 3)


def test_set_moments_agree_with_numpy(forest):
    found = set_moments(double(forest), MASS_AND_TIME).numpy()
    for i in (1, 3):
        x = forest.features[forest.start[i] : forest.start[i + 1]][:, [0, 3]].astype(float)
        covariance = np.cov(x.T, bias=True)
        third = ((x - x.mean(0)) ** 3).mean(0)
        upper = covariance[0, 0], covariance[0, 1], covariance[1, 1]
        np.testing.assert_allclose(found[i], [x[0, 0], np.log10(len(x)), *x.mean(0), *upper, *third], atol=1e-12)


def test_main_branch_history_is_the_interpolation_along_the_branch(forest):
    batch = double(forest)
    found = main_branch_history(batch, ALL).numpy().reshape(forest.n_tree, len(TIMES), 3)
    main = batch.is_main.numpy()
    for i in range(forest.n_tree):
        part = slice(forest.start[i], forest.start[i + 1])
        x = forest.features[part][main[part]].astype(float)[::-1]
        for k in range(3):
            np.testing.assert_allclose(found[i, :, k], np.interp(TIMES, x[:, 3], x[:, k]) - x[-1, k], atol=1e-12)


def test_quadratic_ridge_finds_a_quadratic_function():
    trees = random_forest([30] * 400, seed=8)
    model = QuadraticRidge(MASS_AND_TIME, history=False)
    summaries = model.summaries(double(trees))
    z = (summaries - summaries.mean(0)) / summaries.std(0).clamp(min=1e-9)
    targets = torch.stack([z[:, 0] + z[:, 2] * z[:, 3], z[:, 4] ** 2], 1)
    model.fit_scale(torch.from_numpy(trees.features), targets)
    penalties = model.fit((summaries[:300], targets[:300]), (summaries[300:350], targets[300:350]))
    answer = model(double(trees)).mean[350:]
    clear = (z[350:].abs() < 4.5).all(1)  # beyond five deviations the model clips
    error = (answer - targets[350:])[clear].square().mean(0) / targets.var(0)
    assert penalties[0] <= 1e-2
    assert bool((error < 1e-4).all())


def test_ks_distance_is_that_of_scipy_on_a_full_grid_and_below_it_on_a_coarse_one(forest):
    trees = forest.take([1, 3, 4])
    full = np.sort(trees.features.astype(float), axis=0).T
    pieces = [trees.features[a:b] for a, b in zip(trees.start, trees.start[1:], strict=False)]
    wanted = [[sum(ks_2samp(a[:, k], b[:, k]).statistic for k in range(4)) for b in pieces] for a in pieces]
    exact = distributions(trees, full)
    np.testing.assert_allclose(ks_distance(exact, exact), wanted, atol=1e-12)
    coarse = distributions(trees, quantile_grid(trees, 16))
    near = ks_distance(coarse, coarse)
    assert (near <= np.array(wanted) + 1e-12).all()
    assert np.abs(near - wanted).max() < 4 * 0.35


def test_nearest_tree_of_a_known_tree_is_itself(forest):
    known = distributions(forest, quantile_grid(forest))
    np.testing.assert_allclose(NearestTrees(known, forest.targets).predict(known), forest.targets, atol=1e-12)


def test_vote_agrees_with_brute_force():
    generator = np.random.default_rng(31)
    known, asked = generator.standard_normal((60, 3)) * [1, 10, 100], generator.standard_normal((20, 3)) * [1, 10, 100]
    labels = generator.integers(2, size=60)
    for scaled in (False, True):
        spread = known.std(0) if scaled else 1.0
        distance = (((asked[:, None] - known) / spread) ** 2).sum(-1)
        wanted = [labels[np.argsort(row)[:7]].mean() > 0.5 for row in distance]
        assert vote(known, labels, asked, 7, scaled).tolist() == wanted
    assert choose_neighbours(known, labels, known, labels, (1, 5)) == 1


@pytest.mark.parametrize("name", sorted(MODELS))
def test_padded_trees_give_what_ragged_ones_give(name, forest):
    network = TreeParameters(name, {}).double()
    generator = torch.Generator().manual_seed(33)
    for tensor in network.state_dict().values():
        tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64).abs() + 0.1)
    data = padded(forest)
    inputs = {key: torch.from_numpy(data[key].values.astype(float)) for key in ("node_features", "descendant")}
    answer = network(**inputs)
    wanted = network.model(double(forest))
    torch.testing.assert_close(torch.stack([answer["Omega_m"], answer["sigma_8"]], 1), wanted.mean)
    torch.testing.assert_close(torch.stack([answer["Omega_m_std"], answer["sigma_8_std"]], 1), wanted.std)


def test_nodes_that_hang_on_nothing_are_left_out_with_their_progenitors():
    features = torch.arange(24.0).reshape(1, 6, 4)
    batch = unpadded(features, torch.tensor([[-1.0, 0.0, 7.0, 2.0, 1.0, 5.0]]))
    assert batch.features[:, 0].tolist() == [0.0, 4.0, 16.0]
    assert batch.descendant.tolist() == [-1, 0, 1]


def test_calibration_makes_the_mean_square_of_residuals_over_errors_one(forest):
    model, generator = fresh(TreeScan, 35), torch.Generator().manual_seed(36)
    targets = torch.rand(forest.n_tree, 2, generator=generator)
    with torch.no_grad():
        model.calibrate(model(TreeBatch.of(forest)), targets)
        answer = model(TreeBatch.of(forest))
    z = (targets - answer.mean) / answer.std
    torch.testing.assert_close(z.square().mean(0), torch.ones(2))


@pytest.mark.parametrize(("trees", "message"), [
    ({"features": torch.zeros(1, 3, 2), "descendant": torch.zeros(1, 3)}, "node_features"),
    ({"features": torch.zeros(1, 3, 4), "descendant": torch.zeros(1, 4)}, "descendant"),
])  # fmt: skip
def test_padded_trees_of_another_shape_are_refused(trees, message):
    with pytest.raises(ValueError, match=message):
        unpadded(**trees)
