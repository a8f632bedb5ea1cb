"""Programs traced by `torch.export`, and packages compiled from them; private names of torch are used here only."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sciml_kernels import decompositions

from sciml import Surrogate
from sciml.testing.inputs import example_inputs

Tensors = dict[str, torch.Tensor]
# Distinct sizes, so that no two dimensions look equal by chance; 0 and 1 are special cases of a trace.
SAMPLE_SIZES = (5, 7, 11, 13, 6, 9, 10, 14)
PROBES = (2, 3, 8, 1001, 10**6)  # sizes at which the conditions of a trace are tried; 1 is verified by running


class Positional(torch.nn.Module):
    """A surrogate's network behind a mapping of inputs and a tuple of outputs, in the order of the spec."""

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__()
        self.network = surrogate.network
        self._outputs = [field.name for field in surrogate.spec.outputs]

    def forward(self, inputs: Tensors) -> tuple[torch.Tensor, ...]:
        """Return the outputs."""
        found = self.network(**inputs)
        return tuple(found[name] for name in self._outputs)


@dataclass(frozen=True)
class Size:
    """Size of a dimension: fixed, or free between `least` and `most`; None is no limit."""

    fixed: int | None
    least: int = 1
    most: int | None = None


@dataclass(frozen=True)
class Traced:
    """A traced program of plain torch operations and the size of every dimension of the spec."""

    program: torch.export.ExportedProgram
    sizes: dict[str, Size]


def dtype_of(surrogate: Surrogate) -> torch.dtype:
    """Return the floating-point type of the weights, in which the surrogate computes."""
    kinds = (tensor.dtype for tensor in surrogate.network.state_dict().values() if tensor.is_floating_point())
    return next(kinds, torch.float32)


def sample_tensors(surrogate: Surrogate, n: int, seed: int, sizes: Mapping[str, int] | None = None) -> Tensors:
    """Draw a batch of `n` samples inside the training domain, on the CPU.

    Parameters
    ----------
    surrogate : whose inputs to draw.
    n, seed : size of the batch, and seed of the random numbers.
    sizes : of other dimensions; components of bounded vectors are known without.
    """
    data = example_inputs(surrogate.spec, n, seed, surrogate.domain, sizes)
    return {f.name: torch.as_tensor(data[f.name].values.copy()).to(dtype_of(surrogate)) for f in surrogate.spec.inputs}


def trace(surrogate: Surrogate, *, sizes: Mapping[str, int] | None = None) -> Traced:
    """Trace the network with as many free dimensions as it has.

    First every dimension is free; then those that the trace takes for granted are fixed; at last all are, and the batch
    is one sample. The program is compared with the network at several sizes.

    Parameters
    ----------
    surrogate : on the CPU.
    sizes : of dimensions that the network leaves open but a trace may fix, such as the cells of a grid.

    Raises
    ------
    ValueError
        The network cannot be traced; the message is its own sentence, `not_exportable`, where it has one.
    """
    chosen, errors = dict(sizes or {}), list[str]()
    names = {dim for field in surrogate.spec.inputs for dim in field.dims}
    for fixed in (set(chosen), names - {surrogate.spec.batch_dim}, names):
        try:
            return _trace(surrogate, chosen, fixed)
        except Exception as error:  # what torch.export raises has no common type
            errors.append(str(error).partition("\n")[0] or type(error).__name__)
    name, reason = type(surrogate.network).__name__, surrogate.network.not_exportable or errors[-1]
    raise ValueError(f"export: expected a network that can be traced, got {name}: {reason}; use --to cffi")


