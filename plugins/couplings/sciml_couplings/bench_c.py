"""What a call costs through C and in Python, and how far the programs in C and Fortran are from Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from sciml import Surrogate
from sciml_couplings.onnx_export import open_session
from sciml_couplings.sample import Sample

N_STEP, STEP = 50, 0.1  # of the example programs
COMPILERS = {"harvest.c": "gcc", "harvest.cpp": "g++", "harvest.f90": "gfortran", "bench.c": "gcc"}
STANDARDS = {"gcc": "-std=gnu11", "g++": "-std=c++17", "gfortran": "-std=f2018"}


def build_program(folder: Path, source: Path, target: Path) -> Path:
    """Compile a program against an exported folder, by the lines of its README.

    Parameters
    ----------
    folder : exported; its Fortran module is compiled first for a Fortran program.
    source, target : the program and where to put it; module files go beside the target.
    """
    compiler = COMPILERS[source.name]
    if shutil.which(compiler) is None:
        raise FileNotFoundError(f"build_program: expected the compiler {compiler}, got none; install it")
    folder, source, target = folder.resolve(), source.resolve(), target.resolve()  # the compiler runs elsewhere
    module = [str(folder / "fortran" / "sciml_surrogate.f90")] if compiler == "gfortran" else []
    library = ["-L" + str(folder / "lib"), f"-Wl,-rpath,{folder / 'lib'}", "-lsciml_surrogate"]
    flags = [STANDARDS[compiler], "-O2", "-Wall", "-Wextra", "-Werror", f"-I{folder / 'include'}"]
    command = [compiler, *flags, *module, str(source), "-o", str(target), *library]
    done = subprocess.run(command, capture_output=True, text=True, cwd=target.parent)
    if done.returncode:
        raise ValueError(f"build_program: expected {compiler} to build {source.name}, got: {done.stderr[-2000:]}")
    return target


def harvested(surrogate: Surrogate) -> np.ndarray:
    """Return the stocks (lake, species) after the time loop of the example programs, in Python."""
    lake, species = np.meshgrid(np.arange(4), np.arange(3), indexing="ij")
    x = 0.2 + 0.1 * lake + 0.05 * species
    for step in range(N_STEP):
        stock, year = torch.as_tensor(x).float(), torch.full((4,), step * STEP, dtype=torch.float32)
        with torch.inference_mode():
            fraction = surrogate(stock=stock, year=year)["fraction"].double().numpy()
        x = x + STEP * x * (1 - x - np.concatenate([fraction, np.zeros((4, 1))], 1))
    return x


def example_error(surrogate: Surrogate, folder: Path, name: str, workplace: Path) -> float:
    """Return the largest relative difference between an example program and Python.

    Parameters
    ----------
    surrogate, folder : a policy, and where it was exported.
    name : of the program in the folder's examples.
    workplace : a folder to build in.
    """
    program = build_program(folder, folder / "examples" / name, workplace / name.replace(".", "_"))
    done = subprocess.run([program, folder], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{name}: expected an answer, got: {done.stderr}{done.stdout}")
    found, wanted = np.array(done.stdout.split(), float), harvested(surrogate).ravel()
    return float(np.abs(found / wanted - 1).max())


def build_bench(folder: Path, workplace: Path) -> Path:
    """Return the program in C that measures its own calls, built in `workplace` against an exported `folder`."""
    source = workplace / "bench.c"
    source.write_bytes((resources.files("sciml_couplings") / "native" / "bench.c").read_bytes())
    return build_program(folder, source, workplace / "bench")


def call_times(
    callers: Mapping[str, Callable[[int, int], float]], sizes: Sequence[int], n_call: int, n_round: int
) -> dict[str, list[float]]:
    """Return the CPU time of a call in microseconds, by caller and number of samples: the median over rounds.

    Parameters
    ----------
    callers : each makes calls of so many samples so many times, and returns the microseconds of one.
    sizes : samples in a call.
    n_call, n_round : calls in a round, and rounds; in every round each caller has one turn.
    """
    times: dict[str, list[float]] = {name: [] for name in callers}
    for size in sizes:
        rounds = [{name: call(size, n_call) for name, call in callers.items()} for _ in range(n_round)]
        for name in callers:
            times[name].append(float(np.median([each[name] for each in rounds])))
    return times


def in_c(program: Path, folder: Path, size: int, n_call: int) -> float:
    """Return the microseconds of a call in C, by the program of :func:`build_bench`.

    Parameters
    ----------
    program, folder : built, and exported.
    size, n_call : samples in a call, and calls.
    """
    command = [str(program), str(folder), "1", str(n_call), str(size)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=one_thread).stdout)


def eager(surrogate: Surrogate, size: int, n_call: int) -> float:
    """Return the microseconds of a call of the tensor fast path in eager Python, which checks nothing.

    Parameters
    ----------
    surrogate : without free dimensions but the batch.
    size, n_call : samples in a call, and calls.
    """
    given = {name: torch.as_tensor(array) for name, array in _halves(surrogate, size).items()}
    with torch.inference_mode():
        return _timed(lambda: surrogate(**given), n_call)


def onnx_runtime(surrogate: Surrogate, path: Path, size: int, n_call: int) -> float:
    """Return the microseconds of a call of ONNX Runtime from Python.

    Parameters
    ----------
    surrogate, path : without free dimensions but the batch, and its model.
    size, n_call : samples in a call, and calls.
    """
    session, given = open_session(path), _halves(surrogate, size)
    return _timed(lambda: session.run(None, given), n_call)


def _halves(surrogate: Surrogate, size: int) -> dict[str, np.ndarray]:
    shapes = Sample(surrogate).shapes
    return {name: np.full((size, *shape[1:]), 0.5, np.float32) for name, shape in shapes.items()}


def _timed(call: Callable[[], object], n_call: int) -> float:
    call()
    start = time.process_time()
    for _ in range(n_call):
        call()
    return 1e6 * (time.process_time() - start) / n_call
