"""Optimization as a generator of states: seeds, schedules, early stop, checkpoints that resume, and ranks."""

from __future__ import annotations

import hashlib
import json
import math
import operator
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sciml.artifact import atomic_file, read_json, read_tensors, write_tensors

Loss = Callable[[nn.Module, torch.Generator], Tensor]


@dataclass(frozen=True)
class FitState:
    """What callers log: steps done, last loss (mean over ranks), validation if measured now, the best one so far."""

    step: int
    loss: float
    validation: float | None
    best: float | None
    learning_rate: float


@dataclass(frozen=True)
class FitOptions:
    """How to fit: factor of the learning rate at a step, gradient norm limit, validation, stopping, checkpoint folder.

    `validate(module)` (smaller is better; no gradients, evaluation mode) is called and the checkpoint is written every
    `every` steps and at the end; the fit stops after `patience` validations in a row without improvement.
    """

    schedule: Callable[[int], float] | None = None
    clip_norm: float | None = None
    validate: Callable[[nn.Module], float] | None = None
    every: int = 100
    patience: int | None = None
    checkpoint: str | Path | None = None

    def __post_init__(self) -> None:
        if self.every < 1 or (self.patience is not None and (self.patience < 1 or self.validate is None)):
            raise ValueError(f"FitOptions: expected every >= 1, and patience >= 1 only with validate, got {self}")


@dataclass
class _Memory:
    state: FitState
    since_best: int = 0
    cpu_s: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)


def fit(module: nn.Module, loss: Loss, optimizer: torch.optim.Optimizer, *, n_steps: int, seed: int,
        budget_cpu_s: float | None = None, options: FitOptions = FitOptions()) -> Iterator[FitState]:  # fmt: skip
    """Minimise `loss`, yielding a state after every step; when exhausted, the module holds its best validated weights.

    Parameters
    ----------
    optimizer : any whose `step` takes a closure (all of torch's, LBFGS too), over parameters of the module.
    loss : (module, generator) -> scalar. Its randomness comes from the CPU generator, seeded by (seed, step, rank).
    options : schedule, clipping, validation, early stop, checkpoint.
    budget_cpu_s : stop when the fit has used this much process CPU time, resumed parts included. How many steps that
        is depends on the machine: only a fit limited by `n_steps` alone resumes to what an uninterrupted one gives.

    Contract: killed at any moment and called again with its checkpoint folder, it gives bit-equal weights (the folder's
    optimizer settings hold); a finished fit yields its last state again. Under torchrun every rank calls it, draws its
    own samples and averages gradients; all ranks see the checkpoint folder, rank 0 validates, decides and writes.
    """
    own = set(map(id, module.parameters()))
    if not all(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ValueError("fit: expected an optimizer of the module's parameters, got others; put them into the module")
    if n_steps < 1 or not (budget_cpu_s is None or budget_cpu_s > 0):
        raise ValueError(f"fit: expected n_steps >= 1 and budget_cpu_s > 0, got {n_steps} and {budget_cpu_s}")
    return _steps(module, loss, optimizer, n_steps, seed, budget_cpu_s or math.inf, options)


def _steps(module: nn.Module, loss: Loss, optimizer: torch.optim.Optimizer, n_steps: int, seed: int,
           budget: float, options: FitOptions) -> Iterator[FitState]:  # fmt: skip
    rank, n_ranks = _join(module)
    identity = {"seed": seed, "n_ranks": n_ranks, "optimizer": type(optimizer).__name__}
    folder = Path(options.checkpoint) if options.checkpoint else None
    memory = _Memory(FitState(0, math.nan, None, None, math.nan))
    if folder and (folder / "fit.json").exists():
        memory = _read(folder, identity, module, optimizer)
    elif folder and rank == 0:
        _write(folder, identity, module, optimizer, memory)
    if _shared(memory.state.step) != memory.state.step:
        raise ValueError(f"{folder}: expected the checkpoint of rank 0 on every rank; use a file system that all share")
    _align(module.state_dict().values())
    first, spent = memory.state, memory.cpu_s
    while memory.state.step < n_steps and spent < budget and memory.since_best < (options.patience or math.inf):
        start, step = time.process_time(), memory.state.step + 1
        value, rate = _advance(module, loss, optimizer, options, (seed, step, rank))
        _align(module.buffers())  # running statistics differ, as every rank sees its own samples
        spent = _shared(memory.cpu_s + time.process_time() - start)
        due = step % options.every == 0 or step == n_steps or spent >= budget
        validation, best = None, memory.state.best
        if due and options.validate:
            validation = _validation(module, options.validate, step, rank)
            memory.since_best += 1
            if best is None or validation < best:
                best, memory.since_best = validation, 0
                memory.best = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        memory.state = FitState(step, value, validation, best, rate)
        memory.cpu_s += time.process_time() - start
        if due and folder and rank == 0:
            _write(folder, identity, module, optimizer, memory)
        yield memory.state
    if memory.state is first:
        yield first
    module.load_state_dict(memory.best or module.state_dict())


def _advance(module: nn.Module, loss: Loss, optimizer: torch.optim.Optimizer, options: FitOptions,
             keys: tuple[int, int, int]) -> tuple[float, float]:  # fmt: skip
    groups, step = optimizer.param_groups, keys[1]
    parameters = [p for group in groups for p in group["params"] if p.requires_grad]
    rates = [group["lr"] for group in groups]
    factor = options.schedule(step - 1) if options.schedule else 1.0

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(module, seeded(*keys))
        _finite(float(value.detach()), "loss", step)
        value.backward()
        value = _average(value.detach(), parameters)
        if options.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, options.clip_norm)
        return value

    try:
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * factor
        return float(optimizer.step(closure)), float(rates[0] * factor)  # type: ignore[arg-type]
    finally:  # between steps the optimizer keeps its own rate: a checkpoint and a later fit start from it
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate


