"""Proper orthogonal decomposition: orthonormality, stated loss, and rank."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sciml_acoustics.subspace import proper_orthogonal


def test_subspace_is_orthonormal_under_the_quadrature(small):
    shapes, weight = small.subspace.shapes, small.train.node_weight
    np.testing.assert_allclose((shapes.T * weight) @ shapes, np.eye(shapes.shape[1]), atol=1e-10)


def test_subspace_loses_what_it_states(small):
    subspace, pressure, weight = small.subspace, small.train.pressure.astype(float), small.train.node_weight
    rest = pressure - subspace.amplitude @ subspace.shapes.T
    lost = np.sqrt((rest**2 @ weight).sum() / (pressure**2 @ weight).sum())
    np.testing.assert_allclose(lost, subspace.lost, rtol=1e-6)
    assert subspace.lost <= 1e-3


def test_subspace_keeps_no_mode_more_than_the_tolerance_asks_for(small):
    pressure, weight = small.train.pressure.astype(float), small.train.node_weight
    fewer = small.subspace.shapes[:, :-1]
    rest = pressure - (small.subspace.amplitude[..., :-1]) @ fewer.T
    assert np.sqrt((rest**2 @ weight).sum() / (pressure**2 @ weight).sum()) > 1e-3


def test_subspace_strength_is_the_energy_of_each_coordinate(small):
    found = np.sqrt((small.subspace.amplitude**2).sum((0, 1)))
    np.testing.assert_allclose(found, small.subspace.strength, rtol=1e-8)
    assert (np.diff(small.subspace.strength) <= 1e-9).all()


def test_subspace_rank_grows_as_the_tolerance_falls_and_stops_at_the_limit(small):
    ranks = [proper_orthogonal(small.train, tolerance, 400).shapes.shape[1] for tolerance in (0.3, 1e-1, 1e-2, 1e-3)]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == 4
    limited = proper_orthogonal(small.train, 1e-3, 17)
    assert limited.shapes.shape[1] == 17
    assert limited.lost > 1e-3


def test_subspace_of_waves_that_repeat_has_their_rank_and_finite_strength(small):
    few = replace(small.train.sources(slice(0, 1)), pressure=np.repeat(small.train.pressure[:1, :3], 2, axis=0))
    subspace = proper_orthogonal(few, 0.0, 400)
    assert (subspace.strength > 0).all()  # fits divide by it
    assert np.isfinite(subspace.amplitude).all()
