"""The record of `pair_histogram`: inputs to try it on, its kernels and its cost."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sciml_kernels.pair_histogram import LAUNCHERS, pair_histogram
from sciml_kernels.pair_histogram.reference import reference
from sciml_kernels.radius_graph import spec as graph
from sciml_kernels.registry import Case, Cases, Cost, Implementation, Inputs, OpSpec


def make_inputs(generator: torch.Generator, size: Mapping[str, int]) -> Inputs:
    """Draw clouds as for `radius_graph`, and ``bin`` bins up to its radius: from zero on with ``zero``."""
    drawn = graph.make_inputs(generator, size)
    n_bin, longest = size["bin"], drawn["radius"]
    edges = [longest * 10.0 ** (-2 * (n_bin - k) / n_bin) for k in range(n_bin + 1)]
    if size.get("zero", 0):
        edges = [longest * k / n_bin for k in range(n_bin + 1)]
    rest = {"pointer": drawn["pointer"], "n_mu": size.get("mu", 1)}
    return {"positions": drawn["positions"], "box": drawn["box"], "edges": edges, **rest}


def cost(inputs: Inputs) -> dict[str, Cost]:
    """Count each operand once, and 12 operations for each pair of 27 cells, 4 more for a pair in a bin."""
    positions, pointer = inputs["positions"], inputs["pointer"]
    counts, sums = pair_histogram(**inputs)
    # half of the pairs of a cube of three cells, which holds 27 / (4 pi / 3) times the pairs of a sphere
    flops = max(1, int((12 * 6.45 + 4) * counts.sum()))
    return {"forward": Cost(positions.nbytes + pointer.nbytes + counts.nbytes + sums.nbytes, flops)}


SPEC = OpSpec(
    name="pair_histogram",
    op=pair_histogram,
    implementation=Implementation(reference, LAUNCHERS),
    cases=Cases(
        make_inputs,
        test=(
            Case("small", {"node": 12, "batch": 1, "cells": 3, "bin": 3}),
            Case("odd", {"node": 53, "batch": 1, "cells": 5, "bin": 7, "zero": 1}),
            Case("odd, ragged batch", {"node": 67, "batch": 5, "cells": 4, "bin": 9, "mu": 3}),
            Case("odd, fewer than three cells", {"node": 37, "batch": 2, "cells": 3, "flat": 1, "bin": 1, "mu": 5}),
            Case("odd, short radius", {"node": 71, "batch": 1, "cells": 40, "bin": 5}),
            Case("one element", {"node": 1, "batch": 1, "cells": 4, "bin": 1}),
            Case("no node", {"node": 0, "batch": 3, "cells": 4, "bin": 2, "mu": 2}),
        ),
        bench=(
            Case("5,000 nodes, all pairs", {"node": 5000, "batch": 1, "cells": 3, "bin": 20}),
            Case("100k nodes", {"node": 100_000, "batch": 1, "cells": 50, "bin": 20}),
        ),
    ),
    cost=cost,
)
