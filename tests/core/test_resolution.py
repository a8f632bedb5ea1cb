"""The resolution kit accepts layers that converge to one operator and rejects those that do not."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import xarray as xr

from sciml.fields import FieldSpec, Spec
from sciml.operator import Operator
from sciml.testing.resolution import (
    check_discretization,
    function_operator,
    measure_resolution,
    mesh_and_weights,
    smooth_function,
)

ODD = {"sizes": (65, 129, 257, 513), "reference": 4097}


def spectral(values, x, weights, query, n_modes=12):
    """Multiply twelve Fourier coefficients, taken by quadrature, and sum the series at the query points."""
    k = np.arange(-n_modes, n_modes + 1)
    multiplier = np.exp(-0.1 * np.abs(k)) * np.exp(1j * np.sin(3.0 * k))
    coefficients = multiplier * (np.exp(-2j * np.pi * np.outer(k, x)) @ (values * weights))
    return (np.exp(2j * np.pi * np.outer(query, k)) @ coefficients).real


def attention(values, x, weights, query, use_weights=True):
    """Softmax attention of the query points to the samples."""
    logits = 2.0 * np.cos(np.subtract.outer(query, x) * 4.0) + np.outer(np.sin(3 * query), values)
    logits = logits + np.log(weights) if use_weights else logits
    score = np.exp(logits - logits.max(1, keepdims=True))
    return score @ np.stack([values, values**2], 1) / score.sum(1, keepdims=True)


def linear_attention(values, x, weights, query, use_weights=True):
    """Product of query features with the integral of key features times values."""
    weights = weights if use_weights else np.full_like(x, 1 / len(x))
    keys = np.exp(np.stack([np.sin(2 * x), np.cos(5 * x), 0.3 * values], 1))
    return np.stack([1 + query, np.sin(4 * query), query**2], 1) @ (keys.T @ (weights * values))


def convolution(values, x, weights, query, taps=(1, -3, 2, 0, 4, -6, 1, 3, -2)):
    """Nine taps a pixel apart, read between pixels by linear interpolation."""
    padded = np.concatenate([values[-5:-1], values, values[1:5]])  # a periodic function sampled with both ends
    return np.interp(query, x, np.convolve(padded, taps, mode="valid"))


def resampled_convolution(values, x, weights, query):
    """A kernel of fixed support in units of x, integrated by the weights."""
    distance = np.subtract.outer(query, x)
    return (np.abs(distance) < 0.2) * (1 + 3 * distance) @ (weights * values)


def test_trapezoid_weights_integrate_with_second_order_on_both_meshes():
    for kind in ("uniform", "clustered"):
        x, weights = mesh_and_weights(kind, 65, (1.0, 3.0))
        assert weights.sum() == pytest.approx(2.0, abs=1e-14)
        assert weights @ x == pytest.approx(4.0, abs=1e-14)  # exact for straight lines
        assert x[0] == 1.0
        assert x[-1] == 3.0


def test_spectral_layer_is_at_rounding_on_uniform_grids_and_second_order_on_the_clustered_one():
    report = measure_resolution(spectral, sizes=(128, 256, 512, 1024), reference=2048)
    assert max(report.errors["uniform"]) <= 1e-12
    assert report.order("uniform") == np.inf
    assert report.order("clustered") == pytest.approx(2.0, abs=0.1)
    check_discretization(spectral, "agnostic")


def test_weighted_attention_is_second_order_on_the_clustered_mesh():
    report = check_discretization(attention, "agnostic", measure=partial(measure_resolution, **ODD), min_order=1.9)
    assert report.order("clustered") >= 1.9
    assert report.order("uniform") >= 1.9


def test_trapezoid_linear_attention_is_second_order():
    report = check_discretization(
        linear_attention, "agnostic", measure=partial(measure_resolution, **ODD), min_order=1.9
    )
    assert report.errors["clustered"][-1] < 1e-4


def test_convolution_of_fixed_support_in_units_of_x_passes():
    check_discretization(resampled_convolution, "agnostic")


@pytest.mark.parametrize("layer", [attention, linear_attention])
@pytest.mark.parametrize("sizes", [{}, ODD])
def test_attention_without_weights_is_rejected_on_the_clustered_mesh(layer, sizes):
    unweighted = partial(layer, use_weights=False)
    measure = partial(measure_resolution, **sizes)
    with pytest.raises(AssertionError, match=r"^resolution: expected .*clustered mesh.*, got order .* or declare it"):
        check_discretization(unweighted, "agnostic", measure=measure, tolerance=1.0)
    errors = measure(unweighted).errors["clustered"]
    assert errors[-1] > 0.5 * errors[0]
    assert errors[-1] > 1e-2


def test_convolution_of_fixed_pixels_is_rejected():
    with pytest.raises(
        AssertionError, match='expected an operator declared "agnostic" to converge on the uniform mesh'
    ):
        check_discretization(convolution, "agnostic")
    errors = measure_resolution(convolution).errors["uniform"]
    assert errors[0] > 10
    assert errors[-1] > 0.9


def test_stencil_with_a_sum_converges_to_a_multiplication():
    # What no refinement can tell: the limit exists, and is not a convolution any more.
    taps = np.ones(9) / 9
    report = check_discretization(partial(convolution, taps=taps), "agnostic")
    assert report.order("uniform") == pytest.approx(2.0, abs=0.2)
    x, weights = mesh_and_weights("uniform", 4097)
    query = np.array([0.2, 0.7])
    assert convolution(smooth_function()(x), x, weights, query, taps) == pytest.approx(
        smooth_function()(query), abs=1e-4
    )


def test_query_side_weights_are_rejected():
    # Weights that multiply the answer at the queries, not the integrand at the samples.
    def misplaced(values, x, weights, query):
        return linear_attention(values, x, weights, query, use_weights=False) * np.interp(query, x, weights) * len(x)

    with pytest.raises(AssertionError, match="clustered mesh"):
        check_discretization(misplaced, "agnostic")


@pytest.mark.parametrize("layer", [convolution, partial(attention, use_weights=False)])
def test_fixed_operators_pass_as_declared_and_are_reported(layer):
    report = check_discretization(layer, "fixed")
    assert "order" in str(report)
    assert set(report.errors) == {"uniform", "clustered"}


def dense(values, x, weights, query):
    return np.ones((len(query), 64)) @ values


def test_operator_of_one_size_passes_as_fixed_and_fails_as_agnostic():
    assert "ValueError: matmul" in check_discretization(dense, "fixed").problem
    with pytest.raises(AssertionError, match="to take any mesh, got ValueError: matmul"):
        check_discretization(dense, "agnostic")


def test_values_that_are_not_at_the_query_points_are_refused():
    with pytest.raises(ValueError, match=r"operator: expected finite values at 61 query points from n = 2048 samples"):
        measure_resolution(lambda values, x, weights, query: values)


def test_unknown_declaration_is_refused():
    with pytest.raises(ValueError, match=r"expected \('agnostic', 'fixed'\), got 'Agnostic'"):
        check_discretization(spectral, "Agnostic")


def test_sizes_beyond_the_reference_are_refused():
    with pytest.raises(ValueError, match="3 <= sizes < reference"):
        measure_resolution(spectral, sizes=(64, 4096))


def test_errors_do_not_depend_on_the_interval():
    def moved(values, x, weights, query):
        return attention(values, (x - 2) / 5, weights / 5, (query - 2) / 5)

    here, there = measure_resolution(attention), measure_resolution(moved, interval=(2.0, 7.0))
    for mesh in here.errors:
        assert there.errors[mesh] == pytest.approx(here.errors[mesh], rel=1e-6)


class Attending(Operator):
    """Attention on labelled data, with a gain as parameter."""

    discretization = "agnostic"

    def __init__(self, use_weights=True, names=("x", "weight", "query")):
        self.use_weights, self.names = use_weights, names

    @property
    def spec(self):
        x, weight, query = self.names
        inputs = (
            FieldSpec("gain", ("batch",)),
            FieldSpec("pressure", ("batch", "node"), "Pa"),
            FieldSpec(x, ("node",), "m"),
            FieldSpec(weight, ("node",), "m"),
            FieldSpec(query, ("query",), "m"),
        )
        return Spec(inputs, (FieldSpec("response", ("batch", "query"), "Pa"),))

    def _apply(self, inputs):
        values, x, weights, query = (inputs[name].values for name in ("pressure", "x", "weight", "query"))
        rows = [attention(row, x, weights, query, self.use_weights)[:, 0] for row in values]
        gain = inputs["gain"].values[:, None]
        return xr.Dataset({"response": (("batch", "query"), gain * np.array(rows), {"units": "Pa"})})


def test_labelled_operators_are_measured_like_their_functions():
    gain = xr.Dataset({"gain": ("batch", [3.0])})
    labelled = measure_resolution(function_operator(Attending(), gain))
    plain = measure_resolution(lambda *arguments: attention(*arguments)[:, 0])
    for mesh in plain.errors:
        assert labelled.errors[mesh] == pytest.approx(plain.errors[mesh], rel=1e-9)
    check_discretization(function_operator(Attending(), gain), Attending.discretization)
    with pytest.raises(AssertionError, match="clustered"):
        check_discretization(function_operator(Attending(False), gain), "agnostic")


def test_operator_without_query_points_is_told_the_convention():
    with pytest.raises(ValueError, match=r"expected the inputs x, weight and query, got none called \['query'\]"):
        function_operator(Attending(names=("x", "weight", "target")))
