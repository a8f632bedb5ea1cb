"""Jacobians and linear surrogates in SciPy's clothes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from sciml_couplings.linear_operator import jacobian, linear_operator, preconditioner
from scipy.sparse.linalg import cg
from small_surrogates import Membrane, Perceptron, membrane, perceptron, spring, spring_inputs

from sciml import Surrogate
from sciml.testing import example_inputs


def loads(n_batch=1):
    return xr.Dataset({"load": (("batch", "node"), np.zeros((n_batch, 8)), {"units": "N"})})


def chain(shift=0.0):
    """Return the matrix whose inverse the membrane is, its diagonal shifted."""
    return (3 + shift) * np.eye(8) - np.eye(8, k=1) - np.eye(8, k=-1)


def test_jacobian_products_are_adjoint_and_agree_with_differences():
    data, rng, step = spring_inputs(3), np.random.default_rng(11), 1e-5
    for name, size in (("position", 6), ("stiffness", 3)):
        found = jacobian(spring(), data, input=name, output="force")
        assert found.shape == (6, size)
        v, w = rng.normal(size=size), rng.normal(size=6)
        assert w @ (found @ v) == pytest.approx(v @ (found.T @ w), rel=1e-12)
        moved = v.reshape(data[name].shape)
        ends = [
            spring().predict(
                data.assign({name: (data[name] + s * moved).assign_attrs(data[name].attrs)}), outside="allow"
            )
            for s in (step, -step)
        ]
        numeric = (ends[0]["force"] - ends[1]["force"]).values.ravel() / (2 * step)
        np.testing.assert_allclose(found @ v, numeric, rtol=1e-7, atol=1e-9)


def test_jacobian_is_that_of_the_formula():
    data = spring_inputs(1)
    x, k = data["position"].values[0], data["stiffness"].values[0]
    wanted = -(k + x @ x) * np.eye(2) - 2 * np.outer(x, x)
    np.testing.assert_allclose(
        jacobian(spring(), data, input="position", output="force") @ np.eye(2), wanted, rtol=1e-12
    )


def test_jacobian_in_single_precision_is_adjoint():
    data = example_inputs(perceptron().spec, 2, 12, perceptron().domain)
    found = jacobian(Surrogate(Perceptron()), data, input="position")
    rng = np.random.default_rng(13)
    v, w = rng.normal(size=found.shape[1]), rng.normal(size=found.shape[0])
    assert found.dtype == np.float32
    assert w @ (found @ v) == pytest.approx(v @ (found.T @ w), rel=1e-4)


def test_a_linear_surrogate_is_a_linear_operator():
    found = linear_operator(membrane(), loads(2))
    dense = found @ np.eye(16)
    np.testing.assert_allclose(dense, np.kron(np.eye(2), np.linalg.inv(chain())), atol=1e-13)
    np.testing.assert_allclose(found.T @ np.eye(16), dense.T, atol=1e-14)


def test_what_is_not_linear_is_refused():
    with pytest.raises(ValueError, match="linear in 'position'"):
        linear_operator(spring(), spring_inputs(2), input="position", output="force")
    with pytest.raises(ValueError, match="expected one of energy, force, got None"):
        jacobian(spring(), spring_inputs(2), input="position")


def test_as_preconditioner_it_solves_its_own_system_in_one_iteration_and_helps_a_near_one():
    rhs = np.random.default_rng(14).normal(size=8)
    counts = {}
    for name, shift in (("own", 0.0), ("near", 0.5)):
        for label, m in (("plain", None), ("preconditioned", preconditioner(membrane(), loads()))):
            iterations = []
            x, info = cg(chain(shift), rhs, M=m, rtol=1e-10, callback=iterations.append)
            assert info == 0
            np.testing.assert_allclose(chain(shift) @ x, rhs, atol=1e-8)
            counts[name, label] = len(iterations)
    assert counts["own", "preconditioned"] == 1
    assert counts["near", "preconditioned"] < counts["near", "plain"]


class Lopsided(Membrane):
    registered = "small.lopsided"

    def forward(self, load):
        return {"deflection": load @ (self.inverse + torch.tril(self.inverse)).T}


class Ends(Membrane):
    registered = "small.ends"

    def forward(self, load):
        return {"deflection": (load @ self.inverse.T)[:, :2]}


def test_what_is_no_preconditioner_is_refused():
    with pytest.raises(ValueError, match="expected a square map"):
        preconditioner(Surrogate(Ends()), loads())
    with pytest.raises(ValueError, match="expected a symmetric map"):
        preconditioner(Surrogate(Lopsided()), loads())
