"""Time the ops against their references and against the speed at which this machine copies memory."""

from __future__ import annotations

import functools
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from sciml_kernels.precision import dtype_name
from sciml_kernels.registry import Case, Cost, OpSpec
from sciml_kernels.testing import differentiable, outputs_of

_COPY_BYTES = {"cpu": 2**26, "cuda": 2**30}


@dataclass(frozen=True)
class BenchRow:
    """One timed pass of one op on one case.

    Parameters
    ----------
    direction
        ``"forward"`` or ``"backward"`` (all gradients; the forward pass is not counted).
    seconds, reference_seconds
        Median time of the op and of its reference (backward: of the reference's autograd).
    cost
        Counted bytes and operations.
    copy_bandwidth
        Bytes per second of a plain copy in the same run, reading and writing counted.
    """

    case: str
    direction: str
    seconds: float
    reference_seconds: float
    cost: Cost
    copy_bandwidth: float

    def figures(self) -> dict[str, float]:
        """Return the derived figures by name, with units in the names."""
        return {
            "ms": 1e3 * self.seconds,
            "MB": self.cost.bytes / 1e6,
            "MFLOP": self.cost.flops / 1e6,
            "GB/s": self.cost.bytes / self.seconds / 1e9,
            "GFLOP/s": self.cost.flops / self.seconds / 1e9,
            "of copy": self.cost.bytes / self.seconds / self.copy_bandwidth,
            "reference/op": self.reference_seconds / self.seconds,
        }


def median_seconds(call: Callable[[], Any], device: str, budget: float = 0.3, n_least: int = 5) -> float:
    """Return the median time of a call: three to warm up, then `n_least` or more until `budget` seconds are used.

    Caches are not flushed between calls. On a GPU every call is timed by a pair of events.
    """
    for _ in range(3):
        call()
    times: list[float] = []
    while len(times) < n_least or (sum(times) < budget and len(times) < 1000):
        if device == "cuda":
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            stop.record()
            stop.synchronize()
            times.append(start.elapsed_time(stop) / 1e3)
        else:
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def copy_bandwidth(device: str) -> float:
    """Return the bytes per second of copying a large array on `device`, reading and writing counted."""
    source = torch.ones(_COPY_BYTES[device] // 4, device=device)
    target = torch.ones_like(source)
    return 2 * _COPY_BYTES[device] / median_seconds(lambda: target.copy_(source), device)


def bench(spec: OpSpec, device: str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 20) -> Iterator[BenchRow]:
    """Time every benchmark case of an op, forward and backward, under the backend in force; yield rows as they come."""
    bandwidth = copy_bandwidth(device)
    for case in spec.cases.bench:
        yield from _bench_case(spec, case, device, dtype, seed, bandwidth)


def environment(device: str) -> dict[str, str]:
    """Return what a reader has to know about the machine to compare numbers."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"{_processor()}, {torch.get_num_threads()} threads"
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": name,
        "torch": torch.__version__,
        "triton": _version("triton"),
        "python": platform.python_version(),
    }


def record(spec: OpSpec, row: BenchRow, dtype: torch.dtype) -> dict[str, Any]:
    """Return a row as plain values for a JSON file."""
    return {"op": spec.name, "dtype": dtype_name(dtype), **asdict(row), **row.figures()}


def _bench_case(
    spec: OpSpec, case: Case, device: str, dtype: torch.dtype, seed: int, bandwidth: float
) -> Iterator[BenchRow]:
    inputs = spec.inputs(case, seed, dtype, device)
    leaves = {**inputs, **{name: inputs[name].requires_grad_() for name in differentiable(inputs)}}
    names, costs = differentiable(inputs), spec.cost(inputs)
    sources = [leaves[name] for name in names]
    times: dict[str, list[float]] = {"forward": [], "backward": []}
    for function in (spec.op, spec.reference):
        forward = functools.partial(function, *leaves.values())
        with torch.no_grad():
            times["forward"].append(median_seconds(forward, device))
        smooth = [out for out in outputs_of(forward()) if out.requires_grad]
        if smooth:
            ones = [torch.ones_like(out) for out in smooth]
            backward = functools.partial(torch.autograd.grad, smooth, sources, ones, retain_graph=True)
            times["backward"].append(median_seconds(backward, device))
    for direction, (op_time, reference_time) in ((name, pair) for name, pair in times.items() if pair):
        yield BenchRow(case.name, direction, op_time, reference_time, costs[direction], bandwidth)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
