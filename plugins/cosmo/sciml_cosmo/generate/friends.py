"""Haloes: what is known of each group of linked particles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Haloes:
    """Groups of particles, heaviest first.

    Parameters
    ----------
    positions, velocities : (halo, axis)
        Centre of mass in [0, box), and mean velocity.
    counts : (halo,)
        Particles.
    """

    positions: Array
    velocities: Array
    counts: NDArray[np.int64]


def haloes(positions: Array, velocities: Array, group: NDArray[np.int64], box_size: float, least: int) -> Haloes:
    """Return the groups of at least `least` particles, the heaviest first, ties in the order of their first particles.

    Parameters
    ----------
    positions, velocities : (node, axis)
        Of the particles.
    group : (node,)
        As `friends_of_friends` gives it.
    box_size
        Of the periodic box; no group reaches through half of it.
    least
        Particles.
    """
    order = np.argsort(group, kind="stable")
    start = np.flatnonzero(np.diff(group[order], prepend=-1))
    counts = np.diff(np.append(start, len(order)))
    kept = np.flatnonzero(counts >= least)
    kept = kept[np.lexsort((order[start[kept]], -counts[kept]))]
    if not len(kept):
        return Haloes(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, np.int64))
    of = np.repeat(positions[order[start]], counts, axis=0)
    offset = positions[order] - of
    offset -= box_size * np.round(offset / box_size)
    centres = positions[order[start]] + np.add.reduceat(offset, start) / counts[:, None]
    means = np.add.reduceat(velocities[order], start) / counts[:, None]
    return Haloes(centres[kept] % box_size, means[kept], counts[kept])
