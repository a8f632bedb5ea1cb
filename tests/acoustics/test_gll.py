from __future__ import annotations

import numpy as np
import pytest
from sciml_acoustics.gll import differentiation_matrix, gll_rule, interpolation_matrix

ORDERS = range(1, 13)


@pytest.mark.parametrize("order", ORDERS)
def test_rule_integrates_degree_2p_minus_1_exactly_and_no_more(order):
    nodes, weights = gll_rule(order)
    for degree in range(2 * order):
        exact = 0.0 if degree % 2 else 2.0 / (degree + 1)
        assert weights @ nodes**degree == pytest.approx(exact, abs=1e-14)
    assert abs(weights @ nodes ** (2 * order) - 2.0 / (2 * order + 1)) > 1e-7


@pytest.mark.parametrize("order", ORDERS)
def test_rule_is_symmetric_to_the_bit_and_holds_both_ends(order):
    nodes, weights = gll_rule(order)
    assert np.array_equal(nodes, -nodes[::-1])
    assert np.array_equal(weights, weights[::-1])
    assert nodes[0] == -1.0
    assert np.all(np.diff(nodes) > 0.0)


@pytest.mark.parametrize("order", ORDERS)
def test_differentiation_is_exact_for_polynomials_up_to_the_order(order):
    nodes, _ = gll_rule(order)
    slope = differentiation_matrix(nodes)
    for degree in range(order + 1):
        exact = degree * nodes ** max(degree - 1, 0)
        assert np.abs(slope @ nodes**degree - exact).max() < 1e-11


@pytest.mark.parametrize("order", ORDERS)
def test_interpolation_is_exact_for_polynomials_and_at_nodes(order):
    nodes, _ = gll_rule(order)
    points = np.random.default_rng(7).uniform(-1.0, 1.0, 40)
    matrix = interpolation_matrix(nodes, points)
    for degree in range(order + 1):
        assert np.abs(matrix @ nodes**degree - points**degree).max() < 1e-12
    assert np.array_equal(interpolation_matrix(nodes, nodes), np.eye(order + 1))


def test_rule_of_order_zero_is_refused():
    with pytest.raises(ValueError, match="expected an order of at least 1, got 0"):
        gll_rule(0)
