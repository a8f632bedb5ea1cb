"""The record of `knn_graph`: inputs to try it on, its kernels and its cost."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sciml_kernels.knn_graph import LAUNCHERS, knn_graph
from sciml_kernels.knn_graph.reference import reference
from sciml_kernels.radius_graph import spec as graph
from sciml_kernels.registry import Case, Cases, Cost, Implementation, Inputs, OpSpec


def make_inputs(generator: torch.Generator, size: Mapping[str, int]) -> Inputs:
    """Draw points as for `radius_graph`, in ``batch`` clouds as even as can be, the first of several empty."""
    drawn = graph.make_inputs(generator, {**size, "batch": 1})
    n_node, n_batch = size["node"], size["batch"]
    pointer = [n_node * max(0, b - 1) // max(1, n_batch - 1) for b in range(n_batch + 1)]
    pointer = pointer if n_batch > 1 else [0, n_node]
    return {
        "positions": drawn["positions"], "box": drawn["box"], "k": size["k"], "pointer": torch.tensor(pointer),
    }  # fmt: skip


def cost(inputs: Inputs) -> dict[str, Cost]:
    """Count each operand once, and 12 operations for each pair of 27 cells of a quarter of k and one nodes."""
    positions, pointer, k = inputs["positions"], inputs["pointer"], inputs["k"]
    n_node, element = len(positions), positions.element_size()
    written = n_node * k * (16 + 3 * element)
    return {
        "forward": Cost(positions.nbytes + pointer.nbytes + written, max(1, int(12 * 27 * (k / 4 + 1) * n_node))),
        "backward": Cost(written + positions.nbytes, 6 * k * n_node),
    }


SPEC = OpSpec(
    name="knn_graph",
    op=knn_graph,
    implementation=Implementation(reference, LAUNCHERS),
    cases=Cases(
        make_inputs,
        test=(
            Case("small", {"node": 7, "batch": 1, "cells": 3, "k": 3}),
            Case("odd", {"node": 97, "batch": 1, "cells": 5, "k": 5}),
            Case("odd, ragged batch", {"node": 131, "batch": 5, "cells": 4, "k": 9}),
            Case("odd, flat", {"node": 151, "batch": 2, "cells": 40, "flat": 1, "k": 1}),
            Case("all others", {"node": 33, "batch": 1, "cells": 5, "k": 32}),
            Case("no node", {"node": 0, "batch": 3, "cells": 4, "k": 2}),
        ),
        bench=(
            Case("100k nodes, 16 neighbours", {"node": 100_000, "batch": 1, "cells": 50, "k": 16}),
            Case("256 clouds of 500", {"node": 128_000, "batch": 257, "cells": 8, "k": 8}),
        ),
    ),
    cost=cost,
)
