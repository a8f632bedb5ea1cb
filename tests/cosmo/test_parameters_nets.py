"""Graphs and networks of the parameter task: sums over pairs of edges, symmetries, blindness to counts, posteriors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_cosmo.parameters.graphs import Surroundings, join, make_graph
from sciml_cosmo.parameters.hybrid import mixed, mixing_weights
from sciml_cosmo.parameters.linear import greedy, ridge
from sciml_cosmo.parameters.nets import SCALARS, TENSORS, VECTORS, GraphNet
from sciml_cosmo.parameters.train import posterior_loss, widening

L = 30.0
AROUND = Surroundings(nearest=0.05, farthest=0.3, linked=0.2, n_radial=4)
PRIOR = np.array([[-9.0, -9.0], [9.0, 9.0]])


def nodes(n=80, seed=3):
    return np.random.default_rng(seed).uniform(0, L, (n, 3))


def network(seed=4, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GraphNet(4, width=8, **options).eval()


def pairs(positions):
    """Return radial functions (i, j, radial) and unit separations (i, j, axis) of all pairs by the definition."""
    delta = positions[None] - positions[:, None]
    delta -= L * np.round(delta / L)
    r = np.linalg.norm(delta, axis=-1)
    hats = AROUND.hats(torch.as_tensor(r / L)).numpy() * ((r > 0) & (r <= 0.3 * L))[..., None]
    return hats, delta / np.maximum(r, 1e-12)[..., None]


def test_products_of_sums_over_edges_are_sums_over_pairs_of_edges():
    positions = nodes()
    found = make_graph(positions, L, AROUND).surroundings.double()
    hats, unit = pairs(positions)
    cosine = np.einsum("ija,ika->ijk", unit, unit)
    scale = np.sqrt(1 + AROUND.expected(len(positions)).numpy())
    for place, kernel in ((VECTORS, cosine), (TENSORS, cosine**2 - 1 / 3)):
        wanted = np.einsum("ijm,ikn,ijk->imn", hats, hats, kernel) / np.multiply.outer(scale, scale)
        part = found[:, :, place]
        np.testing.assert_allclose(torch.einsum("imc,inc->imn", part, part), wanted, atol=2e-5)


def test_scalars_of_the_surroundings_vanish_on_average_for_any_number_of_uniform_nodes():
    for n in (60, 240):
        means = [make_graph(nodes(n, 50 + s), L, AROUND).surroundings[:, :, SCALARS].mean(0) for s in range(30)]
        values = torch.stack(means)[..., 0].numpy()
        assert (np.abs(values.mean(0)) < 4.5 * values.std(0) / np.sqrt(30)).all()


@pytest.mark.parametrize("edge_edge", [False, True])
def test_answer_is_invariant_under_the_symmetries_of_the_torus(edge_edge):
    positions, net = nodes(), network(edge_edge=edge_edge)
    wanted = net(make_graph(positions, L, AROUND))
    others = {
        "shift": (positions + np.array([4.0, 11.0, 29.0])) % L,
        "reflection": (L - positions) % L,
        "axes": positions[:, [2, 0, 1]],
        "nodes": positions[np.random.default_rng(6).permutation(len(positions))],
    }
    for other in others.values():
        found = net(make_graph(other, L, AROUND))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_clouds_of_a_joined_graph_do_not_see_each_other():
    graphs, net = [make_graph(nodes(n, n), L, AROUND) for n in (50, 80, 65)], network()
    together = net(join(graphs))
    alone = [net(graph) for graph in graphs]
    for part in (0, 1):
        torch.testing.assert_close(together[part], torch.cat([one[part] for one in alone]), rtol=1e-4, atol=1e-5)


def test_two_copies_of_a_cloud_give_the_answer_of_one():
    # nothing is summed over the nodes: more of the same nodes says nothing new
    graph, net = make_graph(nodes(), L, AROUND), network()
    double = join([graph, graph])
    whole = type(graph)(
        double.index, double.pointer, double.radial, double.surroundings,
        torch.tensor([0, len(double.pointer) - 1]), double.degree,
    )  # fmt: skip
    torch.testing.assert_close(net(whole), net(graph), rtol=1e-4, atol=1e-5)


def test_edge_edge_messages_see_angles_that_distances_hide():
    # every node of both clouds has two neighbours at 1.5 and none else, in a line or at a right angle
    line, angle = (np.array([[10.0, 10, 10], [11.5, 10, 10], second]) for second in ([8.5, 10, 10], [10, 11.5, 10]))
    around = Surroundings(nearest=0.02, farthest=0.055, linked=0.055, n_radial=2)  # 1.65: end nodes do not meet
    graphs = [make_graph(cloud, L, around) for cloud in (line, angle)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        blind, seeing = (GraphNet(2, width=8, edge_edge=flag).eval() for flag in (False, True))
    torch.testing.assert_close(blind(graphs[0]), blind(graphs[1]))
    assert (seeing(graphs[0])[0] - seeing(graphs[1])[0]).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["gaussian", "moments"])
def test_loss_is_stationary_at_mean_and_deviation_of_a_skewed_posterior_and_not_beside(name):
    truth = torch.as_tensor(np.random.default_rng(7).gamma(4.0, 0.1, (20_000, 1)))

    def slopes(dm, factor):
        mean = (truth.mean() + dm).requires_grad_()
        std = (truth.std(correction=0) * factor).requires_grad_()
        posterior_loss(name, (mean + 0 * truth, std + 0 * truth), truth).backward()
        return float(mean.grad), float(std.grad)

    assert slopes(0.0, 1.0) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert slopes(0.05, 1.0)[0] > 0.1
    assert slopes(-0.05, 1.0)[0] < -0.1
    assert slopes(0.0, 0.9)[1] < -0.1
    assert slopes(0.0, 1.1)[1] > 0.1


def test_mixture_has_the_moments_of_the_law_that_draws_a_member_first():
    means, stds = np.array([[[0.0]], [[2.0]]]), np.array([[[1.0]], [[0.5]]])
    weights = np.array([[0.3], [0.7]])
    mean, std = mixed(list(zip(means, stds, strict=True)), weights)
    draws = np.random.default_rng(9)
    which = (draws.uniform(size=200_000) > 0.3).astype(int)
    sample = means[which, 0, 0] + stds[which, 0, 0] * draws.standard_normal(200_000)
    assert mean[0, 0] == pytest.approx(sample.mean(), abs=0.02)
    assert std[0, 0] == pytest.approx(sample.std(), rel=0.01)


def test_weights_of_the_mean_are_never_worse_than_the_best_member_where_they_were_chosen():
    draws = np.random.default_rng(10)
    truth = draws.standard_normal((50, 2))
    members = [truth + s * draws.standard_normal((50, 2)) for s in (0.5, 1.0, 0.7)]
    weights = mixing_weights(members, truth)
    np.testing.assert_allclose(weights.sum(0), 1)
    error = ((np.einsum("mt,mbt->bt", weights, np.stack(members)) - truth) ** 2).mean(0)
    assert (error <= np.min([((m - truth) ** 2).mean(0) for m in members], axis=0)).all()


def test_widening_makes_errors_of_unit_mean_square():
    draws = np.random.default_rng(11)
    truth, std = draws.standard_normal((400, 2)), np.full((400, 2), 0.1)
    factor = widening(truth, np.zeros((400, 2)), std)
    assert ((truth / (std * factor)) ** 2).mean(0) == pytest.approx(1)


def test_ridge_without_strength_is_least_squares_and_clips_to_the_prior():
    draws = np.random.default_rng(12)
    x, y = draws.standard_normal((60, 5)), draws.standard_normal((60, 2))
    model = ridge(x, y, (x, y), PRIOR, strengths=(0.0,))
    design = np.column_stack([np.ones(60), x])
    wanted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(model.predict(x), wanted, atol=1e-10)
    tight = ridge(x, y, (x, y), PRIOR / 90, strengths=(0.0,))
    assert np.abs(tight.predict(x)).max() <= 0.1


def test_greedy_choice_takes_the_informative_cut_off_first():
    draws = np.random.default_rng(13)
    x = draws.standard_normal((200, 6, 4))
    y = x[:, 4, :2] + 0.1 * draws.standard_normal((200, 2))
    chosen, model = greedy(x[:150], y[:150], (x[150:], y[150:]), PRIOR, n_cut=2)
    assert chosen[0] == 4
    assert len(set(chosen)) == 2
    assert ((model.predict(x[150:].reshape(50, -1)) - y[150:]) ** 2).mean() < 0.05


@pytest.mark.parametrize("farthest", [0.1, 0.6])
def test_surroundings_outside_the_box_are_refused(farthest):
    with pytest.raises(ValueError, match="linked <= farthest"):
        Surroundings(nearest=0.05, farthest=farthest, linked=0.2)
