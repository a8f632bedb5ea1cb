"""The list of ops and the record that describes each: one source for tests, benchmarks, command line and export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from sciml_kernels.pattern import resolve
from sciml_kernels.precision import TOLERANCES

Inputs = dict[str, Any]
Maker = Callable[[torch.Generator, Mapping[str, int]], Inputs]

# A new op is one more line here and a folder beside this file.
SPECS = (
    "sciml_kernels.branch_trunk.spec:SPEC",
    "sciml_kernels.edge_message.spec:SPEC",
    "sciml_kernels.gather_sum.spec:SPEC",
    "sciml_kernels.knn_graph.spec:SPEC",
    "sciml_kernels.linear_attention.spec:SPEC",
    "sciml_kernels.masked_stencil.spec:SPEC",
    "sciml_kernels.mesh_paint.spec:SPEC",
    "sciml_kernels.mesh_read.spec:SPEC",
    "sciml_kernels.multigrid_cycle.spec:SPEC",
    "sciml_kernels.pair_histogram.spec:SPEC",
    "sciml_kernels.radius_graph.spec:SPEC",
    "sciml_kernels.rollout.spec:SPEC",
    "sciml_kernels.segment_reduce.spec:SPEC",
    "sciml_kernels.wave_step.spec:SPEC",
)


@dataclass(frozen=True)
class Implementation:
    """What computes an op.

    Parameters
    ----------
    reference
        Plain torch, differentiable, clean in float64: the truth of the tests and the decomposition for export.
    launchers
        Kernels as ``{"numba": "module:attr", "triton": "module:attr"}``, see `sciml_kernels.pattern.define`.
    helpers
        The other custom ops it registers, such as its gradients, by name, with their plain torch.
    """

    reference: Callable[..., Any]
    launchers: Mapping[str, str]
    helpers: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A named set of axis lengths."""

    name: str
    size: Mapping[str, int]


@dataclass(frozen=True)
class Cases:
    """Inputs to try an op on.

    Parameters
    ----------
    make_inputs
        Called with a generator and a size; returns the op's arguments by name, in order, floating-point tensors in
        float64, all on the CPU.
    test
        Small sizes; the first is small enough for numerical second derivatives.
    bench
        Sizes worth timing.
    """

    make_inputs: Maker
    test: tuple[Case, ...]
    bench: tuple[Case, ...]


@dataclass(frozen=True)
class Cost:
    """Least memory traffic in bytes (each operand once) and floating-point operations."""

    bytes: int
    flops: int


@dataclass(frozen=True)
class OpSpec:
    """Everything the toolkit knows about one op.

    Parameters
    ----------
    name
        Registered as ``torch.ops.sciml.<name>``.
    op
        The public function, which checks its arguments.
    cost
        Counts ``{"forward": Cost, "backward": Cost}`` for given inputs.
    tolerances
        Largest error relative to the largest entry of the reference, by type.
    """

    name: str
    op: Callable[..., Any]
    implementation: Implementation
    cases: Cases
    cost: Callable[[Inputs], Mapping[str, Cost]]
    tolerances: Mapping[torch.dtype, float] = field(default_factory=lambda: TOLERANCES)

    @property
    def reference(self) -> Callable[..., Any]:
        """The op in plain torch."""
        return self.implementation.reference

    @property
    def launchers(self) -> Mapping[str, str]:
        """The op's kernels by backend."""
        return self.implementation.launchers

    def inputs(self, case: Case, seed: int, dtype: torch.dtype, device: torch.device | str = "cpu") -> Inputs:
        """Make the op's arguments for a case, drawn on the CPU in float64: every type and device sees the same."""

        def moved(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            return value.to(device=device, dtype=dtype if value.is_floating_point() else value.dtype)

        drawn = self.cases.make_inputs(torch.Generator().manual_seed(seed), case.size)
        return {name: moved(value) for name, value in drawn.items()}


def ops() -> dict[str, OpSpec]:
    """Return every op's record by name.

    Examples
    --------
    >>> sorted(ops())[:2]
    ['branch_trunk', 'edge_message']
    """
    specs: list[OpSpec] = [resolve(address) for address in SPECS]
    return {spec.name: spec for spec in specs}


def decompositions() -> dict[torch._ops.OpOverload, Callable[..., Any]]:
    """Return plain torch for every custom op, as `torch.export.ExportedProgram.run_decompositions` takes it.

    *Contract*: a program decomposed with this table contains no op of the library ``sciml`` and returns what the
    eager module returns.
    """
    table = {}
    for spec in ops().values():
        for name, function in {spec.name: spec.reference, **spec.implementation.helpers}.items():
            table[getattr(torch.ops.sciml, name).default] = function
    return table
