"""The transforms of trees as they are defined, by recursion node for node: what the fast ones are compared with.

A tree is nested: a node is its place in the forest, its path length and the list of its progenitors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from sciml_cosmo.forest import Forest
from sciml_cosmo.trees import transforms
from sciml_cosmo.trees.infill import infill


@dataclass
class Node:
    """A node with what hangs from it; `crossed` tells of a dropped merger between it and its descendant."""

    place: int
    log10_mass: float
    snapshot: int
    length: int
    progenitors: list[Node]
    crossed: bool = False


def nested(forest: Forest) -> list[Node]:
    """Return the trees of a forest with ``extra["snapshot"]``, every edge of length 1."""
    snapshots = forest.extra["snapshot"].tolist()
    masses = forest.features[:, 0].tolist()
    nodes = [Node(i, mass, snapshot, 1, []) for i, (mass, snapshot) in enumerate(zip(masses, snapshots, strict=True))]
    for node, descendant in zip(nodes, forest.descendant.tolist(), strict=True):
        if descendant < 0:
            node.length = 0
        else:
            nodes[descendant].progenitors.append(node)
    return [node for node in nodes if node.length == 0]


def rows(trees: list[Node]) -> list[tuple[int, int, int]]:
    """Return (place, place of the descendant or -1, path length) of all nodes, sorted."""

    def below(node: Node, descendant: int) -> Iterator[tuple[int, int, int]]:
        yield node.place, descendant, node.length
        for progenitor in node.progenitors:
            yield from below(progenitor, node.place)

    return sorted(row for tree in trees for row in below(tree, -1))


def trim(node: Node, mass: float) -> Node:
    """Drop the subtrees that never reach a mass."""

    def reaches(one: Node) -> bool:
        return one.log10_mass >= math.log10(mass) or any(map(reaches, one.progenitors))

    return _with(node, [trim(one, mass) for one in node.progenitors if reaches(one)])


def prune(node: Node, mass: float = math.inf) -> Node:
    """Drop nodes lighter than a mass with exactly one progenitor, but for the root."""

    def goes(one: Node) -> bool:
        return len(one.progenitors) == 1 and one.log10_mass < math.log10(mass)

    return _without(node, goes)


def binarise(node: Node) -> Node:
    """Keep the two heaviest progenitors, the first ones among equals."""
    heaviest = sorted(node.progenitors, key=lambda one: (-one.log10_mass, one.place))[:2]
    return _with(node, [binarise(one) for one in heaviest])


def coarsen(node: Node) -> Node:
    """Drop every second snapshot, counted from the root's."""
    root = node.snapshot
    return _without(node, lambda one: (one.snapshot - root) % 2 == 1)


def questions(tree: Node) -> list[tuple[int, int, int, int]]:
    """Return (merger node, first and second progenitor, label) of the infilling task, sorted."""

    def ask(node: Node) -> Iterator[tuple[int, int, int, int]]:
        if len(node.progenitors) == 2:
            first, second = node.progenitors
            yield node.place, first.place, second.place, int(first.crossed or second.crossed)
        for one in node.progenitors:
            yield from ask(one)

    return sorted(ask(binarise(coarsen(binarise(tree)))))


def _with(node: Node, progenitors: list[Node]) -> Node:
    return Node(node.place, node.log10_mass, node.snapshot, node.length, progenitors, node.crossed)


def _without(node: Node, goes: Callable[[Node], bool]) -> Node:
    """Drop the nodes that go; their progenitors pass to the nearest descendant that stays."""

    def above(one: Node) -> list[Node]:
        found = []
        for up in one.progenitors:
            far = above(up)
            if not goes(up):
                found.append(_with(up, far))
                continue
            for one_far in far:
                one_far.length += up.length
                one_far.crossed |= len(up.progenitors) > 1
            found += far
        return found

    return _with(node, above(node))


def ladder(log10_mass: list[float], descendant: list[int]) -> Forest:
    """Return one small tree, every generation of it a snapshot."""
    generation = np.zeros(len(descendant))
    for node, one in enumerate(descendant[1:], 1):
        generation[node] = generation[one] + 1
    features = np.stack([log10_mass, 0 * generation, 0 * generation, 2.0**-generation], 1)
    return Forest(
        features, np.array(descendant), np.array([0, len(features)]), np.array([[0.3, 0.8]]), np.zeros(1, np.int64)
    )


def random_forest(rng: np.random.Generator, n_tree: int, n_node: int) -> Forest:
    """Return trees of up to `n_node` nodes: any number of progenitors, equal masses, snapshots that are missed."""
    parts, start = [], [0]
    for _ in range(n_tree):
        n, reach = int(rng.integers(1, n_node + 1)), int(rng.integers(1, 8))
        descendant = np.maximum(np.arange(n) - rng.integers(1, reach + 1, n), 0) + start[-1]
        descendant[0] = -1
        snapshot = np.zeros(n, np.int64)
        for i in range(1, n):
            snapshot[i] = snapshot[descendant[i] - start[-1]] + (1 if rng.random() < 0.8 else 2)
        parts.append((descendant, snapshot, rng.integers(18, 27, n) / 2))
        start.append(start[-1] + n)
    descendant, snapshot, mass = (np.concatenate(column) for column in zip(*parts, strict=True))
    features = np.stack([mass, mass / 10, mass / 5, 0.95**snapshot], 1).astype(np.float32)
    targets, simulation = np.full((n_tree, 2), 0.5), np.arange(n_tree)
    return Forest(features, descendant, np.array(start), targets, simulation, {"snapshot": snapshot})


def differing(forest: Forest, mass: float) -> list[str]:
    """Return the names of the transforms whose answers on a forest are not those of the definitions.

    Parameters
    ----------
    forest
        With ``extra["snapshot"]``.
    mass
        Of trimming and pruning, Msun/h.
    """
    trees = nested(forest)
    marked = replace(forest, extra={**forest.extra, "place": np.arange(len(forest.features))})
    pairs: dict[str, tuple[Forest, list[Node]]] = {
        "trim": (transforms.trim(marked, mass), [trim(tree, mass) for tree in trees]),
        "prune": (transforms.prune(marked, mass), [prune(tree, mass) for tree in trees]),
        "prune all": (transforms.prune(marked), [prune(tree) for tree in trees]),
        "binarise": (transforms.binarise(marked), [binarise(tree) for tree in trees]),
        "coarsen": (transforms.coarsen(marked), [coarsen(tree) for tree in trees]),
        "coarsen the trimmed": (transforms.coarsen(transforms.trim(marked, mass)),
                                [coarsen(trim(tree, mass)) for tree in trees]),
    }  # fmt: skip
    found = [name for name, (fast, slow) in pairs.items() if _rows_of(fast) != rows(slow)]
    answer = infill(marked)
    place = answer.coarse.extra["place"]
    asked = np.column_stack([place[answer.trio], answer.label[answer.is_virtual]])
    slow = sorted(question for tree in trees for question in questions(tree))
    return found if sorted(map(tuple, asked.tolist())) == slow else [*found, "infill"]


def _rows_of(forest: Forest) -> list[tuple[int, int, int]]:
    place = forest.extra["place"]
    descendant = np.where(forest.descendant < 0, -1, place[forest.descendant])
    return sorted(zip(place.tolist(), descendant.tolist(), forest.extra["path_length"].tolist(), strict=True))
