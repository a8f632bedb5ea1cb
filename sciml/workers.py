"""Worker processes that may hang or die: each is spawned, uses one thread, and is killed with what it started."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, suppress
from math import inf
from multiprocessing.connection import Connection, wait
from typing import Any

from threadpoolctl import threadpool_limits

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def in_processes(function: Callable[[str, Any], Any], tasks: Mapping[str, Any], n_workers: int,
                 timeout_s: float = inf) -> Generator[tuple[str, Any], None, None]:  # fmt: skip
    """Yield each name in `tasks` with ``function(name, task)`` as it comes, or with a sentence where none came.

    A worker that dies or exceeds `timeout_s` with a task is replaced by a fresh one; the clock starts with the task,
    after the worker has imported the function.
    """
    queue, workers = deque(tasks.items()), list[_Worker]()
    try:
        while queue or any(worker.name for worker in workers):
            busy = sum(worker.name != "" for worker in workers)
            while len(workers) < min(n_workers, busy + len(queue)):
                workers.append(_Worker(function))
            left = min(worker.deadline for worker in workers) - time.monotonic()
            wait([worker.connection for worker in workers], max(0, min(left, 3600)))
            for worker in list(workers):
                if worker.connection.poll():
                    answer = worker.receive()
                elif worker.deadline <= time.monotonic():
                    answer = worker.end(f"expected an answer within {timeout_s:g} s, got none")
                else:
                    continue
                if worker.name:
                    yield worker.name, answer
                elif worker.ended and queue:
                    wanted = "sweep: expected workers that can import the function"
                    advice = "put it into a module, and what a script does below if __name__ == '__main__'"
                    raise ValueError(f"{wanted}, got one where {answer}; {advice}")
                if worker.ended:
                    workers.remove(worker)
                else:
                    worker.give(queue.popleft() if queue else None, timeout_s)
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process that answers one task after another; while it starts and when it is idle, `name` is empty."""

    def __init__(self, function: Callable[[str, Any], Any]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy the locks of torch's threads
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, function))
        self.process.start()
        theirs.close()  # so that its death is the end of the pipe
        self.ended = False
        self.give(None)

    def give(self, item: tuple[str, Any] | None, timeout_s: float = inf) -> None:
        self.name, self.deadline = (item[0], time.monotonic() + timeout_s) if item else ("", inf)
        if item:
            with suppress(BrokenPipeError, ConnectionResetError):  # it died meanwhile: the end of its pipe tells
                self.connection.send(item)

    def receive(self) -> Any:
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join(1)
            code = self.process.exitcode or 0
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
            return self.end(f"the process {how}")

    def end(self, answer: str = "") -> str:
        if self.process.pid and not self.ended:
            with suppress(ProcessLookupError):  # it has not made its group yet, or is gone with all of it
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.join()
            self.connection.close()
        self.ended = True
        return answer


def _serve(connection: Connection, function: Callable[[str, Any], Any]) -> None:
    os.setpgid(0, 0)  # a group of its own: the programs that it starts are killed with it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(dict.fromkeys(THREADS, "1"))  # for libraries that the function loads when it runs
    if {"torch", "numba"} & set(sys.modules):
        from sciml.threads import one_core

        limits: AbstractContextManager[Any] = one_core()
    else:  # a worker that needs no torch does not wait for its import
        limits = threadpool_limits(1)
    with limits:
        connection.send(None)  # ready
        while True:
            connection.send(function(*connection.recv()))


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os.killpg(0, signal.SIGKILL)
