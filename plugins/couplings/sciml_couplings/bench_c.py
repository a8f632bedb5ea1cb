"""What a small call costs through C and in Python, and how far the programs in C and Fortran are from Python."""

from __future__ import annotations

import shutil
import subprocess
import time
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from sciml import Surrogate

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


def small_call(surrogate: Surrogate, folder: Path, workplace: Path, n_call: int = 500) -> dict[str, float]:
    """Return the CPU time in microseconds of a call of one sample, in C and in eager Python, and their ratio.

    Each is the median of 11 rounds, one round in C and one in Python at a time.

    Parameters
    ----------
    surrogate, folder : a policy, and where it was exported.
    workplace : a folder to build in.
    n_call : calls in each round.
    """
    source = workplace / "bench.c"
    source.write_bytes((resources.files("sciml_couplings") / "native" / "bench.c").read_bytes())
    program = build_program(folder, source, workplace / "bench")
    n = len(surrogate.spec.inputs[0].bounds.boxes[0][0]) if surrogate.spec.inputs[0].bounds else 1
    given = {"stock": torch.full((1, n), 0.5), "year": torch.full((1,), 0.5)}
    in_c, eager = [], []
    for _ in range(11):
        text = subprocess.run([program, folder, "1", str(n_call)], capture_output=True, text=True, check=True).stdout
        in_c.append(float(text))
        start = time.process_time()
        with torch.inference_mode():
            for _ in range(n_call):
                surrogate(**given)
        eager.append(1e6 * (time.process_time() - start) / n_call)
    c, python = float(np.median(in_c)), float(np.median(eager))
    return {"coupling_c_call_us": c, "coupling_eager_call_us": python, "coupling_c_over_eager": c / python}
