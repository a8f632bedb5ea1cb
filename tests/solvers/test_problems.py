"""Grid problems: the matrix they stand for, what is refused, and the gallery."""

from __future__ import annotations

import numpy as np
import pytest
from sciml_solvers.gallery import NAMES, problem, random_mask
from sciml_solvers.problems import AIR, FLUID, SOLID, MaskProblem


def drawn(seed, shape=(6, 5, 7)):
    return random_mask(shape, np.random.default_rng(seed))


def test_matrix_of_a_row_is_the_second_difference_with_its_boundary_conditions():
    cells = np.array([[AIR, FLUID, FLUID, FLUID, SOLID]], dtype=np.uint8)
    made = MaskProblem("row", cells, np.zeros(cells.shape), spacing=(1.0, 0.5))
    assert np.array_equal(made.matrix().toarray(), 4 * np.array([[2, -1, 0], [-1, 2, -1], [0, -1, 1]]))


def test_face_weight_is_the_harmonic_mean_of_the_coefficients():
    cells = np.full((1, 3), FLUID, dtype=np.uint8)
    made = MaskProblem("row", cells, np.zeros((1, 3)), coefficient=np.array([[1.0, 3.0, 1e300]]))
    assert made.matrix()[0, 1] == -1.5
    assert made.matrix()[1, 2] == -6.0


@pytest.mark.parametrize("seed", range(3, 11))
@pytest.mark.parametrize("shape", [(6, 5, 7), (9, 8)])
def test_matrix_is_a_symmetric_m_matrix_whose_rows_sum_to_the_air_faces(seed, shape):
    made = drawn(seed, shape)
    a = made.matrix().toarray()
    ground = made.to_vector(sum(made.face_weights(axis)[1] for axis in range(made.cells.ndim)))
    assert np.array_equal(a, a.T)
    assert (a - np.diag(a.diagonal()) <= 0).all()
    assert np.allclose(a.sum(1), ground, atol=1e-12 * a.max())
    assert np.linalg.eigvalsh(a).min() >= -1e-12 * a.max()


def test_vectors_and_grids_are_inverse_to_each_other():
    made = drawn(5)
    vector = np.random.default_rng(6).standard_normal((3, made.n_unknowns))
    assert np.array_equal(made.to_vector(made.to_grid(vector)), vector)
    assert np.array_equal(made.to_vector(made.index.astype(float)), np.arange(made.n_unknowns))
    assert not made.to_grid(vector)[:, made.cells != FLUID].any()


CELLS = np.full((4, 5), FLUID, dtype=np.uint8)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"cells": CELLS.astype(int)}, TypeError, "expected cells as an array of uint8, got int64"),
        ({"cells": CELLS + 2}, ValueError, r"expected cells of 0 \(solid\), 1 \(fluid\) and 2 \(air\), got 3"),
        ({"cells": CELLS[0]}, ValueError, "expected cells with 2 or 3 axes"),
        ({"rhs": np.zeros((5, 4))}, ValueError, r"expected rhs of shape \(4, 5\)"),
        ({"rhs": np.full((4, 5), np.nan)}, ValueError, "expected finite rhs in fluid cells"),
        ({"rhs": [[0.0]]}, TypeError, "expected rhs as an array of float64, got list"),
        ({"coefficient": np.zeros((4, 5))}, ValueError, "expected positive finite coefficients, got 0"),
        ({"coefficient": np.ones((4, 4))}, ValueError, r"expected coefficient of shape \(4, 5\)"),
        ({"spacing": (1.0, -1.0)}, ValueError, "expected 2 positive spacings"),
    ],
)
def test_wrong_problem_is_told_what_was_expected(change, kind, words):
    given = {"name": "box", "cells": CELLS, "rhs": np.zeros(CELLS.shape), **change}
    with pytest.raises(kind, match=f"^MaskProblem: .*{words}"):
        MaskProblem(**given)


@pytest.mark.parametrize("name", NAMES)
def test_gallery_is_deterministic_and_takes_any_shape(name):
    for shape in ((17, 12, 9), (19, 14)):
        first, second = problem(name, shape), problem(name, shape)
        assert first.cells.shape == shape
        assert np.array_equal(first.cells, second.cells)
        assert np.array_equal(first.rhs, second.rhs)
        assert first.n_unknowns > 0


def test_gallery_differs_with_the_seed_and_refuses_unknown_names():
    assert not np.array_equal(problem("porous", 8, seed=1).cells, problem("porous", 8, seed=2).cells)
    with pytest.raises(ValueError, match=r"^problem: expected one of solids, dam, .*, got 'lake'; choose one of these"):
        problem("lake", 8)


def test_closed_gallery_problems_are_compatible():
    for name in ("neumann", "two_components"):
        made = problem(name, 12)
        assert np.abs(made.matrix().sum(1)).max() < 1e-12
        assert abs(made.to_vector(made.rhs).sum()) < 1e-10
