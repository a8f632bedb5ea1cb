"""Programs outside this process: found, started in a fresh folder, watched, stopped with their children."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sciml.progress import Progress
from sciml_mfuq.simulators.simulator import MissingProgram, ProgramCrashed, ProgramTimeout

Item = TypeVar("Item")
Result = TypeVar("Result")
LOG = "log.txt"
FILE_BYTES = 256 * 2**20  # a program that prints without end shall not fill the disk


@dataclass(frozen=True)
class Execution:
    """How the runs of a program are carried out; nothing here changes an answer.

    Parameters
    ----------
    n_workers : runs at the same time.
    timeout_s : after which one run is stopped, s; None is the program's own default.
    program : path or name; None means the environment variable of the program, then its usual name.
    cache : folder of finished runs; None means SCIML_CACHE or ~/.cache/sciml.
    progress : shows the runs that are done; None is silent.
    """

    n_workers: int = 1
    timeout_s: float | None = None
    program: str | None = None
    cache: str | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.n_workers < 1 or (self.timeout_s is not None and not self.timeout_s > 0):
            raise ValueError(
                f"Execution: expected at least one worker and a positive timeout, got {self.n_workers} workers and "
                f"{self.timeout_s} s; correct them"
            )


def find_program(given: str | None, variable: str, name: str, install: str) -> Path:
    """Return the program `given`, else that of the environment `variable`, else `name` on the search path.

    What is not there is a `MissingProgram` whose sentence ends with how to `install` it.
    """
    wanted = given or os.environ.get(variable) or name
    found = shutil.which(wanted)
    if found is None:
        raise MissingProgram(f"{name}: expected a program to run, got none at {wanted!r}; {install}")
    return Path(found).resolve()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of the file at `path`, read anew when it changed."""
    state = path.stat()
    return _digest(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=64)
def _digest(path: Path, modified: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_program(
    command: Sequence[str | Path],
    folder: Path,
    timeout_s: float,
    *,
    text: str = "",
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a program in a folder and return its exit status and what it printed.

    Parameters
    ----------
    command : program and arguments; no shell reads them.
    folder : fresh, working directory of the program; `log.txt` is written there.
    timeout_s : s; after that the program and all its children are killed.
    text : standard input.
    environment : variables beside those of this process.

    A program that does not start or is ended by a signal is a `ProgramCrashed`, one out of time a `ProgramTimeout`.
    """
    name = Path(command[0]).name
    (folder / "input.txt").write_text(text, encoding="ascii")
    with (folder / "input.txt").open("rb") as given, (folder / LOG).open("wb") as log:
        try:
            child = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                stdin=given,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # a group of its own, so that children of the child die with it
            )
        except OSError as error:
            got = error.strerror or str(error)
            raise ProgramCrashed(f"{name}: expected it to start, got {got!r}; install it again") from None
        _limit_files(child.pid)
        status = _wait(child, name, timeout_s)
    printed = read_text(folder / LOG)
    if status < 0:
        raise ProgramCrashed(
            f"{name}: expected it to end by itself, got {signal.Signals(-status).name} after {_tail(printed)!r}; leave "
            "this input out"
        )
    return status, printed


def crashed(name: str, status: int, printed: str) -> ProgramCrashed:
    """Return the error of the program `name` that ended with this exit `status` after it had `printed` a log."""
    return ProgramCrashed(
        f"{name}: expected exit status 0, got {status} after {_tail(printed)!r}; leave this input out"
    )


def in_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], execution: Execution, what: str
) -> list[Result]:
    """Return ``[function(item) for item in items]``, computed by threads that drive child processes.

    The first error ends the work: runs not yet started are given up.
    """
    results: list[Result] = []
    progress = execution.progress or Progress(enabled=False)
    pool = ThreadPoolExecutor(execution.n_workers)
    try:
        with progress.track(len(items), what) as update:
            for result in pool.map(function, items):
                results.append(result)
                update(len(results))
    finally:
        pool.shutdown(cancel_futures=True)
    return results


def read_text(path: Path) -> str:
    """Return what a program wrote at `path`, odd bytes replaced; an empty text where it wrote no file."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _tail(printed: str) -> str:
    return " ".join(printed[-400:].split())[-160:]


def _wait(child: subprocess.Popen[bytes], name: str, timeout_s: float) -> int:
    try:
        return child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise ProgramTimeout(
            f"{name}: expected an answer within {timeout_s:g} s, got none; it was stopped: leave this input out or "
            "raise timeout_s"
        ) from None
    finally:
        if child.poll() is None:  # out of time, or this process was interrupted
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _limit_files(pid: int) -> None:
    try:
        import resource

        resource.prlimit(pid, resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    except (ImportError, AttributeError, ProcessLookupError):  # not on Linux, or over already
        return
