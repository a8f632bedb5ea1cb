"""Inputs drawn from a spec, so that a check needs no data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from sciml.fields import FieldSpec, Region, Spec


def example_inputs(
    spec: Spec,
    n: int,
    seed: int,
    domain: Mapping[str, Region] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> xr.Dataset:
    """Draw `n` samples of the inputs of `spec`, uniform in the training domain, else in the bounds, else in [0, 1].

    A field named like its only dimension, such as ``time(time)``, is a coordinate and comes evenly spaced from the low
    end: many solvers march through uniform outputs only.

    Parameters
    ----------
    spec : names, dimensions, units and bounds.
    n : size of the batch dimension.
    seed : of the random numbers; equal seeds give equal inputs.
    domain : name -> region, as of a surrogate.
    sizes : of other dimensions, where 5 does not fit; components of a vector are counted by its region.
    """
    rng = np.random.default_rng(seed)
    regions = {field.name: (domain or {}).get(field.name) or field.bounds for field in spec.inputs}
    lengths = {**_component_counts(spec, regions), **dict(sizes or {}), spec.batch_dim: n}
    arrays = {field.name: _draw(field, regions[field.name], lengths, rng) for field in spec.inputs}
    return xr.Dataset(arrays)


def _component_counts(spec: Spec, regions: Mapping[str, Region | None]) -> dict[str, int]:
    counts = {name: len(values) for name, (_, values) in spec.coords.items()}
    for field in spec.inputs:
        region = regions[field.name]
        if region is not None and region.n_dims > 1:
            counts[field.dims[-1]] = region.n_dims
    return counts


def _draw(
    field: FieldSpec, region: Region | None, lengths: Mapping[str, int], rng: np.random.Generator
) -> tuple[tuple[str, ...], np.ndarray, dict[str, str]]:
    shape = tuple(lengths.get(dim, 5) for dim in field.dims)
    region = region or Region.interval(0.0, 1.0)
    points = shape[:-1] if region.n_dims > 1 else shape  # how many points of the region to draw
    low, high = _finite_box(region, int(rng.integers(len(region.boxes))))
    if field.dims == (field.name,):
        values = np.linspace(low[0], high[0], shape[0])
    else:
        values = rng.uniform(low, high, (*points, region.n_dims)).reshape(shape)
    return field.dims, values, {"units": field.unit}


def _finite_box(region: Region, index: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = (np.array(corner) for corner in region.boxes[index])
    start = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high - 1.0, 0.0))
    return start, np.where(np.isfinite(high), high, start + 1.0)
