"""Neighbours and pair counts against what they replace: SciPy's tree, vesin, and Corrfunc where it is built."""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sciml_kernels.pair_histogram import pair_histogram
from scipy.spatial import cKDTree

from sciml import Report, Run
from sciml.threads import one_core
from sciml_cosmo.graph import periodic_knn_graph, periodic_radius_graph

SIDE, RADIUS, K = 100.0, 2.75, 16
N_GRAPH, N_COUNT = 100_000, 5000
EDGES = np.geomspace(0.005, 0.4, 21) * SIDE
N_REPEAT = 5
OURS, TREE, VESIN, CORRFUNC = "this project", "cKDTree", "vesin", "Corrfunc"

Array = NDArray[np.float64]
Calls = Mapping[str, Callable[[], Any]]


def half_clumped(n_node: int, seed: int) -> Array:
    """Return points (node, 3) in the box: half of them uniform, half in clumps of fifty, 1.5 wide."""
    generator = np.random.default_rng(seed)
    centres = generator.uniform(0, SIDE, (n_node // 100, 3))
    near = centres[generator.integers(0, len(centres), n_node - n_node // 2)]
    clumps = near + generator.normal(0, 1.5, near.shape)
    return np.concatenate([generator.uniform(0, SIDE, (n_node // 2, 3)), clumps]) % SIDE


def measure(run: Run, report: Report) -> dict[str, float]:
    """Time every search and count on one core, check that all find the same, add a section, return the ratios."""
    report.section(
        "Neighbours and pairs",
        f"Points of which half are uniform and half in clumps, in a periodic box; one core, medians of {N_REPEAT} "
        "rounds that take turns, after one round to compile. Edges and counts are compared here, to the last one.",
    )
    metrics = dict[str, float]()
    periodic_radius_graph(torch.zeros(1, 3), SIDE, RADIUS)  # loads numba, which `one_core` limits where it is loaded
    with one_core():
        for name, one in (("radius graph", _radius), ("nearest neighbours", _nearest), ("pair counts", _pairs)):
            run.log(f"measure {name}")
            metrics |= one(run.seed, report)
    missing = [f"{peer} was not measured: it is not installed." for peer in (VESIN, CORRFUNC) if not _has(peer)]
    if missing:
        report.text("\n\n".join(missing))
    return metrics


def _radius(seed: int, report: Report) -> dict[str, float]:
    """Both directions, rows and vectors of ours against one direction and vectors of the tree."""
    points = half_clumped(N_GRAPH, seed)
    x = torch.from_numpy(points)

    def by_tree() -> tuple[NDArray[np.int64], Array]:
        pairs = cKDTree(points, boxsize=SIDE).query_pairs(RADIUS, output_type="ndarray")
        vectors = points[pairs[:, 1]] - points[pairs[:, 0]]
        return pairs, vectors - SIDE * np.round(vectors / SIDE)

    calls: dict[str, Callable[[], Any]] = {OURS: lambda: periodic_radius_graph(x, SIDE, RADIUS), TREE: by_tree}
    if _has(VESIN):
        calls[VESIN] = lambda: _vesin(points, RADIUS)
    found, seconds = _take_turns(calls)
    edges = found[OURS].edge_index.numpy()
    wanted = _keys(found[TREE][0])
    for pairs in (edges.T[edges[0] < edges[1]], edges.T[edges[0] > edges[1]]):
        _same(f"edges of {OURS}", _keys(pairs), wanted)
    if VESIN in found:
        _same(f"edges of {VESIN}", _keys(np.stack(found[VESIN][:2], 1)), wanted)
    caption = (
        f"Radius graph of {N_GRAPH:,} points, {len(wanted):,} pairs. This project returns both directions in sorted "
        "rows, the others each pair once; all return the vectors."
    )
    _table(report, seconds, caption)
    ratios = {"radius_graph_vs_ckdtree_100k": seconds[OURS] / seconds[TREE]}
    if VESIN in seconds:
        ratios["radius_graph_vs_vesin_100k"] = seconds[OURS] / seconds[VESIN]
    return {**ratios, "radius_graph_pairs_100k": len(wanted), "radius_graph_cpu_s_100k": seconds[OURS]}


def _nearest(seed: int, report: Report) -> dict[str, float]:
    points = half_clumped(N_GRAPH, seed)
    x = torch.from_numpy(points)
    calls: Calls = {
        OURS: lambda: periodic_knn_graph(x, SIDE, K),
        TREE: lambda: cKDTree(points, boxsize=SIDE).query(points, K + 1)[1][:, 1:],
    }
    found, seconds = _take_turns(calls)
    _same("nearest neighbours", found[OURS].edge_index[0].numpy(), found[TREE].ravel())
    _table(report, seconds, f"{K} nearest neighbours of {N_GRAPH:,} points; those of this project with their vectors.")
    return {"knn_graph_vs_ckdtree_100k": seconds[OURS] / seconds[TREE]}


def _pairs(seed: int, report: Report) -> dict[str, float]:
    points = half_clumped(N_COUNT, seed)
    x, edges = torch.from_numpy(points), EDGES.tolist()

    def by_tree() -> NDArray[np.int64]:
        tree = cKDTree(points, boxsize=SIDE)
        return np.diff(tree.count_neighbors(tree, EDGES)) // 2

    calls: dict[str, Callable[[], Any]] = {OURS: lambda: pair_histogram(x, SIDE, edges)[0].numpy(), TREE: by_tree}
    if _has(VESIN):
        calls[VESIN] = lambda: np.histogram(_vesin(points, edges[-1], "d")[0], EDGES)[0]
    if _has(CORRFUNC):
        calls[CORRFUNC] = lambda: _corrfunc(points)
    found, seconds = _take_turns(calls)
    for name in found:
        _same(f"pair counts of {name}", found[name], found[TREE])
    n_pair = int(found[OURS].sum())
    caption = f"Pairs of {N_COUNT:,} points in {len(EDGES) - 1} bins up to 0.4 of the side, {n_pair:,} in all."
    _table(report, seconds, caption)
    ratios = {"paircount_vs_ckdtree": seconds[OURS] / seconds[TREE], "paircount_cpu_s_5k": seconds[OURS]}
    return ratios | ({"paircount_vs_corrfunc": seconds[OURS] / seconds[CORRFUNC]} if CORRFUNC in seconds else {})


def _take_turns(calls: Calls) -> tuple[dict[str, Any], dict[str, float]]:
    """Return what each call found, and the median of its CPU seconds; the calls take turns after one round each."""
    found = {name: call() for name, call in calls.items()}
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(N_REPEAT):
        for name, call in calls.items():
            began = time.process_time()
            result = call()
            spent[name].append(time.process_time() - began)
            del result
    return found, {name: statistics.median(times) for name, times in spent.items()}


def _keys(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number for each pair (pair, 2), whichever way round, in rising order."""
    return np.sort(pairs.min(1).astype(np.int64) * N_GRAPH + pairs.max(1).astype(np.int64))


def _same(what: str, found: NDArray[Any], wanted: NDArray[Any]) -> None:
    if not np.array_equal(found, wanted):
        n_off = int((found != wanted).sum()) if found.shape == wanted.shape else f"{len(found)} for {len(wanted)}"
        raise RuntimeError(f"bench_search: expected {what} equal to those of {TREE}, got {n_off} unlike; report this")


def _has(peer: str) -> bool:
    return importlib.util.find_spec(peer) is not None


def _vesin(points: Array, radius: float, quantities: str = "ijD") -> list[Any]:
    import vesin

    neighbours = vesin.NeighborList(cutoff=radius, full_list=False, n_threads=1)
    return neighbours.compute(points, SIDE * np.eye(3), periodic=True, quantities=quantities)


def _corrfunc(points: Array) -> NDArray[np.int64]:
    count = importlib.import_module("Corrfunc.theory.DD").DD
    result = count(1, 1, EDGES, *points.T.copy(), periodic=True, boxsize=SIDE)
    return result["npairs"].astype(np.int64) // 2


def _table(report: Report, seconds: Mapping[str, float], caption: str) -> None:
    rows = [(name, round(1e3 * value, 1), round(value / seconds[TREE], 2)) for name, value in seconds.items()]
    report.table(("method", "CPU time (ms)", f"time of {TREE}"), rows, caption, 0)
