"""What every model of the parameter task is given of a set of clouds, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sciml.progress import Progress
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.clustering.multipoles import multipoles, redshift_space
from sciml_cosmo.clustering.pair_moments import pair_statistics
from sciml_cosmo.clustering.two_point import correlation
from sciml_cosmo.generate.design import PRIORS
from sciml_cosmo.parameters.graphs import Graph, Surroundings, make_graph
from sciml_cosmo.parameters.leak import TARGETS, targets_of
from sciml_cosmo.parameters.linear import Array

PRIOR = np.array([PRIORS[name] for name in TARGETS]).T  # (2, target): lowest and highest
FORMS = ("log", "signed")
LOWEST_LOG = 1e-3  # |xi| below it is noise


@dataclass(frozen=True)
class Features:
    """Clouds of one number of nodes as the models see them.

    Parameters
    ----------
    targets : (batch, target)
        Omega_m and sigma_8.
    xi : (batch, bin)
        Real-space correlation function.
    seen : (batch, 2 bin)
        Monopole and quadrupole in redshift space.
    moments : (batch, cut, statistic)
        Statistics of pairs below the candidate cut-offs.
    graphs
        One for each cloud.
    """

    targets: Array
    xi: Array
    seen: Array
    moments: Array
    graphs: list[Graph]


def candidate_cuts(box_size: float, n_candidate: int = 24) -> Array:
    """Return the cut-offs (cut,) that the greedy choice starts from: 0.02 to 0.48 of the side, equal in log r."""
    return box_size * np.geomspace(0.02, 0.48, n_candidate)


def prepare(clouds: Sequence[Cloud], edges: Array, around: Surroundings, progress: Progress) -> Features:
    """Compute the features of clouds that have the same number of nodes and the same box.

    Parameters
    ----------
    clouds
        With Omega_m and sigma_8.
    edges : (edge,)
        Bins of separation, Mpc/h.
    around
        Radial functions and cut-off of the graphs.
    progress
        Where it is shown.
    """
    sizes = {(len(cloud), cloud.box_size) for cloud in clouds}
    if len(sizes) != 1:
        wanted = "clouds of one number of nodes and one side"
        raise ValueError(f"prepare: expected {wanted}, got {sorted(sizes)[:5]}; see fixed_number")
    box_size = clouds[0].box_size
    rows = []
    with progress.track(len(clouds), "pairs and graphs") as update:
        for i, cloud in enumerate(clouds):
            xi = correlation(cloud.positions, box_size, edges)
            seen = multipoles(redshift_space(cloud).positions, box_size, edges).ravel()
            moments = pair_statistics(cloud.positions, box_size, candidate_cuts(box_size))
            rows.append((xi, seen, moments, make_graph(cloud.positions, box_size, around)))
            update(i + 1)
    xis, seens, all_moments, graphs = zip(*rows, strict=True)
    return Features(targets_of(clouds), np.array(xis), np.array(seens), np.array(all_moments), list(graphs))


def shaped(xi: Array, form: str) -> Array:
    """Return the correlation function (..., bin) as networks see it.

    "log": log10 max(|xi|, 0.001), the published form, blind to the sign; "signed": asinh(5 xi), linear where xi is
    noise and logarithmic where it is large.
    """
    if form not in FORMS:
        raise ValueError(f"shaped: expected one of {', '.join(FORMS)}, got {form!r}; choose one")
    return np.log10(np.maximum(np.abs(xi), LOWEST_LOG)) if form == "log" else np.arcsinh(5 * xi)


def scaled(targets: Array) -> Array:
    """Return parameters (batch, target) on the scale on which the prior is [-1, 1]."""
    low, high = PRIOR
    return (2 * targets - low - high) / (high - low)
