"""Child processes: what they are given, how their results are gathered, and how work ends early."""

from __future__ import annotations

import io
import sys
import threading
import time

import pytest
from sciml_mfuq.simulators.program import Execution, file_digest, find_program, in_parallel, run_program

from sciml.progress import Progress


def test_program_gets_its_input_and_its_variables_and_no_shell_reads_its_arguments(tmp_path):
    body = "import os, sys; print(sys.stdin.read(), os.environ['MARK'], sys.argv[1], os.getcwd())"
    command = [sys.executable, "-c", body, "$HOME; echo *"]
    status, printed = run_program(command, tmp_path, 60.0, text="given", environment={"MARK": "seen"})
    assert status == 0
    assert printed.split("\n")[0] == f"given seen $HOME; echo * {tmp_path.resolve()}"


def test_results_come_in_order_whatever_the_order_of_the_runs():
    first_may_end = threading.Event()

    def work(number):
        if number == 0:
            assert first_may_end.wait(60)
        if number == 2:
            first_may_end.set()
        return number**2

    assert in_parallel(work, range(5), Execution(n_workers=2), "square") == [0, 1, 4, 9, 16]


def test_first_error_gives_up_the_runs_that_have_not_begun():
    begun = []

    def work(number):
        begun.append(number)
        if number == 3:
            raise ValueError("the fourth")
        if number > 3:
            time.sleep(0.01)  # gives the caller the time to hear of the error
        return number

    with pytest.raises(ValueError, match="the fourth"):
        in_parallel(work, range(1000), Execution(), "count")
    assert len(begun) < 1000


def test_progress_is_shown_where_it_is_asked_for():
    stream, seconds = io.StringIO(), iter(range(0, 1000, 3))
    progress = Progress(stream=stream, clock=lambda: float(next(seconds)))
    in_parallel(abs, [-1, -2, -3], Execution(progress=progress), "make positive")
    assert "make positive: done" in stream.getvalue()


def test_digest_follows_the_content_of_a_file(tmp_path):
    path = tmp_path / "program"
    path.write_text("one")
    first = file_digest(path)
    path.write_text("other")
    assert file_digest(path) != first


def test_program_is_found_by_argument_then_by_variable_then_by_name(tmp_path, monkeypatch):
    for name in ("given", "named"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("SOME_PROGRAM", str(tmp_path / "named"))
    assert find_program(str(tmp_path / "given"), "SOME_PROGRAM", "python3", "").name == "given"
    assert find_program(None, "SOME_PROGRAM", "python3", "").name == "named"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SOME_PROGRAM")
    assert find_program(None, "SOME_PROGRAM", "given", "").name == "given"
