"""The record of `radius_graph`: inputs to try it on, its kernels and its cost."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sciml_kernels.radius_graph import LAUNCHERS, radius_graph
from sciml_kernels.radius_graph.reference import reference
from sciml_kernels.registry import Case, Cases, Cost, Implementation, Inputs, OpSpec


def make_inputs(generator: torch.Generator, size: Mapping[str, int]) -> Inputs:
    """Draw ``node`` points in ``batch`` clouds, half of them in clumps, in a box that holds ``cells`` radii.

    Some lie outside the box, two in one place, one on a face. ``flat`` makes one side short.
    """
    n_node, n_batch = size["node"], size["batch"]
    sides = (1.0, 0.875, 0.75 if not size.get("flat", 0) else 2.0 / size["cells"])
    points = 1.5 * torch.rand(n_node, 3, generator=generator, dtype=torch.float64) - 0.25
    centres = torch.rand(n_node // 10 + 1, 3, generator=generator, dtype=torch.float64)
    near = 0.5 / size["cells"] * torch.randn(n_node // 2, 3, generator=generator, dtype=torch.float64)
    points[: n_node // 2] = centres.repeat(10, 1)[: n_node // 2] + near
    if n_node > 12:
        points[-1], points[-2, 0] = points[-3], 0.0
    points = points[torch.randperm(n_node, generator=generator)]
    # clouds of different sizes, the last but one empty
    cuts = torch.randint(0, n_node + 1, (n_batch - 1,), generator=generator).sort().values
    if n_batch > 2:
        cuts[-1] = cuts[-2]
    return {
        "positions": points,
        "box": sides,
        "radius": 1.0 / size["cells"],
        "pointer": torch.tensor([0, *cuts.tolist(), n_node]),
        "loop": bool(size.get("loop", 0)),
    }


def cost(inputs: Inputs) -> dict[str, Cost]:
    """Count each operand once, the edges as they are found, and 12 operations for each pair of 27 cells."""
    positions, pointer = inputs["positions"], inputs["pointer"]
    vectors, edges, rows = radius_graph(**inputs)
    read, written = positions.nbytes + pointer.nbytes, edges.nbytes + rows.nbytes + vectors.nbytes
    # a cube of three cells holds 27 / (4 pi / 3) times the pairs of a sphere
    forward = max(1, int(12 * 6.45 * edges.shape[1]))
    return {
        "forward": Cost(read + written, forward),
        "backward": Cost(edges.nbytes + vectors.nbytes + positions.nbytes, 6 * edges.shape[1]),
    }


SPEC = OpSpec(
    name="radius_graph",
    op=radius_graph,
    implementation=Implementation(reference, LAUNCHERS),
    cases=Cases(
        make_inputs,
        test=(
            Case("small", {"node": 12, "batch": 1, "cells": 3}),
            Case("odd", {"node": 53, "batch": 1, "cells": 5}),
            Case("odd, ragged batch", {"node": 67, "batch": 5, "cells": 4, "loop": 1}),
            Case("odd, fewer than three cells", {"node": 37, "batch": 2, "cells": 3, "flat": 1}),
            Case("odd, short radius", {"node": 71, "batch": 1, "cells": 40}),
            Case("one element", {"node": 1, "batch": 1, "cells": 4}),
            Case("no node", {"node": 0, "batch": 3, "cells": 4}),
        ),
        bench=(
            Case("100k nodes", {"node": 100_000, "batch": 1, "cells": 50}),
            Case("256 clouds of 500", {"node": 128_000, "batch": 256, "cells": 8}),
        ),
    ),
    cost=cost,
)
