"""Graphs of neighbours as torch-geometric takes them: direction, batches, gradients, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_cosmo.graph import periodic_knn_graph, periodic_radius_graph
from scipy.spatial import cKDTree
from torch_geometric.nn import MessagePassing


def points(seed, n_node, side=1.0):
    return side * torch.rand(n_node, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Mean(MessagePassing):
    """The mean of a feature over the sources of a node's edges."""

    def __init__(self):
        super().__init__(aggr="mean")

    def forward(self, x, edge_index):
        return self.propagate(edge_index, x=x)

    def message(self, x_j):
        return x_j


def test_messages_of_torch_geometric_meet_at_the_node_of_the_row():
    """The mean of the neighbours' positions about a node, by message passing and by the vectors of its row."""
    x = 0.4 + points(201, 60, 0.2)  # in one piece: no pair through a face
    graph = periodic_radius_graph(x, 1.0, 0.06)
    lonely = graph.degree == 0
    total = torch.zeros_like(x).index_add(0, graph.edge_index[1], graph.vectors)
    wanted = torch.where(lonely[:, None], 0, x + total / graph.degree[:, None].clamp(min=1))
    torch.testing.assert_close(Mean()(x, graph.edge_index), wanted, rtol=0, atol=1e-14)


def test_radius_graph_has_the_pairs_of_a_tree():
    x = points(202, 3000, 50.0)
    pairs = cKDTree(x.numpy(), boxsize=50.0).query_pairs(3.1, output_type="ndarray")
    graph = periodic_radius_graph(x, 50.0, 3.1)
    once = graph.edge_index[:, graph.edge_index[0] < graph.edge_index[1]]
    assert set(map(tuple, pairs.tolist())) == set(map(tuple, once.T.tolist()))
    assert graph.edge_index.shape[1] == 2 * len(pairs)


def test_knn_graph_has_the_neighbours_of_a_tree():
    x = points(203, 2000, 50.0)
    distance, neighbour = cKDTree(x.numpy(), boxsize=50.0).query(x.numpy(), 8)
    graph = periodic_knn_graph(x, 50.0, 7)
    assert np.array_equal(graph.edge_index[0].reshape(-1, 7).numpy(), neighbour[:, 1:])
    np.testing.assert_allclose(graph.vectors.norm(dim=1).reshape(-1, 7), distance[:, 1:], rtol=1e-12)
    assert graph.pointer.tolist() == list(range(0, 7 * 2000 + 1, 7))
    assert (graph.degree == 7).all()


@pytest.mark.parametrize(
    "make", [lambda *a: periodic_radius_graph(*a[:2], 0.2, a[2]), lambda *a: periodic_knn_graph(*a[:2], 4, a[2])]
)
def test_batch_keeps_clouds_apart_and_numbers_their_nodes(make):
    x, batch = points(204, 100), torch.tensor([0] * 40 + [1] * 5 + [3] * 55)  # cloud 2 is empty
    graph = make(x, 1.0, batch)
    source, target = graph.edge_index
    assert torch.equal(batch[source], batch[target])
    alone = make(x[45:], 1.0, None)
    last = batch[target] == 3
    assert torch.equal(graph.edge_index[:, last] - 45, alone.edge_index)
    assert torch.equal(graph.vectors[last], alone.vectors)


def test_box_may_be_a_number_three_numbers_or_a_tensor():
    x = points(205, 50)
    graphs = [periodic_radius_graph(x, box, 0.3) for box in (1, 1.0, [1.0] * 3, torch.ones(3), torch.tensor(1.0))]
    assert all(torch.equal(graph.vectors, graphs[0].vectors) for graph in graphs)


def test_vectors_carry_gradients_and_edges_do_not():
    x = points(206, 50).float().requires_grad_()
    graph = periodic_radius_graph(x, 1.0, 0.3)
    assert graph.vectors.requires_grad
    assert not graph.edge_index.requires_grad
    length = graph.vectors.norm(dim=1).sum()
    length.backward()
    # each pair has two edges, and a node is at one end of each
    unit = graph.vectors.detach() / graph.vectors.detach().norm(dim=1, keepdim=True)
    wanted = -2 * torch.zeros(50, 3).index_add(0, graph.edge_index[1], unit)
    torch.testing.assert_close(x.grad, wanted, rtol=1e-5, atol=1e-5)


def test_graph_cannot_be_changed():
    graph = periodic_radius_graph(points(207, 5), 1.0, 0.3)
    with pytest.raises(AttributeError):
        graph.pointer = graph.pointer


def test_empty_cloud_has_an_empty_graph():
    for graph in (periodic_radius_graph(torch.zeros(0, 3), 1.0, 0.3), periodic_knn_graph(torch.zeros(0, 3), 1.0, 4)):
        assert graph.edge_index.shape == (2, 0)
        assert graph.vectors.shape == (0, 3)
        assert graph.pointer.tolist() == [0]


X, BATCH = points(208, 6), torch.tensor([0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("batch", "error", "sentence"),
    [
        (
            BATCH.flip(0),
            ValueError,
            "expected batch in rising order, got 1 before 0 at node 3; sort the nodes by cloud",
        ),
        (BATCH - 1, ValueError, "expected batch from 0 on, got -1"),
        (BATCH[:4], TypeError, r"expected batch as int64 of shape \(node=6,\), got torch.int64 \(4,\)"),
        (BATCH.float(), TypeError, r"expected batch as int64 .* got torch.float32"),
        ([0, 0, 0, 1, 1, 1], TypeError, "expected batch as int64 .* got list"),
    ],
)
def test_bad_batch_is_told_in_a_sentence(batch, error, sentence):
    with pytest.raises(error, match=f"periodic_radius_graph: {sentence}"):
        periodic_radius_graph(X, 1.0, 0.2, batch)
    with pytest.raises(error, match=f"periodic_knn_graph: {sentence}"):
        periodic_knn_graph(X, 1.0, 2, batch)


def test_bad_cloud_is_told_in_a_sentence():
    with pytest.raises(ValueError, match=r"at most 0\.5, half the shortest side, got 0\.7"):
        periodic_radius_graph(X, 1.0, 0.7)
    with pytest.raises(ValueError, match="expected more than k=3 nodes in every cloud, got one of 3"):
        periodic_knn_graph(X, 1.0, 3, BATCH)
    with pytest.raises(TypeError, match=r"expected positions as a torch\.Tensor, got ndarray"):
        periodic_knn_graph(X.numpy(), 1.0, 3)
