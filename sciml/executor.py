"""Sweeps: one function over many tasks, here or in worker processes, stored task by task so that a killed one goes on.

An executor of another kind (dask, submitit) comes as any object with the `submit` of `concurrent.futures.Executor`.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, as_completed
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from math import inf
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sciml.artifact import atomic_file, write_json
from sciml.progress import Progress
from sciml.workers import in_processes

Function = Callable[[Any], Mapping[str, Any]]
# the label of each task with its values as safetensors, or with a sentence why there are none
Answers = Generator[tuple[str, bytes | str], None, None]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a `task`: `values`, name -> array, numbers too; or none and the `failure` in a sentence."""

    task: Any
    values: Mapping[str, np.ndarray]
    failure: str = ""


def sweep(function: Function, tasks: Iterable[Any], *, executor: Literal["serial", "processes"] | Executor = "serial",
          n_workers: int | None = None, folder: str | Path | None = None, timeout_s: float | None = None,
          progress: Progress | None = None, version: int | str = 1) -> list[Outcome]:  # fmt: skip
    """Return the outcome of `function` for each task, in the order of `tasks`; a task that fails stops no other.

    Parameters
    ----------
    function : task -> dict of numbers and arrays (real, or complex of single precision; NaN where a value is missing).
        At module level, so that a worker can import it.
    tasks : values that JSON can hold, dataclasses of them too; randomness comes from a seed in the task.
    executor : "serial": here, with the threads this process has; "processes": fresh (spawned) processes of one thread
        each; or an object whose ``submit(function, *arguments)`` returns a `concurrent.futures.Future`.
    n_workers : how many of "processes"; by default the cores that this process may use.
    folder : each task is stored here as it finishes, under the SHA-256 of function name, version and task. A task
        found here is not run again; one that failed is. Without a folder nothing is stored.
    timeout_s : of one task, for "processes" only; the worker and the programs it started are killed.
    progress : where it is shown; by default nowhere.
    version : of the function; raise it when its answers change, and they are computed anew.

    Contract: the outcomes do not depend on `n_workers`, nor on how often the sweep was killed and called again; what
    raises, exceeds its time, kills its worker or returns anything else has a `failure`; nothing is half-written.

    Examples
    --------
    >>> def parabola(task):
    ...     return {"drag": 1 + task["angle"] ** 2}
    >>> outcomes = sweep(parabola, [{"angle": 2.0}, {"speed": 1.0}])
    >>> [float(outcome.values.get("drag", np.nan)) for outcome in outcomes], outcomes[1].failure
    ([5.0, nan], "KeyError: 'angle'")
    """
    tasks = list(tasks)
    labels = [_label(function, version, task) for task in tasks]
    done = _open(Path(folder), labels) if folder is not None else {}
    pending = {label: task for label, task in zip(labels, tasks, strict=True) if label not in done}
    answers, n_failed = _answers(function, pending, executor, n_workers, timeout_s), 0
    tracked = (progress or Progress(enabled=False)).track(len(set(labels)), function.__name__, start=len(done))
    with closing(answers), tracked as update:
        for label, answer in answers:
            if folder is not None:
                _store(Path(folder), label, answer)
            done[label] = answer if isinstance(answer, str) else _values(answer)
            n_failed += isinstance(answer, str)
            update(len(done), f"{n_failed} failed" if n_failed else "")
    ends = zip(tasks, map(done.__getitem__, labels), strict=True)
    return [Outcome(task, {}, end) if isinstance(end, str) else Outcome(task, end) for task, end in ends]


def _label(function: Function, version: int | str, task: Any) -> str:
    """Return what names a task, as JSON of one spelling: equal for equal tasks."""
    if not inspect.isfunction(function) or "<" in function.__qualname__:
        raise ValueError(f"sweep: expected a function at the level of a module, got {function!r}; move it there")
    name = f"{function.__module__}.{function.__qualname__}"
    try:
        whole = {"function": name, "version": version, "task": task}
        return json.dumps(whole, default=_plain, sort_keys=True, allow_nan=False)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"sweep: expected tasks that JSON can hold, got {task!r}: {error}; use plain values") from None


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value.tolist()


def _path(folder: Path, label: str, kind: str) -> Path:
    return folder / f"{hashlib.sha256(label.encode()).hexdigest()}.{kind}"


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        wanted, advice = "a folder with room to write", "make room or give another; what it holds is kept"
        raise ValueError(f"{folder}: expected {wanted}, got {error.strerror or error}; {advice}") from error


def _open(folder: Path, labels: list[str]) -> dict[str, Any]:
    """Make the folder, try it before anything is computed, and return what it holds for the labels."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    found = {}
    for label in labels:
        with suppress(FileNotFoundError, SafetensorError):  # a file damaged since is computed anew
            found[label] = _values(_path(folder, label, "safetensors").read_bytes())
    return found


def _values(stored: bytes) -> dict[str, np.ndarray]:
    return dict(sorted(load(stored).items()))  # safetensors gives them in any order


def _store(folder: Path, label: str, answer: bytes | str) -> None:
    failure = _path(folder, label, "failed.json")
    with _writing(folder):
        if isinstance(answer, str):
            write_json(failure, {**json.loads(label), "failure": answer})
        else:
            with atomic_file(_path(folder, label, "safetensors")) as temporary:
                temporary.write_bytes(answer)
            failure.unlink(missing_ok=True)


def _answers(function: Function, tasks: dict[str, Any], executor: Any, n_workers: int | None,
             timeout_s: float | None) -> Answers:  # fmt: skip
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n_workers = cores if n_workers is None else n_workers
    if n_workers < 1 or not (timeout_s is None or (timeout_s > 0 and executor == "processes")):
        wanted = "n_workers >= 1, and timeout_s > 0 only with executor 'processes'"
        raise ValueError(f"sweep: expected {wanted}, got {n_workers}, {timeout_s} and {executor!r}")
    if executor == "processes":
        return in_processes(partial(_attempt, function), tasks, n_workers, timeout_s or inf)
    if executor == "serial":
        return ((label, _attempt(function, label, task)) for label, task in tasks.items())
    if not hasattr(executor, "submit"):
        raise ValueError(f"sweep: expected executor 'serial', 'processes' or one with submit(), got {executor!r}")
    return _by_futures(function, tasks, executor)


def _attempt(function: Function, label: str, task: Any) -> bytes | str:
    try:
        if not isinstance(values := function(task), Mapping) or "__metadata__" in values:  # a name safetensors keeps
            return f"expected a dict of numbers and arrays, got {values!r:.80}"
        # C order: safetensors takes the memory as it lies
        arrays = {name: np.array(value, order="C") for name, value in values.items()}
        return save(arrays, {"task": label})
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"


def _by_futures(function: Function, tasks: dict[str, Any], executor: Executor) -> Answers:
    futures = {executor.submit(_attempt, function, label, task): label for label, task in tasks.items()}
    try:
        for future in as_completed(futures):
            error = CancelledError() if future.cancelled() else future.exception()
            yield futures[future], f"{type(error).__name__}: {error}" if error else future.result()
    finally:
        for future in futures:
            future.cancel()