def _trace(surrogate: Surrogate, sizes: dict[str, int], fixed: set[str]) -> Traced:
    spec = surrogate.spec
    others = list(dict.fromkeys(dim for field in spec.inputs for dim in field.dims if dim != spec.batch_dim))
    distinct = {**dict(zip(others, SAMPLE_SIZES, strict=False)), **components(surrogate), **sizes}
    chosen = distinct if _accepts(surrogate, distinct) else sizes
    given = sample_tensors(surrogate, 1 if spec.batch_dim in fixed else 3, 2011, chosen)
    kinds = torch.export.Dim.AUTO, torch.export.Dim.STATIC
    shapes = {f.name: {i: kinds[dim in fixed] for i, dim in enumerate(f.dims)} for f in spec.inputs}
    with torch.no_grad():
        program = torch.export.export(Positional(surrogate).eval(), (given,), dynamic_shapes=(shapes,), strict=False)
        program = program.run_decompositions(decompositions())
    found, taken = _sizes(program, surrogate)
    if taken - fixed:
        return _trace(surrogate, sizes, fixed | taken)
    if (n := found[spec.batch_dim].fixed) is not None and n != 1:
        raise ValueError(f"the trace fixes the batch at {n}")
    _refuse_chance(surrogate, found, sizes)
    _verify(program, surrogate, found)
    return Traced(program, found)


def components(surrogate: Surrogate) -> dict[str, int]:
    """Return the sizes of the dimensions along which bounded vectors lie."""
    regions = [(field, surrogate.domain.get(field.name) or field.bounds) for field in surrogate.spec.inputs]
    return {field.dims[-1]: region.n_dims for field, region in regions if region is not None and region.n_dims > 1}


def _accepts(surrogate: Surrogate, sizes: Mapping[str, int]) -> bool:
    try:
        with torch.no_grad():
            surrogate(**sample_tensors(surrogate, 3, 2011, sizes))
    except Exception:  # whatever a network raises on a size that is not its own
        return False
    return True


def _refuse_chance(surrogate: Surrogate, found: dict[str, Size], sizes: dict[str, int]) -> None:
    """Refuse a size that neither the weights nor the caller chose, but the trace."""
    fixed = {dim: size.fixed for dim, size in found.items() if size.fixed is not None}
    inputs = {dim for field in surrogate.spec.inputs for dim in field.dims} - {surrogate.spec.batch_dim, *sizes}
    for dim in sorted(inputs & set(fixed)):
        if _accepts(surrogate, {**sizes, **{d: n for d, n in fixed.items() if d in inputs}, dim: fixed[dim] + 1}):
            raise ValueError(f"a trace fixes the dimension {dim!r}, say its size: sizes={{{dim!r}: ...}}")


def _sizes(program: torch.export.ExportedProgram, surrogate: Surrogate) -> tuple[dict[str, Size], set[str]]:
    """Read the size of each dimension from the traced program, and which free ones the trace takes for granted."""
    user = set(program.graph_signature.user_inputs)
    shapes = [node.meta["val"].shape for node in program.graph.nodes if node.op == "placeholder" and node.name in user]
    seen: dict[str, list[Any]] = {}
    for field, shape in zip(surrogate.spec.inputs, shapes, strict=True):
        for dim, size in zip(field.dims, shape, strict=True):
            seen.setdefault(dim, []).append(size if isinstance(size, int) else size.node)
    sizes = {dim: _size(program, dim, [getattr(one, "expr", one) for one in found]) for dim, found in seen.items()}
    free = [(dim, node) for dim, found in seen.items() for node in found if sizes[dim].fixed is None]
    symbols = {node.expr: dim for dim, node in free}
    taken = {dim for dim, node in free if symbols[node.expr] != dim}  # it has to equal one of another name
    for guard in free[0][1].shape_env.guards if free else ():
        taken |= _broken(guard.expr, symbols, sizes)
    outputs: Any = program.graph.output_node().args[0]
    for field, node in zip(surrogate.spec.outputs, outputs, strict=True):
        for dim, size in zip(field.dims, node.meta["val"].shape, strict=True):
            sizes.setdefault(dim, Size(int(size)) if isinstance(size, int) else Size(None))
    return sizes, taken


def _broken(condition: Any, symbols: Mapping[Any, str], sizes: Mapping[str, Size]) -> set[str]:
    """Return the dimensions in a condition of the trace that some sizes would break; nothing checks it at run time."""
    own = sorted((symbol for symbol in getattr(condition, "free_symbols", ()) if symbol in symbols), key=str)
    tried = [[n for n in PROBES if _allows(sizes[symbols[symbol]], n)] for symbol in own]
    for numbers in itertools.product(*tried):
        if condition.subs(dict(zip(own, numbers, strict=True))) == False:  # noqa: E712, a symbolic truth value
            return {symbols[symbol] for symbol in own}
    return set()


