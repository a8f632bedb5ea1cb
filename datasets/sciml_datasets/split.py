"""Splits by simulation, never by sample: all samples of one simulation lie in the same split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np


def split_by(ids: Iterable[str | int], fractions: Mapping[str, float], seed: int) -> dict[str, np.ndarray]:
    """Split samples by the hash of their simulation: h(seed, id) in [0, 1) falls into the interval of one split.

    Parameters
    ----------
    ids : the simulation of each sample; samples that share an id stay together.
    fractions : share of the simulations by split name; they sum to 1 and are met on average, not exactly.

    Returns
    -------
    Increasing sample indices by split name; together they are every sample once.

    Contract: where a simulation lands depends on its id, the fractions and the seed alone: permuting the samples
    or adding simulations moves none of them.

    >>> splits = split_by(range(1000), {"train": 0.8, "test": 0.2}, seed=7)
    >>> sum(map(len, splits.values()))
    1000
    """
    total = sum(fractions.values())
    if any(share < 0 for share in fractions.values()) or abs(total - 1) > 1e-9:
        raise ValueError(
            f"fractions: expected shares >= 0 that sum to 1, got {dict(fractions)}; scale them by {total:g}"
        )
    names = list(fractions)
    names_given = _names(ids)
    edges = np.cumsum([fractions[name] for name in names])[:-1]
    place = np.searchsorted(edges, [_hash(name, seed) for name in names_given], side="right")
    splits = {name: np.flatnonzero(place == i) for i, name in enumerate(names)}
    for name, index in splits.items():
        if fractions[name] > 0 and not len(index):
            raise ValueError(
                f"split {name!r}: expected at least one of {len(set(names_given))} simulations, got none; "
                "use split_exactly or more simulations"
            )
    return splits


def split_exactly(ids: Iterable[str | int], counts: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
    """Split samples so that each split has an exact number of simulations: the first `counts` in the order of the hash.

    Simulations beyond the sum of the counts are left out. The result does not depend on the order of the samples.

    Contract: with a count for the last split alone raised, the simulations of the other splits stay where they are.
    """
    given = _names(ids)
    order = sorted(set(given), key=lambda name: (_hash(name, seed), name))
    wanted = sum(counts.values())
    if any(count < 0 for count in counts.values()) or wanted > len(order):
        raise ValueError(f"counts: expected at most {len(order)} simulations in all, got {dict(counts)}; lower a count")
    place: dict[str, str] = {}
    for name, count in counts.items():
        place |= dict.fromkeys(order[len(place) : len(place) + count], name)
    assigned = np.array([place.get(key, "") for key in given], dtype=object)
    return {name: np.flatnonzero(assigned == name) for name in counts}


def _names(ids: Iterable[str | int]) -> list[str]:
    names = [item.item() if isinstance(item, np.generic) else item for item in ids]
    wrong = {type(name).__name__ for name in names if not isinstance(name, str | int) or isinstance(name, bool)}
    if wrong:
        raise TypeError(f"ids: expected names or integers of simulations, got {sorted(wrong)}; give one id per sample")
    return [str(name) for name in names]


def _hash(name: str, seed: int) -> float:
    digest = hashlib.sha256(f"{int(seed)}:{name}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) * 2.0**-53
