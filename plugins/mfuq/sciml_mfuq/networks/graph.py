"""Which cheap levels a level can look at, where levels see different inputs."""

from __future__ import annotations

import numpy as np

from sciml_mfuq.samples import Array, Level, Samples


def columns_of(samples: Samples) -> list[tuple[int, ...]]:
    """Return, of each level, the inputs of the truth that it sees."""
    everything = tuple(range(samples.n_feature))
    return [everything if level.columns is None else level.columns for level in samples.levels]


def parents_of(columns: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return, of each level, the cheaper levels that it looks at.

    A level can look at those that see no input that it does not see itself; of these it looks at those that no other
    one of them looks at, directly or not. Where all levels see the same inputs, this is the chain of levels.

    Parameters
    ----------
    columns : of each level, from the cheapest to the truth.

    Examples
    --------
    >>> parents_of([(0, 1), (0, 1), (0, 1)])
    [(), (0,), (1,)]
    >>> parents_of([(0,), (1,), (0, 1)])
    [(), (), (0, 1)]
    """
    below: list[set[int]] = []
    parents: list[tuple[int, ...]] = []
    for number, seen in enumerate(columns):
        visible = [k for k in range(number) if set(columns[k]) <= set(seen)]
        hidden = set().union(*(below[k] for k in visible))
        parents.append(tuple(k for k in visible if k not in hidden))
        below.append(set(visible) | hidden)
    return parents


def padded(level: Level, n_feature: int) -> Array:
    """Return the inputs (run, feature) of the runs of a level among those of the truth, zero where it sees none."""
    full = np.zeros((len(level.x), n_feature))
    full[:, slice(None) if level.columns is None else list(level.columns)] = level.x
    return full
