"""Sweeps: every task has its outcome whatever becomes of workers, executors and the sweep itself."""

from __future__ import annotations

import ctypes
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sciml.executor import sweep
from sciml.progress import Progress

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Shot:
    seed: int
    n: int = 4


def draw(task):
    """Return random numbers from the task's seed: of each memory layout and kind, with missing ones."""
    source = np.random.default_rng(task["seed"])
    values = source.normal(size=(task["seed"], 3))
    values[0, 1] = np.nan
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T[:, ::-1]
    return {
        "values": values,
        "turned": turned,
        "sum": float(np.nansum(values)),
        "good": True,
        "empty": np.zeros((0, 2)),
    }


def shoot(task):
    return {"hit": np.random.default_rng(task.seed).normal(size=task.n)}


def misbehave(task):
    """Do what the task says, in the worst case to the process."""
    match task["do"]:
        case "raise":
            raise RuntimeError("no convergence at 7 degrees")
        case "exit":
            sys.exit(4)
        case "vanish":
            os._exit(3)
        case "segfault":
            ctypes.string_at(0)
        case "hang":
            time.sleep(3600)
        case "garbage":
            return task["answer"]
        case "objects":
            return {"polar": {"alpha": 1.0}}
        case "reserved":
            return {"__metadata__": 1.0}
        case "hang with a program":
            program = subprocess.Popen(["sleep", "3600"])
            Path(task["note"]).write_text(str(program.pid))
            program.wait()
    return {"done": 1.0}


def note(task):
    """Leave a line for every run of a task, then answer; task 3 runs until it is killed while the gate is closed."""
    with (Path(task["folder"]) / "runs.txt").open("a") as stream:
        stream.write(f"{task['k']}\n")
    while task["k"] == 3 and not (Path(task["folder"]) / "open").exists():
        time.sleep(0.02)
    return {"square": task["k"] ** 2}


def equal(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.task, one.failure, list(one.values)) == (other.task, other.failure, list(other.values))
        for name, value in one.values.items():
            assert value.dtype == other.values[name].dtype
            np.testing.assert_array_equal(value, other.values[name], strict=True)


def runs(folder):
    return sorted(map(int, (folder / "runs.txt").read_text().split()))