def _allows(size: Size, n: int) -> bool:
    return size.least <= n and (size.most is None or n <= size.most)


def _size(program: torch.export.ExportedProgram, dim: str, found: list[Any]) -> Size:
    fixed = {int(one) for one in found if isinstance(one, int) or one.is_number}
    if len(fixed) > 1 or (not fixed and any(not one.is_Symbol for one in found)):
        raise ValueError(f"dimension {dim!r} has the sizes {found}")
    if fixed:
        return Size(fixed.pop())
    ranges = [program.range_constraints[one] for one in found]
    least = max(int(one.lower) for one in ranges)
    limits = [int(one.upper) for one in ranges if one.upper < 2**62]
    # A trace never sees sizes 0 and 1 and says "at least 2"; that 1 works too is verified.
    return Size(None, 1 if least <= 2 else least, min(limits, default=None))


def _verify(program: torch.export.ExportedProgram, surrogate: Surrogate, sizes: dict[str, Size]) -> None:
    """Compare the traced program with the network at the least and at other sizes of the free dimensions."""
    module = program.module()
    for given in samples_of(surrogate, sizes):
        with torch.no_grad():
            pairs = zip(module(given), Positional(surrogate)(given), strict=True)
        if not all(torch.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True) for a, b in pairs):
            raise ValueError("the traced program gives other numbers than the network")


def samples_of(surrogate: Surrogate, sizes: dict[str, Size]) -> Iterator[Tensors]:
    """Yield inputs with the free dimensions at their least sizes, and at other ones."""
    for more in (0, 3, 24):
        chosen = {}
        for number, (dim, size) in enumerate(sizes.items()):
            wanted = size.least + (more + number if more else 0)
            chosen[dim] = size.fixed if size.fixed is not None else min(wanted, size.most or wanted)
        yield sample_tensors(surrogate, chosen[surrogate.spec.batch_dim], 2003 + more, chosen)


def differences(
    surrogate: Surrogate, sizes: dict[str, Size], call: Callable[[Tensors], Sequence[Any]]
) -> dict[str, tuple[float, float]]:
    """Return for each output the largest difference between `call` and the network, and the scale to judge it by.

    The scale is the largest value of all draws: rounding in a quiet corner is that of the loud ones. A standard error
    is rounded on the scale of what it belongs to.

    Parameters
    ----------
    surrogate : whose network is right.
    sizes : of a trace.
    call : takes inputs by name and returns outputs in the order of the spec.
    """
    names = [field.name for field in surrogate.spec.outputs]
    gaps, scales = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1e-30)
    for given in samples_of(surrogate, sizes):
        with torch.inference_mode():
            wanted = Positional(surrogate)(given)
        for name, a, other in zip(names, wanted, call(given), strict=True):
            b = torch.as_tensor(other)
            gap = (a - b).abs().where(~(a.isnan() & b.isnan()), 0) if a.shape == b.shape else torch.full((1,), math.nan)
            gaps[name] = float(torch.stack([gap.max(), torch.tensor(gaps[name], dtype=gap.dtype)]).max())  # keeps NaN
            scales[name] = max(scales[name], float(a.nan_to_num().abs().max()))
    return {n: (gaps[n], max(scales[n], scales.get(n.removesuffix("_std"), 0.0))) for n in names}


def compile_package(traced: Traced, path: Path) -> None:
    """Compile the program for this processor into the package `path`, about a minute of a C++ compiler's time."""
    with _quiet():
        torch._inductor.aoti_compile_and_package(traced.program, package_path=str(path))


def load_package(path: Path) -> Any:
    """Load a compiled package; it maps a mapping of inputs to a list of outputs."""
    return torch._inductor.aoti_load_package(str(path))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    import logging

    log = logging.getLogger("torch._inductor")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