def _validation(module: nn.Module, validate: Callable[[nn.Module], float], step: int, rank: int) -> float:
    training = [part for part in module.modules() if part.training]
    with torch.no_grad():
        value = _shared(float(validate(module.eval())) if rank == 0 else 0.0)
    for part in training:
        part.training = True
    return _finite(value, "validation", step)


def _finite(value: float, what: str, step: int) -> float:
    if not math.isfinite(value):
        advice = "lower the learning rate, set clip_norm or check the data"
        raise FloatingPointError(f"fit: expected a finite {what}, got {value} at step {step}; {advice}")
    return value


def _write(folder: Path, identity: dict[str, Any], module: nn.Module, optimizer: Any, memory: _Memory) -> None:
    tensors: dict[str, Tensor] = {}

    def put(tensor: Tensor) -> dict[str, str]:
        tensors[str(len(tensors))] = tensor
        return {"$tensor": str(len(tensors) - 1)}

    name = f"step-{memory.state.step}.safetensors"
    tree = {"identity": identity, "tensors": name, "module": module.state_dict(), "optimizer": optimizer.state_dict()}
    tree |= {**vars(memory), "state": asdict(memory.state)}
    text = json.dumps(tree, default=put)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / name, tensors)
    with atomic_file(folder / "fit.json") as temporary:  # this one rename passes from the old pair of files to the new
        temporary.write_text(text)
    # What a killed write left goes too: `.NAME.tmp` of ours, `.tmpNAME` of safetensors.
    for path in {*folder.glob("step-*.safetensors"), *folder.glob(".*tmp*")} - {folder / name}:
        path.unlink()


def _read(folder: Path, identity: dict[str, Any], module: nn.Module, optimizer: torch.optim.Optimizer) -> _Memory:
    try:
        stored = read_tensors(folder / read_json(folder / "fit.json")["tensors"])
        tensors = {key: tensor.clone() for key, tensor in stored.items()}  # aligned memory: equal sums, to the bit
        text = (folder / "fit.json").read_text()
        tree = json.loads(text, object_hook=lambda data: tensors[data["$tensor"]] if "$tensor" in data else data)
        forms = {(key, v.shape, v.dtype) for key, v in tree["module"].items()}
        different = {key for key, *_ in forms ^ {(key, v.shape, v.dtype) for key, v in module.state_dict().items()}}
        if tree["identity"] != identity or different:
            raise ValueError(f"{tree['identity']} instead of {identity}, with other parameters {sorted(different)}")
        memory = _Memory(FitState(**tree["state"]), tree["since_best"], tree["cpu_s"], tree["best"])
        tree["optimizer"]["state"] = {int(key): value for key, value in tree["optimizer"]["state"].items()}
        optimizer.load_state_dict(tree["optimizer"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{folder}: expected a checkpoint of this fit, got {error}; choose another folder") from error
    module.load_state_dict(tree["module"])
    return memory


def _join(module: nn.Module) -> tuple[int, int]:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if next(module.parameters()).is_cuda else "gloo")
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def _align(tensors: Iterable[Tensor]) -> None:
    for tensor in tensors if dist.is_initialized() else ():
        dist.broadcast(tensor, 0)


def _shared(value: float) -> float:
    if not dist.is_initialized():
        return value
    box = torch.tensor(value, dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.broadcast(box, 0)
    return box.item()


def _average(value: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    if not dist.is_initialized():
        return value
    parts = [value]
    for p in parameters:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        parts.append(torch.view_as_real(p.grad) if p.is_complex() else p.grad)
    flat = torch.cat([part.flatten() for part in parts])
    dist.all_reduce(flat)
    for part, mean in zip(parts, (flat / dist.get_world_size()).split([part.numel() for part in parts]), strict=True):
        part.copy_(mean.view_as(part))
    return value


def seeded(*keys: int | str) -> torch.Generator:
    """Return a CPU generator whose draws depend on `keys` alone: seeded by 63 bits of their SHA-256."""
    digest = hashlib.sha256(json.dumps(keys, default=operator.index).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)


def cosine(n_steps: int, warmup: int = 0) -> Callable[[int], float]:
    """Return the factor (1 + cos(pi (k - w) / (n - w))) / 2 of step k, rising linearly to 1 in the first w steps."""
    length = max(1, n_steps - warmup)
    return lambda k: (k + 1) / warmup if k < warmup else (1 + math.cos(math.pi * min(1, (k - warmup) / length))) / 2


def exponential(rate: float, steps: int) -> Callable[[int], float]:
    """Return the factor rate^(k / steps) of step k."""
    return lambda k: rate ** (k / steps)


def count_parameters(module: nn.Module) -> int:
    """Return how many real numbers the optimizer can change; a complex parameter counts two for each entry."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in module.parameters() if p.requires_grad)