def gone(pid):
    """Wait until a process is no more; a zombie is dead, its parent is late."""
    for _ in range(3000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_outcomes_are_equal_to_the_bit_wherever_they_are_computed(tmp_path):
    tasks = [{"seed": seed} for seed in (5, 1, 9, 3, 7, 1)]
    serial = sweep(draw, tasks)
    assert [outcome.task for outcome in serial] == tasks
    for outcome in serial:
        exact = draw(outcome.task)
        assert not outcome.failure
        assert {name: value.tolist() for name, value in outcome.values.items() if name != "values"} == {
            name: np.asarray(value).tolist() for name, value in exact.items() if name != "values"
        }
        np.testing.assert_array_equal(outcome.values["values"], exact["values"])
    for n_workers in (1, 3):
        folder = tmp_path / str(n_workers)
        equal(sweep(draw, tasks, executor="processes", n_workers=n_workers, folder=folder), serial)
        equal(sweep(draw, tasks, folder=folder), serial)  # read back
        assert len(list(folder.iterdir())) == 5  # the sixth task is the second
    with ThreadPoolExecutor(2) as pool:
        equal(sweep(draw, tasks, executor=pool), serial)


def test_order_of_outcomes_is_that_of_tasks_not_of_finishing(tmp_path):
    """Task 3 cannot end before a later one has opened the gate."""
    tasks = [{"k": k, "folder": str(tmp_path)} for k in (3, 1)]

    def open_gate():
        while not (tmp_path / "runs.txt").exists() or runs(tmp_path) != [1, 3]:
            time.sleep(0.02)
        (tmp_path / "open").touch()

    opener = threading.Thread(target=open_gate)
    opener.start()
    outcomes = sweep(note, tasks, executor="processes", n_workers=2)
    opener.join()
    assert [int(outcome.values["square"]) for outcome in outcomes] == [9, 1]


def test_task_may_be_a_dataclass_or_hold_numpy_numbers(tmp_path):
    first = sweep(shoot, [Shot(5), Shot(6, n=2)], executor="processes", n_workers=1, folder=tmp_path)
    assert [outcome.values["hit"].shape for outcome in first] == [(4,), (2,)]
    equal(sweep(shoot, [Shot(5), Shot(6, n=2)], folder=tmp_path), first)
    assert len(list(tmp_path.iterdir())) == 2
    sweep(draw, [{"seed": np.int64(3)}, {"seed": 3}], folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


FAILURES = {
    "raise": "RuntimeError: no convergence at 7 degrees",
    "exit": "SystemExit: 4",
    "garbage": "expected a dict of numbers and arrays, got [1.0, 2.0]",
    "objects": "Unknown dtype",
    "reserved": "expected a dict of numbers and arrays",
}
DEATHS = {
    "vanish": "the process ended with status 3",
    "segfault": "the process was killed by SIGSEGV",
    "hang": "expected an answer within 3 s, got none",
}


def check_failures(expected, folder, **how):
    tasks = [{"do": do, "answer": [1.0, 2.0]} for do in ("good", *expected, "also good")]
    outcomes = sweep(misbehave, tasks, folder=folder, **how)
    assert [bool(outcome.failure) for outcome in outcomes] == [False, *[True] * len(expected), False]
    for outcome, sentence in zip(outcomes[1:-1], expected.values(), strict=True):
        assert sentence in outcome.failure
        assert not outcome.values
    stored = [json.loads(path.read_text()) for path in folder.glob("*.failed.json")]
    assert {item["task"]["do"]: item["failure"] for item in stored} == {
        outcome.task["do"]: outcome.failure for outcome in outcomes[1:-1]
    }
    assert len(list(folder.glob("*.safetensors"))) == 2


def test_failure_of_a_task_here_is_told_and_stops_no_other(tmp_path):
    check_failures(FAILURES, tmp_path)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_failure_or_death_of_a_worker_is_told_and_stops_no_other(n_workers, tmp_path):
    check_failures(FAILURES | DEATHS, tmp_path, executor="processes", n_workers=n_workers, timeout_s=3)


def test_hanging_worker_is_killed_with_the_program_that_it_started(tmp_path):
    task = {"do": "hang with a program", "note": str(tmp_path / "pid")}
    (outcome,) = sweep(misbehave, [task], executor="processes", timeout_s=5)
    assert outcome.failure == "expected an answer within 5 s, got none"
    assert gone(int((tmp_path / "pid").read_text()))


def test_failed_task_is_tried_again_and_a_finished_one_is_not(tmp_path):
    tasks = [{"k": k, "folder": str(tmp_path)} for k in (3, 4)]
    how = {"executor": "processes", "n_workers": 1, "folder": tmp_path / "sweep", "timeout_s": 3}
    assert [bool(outcome.failure) for outcome in sweep(note, tasks, **how)] == [True, False]
    (tmp_path / "open").touch()
    assert [int(outcome.values["square"]) for outcome in sweep(note, tasks, **how)] == [9, 16]
    assert runs(tmp_path) == [3, 3, 4]
    assert {path.suffix for path in (tmp_path / "sweep").iterdir()} == {".safetensors"}


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_killed_sweep_goes_on_where_it_was(executor, tmp_path):
    """Kill a sweep with SIGKILL in its fourth task; its worker ends too, three tasks are kept, the rest is computed."""
    tasks = [{"k": k, "folder": str(tmp_path)} for k in range(6)]
    code = (
        f"import sys\nsys.path.insert(0, {str(HERE)!r})\nimport test_executor as t\n"
        f"t.sweep(t.note, {tasks!r}, executor={executor!r}, n_workers=1, folder={str(tmp_path / 'sweep')!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not (tmp_path / "runs.txt").exists() or runs(tmp_path) != [0, 1, 2, 3]:
        assert process.poll() is None
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(map(gone, children))
    assert len(list((tmp_path / "sweep").glob("*.safetensors"))) == 3
    (tmp_path / "open").touch()
    outcomes = sweep(note, tasks, folder=tmp_path / "sweep")
    assert [int(outcome.values["square"]) for outcome in outcomes] == [0, 1, 4, 9, 16, 25]
    assert runs(tmp_path) == [0, 1, 2, 3, 3, 4, 5]


def test_other_version_or_function_is_computed_anew(tmp_path):
    task = {"k": 2, "folder": str(tmp_path)}
    for version, n_runs in [(1, 1), (1, 1), (2, 2), ("2a", 3), (1, 3)]:
        sweep(note, [task], folder=tmp_path / "sweep", version=version)
        assert len(runs(tmp_path)) == n_runs
    assert sweep(misbehave, [task | {"do": "good"}], folder=tmp_path / "sweep")[0].values["done"] == 1


def test_damaged_file_is_computed_anew(tmp_path):
    before = sweep(draw, [{"seed": 4}], folder=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:20], b""):
        path.write_bytes(damaged)
        equal(sweep(draw, [{"seed": 4}], folder=tmp_path), before)
        assert path.read_bytes() == whole


def test_folder_that_cannot_be_written_is_told_before_anything_runs(tmp_path):
    (tmp_path / "file").touch()
    expected = r"file/sweep: expected a folder with room to write, got Not a directory; make room or give another"
    with pytest.raises(ValueError, match=expected):
        sweep(note, [{"k": 1, "folder": str(tmp_path)}], folder=tmp_path / "file" / "sweep")
    assert not (tmp_path / "runs.txt").exists()


def test_full_disk_ends_the_sweep_with_a_sentence_and_keeps_what_is_whole(tmp_path):
    """A limit on the size of files stands in for the disk: the second task's values exceed it."""
    code = (
        f"import resource, sys\nsys.path.insert(0, {str(HERE)!r})\nimport test_executor as t\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        f"t.sweep(t.draw, [{{'seed': 9}}, {{'seed': 900}}, {{'seed': 8}}], folder={str(tmp_path / 'sweep')!r})"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 1
    told = "sweep: expected a folder with room to write, got File too large; make room or give another; what it holds"
    assert told in process.stderr.splitlines()[-1]
    (path,) = (tmp_path / "sweep").iterdir()
    assert path.suffix == ".safetensors"


@pytest.mark.parametrize("early", ["import torch, scipy.linalg", ""])
def test_workers_use_one_thread_whether_libraries_come_early_or_late(early, tmp_path):
    (tmp_path / "counting.py").write_text(
        f"{early}\ndef count(task):\n    import torch, scipy.linalg, threadpoolctl\n"
        "    pools = [pool['num_threads'] for pool in threadpoolctl.threadpool_info()]\n"
        "    return {'threads': [torch.get_num_threads(), *pools]}\n"
    )
    code = (
        "import counting\nfrom sciml.executor import sweep\n"
        "(found,) = sweep(counting.count, [1], executor='processes', n_workers=1)\n"
        "assert set(found.values['threads'].tolist()) == {1}, found"
    )
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)


def test_worker_that_needs_no_torch_does_not_import_it(tmp_path):
    (tmp_path / "light.py").write_text("import sys\ndef look(task):\n    return {'torch': 'torch' in sys.modules}\n")
    code = "import light\nfrom sciml.executor import sweep\nassert not sweep(light.look, [1], executor='processes')[0]"
    code += ".values['torch']"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_executor_of_another_kind_may_fail_by_itself():
    class Lost(ThreadPoolExecutor):
        def submit(self, function, /, *arguments):
            future = super().submit(function, *arguments)
            return future if arguments[-1]["seed"] != 2 else super().submit(os.stat, "/nowhere")

    with Lost(1) as pool:
        outcomes = sweep(draw, [{"seed": seed} for seed in (1, 2, 3)], executor=pool)
    assert [outcome.failure[:17] for outcome in outcomes] == ["", "FileNotFoundError", ""]


def test_progress_counts_tasks_and_failures_and_starts_at_what_is_stored(tmp_path):
    class Clock:
        now = 0.0

        def __call__(self):
            self.now += 6
            return self.now

    sweep(misbehave, [{"do": "good"}], folder=tmp_path)
    stream = io.StringIO()
    tasks = [{"do": do} for do in ("good", "raise", "fine", "exit")]
    sweep(misbehave, tasks, folder=tmp_path, progress=Progress(stream, clock=Clock()))
    lines = [line.split(" (")[0] + line.rpartition(")")[2] for line in stream.getvalue().splitlines()]
    assert lines == [
        "misbehave: 50 % 1 failed",
        "misbehave: 75 % 1 failed",
        "misbehave: 100 % 2 failed",
        "misbehave: done",
    ]


def test_empty_sweep_has_no_outcomes(tmp_path):
    assert sweep(draw, [], executor="processes", folder=tmp_path) == []


def test_function_that_cannot_be_named_is_refused():
    def inner(task):
        return {}

    for function in (inner, lambda task: {}, np.sin, Path(".").joinpath):
        with pytest.raises(ValueError, match=r"^sweep: expected a function at the level of a module, got .*; move it"):
            sweep(function, [{}])


@pytest.mark.parametrize("task", [{"a": np.nan}, {"a": object()}, {"a": Shot}, {1: 0, "b": 1}, {"a": 1j}])
def test_task_that_json_cannot_hold_is_refused(task):
    with pytest.raises(ValueError, match=r"^sweep: expected tasks that JSON can hold, got "):
        sweep(draw, [task])


@pytest.mark.parametrize(
    "how",
    [
        {"n_workers": 0},
        {"timeout_s": 1.0},
        {"executor": "processes", "timeout_s": 0},
        {"executor": "process"},
        {"executor": None},
    ],
)
def test_options_that_do_not_fit_are_refused(how):
    with pytest.raises(ValueError, match=r"^sweep: expected .*, got "):
        sweep(draw, [{"seed": 1}], **how)


def test_function_that_workers_cannot_import_is_refused_with_the_usual_reason(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from sciml.executor import sweep\ndef f(task):\n    return {}\nsweep(f, [1, 2], executor='processes')\n"
    )
    process = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert process.returncode == 1
    told = "sweep: expected workers that can import the function, got one where the process ended with status 1; put it"
    assert told in process.stderr.splitlines()[-1]
